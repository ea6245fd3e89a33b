/**
 * Waiting for descriptors inside Node's own loop: one epoll descriptor is given to libuv, all others are entries of it.
 * (koffi's poll aborts the process on a bad descriptor, so that it only ever sees this one.)
 * Level triggered: a callback that leaves data unread is called again in the next turn. A callback must not block, and
 * does a bounded amount of work, so that others get their turn.
 *
 * Watches keep the process alive unless `unref()` was called on them; without a referenced watch the loop does not.
 */
import koffi from 'koffi';
import { EPOLL } from '../abi/linux.js';
import { EpollEvents, epollCreate, epollCtl } from './epoll.js';
import type { OwnedFd } from './owned-fd.js';

type PollHandle = ReturnType<typeof koffi.node.poll>;

/** What is waited for. Hang-ups and errors are always told, as `readable`: reading finds them out. */
export interface Interest {
  readonly readable: boolean;
  readonly writable: boolean;
}

/** @param hangup the other end is gone for good, or the descriptor has an error; data may still be readable */
export type WatchCallback = (readable: boolean, writable: boolean, hangup: boolean) => void;

/** One watched descriptor. Close the watch before the descriptor. */
export interface Watch {
  /** Change what is waited for. */
  set(interest: Interest): void;
  /** End it; the callback is not called again, not even for an event of this turn. Twice does nothing. */
  close(): void;
  ref(): void;
  unref(): void;
}

// The collector must not take a poll handle that is in use: libuv would silently stop watching.
const liveHandles = new Set<PollHandle>();

const eventsPerTurn = 256;

class WatchEntry implements Watch {
  readonly fd: number;
  readonly tag: number;
  readonly callback: WatchCallback;
  readonly #loop: EventLoop;
  #interest: number;
  #open = true;
  #referenced = true;

  constructor(loop: EventLoop, fd: number, tag: number, interest: number, callback: WatchCallback) {
    this.#loop = loop;
    this.fd = fd;
    this.tag = tag;
    this.callback = callback;
    this.#interest = interest;
  }

  set(interest: Interest): void {
    const next = interestBits(interest);
    if (!this.#open || next === this.#interest) return;
    epollCtl(this.#loop.epollFd, EPOLL.CTL_MOD, this.fd, next, this.tag);
    this.#interest = next;
  }

  close(): void {
    if (!this.#open) return;
    this.unref();
    this.#open = false;
    this.#loop.forget(this);
  }

  ref(): void {
    if (!this.#open || this.#referenced) return;
    this.#referenced = true;
    this.#loop.addReference(1);
  }

  unref(): void {
    if (!this.#open || !this.#referenced) return;
    this.#referenced = false;
    this.#loop.addReference(-1);
  }
}

/** The watches of one process; see {@link eventLoop} for the one that everything shares. */
export class EventLoop {
  readonly #epoll: OwnedFd;
  readonly #events = new EpollEvents(eventsPerTurn);
  readonly #watches = new Map<number, WatchEntry>();
  readonly #afterTurn: (() => void)[] = [];
  #handle: PollHandle | undefined;
  #tag = 0;
  #references = 0;
  #inTurn = false;

  constructor() {
    this.#epoll = epollCreate();
    this.#handle = koffi.node.poll(this.#epoll.fd, { readable: true }, () => this.#turn());
    liveHandles.add(this.#handle);
    this.#handle.unref();
  }

  /**
   * Call `callback` whenever `fd` (borrowed, open until the watch is closed) is ready.
   * @throws SysError EPERM regular files and folders cannot be waited for; EEXIST it is watched already; EBADF
   */
  watch(fd: number, interest: Interest, callback: WatchCallback): Watch {
    this.#tag = (this.#tag + 1) >>> 0;
    const bits = interestBits(interest);
    epollCtl(this.#epoll.fd, EPOLL.CTL_ADD, fd, bits, this.#tag);
    const entry = new WatchEntry(this, fd, this.#tag, bits, callback);
    this.#watches.set(fd, entry);
    this.addReference(1);
    return entry;
  }

  /** Run `callback` once: after all callbacks of this turn, or, outside of a turn, as a microtask. For batching. */
  defer(callback: () => void): void {
    if (this.#inTurn) this.#afterTurn.push(callback);
    else queueMicrotask(callback);
  }

  /** Watches that are open. */
  get watchCount(): number {
    return this.#watches.size;
  }

  /** End the loop and all its watches. */
  close(): void {
    const handle = this.#handle;
    if (handle === undefined) return;
    this.#handle = undefined;
    this.#watches.clear();
    handle.close();
    liveHandles.delete(handle);
    // libuv closes its handle one turn later; only then may the number be used for something else.
    setImmediate(() => this.#epoll.close());
  }

  /** For the loop's own watches. */
  get epollFd(): number {
    return this.#epoll.fd;
  }

  /** For the loop's own watches. */
  forget(entry: WatchEntry): void {
    if (this.#watches.get(entry.fd) !== entry) return;
    this.#watches.delete(entry.fd);
    epollCtl(this.#epoll.fd, EPOLL.CTL_DEL, entry.fd);
  }

  /** For the loop's own watches. */
  addReference(change: 1 | -1): void {
    this.#references += change;
    if (this.#handle === undefined) return;
    if (this.#references === 1 && change === 1) this.#handle.ref();
    if (this.#references === 0) this.#handle.unref();
  }

  #turn(): void {
    const events = this.#events;
    const count = events.wait(this.#epoll.fd, 0);
    this.#inTurn = true;
    try {
      for (let index = 0; index < count; index += 1) {
        // An earlier callback of this turn may have closed this watch, and its number may be another's by now.
        const watch = this.#watches.get(events.fd(index));
        if (watch === undefined || watch.tag !== events.tag(index)) continue;
        const bits = events.events(index);
        const hangup = (bits & (EPOLL.HUP | EPOLL.ERR)) !== 0;
        watch.callback(hangup || (bits & EPOLL.IN) !== 0, (bits & EPOLL.OUT) !== 0, hangup);
      }
    } finally {
      this.#inTurn = false;
      this.#runDeferred();
      // Node 26 runs no microtasks after a poll callback by itself; an empty immediate makes it.
      setImmediate(nothing);
    }
  }

  #runDeferred(): void {
    const deferred = this.#afterTurn;
    for (let index = 0; index < deferred.length; index += 1) deferred[index]!();
    deferred.length = 0;
  }
}

let shared: EventLoop | undefined;

/** The loop that this process shares; made on first use, kept for its life. */
export function eventLoop(): EventLoop {
  shared ??= new EventLoop();
  return shared;
}

function interestBits(interest: Interest): number {
  return (interest.readable ? EPOLL.IN : 0) | (interest.writable ? EPOLL.OUT : 0);
}

function nothing(): void {}
