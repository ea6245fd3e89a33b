/**
 * The open files that programs hold of this kernel: the device and the sessions. Each is one end of a socket pair; the
 * inode of that end tells whose it is wherever it went by dup, fork, exec or SCM_RIGHTS, and the hang-up of the other end
 * says that the last copy in any process is closed.
 *
 * Happy path: `make`, the end goes into a program, `find` recognises it, `drain` tells of its last close.
 * Unhappy path: an end that reaches no program is closed by its owner, and `drain` tells of that close as of any other.
 * Never here: what a close means; the callback says that.
 */
import { EPOLL, SHUT } from '../../abi/linux.js';
import type { OwnedFd } from '../../sys/index.js';
import {
  EpollEvents,
  epollCreate,
  epollCtl,
  eventLoop,
  fstat,
  isSysError,
  read,
  setStatusFlags,
  shutdown,
  socketpair,
  type Watch,
} from '../../sys/index.js';

/** `session`: its id in the model; null: the device. */
export interface EmulatedObject {
  readonly session: number | null;
  /** As /proc/PID/fd shows it. */
  readonly link: string;
  readonly peer: OwnedFd;
}

/** Bytes that a program wrote into one of these files are read in pieces of this size, and dropped. */
const DROP_BYTES = 4096;

export class ObjectTable {
  readonly #byLink = new Map<string, EmulatedObject>();
  readonly #byPeer = new Map<number, EmulatedObject>();
  readonly #epoll = epollCreate();
  readonly #events = new EpollEvents(256);
  readonly #dropped = Buffer.alloc(DROP_BYTES);
  readonly #closed: (object: EmulatedObject) => void;
  readonly #written: (object: EmulatedObject) => void;
  readonly #watch: Watch;

  /**
   * @param told `closed`: the last copy is closed, the object is forgotten. `written`: a program wrote into it, which the
   *   kernel refuses with EINVAL and a socket cannot.
   */
  constructor(told: { closed(object: EmulatedObject): void; written(object: EmulatedObject): void }) {
    this.#closed = (object) => told.closed(object);
    this.#written = (object) => told.written(object);
    this.#watch = eventLoop().watch(this.#epoll.fd, { readable: true, writable: false }, () => this.drain());
  }

  get count(): number {
    return this.#byLink.size;
  }

  /** @param statusFlags O_APPEND, O_NONBLOCK of the open; the caller owns `end` @throws SysError EMFILE, ENFILE */
  make(session: number | null, statusFlags = 0): { readonly object: EmulatedObject; readonly end: OwnedFd } {
    const [peer, end] = socketpair();
    try {
      setStatusFlags(end.fd, statusFlags);
      // A read from the program's end comes back with nothing at once; without this it would wait for ever.
      shutdown(peer.fd, SHUT.WR);
      epollCtl(this.#epoll.fd, EPOLL.CTL_ADD, peer.fd, EPOLL.IN | EPOLL.ET);
      const object = { session, link: `socket:[${fstat(end.fd).ino}]`, peer };
      this.#byLink.set(object.link, object);
      this.#byPeer.set(peer.fd, object);
      return { object, end };
    } catch (error) {
      peer.close();
      end.close();
      throw error;
    }
  }

  /** @param link as read from /proc/PID/fd/N */
  find(link: string): EmulatedObject | undefined {
    return this.#byLink.get(link);
  }

  /** Tell of all closes that happened before this moment, in their order. */
  drain(): void {
    for (;;) {
      const count = this.#events.wait(this.#epoll.fd, 0);
      for (let index = 0; index < count; index += 1) {
        const object = this.#byPeer.get(this.#events.fd(index));
        if (object === undefined) continue;
        if ((this.#events.events(index) & EPOLL.HUP) !== 0) {
          this.forget(object);
          this.#closed(object);
        } else if (this.#drop(object)) this.#written(object);
      }
      if (count < this.#events.capacity) return;
    }
  }

  /** Without a word: a program that still holds it has a dead file. */
  forget(object: EmulatedObject): void {
    if (!this.#byLink.delete(object.link)) return;
    this.#byPeer.delete(object.peer.fd);
    epollCtl(this.#epoll.fd, EPOLL.CTL_DEL, object.peer.fd);
    object.peer.close();
  }

  forgetAll(): void {
    for (const object of [...this.#byLink.values()]) this.forget(object);
  }

  close(): void {
    this.forgetAll();
    this.#watch.close();
    this.#epoll.close();
  }

  /** True if there was something. */
  #drop(object: EmulatedObject): boolean {
    try {
      return read(object.peer.fd, this.#dropped) > 0;
    } catch (error) {
      if (isSysError(error, 'EAGAIN') || isSysError(error, 'ECONNRESET')) return false;
      throw error;
    }
  }
}
