/**
 * luod's own log of the last minutes, in memory that is preserved from luod's start: whatever ends this kernel, the next one can
 * read what was said before. Text from the beginning; when the memory is full, its older half goes.
 */
import { ftruncate, memfdCreateExecutable, preadFully, pwriteFully } from '../../sys/index.js';
import type { OwnedFd } from '../../sys/index.js';

/** Name of the blob. */
export const LOG_BLOB = 'luod-log';
const RING_BYTES = 256 * 1024;

export class LogRing {
  readonly #fd: number;
  #used: number;

  /** @param fd borrowed for the life of this object @param usedBytes what is in it already */
  constructor(fd: number, usedBytes: number) {
    this.#fd = fd;
    this.#used = usedBytes;
  }

  /** Memory for a new one. The caller owns it. @throws SysError ENOMEM, EMFILE */
  static create(): OwnedFd {
    const fd = memfdCreateExecutable('luod-log');
    ftruncate(fd.fd, RING_BYTES);
    return fd;
  }

  /** Add a line. What does not fit at all is cut. */
  write(line: string): void {
    const bytes = Buffer.from(line).subarray(0, RING_BYTES / 2);
    if (this.#used + bytes.length > RING_BYTES) this.#forgetOlderHalf();
    pwriteFully(this.#fd, bytes, this.#used);
    this.#used += bytes.length;
  }

  #forgetOlderHalf(): void {
    const all = Buffer.alloc(RING_BYTES);
    preadFully(this.#fd, all.subarray(0, this.#used), 0);
    const half = Math.ceil(this.#used / 2);
    const lineEnd = all.indexOf(0x0a, half);
    // A line that was cut has no end.
    const start = lineEnd < 0 ? half : lineEnd + 1;
    const kept = all.subarray(start, this.#used);
    const next = Buffer.alloc(RING_BYTES);
    kept.copy(next);
    pwriteFully(this.#fd, next, 0);
    this.#used = kept.length;
  }
}
