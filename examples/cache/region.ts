/**
 * One region of the cache's memory: views of an ArrayBuffer, and where its parts lie. It never decides anything.
 *
 * Every store into the memory is either an assignment to `words` (aligned, hence whole or not at all when the process is
 * killed) or goes through `write` and `zero` (any part of which may have happened).
 */
import { regionLayout, type RegionLayout } from './layout.js';

export class Region {
  readonly words: Uint32Array;
  readonly bytes: Buffer;
  readonly layout: RegionLayout;
  /** Word number of the first page record. */
  readonly recordsWord: number;
  readonly pageCount: number;

  /**
   * @param buffer the memory; stays the caller's
   * @param totalBytes of all regions for region 0, else 0
   * @throws RangeError size not usable
   */
  constructor(buffer: ArrayBuffer, totalBytes: number) {
    this.words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
    this.bytes = Buffer.from(buffer);
    this.layout = regionLayout(buffer.byteLength, totalBytes);
    this.recordsWord = this.layout.recordsWord;
    this.pageCount = this.layout.pageCount;
  }

  /** Copy `length` bytes of `source` from `start` to the byte `at`. */
  write(at: number, source: Uint8Array, start: number, length: number): void {
    if (length < 24) {
      const bytes = this.bytes;
      for (let i = 0; i < length; i += 1) bytes[at + i] = source[start + i]!;
    } else {
      this.bytes.set(start === 0 && length === source.length ? source : source.subarray(start, start + length), at);
    }
  }

  /** Set the words from `start` up to `end` to zero. */
  zero(start: number, end: number): void {
    this.words.fill(0, start, end);
  }
}
