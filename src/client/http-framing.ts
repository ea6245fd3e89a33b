/**
 * Where one HTTP/1.1 request ends and the next begins, in the bytes that a client sends. Node's own parser takes bytes in
 * and gives none back, so that the bytes of a half-read request head are kept here, for the successor to read again.
 *
 * PURE. It follows the framing only (RFC 9112, sections 2, 6 and 7) and judges nothing: what Node refuses never gets far
 * enough to matter. Bytes of a body are counted, not kept: a request whose head is complete is being handled already.
 * What it cannot follow (a tunnel, a length that is no number) makes it `lost`, and the connection drains instead.
 */

/** How much of a head is kept, bytes; Node's parser gives up at 16 KiB unless told otherwise. */
const HEAD_BYTES_MAX = 1024 * 1024;

type Place = 'head' | 'body' | 'chunk-size' | 'chunk-data' | 'chunk-end' | 'trailer' | 'lost';

export class RequestFraming {
  /** Request heads that were complete so far. */
  requests = 0;
  #place: Place = 'head';
  /** The bytes of the head, or of the line, that is not complete yet. */
  #held: Buffer | undefined;
  /** Bytes left of a body or chunk. */
  #left = 0;

  /** No request, or only the beginning of a head, lies behind the last complete request. */
  get betweenRequests(): boolean {
    return this.#place === 'head';
  }

  /** The framing is not known any more. */
  get lost(): boolean {
    return this.#place === 'lost';
  }

  /** The bytes behind the last complete request; empty unless {@link betweenRequests}. */
  get pending(): Buffer {
    return this.#place === 'head' && this.#held !== undefined ? this.#held : Buffer.alloc(0);
  }

  /** The next bytes from the client. They are not changed, and kept only as far as a head is incomplete. */
  push(bytes: Uint8Array): void {
    let rest = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (this.#held !== undefined && this.#place !== 'lost') {
      rest = Buffer.concat([this.#held, rest]);
      this.#held = undefined;
    }
    while (rest.length > 0) {
      const used = this.#step(rest);
      if (this.#place === 'lost') return;
      if (used === 0) {
        if (rest.length > HEAD_BYTES_MAX) this.#place = 'lost';
        else this.#held = Buffer.from(rest);
        return;
      }
      rest = rest.subarray(used);
    }
  }

  /** One piece of what is at the beginning of `rest`; how many bytes it took, 0 for "not complete". */
  #step(rest: Buffer): number {
    switch (this.#place) {
      case 'head':
        return this.#head(rest);
      case 'body':
      case 'chunk-data': {
        const used = Math.min(this.#left, rest.length);
        this.#left -= used;
        if (this.#left === 0) this.#place = this.#place === 'body' ? 'head' : 'chunk-end';
        return used;
      }
      case 'chunk-size': {
        const end = rest.indexOf(0x0a);
        if (end < 0) return 0;
        const size = Number.parseInt(rest.toString('latin1', 0, end), 16);
        if (!Number.isSafeInteger(size) || size < 0) this.#place = 'lost';
        else if (size === 0) this.#place = 'trailer';
        else [this.#place, this.#left] = ['chunk-data', size];
        return end + 1;
      }
      case 'chunk-end': {
        const end = rest.indexOf(0x0a);
        if (end < 0) return 0;
        this.#place = 'chunk-size';
        return end + 1;
      }
      case 'trailer': {
        const end = rest.indexOf(0x0a);
        if (end < 0) return 0;
        if (end === 0 || (end === 1 && rest[0] === 0x0d)) this.#place = 'head';
        return end + 1;
      }
      case 'lost':
        return rest.length;
    }
  }

  #head(rest: Buffer): number {
    // Empty lines before a request are allowed and belong to none.
    if (rest[0] === 0x0a) return 1;
    if (rest[0] === 0x0d && rest[1] === 0x0a) return 2;
    const end = headEnd(rest);
    if (end === 0) return 0;
    this.requests += 1;
    const head = rest.toString('latin1', 0, end);
    if (/^CONNECT /i.test(head)) {
      this.#place = 'lost';
      return end;
    }
    if (/\n *transfer-encoding *:[^\n]*chunked/i.test(head)) {
      this.#place = 'chunk-size';
      return end;
    }
    const length = /\ncontent-length[ \t]*:[ \t]*([^\r\n]*)/i.exec(head);
    if (length === null) return end;
    const text = length[1]!.trim();
    if (!/^\d{1,15}$/.test(text)) this.#place = 'lost';
    else if (Number(text) > 0) [this.#place, this.#left] = ['body', Number(text)];
    return end;
  }
}

/** The length of the head at the beginning of `bytes`, its empty line included; 0 if it is not complete. */
function headEnd(bytes: Buffer): number {
  const strict = bytes.indexOf('\r\n\r\n', 0, 'latin1');
  const bare = bytes.indexOf('\n\n', 0, 'latin1');
  if (strict < 0 && bare < 0) return 0;
  if (bare < 0 || (strict >= 0 && strict < bare)) return strict + 4;
  return bare + 2;
}
