/**
 * State over the kexec gap, by the kernel's own sessions. Where their fds live is the store's matter (the keeper's);
 * here are the calls on them. Nothing is simulated: what the kernel refuses is refused with its errno.
 *
 * Happy path: create, preserve, the jump, retrieve, retrieve fds, finish, close. Unhappy: an error of a retrieve is the kernel's
 * answer for ever; a session that is not there cannot be told from one that never was.
 */
import { LuoError } from '../../base/errors.js';
import type { Backend, BackendCapabilities, Direction, HeldFd, Session, SessionStore } from '../../ports/index.js';
import { dupFd, isSysError, sessionFinish, sessionPreserveFd, sessionRetrieveFd, SysError } from '../../sys/index.js';
import type { OwnedFd } from '../../sys/index.js';

export class KernelBackend implements Backend {
  readonly gap = 'kexec';
  readonly capabilities: BackendCapabilities = { files: 'memfd', listable: false };
  readonly #store: SessionStore;

  constructor(store: SessionStore) {
    this.#store = store;
  }

  async create(name: string): Promise<Session> {
    checkName(name, 'EINVAL');
    return new KernelSession(this.#store, name, 'outgoing', await this.#store.create(name));
  }

  async retrieve(name: string): Promise<Session> {
    checkName(name, 'ENOENT');
    try {
      return new KernelSession(this.#store, name, 'incoming', await this.#store.retrieve(name));
    } catch (error) {
      throw asKernel(error);
    }
  }

  async recover(): Promise<readonly Session[]> {
    return this.#store.list().map(({ name, direction, fd }) => new KernelSession(this.#store, name, direction, fd));
  }
}

export function createKernelBackend(store: SessionStore): Backend {
  return new KernelBackend(store);
}

class KernelSession implements Session {
  readonly name: string;
  readonly direction: Direction;
  readonly #store: SessionStore;
  readonly #fd: number;
  /** Calls take effect in the order in which they were made; each is a system call in a thread of its own. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(store: SessionStore, name: string, direction: Direction, fd: number) {
    this.#store = store;
    this.name = name;
    this.direction = direction;
    this.#fd = fd;
  }

  async preserve(fd: number, token: bigint): Promise<void> {
    // The caller may close its own as soon as this has returned, and the call may have to wait for its turn.
    const own = dupIfOpen(fd, this.name);
    try {
      await this.#inTurn('preserve', () => sessionPreserveFd(this.#fd, own?.fd ?? NO_FD, token));
    } finally {
      own?.close();
    }
  }

  retrieve(token: bigint): Promise<HeldFd> {
    return this.#inTurn('retrieve', () => sessionRetrieveFd(this.#fd, token));
  }

  finish(): Promise<void> {
    return this.#inTurn('finish', () => sessionFinish(this.#fd));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#store.drop(this.name, this.direction);
  }

  /** Calls that were made before `close` are done before it; those after it find no session. */
  #inTurn<T>(what: string, call: () => T | Promise<T>): Promise<T> {
    if (this.#closed) {
      return Promise.reject(new LuoError('SYS', `session '${this.name}' is closed`, { errno: 'EBADF' }));
    }
    const turn = this.#last.then(async () => {
      try {
        return await call();
      } catch (error) {
        throw wrapped(error, what, this.name);
      }
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/** No fd has this number: the kernel says what it thinks of a call without one, in its own order. */
const NO_FD = -1;

/** @throws LuoError SYS EMFILE */
function dupIfOpen(fd: number, name: string): OwnedFd | undefined {
  try {
    return dupFd(fd);
  } catch (error) {
    if (isSysError(error, 'EBADF')) return undefined;
    throw wrapped(error, 'preserve', name);
  }
}

function wrapped(error: unknown, what: string, name: string): LuoError {
  if (error instanceof SysError) {
    return new LuoError('SYS', `${what} in session '${name}': ${error.errnoName}`, {
      errno: error.errnoName,
      cause: error,
    });
  }
  return LuoError.from(error, 'SYS');
}

/** In the words of the contract: what was explained for people is an errno again. */
function asKernel(error: unknown): LuoError {
  const { code, message, errno } = LuoError.from(error);
  if (code !== 'SESSION_MISSING' && code !== 'SESSION_TAKEN') return LuoError.from(error);
  return new LuoError('SYS', message, { cause: error, ...(errno === undefined ? {} : { errno }) });
}

/** A name is cut at its NUL by the kernel without a word; here it is refused. */
function checkName(name: string, errno: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes > 0 && bytes < 64 && !name.includes('\0') && !/\p{Surrogate}/u.test(name)) return;
  throw new LuoError('SYS', `'${name}' is no name of a session: 1 to 63 bytes of UTF-8`, { errno });
}
