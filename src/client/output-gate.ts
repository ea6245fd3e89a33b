/**
 * Between a socket's stream and libuv, so that at any moment it is known which bytes of its output are not sent, and the
 * sending can be stopped and taken up again by another process, or here.
 *
 * Happy path: a write passes through; its buffers are remembered until libuv has given them to the kernel (one write is
 * in flight at most, the stream queues the rest). Freeze: `hold()` lets nothing further pass; `takeUnsent()` gives the
 * tail of the write in flight and everything behind it. libuv cannot be told to pause a write, so that a handle with
 * unsent bytes is closed here and its descriptor lives on as a duplicate. Thaw: a new handle is put into the same
 * socket, the tail is written first, and the stream never notices. In a successor the gate starts held, and bytes from
 * the old process are written before anything of the program.
 *
 * A close while another process has a duplicate of the socket sends no FIN; `shared` makes it a shutdown(2) before.
 */
import { dupFd, shutdown, type OwnedFd } from '../sys/index.js';
import {
  closeHandle,
  hookOutput,
  queuedChunks,
  replaceHandle,
  socketFd,
  unwrittenBytes,
  type OutputOriginals,
  type WriteCallback,
} from './net-internals.js';
import type { Socket } from 'node:net';

interface Write {
  readonly chunks: Buffer[];
  readonly callback: WriteCallback;
}

const NO_CHUNKS: readonly Buffer[] = [];

export class OutputGate {
  /** Another process has, or may have, a duplicate of this socket. */
  shared = false;
  /** Writes of the stream so far. */
  writes = 0;
  readonly #socket: Socket;
  readonly #original: OutputOriginals;
  #held: boolean;
  /** Given to libuv. */
  #inFlight: Write | undefined;
  /** Not given to it yet, in order: what came from the old process, then the write of the stream. */
  #waiting: Write[] = [];
  #final: WriteCallback | undefined;
  /** The descriptor of a socket whose handle was closed because it had unsent bytes. */
  #parked: OwnedFd | undefined;

  constructor(socket: Socket, options: { readonly held: boolean }) {
    this.#socket = socket;
    this.#held = options.held;
    this.#original = hookOutput(socket, {
      write: (chunks, callback) => this.#submit({ chunks, callback }),
      final: (callback) => {
        this.#final = callback;
        this.#advance();
      },
      destroy: () => this.#destroyed(),
    });
  }

  get held(): boolean {
    return this.#held;
  }

  /** The program has ended the socket: nothing will come behind what is in here. */
  get ending(): boolean {
    return this.#final !== undefined || this.#socket.writableEnded;
  }

  /** Bytes that are not in the kernel's hands. */
  get unsentBytes(): number {
    return this.#hasNothing ? 0 : length(this.#unsentChunks());
  }

  get #hasNothing(): boolean {
    return this.#inFlight === undefined && this.#waiting.length === 0 && this.#socket.writableLength === 0;
  }

  /** Let nothing more pass; what is in flight goes on. */
  hold(): void {
    this.#held = true;
  }

  /** Write these bytes before everything else, as soon as the gate opens. */
  putFirst(bytes: Buffer): void {
    if (bytes.length > 0) this.#waiting.unshift({ chunks: [bytes], callback: () => {} });
  }

  /**
   * Of a held gate: the bytes that are not sent, and the descriptor to hand over (borrowed). From here on libuv sends
   * nothing more of this socket. Undefined: it is closed.
   */
  takeUnsent(): { fd: number; chunks: readonly Buffer[] } | undefined {
    if (this.#parked !== undefined) return { fd: this.#parked.fd, chunks: this.#unsentChunks() };
    const fd = socketFd(this.#socket);
    if (fd === undefined) return undefined;
    const chunks = this.#unsentChunks();
    const tail = unwrittenBytes(this.#socket);
    if (tail > 0 && this.#inFlight !== undefined) {
      this.#parked = dupFd(fd);
      const { chunks: sent, callback } = this.#inFlight;
      this.#inFlight = undefined;
      this.#waiting.unshift({ chunks: lastBytes(sent, tail), callback });
      closeHandle(this.#socket);
      return { fd: this.#parked.fd, chunks };
    }
    return { fd, chunks };
  }

  /** Open the gate: at go, and at thaw. */
  release(): void {
    this.#held = false;
    const parked = this.#parked;
    this.#parked = undefined;
    if (parked !== undefined) {
      if (this.#socket.destroyed) parked.close();
      else replaceHandle(this.#socket, parked.take());
    }
    this.#advance();
  }

  #submit(write: Write): void {
    this.writes += 1;
    this.#waiting.push(write);
    this.#advance();
  }

  #advance(): void {
    if (this.#held || this.#inFlight !== undefined) return;
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#inFlight = next;
      this.#original.write(next.chunks, (error) => {
        // A write whose handle was closed by takeUnsent() ends with ECANCELED; its bytes wait here again.
        if (this.#inFlight !== next) return;
        this.#inFlight = undefined;
        next.callback(error);
        this.#advance();
      });
      return;
    }
    const final = this.#final;
    if (final === undefined) return;
    this.#final = undefined;
    this.#original.final(final);
  }

  #unsentChunks(): readonly Buffer[] {
    if (this.#hasNothing) return NO_CHUNKS;
    const tail = this.#inFlight === undefined ? 0 : unwrittenBytes(this.#socket);
    return [
      ...(tail > 0 ? lastBytes(this.#inFlight!.chunks, tail) : []),
      ...this.#waiting.flatMap((write) => write.chunks),
      ...queuedChunks(this.#socket),
    ];
  }

  #destroyed(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#parked?.close();
    this.#parked = undefined;
    const fd = socketFd(this.#socket);
    // While held, the connection belongs to another process, or will: it must not be cut for that one.
    if (this.shared && !this.#held && fd !== undefined) {
      try {
        shutdown(fd);
      } catch {
        // ENOTCONN: the client was faster.
      }
    }
    const error = new Error('the socket was destroyed');
    for (const write of waiting) write.callback(error);
  }
}

function length(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
}

/** The last `count` bytes of `chunks`, without copying. */
function lastBytes(chunks: readonly Buffer[], count: number): Buffer[] {
  const result: Buffer[] = [];
  let left = count;
  for (let index = chunks.length - 1; index >= 0 && left > 0; index -= 1) {
    const chunk = chunks[index]!;
    result.unshift(chunk.length > left ? chunk.subarray(chunk.length - left) : chunk);
    left -= chunk.length;
  }
  return result;
}
