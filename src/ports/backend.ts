/**
 * How state crosses a gap: named sessions that keep file descriptors under tokens. Types only. The semantics are those
 * of the kernel's `/dev/liveupdate`, so that one orchestrator drives the kernel, the keeper and the tests' memory alike;
 * src/model is the same in executable form, and src/testing/backend-contract.ts holds every backend to it.
 *
 * Never here: owners, order, deadlines, manifests. A session knows names, tokens and fds.
 * Unhappy path: every refusal is a LuoError with code `SYS` and in `errno` exactly the name that the kernel gives.
 * @source include/uapi/linux/liveupdate.h; kernel/liveupdate/luo_session.c, luo_file.c
 */
import type { Gap } from '../base/words.js';

/** A file descriptor that its holder must close or pass on. `OwnedFd` of src/sys is one. */
export interface HeldFd {
  /** Borrowed: valid until `close` or `take`. */
  readonly fd: number;
  close(): void;
  /** Give up the ownership: the caller closes the number. */
  take(): number;
}

/** Before the gap a session is outgoing, after it incoming. */
export type Direction = 'outgoing' | 'incoming';

export interface Session {
  /** 1 to 63 bytes of UTF-8, none of them NUL. */
  readonly name: string;
  readonly direction: Direction;

  /**
   * Keep the file of `fd` under `token`, so that the other side of the gap can take it back. `fd` is borrowed for the
   * duration of the call and may be closed as soon as the call has returned its promise. Calls may be pipelined: they take effect
   * in the order in which they were made, whether or not the earlier ones were awaited.
   * @param token caller-chosen u64, unique in the session
   * @throws LuoError SYS: EINVAL incoming session; EEXIST token in use; EBADF bad `fd`; ENOENT nothing can preserve this kind of
   *   file; EBUSY this file is preserved already, anywhere, or retrieved and not yet finished; ENOSPC a limit
   */
  preserve(fd: number, token: bigint): Promise<void>;

  /**
   * Take back what was preserved under `token`. Every success gives another fd of the same open file.
   * @throws LuoError SYS: EINVAL outgoing session; ENOENT unknown token, or the session is finished; any errno of a failed try,
   *   which is then the answer for ever
   */
  retrieve(token: bigint): Promise<HeldFd>;

  /**
   * All that was wanted is taken: let go of the rest. May be repeated.
   * @throws LuoError SYS: EINVAL outgoing session; EBUSY one of its files vetoes, nothing was finished
   */
  finish(): Promise<void>;

  /**
   * Let go of this holder's session. Outgoing: everything in it is unpreserved, the last first. Incoming: finished, and
   * what nobody retrieved is lost. After a vetoed finish it stays, unreachable. A second call does nothing.
   */
  close(): Promise<void>;
}

/** What a backend can carry, for plans and for `luoctl doctor`. */
export interface BackendCapabilities {
  /** `memfd`: unlinked shared memory only; `any`: every kind of fd. */
  readonly files: 'memfd' | 'any';
  /** True: sessions and their tokens can be listed again by a new luod. The kernel has no such call. */
  readonly listable: boolean;
}

export interface Backend {
  readonly gap: Gap;
  readonly capabilities: BackendCapabilities;
  /**
   * A new outgoing session.
   * @throws LuoError SYS: EINVAL name empty or over 63 bytes; EEXIST an outgoing session has that name; ENOSPC a limit
   */
  create(name: string): Promise<Session>;
  /**
   * An incoming session that came over the gap; to be had once.
   * @throws LuoError SYS: ENOENT no such session; EINVAL somebody has retrieved it
   */
  retrieve(name: string): Promise<Session>;
  /** The sessions that an earlier luod left with the keeper, outgoing ones and retrieved ones, in the order of creation. */
  recover(): Promise<readonly Session[]>;
}
