/** Fault points at which whoever takes part in an update across the kexec gap is killed, over a real jump and a simulated one. */
import type { FaultPoint } from '../../src/base/fault-points.js';

/** Passed by luod, the keeper, or the participant, before the jump. */
export const BEFORE: readonly FaultPoint[] = [
  'luod.prepare.sent',
  'luod.session.preserved',
  'luod.prepared',
  'luod.manifest.preserved',
  'luod.freeze.sent',
  'luod.frozen',
  'luod.decide.before',
  'luod.decide.after',
  'luod.manifest.frozen',
  'luod.jump',
  'keeper.session.created',
  'keeper.decide.before',
  'keeper.decide.after',
  'old.prepare',
  'old.prepared',
  'old.freeze',
  'old.frozen',
];
/** Passed in the new kernel, in this order, by luod. */
export const LUOD_AFTER: readonly FaultPoint[] = [
  'luod.arriving',
  'luod.arrived',
  'luod.claim.retrieved',
  'luod.finish.sent',
  'luod.session.finished',
  'luod.finished',
];
/** The same by the participant. */
export const PARTICIPANT_AFTER: readonly FaultPoint[] = [
  'new.hello',
  'new.claimed',
  'new.restore.frozen',
  'new.ready',
  'new.go',
  'new.finish',
];
