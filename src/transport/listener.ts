/**
 * A listening unix socket by path. A socket file that nobody answers at is replaced; a living one is not (LUOD_RUNNING).
 * Two starters at once are kept apart by a lock on the folder, which leaves no file behind.
 * Connections beyond `connectionsMax` are told LIMIT_REACHED and closed. Out of descriptors, it stops accepting for a
 * moment instead of spinning; those who connect wait in the backlog.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { encodeEvent } from '../protocol/envelope.js';
import type { OwnedFd } from '../sys/index.js';
import {
  accept,
  eventLoop,
  getPeerCredentials,
  isSysError,
  openFile,
  sendBytes,
  tryLock,
  unixConnect,
  unixListen,
  type Credentials,
  type EventLoop,
  type Watch,
} from '../sys/index.js';
import { deadlines } from './deadlines.js';
import { CLOSING_EVENT } from './line-connection.js';
import { sleep } from './sleep.js';

export interface ListenerOptions {
  /** Called with each accepted connection, which is the callee's. `release` must be called once when it is over. */
  readonly onConnection: (takenFd: OwnedFd, credentials: Credentials, release: () => void) => void;
  /** Told of each refused connection, and of each pause for want of descriptors. */
  readonly onRefused?: (error: LuoError) => void;
  readonly connectionsMax?: number;
  readonly loop?: EventLoop;
}

const acceptsPerWake = 64;
const pauseMs = 100;
const lockTries = 100;

/** A listening socket whose connections are counted. */
export class Listener {
  readonly #socket: OwnedFd;
  readonly #options: ListenerOptions;
  readonly #connectionsMax: number;
  readonly #watch: Watch;
  #connections = 0;
  #open = true;

  private constructor(takenFd: OwnedFd, options: ListenerOptions) {
    this.#socket = takenFd;
    this.#options = options;
    this.#connectionsMax = options.connectionsMax ?? LIMITS.connectionsMax;
    const loop = options.loop ?? eventLoop();
    this.#watch = loop.watch(takenFd.fd, { readable: true, writable: false }, () => this.#accept());
  }

  /**
   * Listen at `path` with file mode `mode`.
   * @throws LuoError LUOD_RUNNING somebody answers there; SysError EACCES, ENOENT no such folder
   */
  static async listen(path: string, mode: number, options: ListenerOptions): Promise<Listener> {
    return new Listener(await bindPath(path, mode), options);
  }

  /** Take over a socket that listens already. */
  static adopt(takenFd: OwnedFd, options: ListenerOptions): Listener {
    return new Listener(takenFd, options);
  }

  /** The listening descriptor, borrowed. */
  get fd(): number {
    return this.#socket.fd;
  }

  /** Connections that were given out and not released. */
  get connections(): number {
    return this.#connections;
  }

  unref(): void {
    this.#watch.unref();
  }

  /** Stop listening here. A duplicate elsewhere goes on; the socket file stays. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch.close();
    this.#socket.close();
  }

  #accept(): void {
    for (let count = 0; count < acceptsPerWake && this.#open; count += 1) {
      let fd: OwnedFd | undefined;
      try {
        fd = accept(this.#socket.fd);
      } catch (error) {
        return this.#pause(error);
      }
      if (fd === undefined) return;
      if (this.#connections >= this.#connectionsMax) this.#refuse(fd);
      else this.#give(fd);
    }
  }

  #give(fd: OwnedFd): void {
    this.#connections += 1;
    let released = false;
    this.#options.onConnection(fd, getPeerCredentials(fd.fd), () => {
      if (released) return;
      released = true;
      this.#connections -= 1;
    });
  }

  #refuse(fd: OwnedFd): void {
    const error = new LuoError('LIMIT_REACHED', `more than ${this.#connectionsMax} connections are open`, {
      data: { limit: 'connectionsMax', value: this.#connectionsMax },
    });
    try {
      sendBytes(fd.fd, Buffer.from(`${encodeEvent(CLOSING_EVENT, error.toWire(), 0)}\n`));
    } catch {
      // It left before it was told.
    }
    fd.close();
    this.#options.onRefused?.(error);
  }

  #pause(error: unknown): void {
    this.#watch.set({ readable: false, writable: false });
    deadlines.after(pauseMs, () => {
      if (this.#open) this.#watch.set({ readable: true, writable: false });
    });
    this.#options.onRefused?.(LuoError.from(error, 'SYS'));
  }
}

/** @throws as Listener.listen */
async function bindPath(path: string, mode: number): Promise<OwnedFd> {
  const folder = openFile(dirname(path));
  try {
    for (let attempt = 0; !tryLock(folder.fd); attempt += 1) {
      if (attempt === lockTries) throw new LuoError('LUOD_RUNNING', `another start is under way in '${dirname(path)}'`);
      await sleep(20);
    }
    removeStale(path);
    const socket = unixListen(path);
    // The folder's own rights guard the moment between bind and chmod.
    chmodSync(path, mode);
    return socket;
  } finally {
    folder.close();
  }
}

function removeStale(path: string): void {
  try {
    unixConnect(path).close();
  } catch (error) {
    if (isSysError(error, 'ENOENT')) return;
    // Connecting to a file that is no socket is refused as well: that one is not ours to remove.
    if (isSysError(error, 'ECONNREFUSED')) return lstatSync(path).isSocket() ? unlinkSync(path) : undefined;
    // A full backlog is an answer too.
    if (!isSysError(error, 'EAGAIN')) throw error;
  }
  throw new LuoError('LUOD_RUNNING', `'${path}' is in use: a process answers there`, {
    remedy: 'use the one that runs, end it, or choose another folder with --dir',
  });
}
