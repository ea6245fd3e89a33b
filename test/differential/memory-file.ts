/**
 * A memfd, or an unlinked file of tmpfs, as a value that changes: what writing, sealing and resizing do to it, while it is
 * preserved and otherwise. What this file says of preserving comes from src/model/memfd.ts; the rest is the kernel's mm/shmem.c
 * and mm/memfd.c.
 */
import { SEAL, whilePreservedErrno } from '../../src/model/index.js';

const PAGE = 4096;
const KNOWN_SEALS = 63;
/** Writes go by pieces of this size, and a piece is refused as a whole. */
const CHUNK = 2 * 2 ** 20;
const WRITE_SEALS = SEAL.write | SEAL.futureWrite;

export class MemoryFile {
  bytes: Uint8Array;
  seals: number;
  readonly mode: number;
  links: number;
  preserved = false;
  /** Pages with something in them; the others are holes. */
  readonly data = new Set<number>();

  constructor(options: { bytes?: Uint8Array; seals: number; mode: number; links: number }) {
    this.bytes = options.bytes ?? new Uint8Array();
    this.seals = options.seals;
    this.mode = options.mode;
    this.links = options.links;
    if (options.bytes !== undefined) this.fill();
  }

  get size(): number {
    return this.bytes.length;
  }

  /** No holes any more. */
  fill(): void {
    for (let page = 0; page * PAGE < this.size; page += 1) this.data.add(page);
  }

  write(offset: number, bytes: Uint8Array): number | string {
    let written = 0;
    while (written < bytes.length) {
      const at = offset + written;
      const piece = Math.min(bytes.length - written, CHUNK - (at % CHUNK));
      const beyond = at + piece > this.size;
      let errno: string | null = null;
      if ((this.seals & WRITE_SEALS) !== 0 || ((this.seals & SEAL.grow) !== 0 && beyond)) errno = 'EPERM';
      else if (this.preserved && beyond) errno = whilePreservedErrno('writeBeyondEnd');
      if (errno !== null) return written > 0 ? written : errno;
      if (beyond) this.#resize(at + piece);
      this.bytes.set(bytes.subarray(written, written + piece), at);
      for (let page = Math.floor(at / PAGE); page * PAGE < at + piece; page += 1) this.data.add(page);
      written += piece;
    }
    return written;
  }

  truncate(size: number): string {
    const refused =
      (size < this.size && (this.seals & SEAL.shrink) !== 0) || (size > this.size && (this.seals & SEAL.grow) !== 0);
    if (refused) return 'EPERM';
    if (size === this.size) return 'ok';
    if (this.preserved) return whilePreservedErrno('truncate') ?? 'ok';
    this.#resize(size);
    return 'ok';
  }

  /** KEEP_SIZE 1 and PUNCH_HOLE 2 are all that there is. */
  allocate(mode: number, offset: number, length: number): string {
    if (mode !== 0 && mode !== 1 && mode !== 3) return 'EOPNOTSUPP';
    if (this.preserved) return whilePreservedErrno('fallocate') ?? 'ok';
    if (mode === 3) {
      if ((this.seals & WRITE_SEALS) !== 0) return 'EPERM';
      this.bytes.fill(0, Math.min(offset, this.size), Math.min(offset + length, this.size));
      for (let page = Math.ceil(offset / PAGE); (page + 1) * PAGE <= offset + length; page += 1) this.data.delete(page);
      return 'ok';
    }
    if ((this.seals & SEAL.grow) !== 0 && offset + length > this.size) return 'EPERM';
    if (mode === 0 && offset + length > this.size) this.#resize(offset + length);
    return 'ok';
  }

  seal(seals: number): string {
    if ((seals & ~KNOWN_SEALS) !== 0) return 'EINVAL';
    if ((this.seals & SEAL.seal) !== 0) return 'EPERM';
    let added = seals;
    if ((seals & SEAL.exec) !== 0 && (this.mode & 0o111) !== 0) added |= SEAL.shrink | SEAL.grow | WRITE_SEALS;
    // The pages are pinned; where there are none nothing is in the way.
    if ((added & SEAL.write) !== 0 && (this.seals & SEAL.write) === 0 && this.preserved && this.size > 0)
      return whilePreservedErrno('sealWrite') ?? 'ok';
    this.seals |= added;
    return 'ok';
  }

  /** SEEK_DATA 3, SEEK_HOLE 4. */
  seek(offset: number, whence: number): number | string {
    if (offset < 0 || offset >= this.size) return 'ENXIO';
    for (let at = offset; at < this.size; at = (Math.floor(at / PAGE) + 1) * PAGE)
      if (this.data.has(Math.floor(at / PAGE)) === (whence === 3)) return at;
    return whence === 3 ? 'ENXIO' : this.size;
  }

  #resize(size: number): void {
    const bytes = new Uint8Array(size);
    bytes.set(this.bytes.subarray(0, size));
    this.bytes = bytes;
    for (const page of this.data) if (page * PAGE >= size) this.data.delete(page);
  }
}

/** FNV-1a of 64 bits, as the performer prints it. */
export function digest(bytes: Uint8Array): string {
  let [high, low] = [0xcbf29ce4, 0x84222325];
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0;
    const product = low * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 0x1_0000_0000) + (low << 8)) >>> 0;
    low = product % 0x1_0000_0000;
  }
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/** The bytes that the performer writes. */
export function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => seed + at * 7 + (at >> 8));
}
