/**
 * Preserving for the next kernel by oneself, for memory that shall be charged to this program's own control group and for
 * fds that cannot travel: luod gives the fd of this program's session with the prepare, and what is preserved is reported.
 * The fd is kept until the attempt is over one way or the other; a copy that stayed open would keep the memory pinned.
 */
import { LuoError } from '../base/errors.js';
import type { CallParams, CallResult } from '../protocol/spec.js';
import { closeAll, fstat, sessionPreserveFd, type OwnedFd } from '../sys/index.js';

type Preserved = NonNullable<CallResult<'prepare'>['preserved']>;

export class Delegation {
  #session: OwnedFd | undefined;
  #next: bigint | undefined;

  /**
   * @param takenFds what came with the prepare: the session, if there is something to do
   * @param fdOf the fd (borrowed) behind a handle of this program
   * @throws LuoError HANDLE_UNKNOWN; SysError what the kernel says
   */
  async preserve(
    asked: CallParams<'prepare'>['delegate'],
    takenFds: OwnedFd[],
    fdOf: (name: string) => number | undefined,
  ): Promise<Preserved | undefined> {
    const [session, ...more] = takenFds;
    closeAll(more);
    if (asked === undefined || session === undefined) {
      session?.close();
      return undefined;
    }
    this.#session?.close();
    this.#session = session;
    this.#next ??= BigInt(asked.tokenMin);
    const preserved: Preserved = [];
    for (const { kind, name } of asked.handles) {
      const fd = fdOf(name);
      if (fd === undefined)
        throw new LuoError('HANDLE_UNKNOWN', `there is no fd behind '${kind}:${name}'`, { handle: name });
      const token = this.#next;
      this.#next += 1n;
      await sessionPreserveFd(session.fd, fd, token);
      preserved.push({ kind, name, token: String(token), sizeBytes: fstat(fd).sizeBytes });
    }
    return preserved;
  }

  /** The attempt is over for this program. */
  end(): void {
    this.#session?.close();
    this.#session = undefined;
    this.#next = undefined;
  }
}
