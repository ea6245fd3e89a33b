/**
 * Keys and values that can be computed again at any time, so that a filled store can be checked without a copy of it.
 * Key `i` and value `i` depend on `i`, the prefix and the size of a value alone.
 */
import { Digest, mix } from '../../examples/cache/hash.js';

export interface DatasetOptions {
  /** Keys and values together. Bytes; rounded to whole keys. */
  readonly totalBytes: number;
  /** Default: 1024. At least 16. */
  readonly valueBytes?: number;
  /** Default: `fill:`. */
  readonly prefix?: string;
}

const NOISE_BYTES = 1024 * 1024;
const KEY_DIGITS = 9;

export class Dataset {
  readonly prefix: string;
  readonly valueBytes: number;
  readonly keyBytes: number;
  /** How many keys there are. */
  readonly count: number;
  readonly #noise: Buffer;

  constructor(options: DatasetOptions) {
    this.prefix = options.prefix ?? 'fill:';
    this.valueBytes = options.valueBytes ?? 1024;
    if (this.valueBytes < 16) throw new RangeError('a value has 16 bytes at least');
    this.keyBytes = this.prefix.length + KEY_DIGITS;
    this.count = Math.max(1, Math.round(options.totalBytes / (this.valueBytes + this.keyBytes)));
    this.#noise = Buffer.allocUnsafeSlow(NOISE_BYTES + this.valueBytes);
    for (let at = 0; at + 4 <= this.#noise.length; at += 4) this.#noise.writeUInt32LE(mix(at + 1), at);
    this.#noise.fill(0x2e, this.#noise.length & ~3);
  }

  key(index: number): string {
    return this.prefix + String(index).padStart(KEY_DIGITS, '0');
  }

  /** Write value `index` to `target`. */
  writeValue(index: number, target: Buffer, at: number): void {
    const from = (mix(index + 1) % (NOISE_BYTES / 4)) * 4;
    this.#noise.copy(target, at, from, from + this.valueBytes);
    target.writeUInt32LE(index, at);
    target.writeUInt32LE(mix(index ^ 0x5bd1e995), at + 4);
  }

  value(index: number): Buffer {
    const value = Buffer.allocUnsafe(this.valueBytes);
    this.writeValue(index, value, 0);
    return value;
  }

  /** The digest that a store with all of it has (see LUO.DIGEST). */
  digest(): { readonly hex: string; readonly count: number } {
    const digest = new Digest();
    const value = Buffer.allocUnsafe(this.valueBytes);
    for (let index = 0; index < this.count; index += 1) {
      const key = Buffer.from(this.key(index));
      this.writeValue(index, value, 0);
      digest.add(key, 0, key.length, value, 0, value.length);
    }
    return { hex: digest.hex, count: digest.count };
  }
}
