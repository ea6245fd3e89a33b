/**
 * Everything that a peer can make us hold, with its bound; docs/limits.md is this table in words, held together by a
 * test. A refusal has the code LIMIT_REACHED and names the limit in `data.limit`.
 */
export const LIMITS = {
  /** Bytes of one line on the wire, its newline included. */
  lineBytesMax: 4 * 1024 * 1024,
  /** Bytes that may wait in a connection's output before it is dropped for not reading. */
  outputBytesMax: 16 * 1024 * 1024,
  /** Fds of one message; more than 253 travel in several chunks. */
  messageFdsMax: 8192,
  /** Connections to luod, all clients together. */
  connectionsMax: 8192,
  /** Requests of one connection that have no answer yet. */
  requestsMax: 256,
  /** Milliseconds in which a new connection must have said hello. */
  helloMs: 10_000,
  /** Milliseconds in which a line, once begun, must be complete. */
  lineMs: 10_000,
  /** Participants known at one time. */
  participantsMax: 8192,
  /** Handles of one owner. */
  handlesPerOwnerMax: 4096,
  /** Handles, all owners together. */
  handlesMax: 65_536,
  /** Dependencies of one handle. */
  dependenciesMax: 256,
  /** Bytes of a handle's, box's, service's or owner's name. */
  nameBytesMax: 200,
  /** Bytes of JSON that a participant may hand over as small state. */
  stateBytesMax: 1024 * 1024,
  /** Supervised services. */
  servicesMax: 256,
  /** Bytes of a service's command and environment together. */
  serviceBytesMax: 512 * 1024,
  /** Boxes, and entries of one box. */
  boxesMax: 256,
  boxEntriesMax: 1024,
  /** Fds that the keeper holds for one owner. */
  keeperOwnerFdsMax: 8192,
  /** Bytes of a keeper entry's own data. */
  keeperMetaBytesMax: 2 * 1024 * 1024,
  /** Fds that the keeper leaves free below its RLIMIT_NOFILE. */
  keeperFdsReserve: 128,
  /** Attempts whose timeline is kept. */
  timelinesMax: 64,
  /** Events of one attempt's timeline. */
  timelineEventsMax: 50_000,
  /** Bytes of one service's log before it is rotated; one old file is kept. */
  logBytesMax: 16 * 1024 * 1024,
} as const;
export type LimitName = keyof typeof LIMITS;

/** Default deadlines of an update, milliseconds; each can be given per request. */
export const DEADLINES = {
  /** The successor's start, from its command to its standby. */
  standbyMs: 60_000,
  prepareMs: 30_000,
  /** Freeze to commit: the blackout that the operator allows. */
  blackoutMs: 10_000,
  cancelMs: 10_000,
  finishMs: 30_000,
  goMs: 10_000,
  /** From retire to SIGKILL. */
  retireMs: 1_000,
  /** How long prepared may last: preserved memory is pinned. */
  preparedMs: 600_000,
  /** After a kexec: how long participants may take to claim before policies and the veto of finish speak. */
  claimMs: 60_000,
  /** From SIGTERM to SIGKILL when a service is stopped. */
  stopMs: 10_000,
} as const;
