/**
 * The named points at which tests stop, delay or kill a process (see src/sys/fault.ts). Each is passed once per attempt
 * by the process its prefix names; the crash matrix walks the whole list.
 */
export const FAULT_POINTS = [
  // luod
  'luod.standby',
  'luod.prepare.sent',
  'luod.prepared',
  'luod.restore.prepared',
  'luod.freeze.sent',
  'luod.frozen',
  'luod.restore.frozen',
  'luod.ready',
  'luod.decide.before',
  'luod.decide.after',
  'luod.go.sent',
  'luod.go.acked',
  'luod.retire.sent',
  'luod.finish.sent',
  'luod.finished',
  // keeper
  'keeper.put',
  'keeper.decide.before',
  'keeper.decide.after',
  'keeper.spawn',
  // the old process
  'old.prepare',
  'old.prepared',
  'old.freeze',
  'old.frozen',
  'old.retire',
  // the successor
  'new.hello',
  'new.claimed',
  'new.standby',
  'new.restore.prepared',
  'new.restore.frozen',
  'new.ready',
  'new.go',
  'new.go.acked',
  'new.finish',
] as const;

/** Those that only an update across the kexec gap passes, and the start after it. */
export const KEXEC_FAULT_POINTS = [
  // before the jump
  'keeper.session.created',
  'luod.session.preserved',
  'luod.manifest.preserved',
  'luod.manifest.frozen',
  'luod.jump',
  // after it
  'keeper.manifest.retrieved',
  'keeper.session.retrieved',
  'keeper.arrived',
  'luod.arriving',
  'luod.arrived',
  'luod.claim.retrieved',
  'luod.session.finished',
  'luod.manifest.finished',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number] | (typeof KEXEC_FAULT_POINTS)[number];
