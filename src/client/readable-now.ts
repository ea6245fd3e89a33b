/**
 * Which of many descriptors have something to read at one moment, asked in one call. They are added while there is time, in a set
 * of the kernel's own (epoll), beside whatever else waits for them.
 */
import { EPOLL } from '../abi/linux.js';
import { EpollEvents, epollCreate, epollCtl, type OwnedFd } from '../sys/index.js';

/** Ready at the same moment; with more of them there is no first. */
const READY_MAX = 256;

export class ReadableNow {
  readonly #set: OwnedFd = epollCreate();
  readonly #events = new EpollEvents(READY_MAX);

  /** @param fd borrowed @param id what {@link take} says of it, below 2^32 */
  add(fd: number, id: number): void {
    epollCtl(this.#set.fd, EPOLL.CTL_ADD, fd, EPOLL.IN, id);
  }

  /** Let the kernel drop those that were readable at some time and are no more, which {@link take} would look at again. */
  forget(): void {
    this.#events.wait(this.#set.fd, 0);
  }

  /** The ids of those that are readable, have an error or have ended; undefined: too many to tell. */
  take(): ReadonlySet<number> | undefined {
    const count = this.#events.wait(this.#set.fd, 0);
    const ids = new Set<number>();
    for (let index = 0; index < count; index += 1) ids.add(this.#events.tag(index));
    return count === READY_MAX ? undefined : ids;
  }

  /** The kernel takes each of them out by itself: not while somebody waits. */
  close(): void {
    this.#set.close();
  }
}
