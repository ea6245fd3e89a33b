/**
 * What a connection still has to send. Lines without fds that are sent in one turn leave in one write; lines with fds are
 * written at once, while their borrowed fds are surely open. What the socket does not take waits here, bounded, with
 * duplicates of its fds. More than 253 fds go ahead of their line in chunks, each on an empty line.
 *
 * One write with fds carries one line (or a chunk's empty line), so that fds and their line never part: the receiver's
 * rule in line-connection.ts depends on it.
 */
import { LuoError } from '../base/errors.js';
import type { LIMITS } from '../base/limits.js';
import type { OwnedFd } from '../sys/index.js';
import { MessageSender, WOULD_BLOCK, closeAll, dupFd, isSysError, sendBytes } from '../sys/index.js';

/** One process sends from one buffer: nothing waits between filling it and the call. */
let shared: MessageSender | undefined;
function sender(): MessageSender {
  shared ??= new MessageSender(64 * 1024);
  return shared;
}

const noFds: readonly number[] = [];
const fdsPerWrite = 253;

/** A piece that waits: its bytes from `offset` on, and the fds that go with its first byte. */
interface Piece {
  readonly bytes: Buffer;
  offset: number;
  fds: OwnedFd[];
}

/** How a flush ended: all is sent, the socket is full, or too many fds are travelling and it must be tried later. */
export type FlushResult = 'empty' | 'full' | 'later';

export interface OutputLimits {
  readonly outputBytesMax: number;
  readonly messageFdsMax: number;
}

/** The output of one socket (borrowed). */
export class OutputQueue {
  readonly #socketFd: number;
  readonly #limits: OutputLimits;
  /** Lines of this turn, not yet encoded. */
  #text = '';
  #pieces: Piece[] = [];
  #pieceBytes = 0;
  #pieceFds = 0;

  constructor(socketFd: number, limits: OutputLimits) {
    this.#socketFd = socketFd;
    this.#limits = limits;
  }

  /** Bytes that wait; lines of this turn count their characters. */
  get bytes(): number {
    return this.#pieceBytes + this.#text.length;
  }

  get isEmpty(): boolean {
    return this.#text === '' && this.#pieces.length === 0;
  }

  /** Add a line without fds; it leaves with the next flush. @throws LuoError LIMIT_REACHED outputBytesMax */
  addLine(line: string): void {
    this.#text += line;
    this.#text += '\n';
    if (this.bytes > this.#limits.outputBytesMax) throw outputFull('outputBytesMax', this.#limits.outputBytesMax);
  }

  /**
   * Send a line with `fds` (borrowed until this returns) now, or keep it with duplicates if the socket is full.
   * @throws LuoError LIMIT_REACHED outputBytesMax, messageFdsMax; SysError of the socket, or EBADF of an fd
   */
  addLineWithFds(line: string, fds: readonly number[]): FlushResult {
    let result = this.flush();
    let sent = 0;
    for (; fds.length - sent > fdsPerWrite; sent += fdsPerWrite) {
      result = this.#sendOrKeep('\n', fds.slice(sent, sent + fdsPerWrite), result);
    }
    return this.#sendOrKeep(`${line}\n`, sent === 0 ? fds : fds.slice(sent), result);
  }

  /** Send as much as the socket takes. @throws SysError EPIPE, ECONNRESET; LuoError LIMIT_REACHED outputBytesMax */
  flush(): FlushResult {
    while (this.#pieces.length > 0) {
      const result = this.#sendPiece(this.#pieces[0]!);
      if (result !== 'empty') return result;
      this.#pieces.shift();
    }
    if (this.#text === '') return 'empty';
    const text = this.#text;
    this.#text = '';
    return this.#sendText(text, noFds);
  }

  /** Forget everything, and close the duplicates. */
  clear(): void {
    for (const piece of this.#pieces) closeAll(piece.fds);
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#pieceFds = 0;
    this.#text = '';
  }

  #sendOrKeep(text: string, fds: readonly number[], state: FlushResult): FlushResult {
    if (state === 'empty') return this.#sendText(text, fds);
    this.#keep(Buffer.from(text), 0, fds);
    return state;
  }

  /** Nothing waits before this text. */
  #sendText(text: string, fds: readonly number[]): FlushResult {
    const { buffer, capacity } = sender();
    // At most three bytes of UTF-8 for a UTF-16 unit: short lines are encoded straight into the sender's buffer.
    if (text.length * 3 > capacity) return this.#sendLarge(Buffer.from(text), fds);
    const size = buffer.write(text, 0, 'utf8');
    const sent = this.#trySend(size, fds);
    if (sent === size) return 'empty';
    this.#keep(Buffer.from(buffer.subarray(0, size)), Math.max(sent, 0), sent > 0 ? noFds : fds);
    return sent === tooManyTravel ? 'later' : 'full';
  }

  #sendLarge(bytes: Buffer, fds: readonly number[]): FlushResult {
    this.#keep(bytes, 0, fds);
    const result = this.#sendPiece(this.#pieces[0]!);
    if (result === 'empty') this.#pieces.shift();
    return result;
  }

  #sendPiece(piece: Piece): FlushResult {
    const { buffer, capacity } = sender();
    while (piece.offset < piece.bytes.length) {
      let sent: number;
      if (piece.fds.length === 0) {
        sent = sendBytes(this.#socketFd, piece.bytes.subarray(piece.offset));
      } else {
        const size = piece.bytes.copy(buffer, 0, piece.offset, piece.offset + capacity);
        sent = this.#trySend(
          size,
          piece.fds.map((owned) => owned.fd),
        );
      }
      if (sent < 0) return sent === tooManyTravel ? 'later' : 'full';
      piece.offset += sent;
      this.#pieceBytes -= sent;
      if (piece.fds.length > 0) {
        this.#pieceFds -= piece.fds.length;
        closeAll(piece.fds);
        piece.fds = [];
      }
    }
    return 'empty';
  }

  #trySend(size: number, fds: readonly number[]): number {
    try {
      return sender().send(this.#socketFd, size, fds);
    } catch (error) {
      // More fds of this user travel unread than one process may have open: somebody has to receive some first.
      if (isSysError(error, 'ETOOMANYREFS')) return tooManyTravel;
      throw error;
    }
  }

  #keep(bytes: Buffer, offset: number, fds: readonly number[]): void {
    const waiting = bytes.length - offset;
    if (this.bytes + waiting > this.#limits.outputBytesMax) {
      throw outputFull('outputBytesMax', this.#limits.outputBytesMax);
    }
    if (this.#pieceFds + fds.length > this.#limits.messageFdsMax) {
      throw outputFull('messageFdsMax', this.#limits.messageFdsMax);
    }
    const owned: OwnedFd[] = [];
    try {
      for (const fd of fds) owned.push(dupFd(fd));
    } catch (error) {
      closeAll(owned);
      throw error;
    }
    this.#pieces.push({ bytes, offset, fds: owned });
    this.#pieceBytes += waiting;
    this.#pieceFds += owned.length;
  }
}

const tooManyTravel = WOULD_BLOCK - 1;

function outputFull(limit: keyof typeof LIMITS, value: number): LuoError {
  return new LuoError('LIMIT_REACHED', `the other end does not read: more than ${value} would wait for it`, {
    data: { limit, value },
  });
}
