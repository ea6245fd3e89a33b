/**
 * A file descriptor with exactly one owner in this process. `fd: number` elsewhere is borrowed; a parameter named
 * `takenFd` takes ownership. Closing twice, or after `take()`, does nothing; using a closed one is an error of the
 * program and stops it. With tracking on, `OwnedFd.live()` names what was not closed, and where it came from.
 */
import { AssertionError } from '../base/assert.js';
import { F } from '../abi/linux.js';
import { close as closeFd, fcntl } from './libc.js';
import { check } from './sys-error.js';

/** One owned descriptor that is still open, for tests: its number and where it was made. */
export interface LiveFd {
  readonly fd: number;
  readonly stack: string;
}

let tracked: Map<OwnedFd, string> | undefined;

/** The one owner of a descriptor. */
export class OwnedFd {
  #fd: number;

  /** Takes ownership of `takenFd`, which must be open. */
  constructor(takenFd: number) {
    // Fds come by the thousand: the message is made only where it is needed.
    if (!Number.isInteger(takenFd) || takenFd < 0) throw new AssertionError(`not a file descriptor: ${takenFd}`);
    this.#fd = takenFd;
    if (tracked !== undefined) tracked.set(this, new Error('created').stack ?? '');
  }

  /** The number, borrowed: valid until this is closed or taken. */
  get fd(): number {
    if (this.#fd < 0) throw new AssertionError('this OwnedFd is closed');
    return this.#fd;
  }

  /** False after `close()` and `take()`. */
  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Give up ownership: the caller has to close the returned number. */
  take(): number {
    const fd = this.fd;
    this.#fd = -1;
    tracked?.delete(this);
    return fd;
  }

  /** Close it. The kernel frees the number even where close(2) reports an error, so that none is reported here. */
  close(): void {
    if (this.#fd < 0) return;
    closeFd(this.take());
  }

  /** A second descriptor of the same open file, close-on-exec. @throws SysError EMFILE */
  dup(): OwnedFd {
    return dupFd(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Begin (empty) or end the tracking of descriptors that are made from now on. */
  static track(on: boolean): void {
    tracked = on ? new Map() : undefined;
  }

  /** The tracked descriptors that are open, oldest first; empty while tracking is off. */
  static live(): LiveFd[] {
    return [...(tracked ?? [])].map(([owned, stack]) => ({ fd: owned.#fd, stack }));
  }
}

/** A second descriptor of the open file of `fd` (borrowed), close-on-exec. @throws SysError EBADF, EMFILE */
export function dupFd(fd: number): OwnedFd {
  return new OwnedFd(check(fcntl(fd, F.DUPFD_CLOEXEC, 3), 'fcntl(F_DUPFD_CLOEXEC)'));
}

/** Close every one of `fds`. */
export function closeAll(fds: Iterable<OwnedFd>): void {
  for (const fd of fds) fd.close();
}
