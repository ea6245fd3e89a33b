/** Fault points at which whoever takes part in an update across the kexec gap is killed, over a real jump and a simulated one. */
import type { FaultPoint } from '../../src/base/fault-points.js';

/**
 * Passed by luod, the keeper, or the participant, before the jump, which does not come then. In turns: luod is started again after a pause that grows with its
 * deaths of a short time, and a new keeper knows of none.
 */
export const BEFORE: readonly FaultPoint[] = [
  'luod.prepare.sent',
  'old.prepare',
  'luod.session.preserved',
  'luod.prepared',
  'keeper.session.created',
  'luod.manifest.preserved',
  'old.prepared',
  'luod.freeze.sent',
  'luod.frozen',
  'old.freeze',
  'luod.decide.before',
  'keeper.decide.before',
  'luod.decide.after',
  'luod.manifest.frozen',
  'keeper.decide.after',
  'luod.jump',
];
/** Passed by the participant behind its answer to freeze: once that counts its process is not needed, and the update goes on. */
export const EITHER_WAY: readonly FaultPoint[] = ['old.frozen'];
/** Passed by the keeper before anybody freezes: a new one is given everything, and the update goes on to the jump. */
export const KEEPER_BEFORE: readonly FaultPoint[] = ['keeper.put'];
/** Passed in the new kernel by the keeper, before luod runs: nobody else holds what it has taken. In this order. */
export const KEEPER_ALONE: readonly FaultPoint[] = [
  'keeper.session.retrieved',
  'keeper.manifest.retrieved',
  'keeper.arrived',
];
/** Passed in the new kernel by the keeper while luod, which has copies, runs. */
export const KEEPER_AFTER: readonly FaultPoint[] = ['keeper.put', 'keeper.spawn', 'keeper.session.created'];
/** Passed in the new kernel, in this order, by luod. */
export const LUOD_AFTER: readonly FaultPoint[] = [
  'luod.arriving',
  'luod.arrived',
  'luod.claim.retrieved',
  'luod.finish.sent',
  'luod.session.finished',
  'luod.finished',
  'luod.manifest.finished',
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
/** Passed by the participant when it serves again: the update ends without it. */
export const SERVING_AFTER: readonly FaultPoint[] = ['new.go.acked'];
/** All that are passed before the jump. */
export const ALL_BEFORE: readonly FaultPoint[] = [...BEFORE, ...EITHER_WAY, ...KEEPER_BEFORE];
/** All that are passed in the new kernel. */
export const ALL_AFTER: readonly FaultPoint[] = [
  ...KEEPER_ALONE,
  ...KEEPER_AFTER,
  ...LUOD_AFTER,
  ...PARTICIPANT_AFTER,
  ...SERVING_AFTER,
];

const NO_SUCCESSOR = 'no successor is started beside the old process: everything is started again in the next kernel';
const NO_GO = 'a process that is started again has its go from luod outside of the attempt';
/** Those that no update across the kexec gap passes, and why. */
export const NOT_PASSED: Readonly<Partial<Record<FaultPoint, string>>> = {
  'luod.standby': NO_SUCCESSOR,
  'luod.restore.prepared': NO_SUCCESSOR,
  'luod.restore.frozen': NO_SUCCESSOR,
  'luod.ready': NO_SUCCESSOR,
  'luod.go.sent': NO_GO,
  'luod.go.acked': NO_GO,
  'luod.retire.sent': 'nobody is retired: the old processes end with their kernel',
  'old.retire': 'nobody is retired: the old processes end with their kernel',
  'new.standby': NO_SUCCESSOR,
  'new.restore.prepared': NO_SUCCESSOR,
};
