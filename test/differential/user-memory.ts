/** The memory that an ioctl's argument points to, as the performer lays it out: what can be read, what can be written, what changed. */
const CANARY = 0xa5;
const PAGE = 4096;

export class UserMemory {
  readonly #was: Uint8Array;
  readonly #now: Uint8Array;
  /** Of the struct's own offsets: from the first byte that cannot be read, or written, on. */
  readonly #readableTo: number;
  readonly #writableTo: number;
  /** Where the struct begins in what there is; null: nowhere. */
  readonly #origin: number | null;

  /** @param kind word of the operation: `ok`, `ro4` */
  constructor(kind: string, struct: Uint8Array) {
    const area = (Math.floor(struct.length / PAGE) + 2) * PAGE;
    const [, word = '', digits = ''] = /^([a-z]+)(\d*)$/.exec(kind) ?? [];
    const first = Number(digits);
    const origins: Record<string, number> = { ok: 64, odd: 65, end: area - struct.length };
    this.#origin = ['null', 'low', 'kernel'].includes(word) ? null : (origins[word] ?? area - first);
    this.#was = new Uint8Array(2 * area + PAGE).fill(CANARY, 0, 2 * area);
    if (this.#origin !== null) this.#was.set(struct.subarray(0, 2 * area - this.#origin), this.#origin);
    this.#now = this.#was.slice();
    const mapped = this.#was.length - (this.#origin ?? 0);
    const cut = word === 'end' ? struct.length : first;
    const closed = this.#origin === null ? 0 : undefined;
    this.#readableTo = closed ?? (['end', 'cut', 'none'].includes(word) ? cut : mapped);
    this.#writableTo = closed ?? (['end', 'cut', 'none', 'ro'].includes(word) ? cut : mapped);
  }

  /** undefined: not all of it can be read. */
  read(offset: number, length: number): Uint8Array | undefined {
    if (this.#origin === null || offset + length > this.#readableTo) return undefined;
    return this.#now.slice(this.#origin + offset, this.#origin + offset + length);
  }

  /** True when `length` bytes of an answer fit. */
  accepts(length: number): boolean {
    return length <= this.#writableTo;
  }

  /** As much as can be written is. */
  write(bytes: Uint8Array): void {
    if (this.#origin !== null) this.#now.set(bytes.subarray(0, this.#writableTo), this.#origin);
  }

  /** As the performer prints them, ` +4:05`. */
  changes(): string {
    let text = '';
    for (let at = 0; at < this.#now.length; at += 1) {
      if (this.#now[at] === this.#was[at]) continue;
      const offset = at - this.#origin!;
      text += ` ${offset < 0 ? '' : '+'}${offset}:`;
      for (; at < this.#now.length && this.#now[at] !== this.#was[at]; at += 1)
        text += this.#now[at]!.toString(16).padStart(2, '0');
    }
    return text;
  }
}

/** The bytes of an operation's STRUCT. @param fdOf the number of the fd in a slot, -1 for none */
export function buildStruct(spec: string, fdOf: (slot: number) => number): Uint8Array {
  return Buffer.concat(spec.split('.').map((piece) => pieceBytes(piece, fdOf)));
}

function pieceBytes(piece: string, fdOf: (slot: number) => number): Buffer {
  const value = piece.slice(1);
  const bytes = Buffer.alloc(piece[0] === 'q' ? 8 : 4);
  switch (piece[0]) {
    case 'u':
      bytes.writeUInt32LE(Number(value));
      return bytes;
    case 'i':
      bytes.writeInt32LE(Number(value));
      return bytes;
    case 'f':
      bytes.writeInt32LE(fdOf(Number(value)));
      return bytes;
    case 'q':
      bytes.writeBigUInt64LE(BigInt(value));
      return bytes;
    case 'n':
      return Buffer.concat([Buffer.from(value, 'hex'), Buffer.alloc(64)], 64);
    case 'x':
      return Buffer.from(value, 'hex');
    case 'z':
      return Buffer.alloc(Number(value));
    case 'r':
      return Buffer.alloc(Number(value), 0xff);
    default:
      throw new Error(`a struct has no piece '${piece}'`);
  }
}
