/**
 * Messages with file descriptors over a stream socket, one JSON envelope a line. Knows nothing of requests and replies
 * (peer.ts does); what it guarantees:
 * - A peer harms only its own connection, and makes us hold no more than LIMITS say: a line, its output, its fds.
 * - Received fds are delivered with the message that declares them, or closed. Sent fds are borrowed.
 * - One wake does a bounded amount of work, so that a flood does not starve other connections.
 *
 * Fds: the kernel delivers those of a write no later than its first byte, and never joins bytes that follow such a write
 * to it, but may put earlier bytes before it. So fds that came with a piece of bytes belong to a line that has a byte in
 * that piece, or follows it over empty lines (which carry the earlier chunks of more than 253). When a line that ends at
 * or beyond the piece's end is complete and did not take them, they were not declared: PROTO_FDS. A piece that filled our
 * buffer may be cut, and is taken to reach to the end of the next.
 *
 * Unhappy: PROTO_MALFORMED, PROTO_INVALID, PROTO_TOO_LONG, PROTO_FDS, PROTO_TIMEOUT (a begun line stays unfinished),
 * LIMIT_REACHED (it does not read): the reason is told to the other end as an event `closing`, if it can be sent at once,
 * and the connection is closed. PROTO_CLOSED: the other end is gone.
 */
import { isUtf8 } from 'node:buffer';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { encodeEvent, parseEnvelope, type Envelope } from '../protocol/envelope.js';
import type { CONNECTION_EVENTS } from '../protocol/spec.js';
import {
  MessageReceiver,
  OwnedFd,
  WOULD_BLOCK,
  closeAll,
  eventLoop,
  getPeerCredentials,
  type Credentials,
  type EventLoop,
  type Watch,
} from '../sys/index.js';
import { deadlines, type Deadline } from './deadlines.js';
import { OutputQueue, type FlushResult } from './output-queue.js';

/** What a connection may make us hold; each has its default in LIMITS. */
export interface ConnectionLimits {
  readonly lineBytesMax: number;
  readonly lineMs: number;
  readonly outputBytesMax: number;
  readonly messageFdsMax: number;
}

export interface ConnectionOptions {
  readonly limits?: Partial<ConnectionLimits>;
  readonly loop?: EventLoop;
}

/** What becomes of messages. Both are called from the loop, never from inside `send` and `close`. */
export interface ConnectionHandlers {
  /**
   * `fds` are the receiver's to close. An exception that leaves this closes the connection.
   * @param lost this process had no descriptor left for them: none is given, and the message cannot be done as it is
   */
  onMessage(envelope: Envelope, fds: OwnedFd[], lost: LuoError | undefined): void;
  /** Once, after which nothing else comes. `error` is undefined only if `close()` was called without one. */
  onClose(error: LuoError | undefined): void;
}

/** Told to the other end before a connection is closed for its fault. */
export const CLOSING_EVENT: keyof typeof CONNECTION_EVENTS = 'closing';

const receivesPerWake = 64;
const bytesPerWake = 256 * 1024;
const messagesPerWake = 512;
const retryMs = 10;
/** What is answered waits for no more received fds than these: the other end goes on while the rest is received. */
export const FDS_PER_FLUSH = 32;

/** Stands among received fds for those that the kernel could not give us. */
const lostFd = -1;

function closeNumber(fd: number): void {
  if (fd !== lostFd) new OwnedFd(fd).close();
}

/** All connections of a process receive into one buffer: what is not handled at once is copied out of it. */
let sharedReceiver: MessageReceiver | undefined;

/** One connection; owns its socket. */
export class LineConnection {
  readonly #socket: OwnedFd;
  readonly #handlers: ConnectionHandlers;
  readonly #limits: ConnectionLimits;
  readonly #loop: EventLoop;
  readonly #output: OutputQueue;
  #watch: Watch | undefined;
  #open = true;
  #paused = false;
  #flushDeferred = false;
  #outputBlocked = false;
  #outputBroken = false;
  #closeWhenSent = false;
  /** Why the other end says that it closes. */
  #farewell: LuoError | undefined;

  /** Bytes of a begun line, and those that were received but not looked at while paused. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #heldHasLine = false;
  #resumeDeferred = false;
  #lineDeadline: Deadline | undefined;
  #retry: Deadline | undefined;

  /** Received fds that no line has taken, in order; `#fdEnds` has the stream offset at which each one's piece ends. */
  #fds: number[] = [];
  #fdEnds: number[] = [];
  #anyLost = false;
  #receivedBytes = 0;
  #messagesLeft = 0;
  #handledBytes = 0;

  /** Takes ownership of a connected, non-blocking stream socket, and begins to read it in the next turn of the loop. */
  constructor(takenFd: OwnedFd, handlers: ConnectionHandlers, options: ConnectionOptions = {}) {
    this.#socket = takenFd;
    this.#handlers = handlers;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#loop = options.loop ?? eventLoop();
    this.#output = new OutputQueue(takenFd.fd, this.#limits);
    this.#watch = this.#loop.watch(takenFd.fd, { readable: true, writable: false }, (readable, writable) =>
      this.#wake(readable, writable),
    );
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Bytes that wait to be sent. */
  get outputBytes(): number {
    return this.#output.bytes;
  }

  /** Who is at the other end, from the socket. */
  credentials(): Credentials {
    return getPeerCredentials(this.#socket.fd);
  }

  /**
   * Send a line, without its newline. After a close it does nothing; a failure closes the connection and is told to
   * `onClose`.
   * @param fds borrowed: they may be closed as soon as this returns
   * @param urgent it leaves now, and not with whatever else is sent in this turn of the loop
   */
  send(line: string, fds?: readonly number[], urgent = false): void {
    if (!this.#open || this.#outputBroken) return;
    try {
      if (fds === undefined || fds.length === 0) {
        this.#output.addLine(line);
        if (this.#outputBlocked) return;
        if (urgent) this.#flush();
        else this.#deferFlush();
      } else {
        this.#afterFlush(this.#output.addLineWithFds(line, fds));
      }
    } catch (error) {
      this.#outputFailed(error);
    }
  }

  /**
   * Do not read on until `resume()`; messages that were already received wait here as bytes. If the other end hangs up
   * meanwhile the connection is closed, and what it sent last is not seen.
   */
  pause(): void {
    this.#paused = true;
    this.#updateWatch();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#updateWatch();
    if (this.#heldHasLine) this.#deferHeld();
  }

  /** Keep this connection from keeping the process alive. */
  unref(): void {
    this.#watch?.unref();
  }

  ref(): void {
    this.#watch?.ref();
  }

  /** Close when all that was sent has left, or after `lineMs`; nothing more is read. */
  end(): void {
    if (!this.#open || this.#closeWhenSent) return;
    this.#flush();
    if (!this.#open) return;
    if (this.#output.isEmpty) return this.close();
    this.#closeWhenSent = true;
    this.pause();
    deadlines.after(this.#limits.lineMs, () => this.close());
  }

  /** Close now. What waits is dropped, received fds that were not delivered are closed. Twice does nothing. */
  close(error?: LuoError): void {
    if (!this.#open) return;
    if (error === undefined && !this.#outputBroken) {
      try {
        this.#output.flush();
      } catch {
        // The other end is gone: there is nobody to tell.
      }
    }
    this.#open = false;
    this.#lineDeadline?.cancel();
    this.#retry?.cancel();
    this.#watch?.close();
    this.#watch = undefined;
    this.#socket.close();
    this.#output.clear();
    this.#held = [];
    for (const fd of this.#fds) closeNumber(fd);
    this.#fds = [];
    this.#fdEnds = [];
    this.#loop.defer(() => this.#handlers.onClose(error));
  }

  // -------------------------------------------------------------------------------------------- output

  #deferFlush(): void {
    if (this.#flushDeferred) return;
    this.#flushDeferred = true;
    this.#loop.defer(() => {
      this.#flushDeferred = false;
      if (this.#open) this.#flush();
    });
  }

  #flush(): void {
    if (this.#outputBroken) return;
    try {
      this.#afterFlush(this.#output.flush());
    } catch (error) {
      this.#outputFailed(error);
    }
  }

  #afterFlush(result: FlushResult): void {
    this.#outputBlocked = result !== 'empty';
    if (result === 'later' && this.#retry === undefined) {
      this.#retry = deadlines.after(retryMs, () => {
        this.#retry = undefined;
        if (this.#open) this.#flush();
      });
    }
    this.#updateWatch(result === 'full');
    if (result === 'empty' && this.#closeWhenSent) this.close();
  }

  /** The other end may have said why it left: read that before closing. */
  #outputFailed(error: unknown): void {
    if (error instanceof LuoError) return this.#fail(error);
    const errnoName = (error as { errnoName?: string }).errnoName;
    if (errnoName !== 'EPIPE' && errnoName !== 'ECONNRESET') {
      return this.#fail(LuoError.from(error, errnoName === undefined ? 'INTERNAL' : 'SYS'));
    }
    this.#outputBroken = true;
    this.#output.clear();
    this.#updateWatch();
    // Hang-up wakes the loop even while reading is paused.
    if (this.#closeWhenSent) this.close();
  }

  #updateWatch(writable: boolean = this.#outputBlocked && this.#retry === undefined): void {
    const readable = !this.#paused && !this.#heldHasLine;
    this.#watch?.set({ readable, writable: writable && !this.#outputBroken });
  }

  // -------------------------------------------------------------------------------------------- input

  #wake(readable: boolean, writable: boolean): void {
    if (writable && this.#open) this.#flush();
    if (!readable || !this.#open) return;
    // A hang-up wakes always; what was received before it is handled first.
    if (this.#heldHasLine && !this.#paused) return;
    if (this.#paused && !this.#closeWhenSent) {
      // Only a hang-up wakes a paused connection, and it would do so for ever.
      return this.#fail(this.#goneError());
    }
    sharedReceiver ??= new MessageReceiver(64 * 1024);
    const receiver = sharedReceiver;
    let bytes = 0;
    let fds = 0;
    this.#messagesLeft = messagesPerWake;
    for (let count = 0; count < receivesPerWake && bytes < bytesPerWake && this.#messagesLeft > 0; count += 1) {
      let received: number;
      try {
        received = receiver.receive(this.#socket.fd);
      } catch (error) {
        return this.#fail(this.#goneError(error));
      }
      if (received === WOULD_BLOCK) {
        if (this.#outputBroken) this.#fail(this.#goneError());
        return;
      }
      if (received === 0 && receiver.fds.length === 0) return this.#fail(this.#goneError());
      bytes += received;
      this.#take(receiver, received);
      fds += receiver.fds.length;
      if (fds >= FDS_PER_FLUSH && !this.#outputBlocked && !this.#output.isEmpty) {
        fds = 0;
        this.#flush();
      }
      if (!this.#open || this.#paused) return;
      // Less than the buffer holds, without fds: the socket was empty a moment ago, and asking again costs a call.
      const hadFds = receiver.fds.length > 0 || receiver.truncated;
      if (received < receiver.capacity && !hadFds && !this.#outputBroken) return;
    }
  }

  #take(receiver: MessageReceiver, received: number): void {
    this.#receivedBytes += received;
    const fds = receiver.fds;
    const cut = received === receiver.capacity;
    if (this.#fdEnds.at(-1) === Infinity) this.#settleCut(cut);
    if (fds.length > 0 || receiver.truncated) {
      // Hundreds of fds come at once, mostly to nothing that waits: they are copied whole.
      if (this.#fds.length === 0) this.#fds = fds.slice();
      else for (const fd of fds) this.#fds.push(fd);
      // The kernel drops what this process has no descriptors for; the place of the lost ones is kept.
      if (receiver.truncated) {
        this.#fds.push(lostFd);
        this.#anyLost = true;
      }
      const end = cut ? Infinity : this.#receivedBytes;
      if (this.#fdEnds.length === 0) this.#fdEnds = new Array<number>(this.#fds.length).fill(end);
      else while (this.#fdEnds.length < this.#fds.length) this.#fdEnds.push(end);
      if (this.#fds.length > this.#limits.messageFdsMax + 253) {
        return this.#fail(new LuoError('PROTO_FDS', `${this.#fds.length} fds came and no message took them`));
      }
    }
    this.#handle(receiver.buffer.subarray(0, received), true);
  }

  /** The piece that was cut ends here, unless this one is cut as well. */
  #settleCut(cut: boolean): void {
    if (cut) return;
    for (let index = this.#fdEnds.length - 1; index >= 0 && this.#fdEnds[index] === Infinity; index -= 1) {
      this.#fdEnds[index] = this.#receivedBytes;
    }
  }

  /** Handle the lines of `bytes`; a begun one at its end is held, and so is what must wait for a later turn. */
  #handle(bytes: Buffer, borrowed: boolean): void {
    let start = 0;
    while (this.#open) {
      if ((this.#paused || this.#messagesLeft <= 0) && start < bytes.length)
        return this.#postpone(bytes, start, borrowed);
      const newline = bytes.indexOf(10, start);
      if (newline < 0) break;
      const size = this.#heldBytes + newline + 1 - start;
      this.#handledBytes += size;
      if (size > this.#limits.lineBytesMax) return this.#fail(this.#tooLong());
      if (size > 1) {
        this.#messagesLeft -= 1;
        this.#lineDeadline?.cancel();
        this.#lineDeadline = undefined;
        if (this.#heldBytes === 0) this.#line(bytes, start, newline);
        else {
          this.#held.push(bytes.subarray(start, newline));
          const whole = Buffer.concat(this.#held);
          this.#dropHeld();
          this.#line(whole, 0, whole.length);
        }
      }
      start = newline + 1;
    }
    if (!this.#open) return;
    this.#hold(bytes, start, borrowed);
    if (this.#heldBytes >= this.#limits.lineBytesMax) return this.#fail(this.#tooLong());
    this.#watchLine();
  }

  /** Keep whole lines for later, and read nothing meanwhile. */
  #postpone(bytes: Buffer, start: number, borrowed: boolean): void {
    this.#hold(bytes, start, borrowed);
    this.#heldHasLine = true;
    this.#updateWatch();
    if (!this.#paused) this.#deferHeld();
  }

  #line(bytes: Buffer, start: number, end: number): void {
    let envelope: Envelope;
    let fds: OwnedFd[] = [];
    let lost: LuoError | undefined;
    try {
      const text = bytes.toString('utf8', start, end);
      // The decoder replaces what is no UTF-8, and says so only in this character, which may also be meant.
      if (text.includes('\ufffd') && !isUtf8(bytes.subarray(start, end))) {
        throw new LuoError('PROTO_MALFORMED', 'a line is not valid UTF-8');
      }
      envelope = parseEnvelope(text);
      if (this.#anyLost) lost = this.#takeDamaged();
      if (lost === undefined) fds = this.#takeFds(envelope.fds);
    } catch (error) {
      return this.#fail(LuoError.from(error));
    }
    if (envelope.kind === 'event' && envelope.event === CLOSING_EVENT) {
      closeAll(fds);
      this.#farewell = farewell(envelope.data);
      return;
    }
    try {
      this.#handlers.onMessage(envelope, fds, lost);
    } catch (error) {
      closeAll(fds);
      this.#fail(LuoError.from(error));
    }
  }

  /** The next `count` received fds, for the line that ends at `#handledBytes`. */
  #takeFds(count: number): OwnedFd[] {
    if (count === 0 && this.#fds.length === 0) return [];
    if (count > this.#fds.length) {
      throw new LuoError('PROTO_FDS', `a message declares ${count} fds and ${this.#fds.length} came`);
    }
    if (count > this.#limits.messageFdsMax) {
      throw new LuoError('LIMIT_REACHED', `a message carries at most ${this.#limits.messageFdsMax} fds`, {
        data: { limit: 'messageFdsMax', value: this.#limits.messageFdsMax },
      });
    }
    if (count < this.#fds.length && this.#fdEnds[count]! <= this.#handledBytes) {
      throw new LuoError('PROTO_FDS', 'fds came that no message declared');
    }
    const numbers = this.#fds;
    if (count === numbers.length) {
      this.#fds = [];
      this.#fdEnds = [];
    } else {
      this.#fds = numbers.splice(count);
      this.#fdEnds.splice(0, count);
    }
    return numbers.map((fd) => new OwnedFd(fd));
  }

  /** Close the fds of a message of which some were lost; undefined if it is a later message that they belong to. */
  #takeDamaged(): LuoError | undefined {
    const later = this.#fdEnds.findIndex((end) => end > this.#handledBytes);
    const count = later < 0 ? this.#fds.length : later;
    if (!this.#fds.slice(0, count).includes(lostFd)) return undefined;
    this.#fdEnds.splice(0, count);
    for (const fd of this.#fds.splice(0, count)) closeNumber(fd);
    this.#anyLost = this.#fds.includes(lostFd);
    return new LuoError('LIMIT_REACHED', 'this process has no file descriptor left for those of the message', {
      errno: 'EMFILE',
      data: { limit: 'fds' },
    });
  }

  #hold(bytes: Buffer, start: number, borrowed: boolean): void {
    if (start === bytes.length) return;
    const piece = bytes.subarray(start);
    this.#held.push(borrowed ? Buffer.from(piece) : piece);
    this.#heldBytes += piece.length;
  }

  #dropHeld(): void {
    this.#held = [];
    this.#heldBytes = 0;
    this.#heldHasLine = false;
  }

  #deferHeld(): void {
    if (this.#resumeDeferred) return;
    this.#resumeDeferred = true;
    setImmediate(() => {
      this.#resumeDeferred = false;
      if (!this.#open || this.#paused || !this.#heldHasLine) return;
      const bytes = Buffer.concat(this.#held);
      this.#dropHeld();
      this.#messagesLeft = messagesPerWake;
      this.#handle(bytes, false);
      if (this.#open) this.#updateWatch();
    });
  }

  /** A begun line, or fds without one, must come to an end in time. */
  #watchLine(): void {
    const begun = this.#held.length > 0 || this.#fds.length > 0;
    if (!begun) {
      this.#lineDeadline?.cancel();
      this.#lineDeadline = undefined;
    } else {
      this.#lineDeadline ??= deadlines.after(this.#limits.lineMs, () =>
        this.#fail(new LuoError('PROTO_TIMEOUT', `a line was begun and not ended within ${this.#limits.lineMs} ms`)),
      );
    }
  }

  #tooLong(): LuoError {
    return new LuoError('PROTO_TOO_LONG', `a line is longer than ${this.#limits.lineBytesMax} bytes`, {
      data: { limit: 'lineBytesMax', value: this.#limits.lineBytesMax },
    });
  }

  #goneError(cause?: unknown): LuoError {
    if (this.#farewell !== undefined) return this.#farewell;
    const what =
      this.#heldBytes > 0 ? 'the other end closed the connection inside a line' : 'the other end closed the connection';
    return new LuoError('PROTO_CLOSED', what, cause === undefined ? {} : { cause });
  }

  /** Close for a fault; the other end is told if the socket takes it at once. */
  #fail(error: LuoError): void {
    if (!this.#open) return;
    const told = error.code !== 'PROTO_CLOSED' && error !== this.#farewell && !this.#outputBroken;
    if (told && error.data?.['limit'] !== 'outputBytesMax') {
      try {
        this.#output.addLine(encodeEvent(CLOSING_EVENT, error.toWire(), 0));
        this.#output.flush();
      } catch {
        // It is closed either way.
      }
    }
    this.close(error);
  }
}

function farewell(data: unknown): LuoError {
  const { code, message } = (data ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new LuoError('PROTO_CLOSED', 'the other end closed the connection without a proper reason');
  }
  return LuoError.fromWire(data as Parameters<typeof LuoError.fromWire>[0]);
}
