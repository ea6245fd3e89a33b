/**
 * Errors of the wrong world (a wrong program stops by an assertion). Codes are stable strings, grouped by area; each has
 * its cause and remedy in docs/errors.md, which a test holds together with this table. Test the code, never the message.
 */
import type { Phase } from './words.js';

/** Every code with the errno that a person from the kernel side would expect (null: none fits). */
export const ERROR_CODES = {
  // Requests in the wrong moment
  STATE_INVALID: 'EINVAL',
  STATE_BUSY: 'EBUSY',
  STATE_STUCK: 'EBUSY',
  FINISH_VETO: 'EBUSY',
  // Registering and claiming
  HANDLE_EXISTS: 'EEXIST',
  HANDLE_UNKNOWN: 'ENOENT',
  HANDLE_UNVIABLE: 'ENOTSUP',
  HANDLE_BUSY: 'EBUSY',
  HANDLE_DISCARDED: 'ESTALE',
  CLAIM_INCOMPATIBLE: 'EPROTONOSUPPORT',
  CLAIM_WAITING: 'EEXIST',
  CLAIM_FOREIGN: 'EACCES',
  READY_INCOMPLETE: 'EINVAL',
  // Plan
  PLAN_CYCLE: 'ELOOP',
  PLAN_MISSING: 'ENOENT',
  PLAN_UNVIABLE: 'ENOTSUP',
  PLAN_DIRECTION: 'EINVAL',
  PLAN_EMPTY: 'ENOENT',
  // An update that did not go through; the old state goes on
  UPDATE_CANCELLED: 'ECANCELED',
  UPDATE_FAILED: 'ECANCELED',
  CALL_FAILED: 'EIO',
  CALL_TIMEOUT: 'ETIMEDOUT',
  MEMBER_DIED: 'ESRCH',
  SUCCESSOR_DIED: 'ESRCH',
  SUCCESSOR_TIMEOUT: 'ETIMEDOUT',
  // Services
  SERVICE_UNKNOWN: 'ENOENT',
  SERVICE_EXISTS: 'EEXIST',
  SERVICE_RUNNING: 'EBUSY',
  SERVICE_NOT_RUNNING: 'ESRCH',
  SERVICE_START_FAILED: 'ENOEXEC',
  SERVICE_NO_PREVIOUS: 'ENOENT',
  // Boxes
  BOX_UNKNOWN: 'ENOENT',
  BOX_SEALED: 'EPERM',
  // Identity
  AUTH_DENIED: 'EACCES',
  AUTH_SECRET: 'EACCES',
  // Wire
  PROTO_MALFORMED: 'EBADMSG',
  PROTO_INVALID: 'EINVAL',
  PROTO_UNKNOWN_METHOD: 'ENOSYS',
  PROTO_VERSION: 'EPROTONOSUPPORT',
  PROTO_NO_HELLO: 'EPROTO',
  PROTO_TOO_LONG: 'EMSGSIZE',
  PROTO_FDS: 'EBADMSG',
  PROTO_CLOSED: 'EPIPE',
  PROTO_TIMEOUT: 'ETIMEDOUT',
  // Limits: `data.limit` names the one that was met
  LIMIT_REACHED: 'ENOSPC',
  // Keeper and recovery
  KEEPER_LOST: 'EPIPE',
  KEEPER_UNKNOWN: 'ENOENT',
  KEEPER_EXISTS: 'EEXIST',
  KEEPER_KEY: 'EACCES',
  DECISION_NONE: 'ENOENT',
  JOURNAL_DAMAGED: 'EUCLEAN',
  JOURNAL_TOO_NEW: 'EPROTONOSUPPORT',
  LUOD_UNREACHABLE: 'ECONNREFUSED',
  LUOD_RUNNING: 'EADDRINUSE',
  // Client library
  CLIENT_INTERNALS: 'ENOSYS',
  CLIENT_TLS: 'ENOTSUP',
  CLIENT_SIZE: 'EINVAL',
  // The kexec gap
  LIVEUPDATE_MISSING: 'ENODEV',
  LIVEUPDATE_HELD: 'EBUSY',
  LIVEUPDATE_BROKEN: 'EIO',
  SESSION_MISSING: 'ENOENT',
  SESSION_TAKEN: 'EINVAL',
  SESSION_COPY_LEFT: 'EEXIST',
  CLAIM_LOST: 'EIO',
  ARRIVAL_LOST: 'EIO',
  CLAIM_MEMORY: 'ENOMEM',
  MANIFEST_DAMAGED: 'EUCLEAN',
  MANIFEST_TOO_NEW: 'EPROTONOSUPPORT',
  MANIFEST_FULL: 'ENOSPC',
  IMAGE_MISSING: 'EINVAL',
  IMAGE_REFUSED: 'ENOEXEC',
  PREFLIGHT_FAILED: 'ENOTSUP',
  KEXEC_REFUSED: 'EPERM',
  KEXEC_RETURNED: 'EIO',
  BLOB_UNKNOWN: 'ENOENT',
  BLOB_EXISTS: 'EEXIST',
  HOOK_FAILED: 'EIO',
  // The emulator of /dev/liveupdate
  EMULATOR_UNABLE: 'ENOTSUP',
  EMULATOR_PROGRAM: 'ENOEXEC',
  EMULATOR_LOST: 'EPIPE',
  EMULATOR_STUCK: 'EBUSY',
  EMULATOR_UNKNOWN: 'ESRCH',
  EMULATOR_KEXEC: 'EIO',
  FAULT_INVALID: 'EINVAL',
  // A system call failed; `errno` says how
  SYS: null,
  // A gap or a feature that this machine or this version has not got
  UNSUPPORTED: 'ENOTSUP',
  INTERNAL: null,
} as const satisfies Record<string, string | null>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What a {@link LuoError} says besides its message. Units are in the names. */
export interface ErrorDetails {
  /** Kernel name of the error number; by default the one of the code. */
  readonly errno?: string;
  readonly phase?: Phase;
  /** The handle (see handleKey) or the participant that it is about. */
  readonly handle?: string;
  readonly participant?: string;
  /** What to do about it, one sentence, where more than docs/errors.md can be said. */
  readonly remedy?: string;
  /** Further facts, JSON only: limit names, lists of vetoes, cycles. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The shape of an error on the wire and in the journal. */
export interface WireError {
  code: string;
  message: string;
  errno?: string;
  phase?: string;
  handle?: string;
  participant?: string;
  remedy?: string;
  data?: Record<string, unknown>;
}

/** An error that a person on call can act on: a stable code, a sentence, and where it happened. */
export class LuoError extends Error {
  readonly code: ErrorCode;
  readonly errno: string | undefined;
  readonly phase: Phase | undefined;
  readonly handle: string | undefined;
  readonly participant: string | undefined;
  readonly remedy: string | undefined;
  readonly data: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'LuoError';
    this.code = code;
    this.errno = details.errno ?? ERROR_CODES[code] ?? undefined;
    this.phase = details.phase;
    this.handle = details.handle;
    this.participant = details.participant;
    this.remedy = details.remedy;
    this.data = details.data;
  }

  /** As it goes over the wire; the cause stays here. */
  toWire(): WireError {
    const wire: WireError = { code: this.code, message: this.message };
    if (this.errno !== undefined) wire.errno = this.errno;
    if (this.phase !== undefined) wire.phase = this.phase;
    if (this.handle !== undefined) wire.handle = this.handle;
    if (this.participant !== undefined) wire.participant = this.participant;
    if (this.remedy !== undefined) wire.remedy = this.remedy;
    if (this.data !== undefined) wire.data = { ...this.data };
    return wire;
  }

  /** The opposite of {@link toWire}. A code from a newer luo becomes INTERNAL and keeps its name in the message. */
  static fromWire(wire: WireError): LuoError {
    const known = Object.hasOwn(ERROR_CODES, wire.code);
    return new LuoError(
      known ? (wire.code as ErrorCode) : 'INTERNAL',
      known ? wire.message : `${wire.code}: ${wire.message}`,
      {
        ...(wire.errno === undefined ? {} : { errno: wire.errno }),
        ...(wire.phase === undefined ? {} : { phase: wire.phase as Phase }),
        ...(wire.handle === undefined ? {} : { handle: wire.handle }),
        ...(wire.participant === undefined ? {} : { participant: wire.participant }),
        ...(wire.remedy === undefined ? {} : { remedy: wire.remedy }),
        ...(wire.data === undefined ? {} : { data: wire.data }),
      },
    );
  }

  /** `error` as a LuoError: itself, or wrapped with its message under `code`. */
  static from(error: unknown, code: ErrorCode = 'INTERNAL'): LuoError {
    if (error instanceof LuoError) return error;
    const message = error instanceof Error ? error.message : String(error);
    const errno = (error as { errnoName?: unknown }).errnoName ?? (error as NodeJS.ErrnoException)?.code;
    return new LuoError(code, message, { cause: error, ...(typeof errno === 'string' ? { errno } : {}) });
  }
}
