/**
 * Cuts a stream of bytes into RESP 2 replies. Incremental; a reply is handed out when it is whole. Bulk strings are views
 * of what came: whoever keeps one copies it.
 */

/** The server refused; the message begins with the code. */
export class ReplyError extends Error {
  override name = 'ReplyError';
}
/** A simple string, a bulk string, an integer, nothing, an error, or a list of these. */
export type Reply = string | Buffer | number | null | ReplyError | Reply[];

const INCOMPLETE = Symbol('incomplete');

export class ReplyParser {
  #data: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Do not try again before so many bytes are there. */
  #needed = 0;
  #chunks: Buffer[] = [];
  #waiting = 0;

  /** Add bytes; `onReply` is told each reply that is whole now. @throws Error the bytes are no RESP */
  push(chunk: Buffer, onReply: (reply: Reply) => void): void {
    this.#chunks.push(chunk);
    this.#waiting += chunk.length;
    if (this.#waiting < this.#needed) return;
    this.#data = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    this.#at = 0;
    let handled = 0;
    this.#needed = 0;
    while (this.#at < this.#data.length) {
      const reply = this.#reply();
      if (reply === INCOMPLETE) break;
      handled = this.#at;
      onReply(reply);
    }
    const rest = this.#data.subarray(handled);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#waiting = rest.length;
    this.#needed = Math.max(0, this.#needed - handled);
  }

  #reply(): Reply | typeof INCOMPLETE {
    const end = this.#data.indexOf('\r\n', this.#at);
    if (end < 0) return INCOMPLETE;
    const type = this.#data[this.#at]!;
    const line = this.#data.toString('utf8', this.#at + 1, end);
    this.#at = end + 2;
    if (type === 0x2b) return line;
    if (type === 0x2d) return new ReplyError(line);
    const number = Number(line);
    if (line === '' || !Number.isInteger(number)) throw new Error(`no RESP: ${JSON.stringify(line.slice(0, 50))}`);
    if (type === 0x3a) return number;
    if (type === 0x24) return number < 0 ? null : this.#bulk(number);
    if (type === 0x2a) return number < 0 ? null : this.#array(number);
    throw new Error(`no RESP: a reply of type ${type}`);
  }

  #bulk(length: number): Buffer | typeof INCOMPLETE {
    const start = this.#at;
    if (start + length + 2 > this.#data.length) {
      this.#needed = start + length + 2;
      return INCOMPLETE;
    }
    this.#at = start + length + 2;
    return this.#data.subarray(start, start + length);
  }

  #array(count: number): Reply[] | typeof INCOMPLETE {
    const members: Reply[] = [];
    for (let i = 0; i < count; i += 1) {
      if (this.#at >= this.#data.length) return INCOMPLETE;
      const member = this.#reply();
      if (member === INCOMPLETE) return INCOMPLETE;
      members.push(member);
    }
    return members;
  }
}
