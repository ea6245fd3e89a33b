/**
 * Collects replies in RESP 2 or 3. One writer serves all connections in turn: between two `take`s it belongs to one.
 * Replies are put into shared chunks, so that a small reply costs no allocation; content of the store is copied, since
 * the memory may change or go before the socket has sent it.
 */

const CHUNK_BYTES = 65_536;
const CRLF = 0x0a0d;
/** Longest integer with its type and end. */
const INTEGER_BYTES_MAX = 24;

const OK = Buffer.from('+OK\r\n');
const NIL2 = Buffer.from('$-1\r\n');
const NIL3 = Buffer.from('_\r\n');

export class ReplyWriter {
  /** Of the connection that it serves now. */
  protocol: 2 | 3 = 2;
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #start = 0;
  #at = 0;
  #full: Buffer[] = [];
  #fullBytes = 0;

  /** Bytes collected since the last `take`. */
  get pendingBytes(): number {
    return this.#fullBytes + this.#at - this.#start;
  }

  /** What was collected, in order; the writer is empty then. */
  take(): Buffer[] {
    this.#close();
    const pieces = this.#full;
    this.#full = [];
    this.#fullBytes = 0;
    return pieces;
  }

  /** `+OK`. */
  ok(): void {
    this.raw(OK);
  }

  /** Bytes that are a reply already. */
  raw(reply: Buffer): void {
    this.#room(reply.length);
    this.#at += reply.copy(this.#chunk, this.#at);
  }

  /** A simple string: printable ASCII. */
  simple(text: string): void {
    this.raw(Buffer.from(`+${text}\r\n`, 'latin1'));
  }

  /** An error: code, blank, sentence. */
  error(text: string): void {
    this.raw(Buffer.from(`-${text.replaceAll(/[\r\n]/g, ' ')}\r\n`, 'utf8'));
  }

  integer(value: number | bigint): void {
    this.#header(0x3a, value);
  }

  /** A piece of `bytes` as a bulk string. */
  bulk(bytes: Buffer, start: number, length: number): void {
    this.#header(0x24, length);
    this.#room(length + 2);
    this.#at += bytes.copy(this.#chunk, this.#at, start, start + length);
    this.#end();
  }

  /** A text as a bulk string. */
  text(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    this.bulk(bytes, 0, bytes.length);
  }

  nil(): void {
    this.raw(this.protocol === 3 ? NIL3 : NIL2);
  }

  /** The head of an array; its members follow. */
  array(count: number): void {
    this.#header(0x2a, count);
  }

  /** The head of a map; keys and values follow in turn. In RESP 2 it is an array. */
  map(pairs: number): void {
    if (this.protocol === 3) this.#header(0x25, pairs);
    else this.#header(0x2a, pairs * 2);
  }

  #header(type: number, value: number | bigint): void {
    this.#room(INTEGER_BYTES_MAX);
    this.#chunk[this.#at] = type;
    this.#at += 1;
    if (typeof value === 'number' && value >= 0 && value < 1e9) this.#digits(value);
    else this.#at += this.#chunk.write(String(value), this.#at, 'latin1');
    this.#end();
  }

  #digits(value: number): void {
    let count = 1;
    for (let bound = 10; value >= bound; bound *= 10) count += 1;
    let rest = value;
    for (let i = this.#at + count - 1; i >= this.#at; i -= 1) {
      const next = (rest / 10) | 0;
      this.#chunk[i] = 0x30 + rest - next * 10;
      rest = next;
    }
    this.#at += count;
  }

  #end(): void {
    this.#chunk[this.#at] = CRLF & 0xff;
    this.#chunk[this.#at + 1] = CRLF >> 8;
    this.#at += 2;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#chunk.length) return;
    this.#close();
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, bytes));
    this.#start = 0;
    this.#at = 0;
  }

  #close(): void {
    if (this.#at === this.#start) return;
    this.#full.push(this.#chunk.subarray(this.#start, this.#at));
    this.#fullBytes += this.#at - this.#start;
    this.#start = this.#at;
  }
}
