/**
 * Cuts a stream of bytes into commands, as arrays of bulk strings (RESP 2 and 3) or as inline lines. Incremental: a
 * command may come in any pieces; what has been looked at once is not looked at again, and what comes in one piece is
 * not copied. Arguments are positions in a buffer, so that the hot path makes no objects.
 *
 * Unhappy paths: bytes that are no command, or more than the limits, throw ProtocolError; the connection is then of no
 * use any more. `rest` gives back the bytes of what has not been handled, for the program that comes next.
 */

/** What one client can make the parser hold. Bytes, and arguments of one command. */
export const PARSER_LIMITS = {
  argumentsMax: 1_048_576,
  argumentBytesMax: 64 * 1024 * 1024,
  commandBytesMax: 128 * 1024 * 1024,
  inlineBytesMax: 65_536,
} as const;

/** The peer does not speak RESP, or says too much. The message is the error reply without its `ERR`. */
export class ProtocolError extends Error {
  override name = 'ProtocolError';
}

const EMPTY = Buffer.alloc(0);
const CR = 0x0d;
const LF = 0x0a;
/** A number line longer than this is no number. */
const NUMBER_BYTES_MAX = 20;

/** The arguments of one command. Valid until the parser is asked for the next one. */
export interface Arguments {
  /** How many, the command's name included. */
  readonly count: number;
  readonly bytes: Buffer;
  start(index: number): number;
  length(index: number): number;
}

export class CommandParser implements Arguments {
  /** Of the command that `next` found. */
  count = 0;
  bytes: Buffer = EMPTY;
  #base = 0;
  #starts = new Int32Array(16);
  #lengths = new Int32Array(16);

  #data: Buffer = EMPTY;
  /** True when `#data` is the parser's own, to append to. */
  #isOwn = false;
  /** Where the first command that is not handled begins, and where the data ends. */
  #at = 0;
  #end = 0;
  /** Of a command that has begun: arguments to come in all, arguments found, and where to go on, counted from `#at`. */
  #wanted = 0;
  #found = 0;
  #scanned = 0;

  start(index: number): number {
    return this.#base + this.#starts[index]!;
  }
  length(index: number): number {
    return this.#lengths[index]!;
  }

  /** Bytes that wait to become commands. */
  get pendingBytes(): number {
    return this.#end - this.#at;
  }

  /** A copy of those bytes. */
  rest(): Buffer {
    return Buffer.from(this.#data.subarray(this.#at, this.#end));
  }

  /** Add what came from the peer. The parser may keep `chunk` until it has been handled. */
  push(chunk: Buffer): void {
    const pending = this.pendingBytes;
    if (pending === 0) {
      this.#data = chunk;
      this.#isOwn = false;
      this.#at = 0;
      this.#end = chunk.length;
      return;
    }
    const needed = pending + chunk.length;
    if (!this.#isOwn || this.#end + chunk.length > this.#data.length) {
      const roomy = this.#isOwn && needed <= this.#data.length / 2;
      const target = roomy ? this.#data : Buffer.allocUnsafeSlow(Math.max(4096, needed * 2));
      this.#data.copy(target, 0, this.#at, this.#end);
      this.#data = target;
      this.#isOwn = true;
      this.#at = 0;
      this.#end = pending;
    }
    chunk.copy(this.#data, this.#end);
    this.#end += chunk.length;
  }

  /**
   * Find the next command: `count`, `bytes`, `start` and `length` describe it then.
   * @returns false when it is not complete yet
   * @throws ProtocolError not RESP, or beyond a limit
   */
  next(): boolean {
    while (this.#at < this.#end) {
      const found = this.#data[this.#at] === 0x2a ? this.#array() : this.#inline();
      if (!found) {
        if (this.pendingBytes > PARSER_LIMITS.commandBytesMax)
          throw new ProtocolError('Protocol error: too big command');
        return false;
      }
      if (this.count > 0) return true;
    }
    this.#data = EMPTY;
    this.#at = 0;
    this.#end = 0;
    return false;
  }

  /** @returns false when the array is not complete */
  #array(): boolean {
    if (this.#scanned === 0) {
      const count = this.#number(this.#at + 1, 'multibulk');
      if (count === undefined) return false;
      if (count > PARSER_LIMITS.argumentsMax) throw new ProtocolError('Protocol error: invalid multibulk length');
      this.#wanted = Math.max(0, count);
      this.#found = 0;
      this.#scanned = this.#lineEnd - this.#at;
    }
    while (this.#found < this.#wanted) {
      const header = this.#at + this.#scanned;
      if (header >= this.#end) return false;
      if (this.#data[header] !== 0x24) {
        const got = String.fromCharCode(this.#data[header]!);
        throw new ProtocolError(`Protocol error: expected '$', got '${/[\x21-\x7e]/.test(got) ? got : '?'}'`);
      }
      const length = this.#number(header + 1, 'bulk');
      if (length === undefined) return false;
      if (length < 0 || length > PARSER_LIMITS.argumentBytesMax) {
        throw new ProtocolError('Protocol error: invalid bulk length');
      }
      const start = this.#lineEnd;
      if (start + length + 2 > this.#end) return false;
      if (this.#data[start + length] !== CR || this.#data[start + length + 1] !== LF) {
        throw new ProtocolError('Protocol error: a bulk string does not end where it says');
      }
      this.#keep(start - this.#at, length);
      this.#scanned = start + length + 2 - this.#at;
    }
    this.count = this.#wanted;
    this.bytes = this.#data;
    this.#base = this.#at;
    this.#at += this.#scanned;
    this.#scanned = 0;
    return true;
  }

  #keep(start: number, length: number): void {
    if (this.#found === this.#starts.length) {
      const [starts, lengths] = [this.#starts, this.#lengths];
      this.#starts = new Int32Array(starts.length * 2);
      this.#lengths = new Int32Array(starts.length * 2);
      this.#starts.set(starts);
      this.#lengths.set(lengths);
    }
    this.#starts[this.#found] = start;
    this.#lengths[this.#found] = length;
    this.#found += 1;
  }

  /** Set by `#number`: the first byte after its line. */
  #lineEnd = 0;

  /** The number that begins at `from` and fills its line; undefined when the line is not complete. */
  #number(from: number, what: string): number | undefined {
    const data = this.#data;
    const end = this.#end;
    let at = from;
    const isNegative = at < end && data[at] === 0x2d;
    if (isNegative) at += 1;
    let value = 0;
    const first = at;
    for (; at < end; at += 1) {
      const digit = data[at]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    if (at - from > NUMBER_BYTES_MAX) throw new ProtocolError(`Protocol error: too big ${what} count string`);
    if (at >= end) return undefined;
    if (data[at] !== CR || at === first) throw new ProtocolError(`Protocol error: invalid ${what} length`);
    if (at + 1 >= end) return undefined;
    if (data[at + 1] !== LF) throw new ProtocolError(`Protocol error: invalid ${what} length`);
    this.#lineEnd = at + 2;
    return isNegative ? -value : value;
  }

  /** @returns false when the line is not complete */
  #inline(): boolean {
    const line = this.#data.indexOf(LF, this.#at + this.#scanned);
    if (line < 0 || line >= this.#end) {
      this.#scanned = this.#end - this.#at;
      if (this.#scanned > PARSER_LIMITS.inlineBytesMax) {
        throw new ProtocolError('Protocol error: too big inline request');
      }
      return false;
    }
    const end = line > this.#at && this.#data[line - 1] === CR ? line - 1 : line;
    const words = splitWords(this.#data.toString('latin1', this.#at, end));
    this.#at = line + 1;
    this.#scanned = 0;
    this.#found = 0;
    let start = 0;
    for (const word of words) {
      this.#keep(start, word.length);
      start += word.length;
    }
    this.count = words.length;
    this.bytes = Buffer.from(words.join(''), 'latin1');
    this.#base = 0;
    return true;
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', a: '\x07' };

/** The words of an inline command: "double" quotes with escapes, 'single' ones with \\' only. */
function splitWords(line: string): string[] {
  const words: string[] = [];
  const pattern = /\s*(?:"((?:\\x[0-9a-fA-F]{2}|\\[^]|[^"\\])*)"|'((?:\\'|[^'])*)'|([^\s"']+))(?=\s|$)/y;
  while (line.slice(pattern.lastIndex).trim() !== '') {
    const match = pattern.exec(line);
    if (!match) throw new ProtocolError('Protocol error: unbalanced quotes in request');
    const [, double, single, bare] = match;
    if (double !== undefined) words.push(double.replace(/\\(x[0-9a-fA-F]{2}|[^])/g, unescapeOne));
    else words.push(single === undefined ? bare! : single.replaceAll("\\'", "'"));
  }
  return words;
}

function unescapeOne(_whole: string, escaped: string): string {
  if (escaped.length === 3) return String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
  return ESCAPES[escaped] ?? escaped;
}
