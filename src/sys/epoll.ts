/**
 * epoll(7) as calls; the loop of a process is in event-loop.ts. A descriptor's entry belongs to its open file: while a
 * duplicate lives in another process, closing ours does not remove it, so that every watch is deleted by hand first.
 */
import { EPOLL } from '../abi/linux.js';
import { epollEvent } from '../abi/structs.js';
import { ERRNO } from '../abi/errno.js';
import * as libc from './libc.js';
import { NativeMemory } from './native-memory.js';
import { OwnedFd } from './owned-fd.js';
import { SysError, check } from './sys-error.js';

const layout = epollEvent(process.arch);
const one = new NativeMemory(layout.sizeBytes);

/** @throws SysError EMFILE */
export function epollCreate(): OwnedFd {
  return new OwnedFd(check(libc.epoll_create1(EPOLL.CLOEXEC), 'epoll_create1'));
}

/**
 * Add, change or delete the entry of `fd`. `tag` comes back with its events, beside the number itself.
 * @throws SysError EEXIST; ENOENT; EPERM a regular file is always ready and cannot be waited for; EBADF
 */
export function epollCtl(epollFd: number, operation: number, fd: number, events = 0, tag = 0): void {
  one.view.setUint32(layout.events, events, true);
  one.view.setInt32(layout.data, fd, true);
  one.view.setUint32(layout.data + 4, tag, true);
  check(libc.epoll_ctl(epollFd, operation, fd, one.address), 'epoll_ctl');
}

/** A buffer for the events of one wait. */
export class EpollEvents {
  readonly capacity: number;
  readonly #memory: NativeMemory;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#memory = new NativeMemory(capacity * layout.sizeBytes);
  }

  /** Wait at most `timeoutMs` (0: not at all); returns the count. @throws SysError EBADF, EINVAL */
  wait(epollFd: number, timeoutMs: number): number {
    const count = libc.epoll_wait(epollFd, this.#memory.address, this.capacity, timeoutMs);
    if (count >= 0) return count;
    const errno = libc.readErrno();
    if (errno === ERRNO.EINTR) return 0;
    throw new SysError('epoll_wait', errno);
  }

  events(index: number): number {
    return this.#memory.view.getUint32(index * layout.sizeBytes + layout.events, true);
  }

  fd(index: number): number {
    return this.#memory.view.getInt32(index * layout.sizeBytes + layout.data, true);
  }

  tag(index: number): number {
    return this.#memory.view.getUint32(index * layout.sizeBytes + layout.data + 4, true);
  }
}
