/**
 * The mark in the last page of a region of memory: was its content whole when its last writer let go of it?
 *
 * Written dirty at creation, and at go and thaw before the program's first write; written clean at freeze, after its
 * last. So a process that dies between go and freeze leaves a dirty mark, and whoever claims the region is told `torn`.
 * A mark that cannot be read (never written, or damaged) counts as dirty: nobody vouches for the content.
 *
 * PURE: layout, encoding and decoding; who reads or writes the bytes is not known here. The mark is one record, 64
 * bytes at the start of the page behind the user's part; a write of 64 bytes inside one page is not torn by a signal.
 * Little endian:
 *
 * | offset | size | what |
 * |---|---|---|
 * | 0 | 8 | magic `luo-mark` |
 * | 8 | 4 | version |
 * | 12 | 4 | flags: bit 0 dirty |
 * | 16 | 8 | user part, bytes |
 * | 24 | 8 | generation: how often the region was handed on |
 * | 32 | 8 | attempt of the last write |
 * | 40 | 8 | sequence: writes of the mark so far |
 * | 48 | 12 | zero |
 * | 60 | 4 | CRC-32 (IEEE) of the 60 bytes before |
 */
import { crc32 } from '../base/crc32.js';

export const MARK_BYTES = 64;
/** The page that carries the mark, bytes. */
export const MARK_PAGE_BYTES = 4096;
export const MARK_VERSION = 1;

const MAGIC = 0x6b72616d2d6f756cn; // 'luo-mark', little endian
const FLAG_DIRTY = 1;

export interface MemoryMark {
  readonly dirty: boolean;
  /** The user's part, bytes; what lies between it and the mark's page is padding. */
  readonly sizeBytes: number;
  readonly generation: number;
  readonly attempt: number;
  readonly sequence: number;
}

/** What stands in the page: a mark, nothing ever written, a newer luo's, or bytes that are no mark. */
export type MarkReading =
  | { readonly kind: 'mark'; readonly mark: MemoryMark }
  | { readonly kind: 'none' }
  | { readonly kind: 'newer'; readonly version: number }
  | { readonly kind: 'damaged' };

/** Where the mark of a region with `sizeBytes` for the user lies in its file, bytes: the next page. */
export function markOffset(sizeBytes: number): number {
  return Math.ceil(sizeBytes / MARK_PAGE_BYTES) * MARK_PAGE_BYTES;
}

/** How large the file of a region with `sizeBytes` for the user is, bytes. */
export function markedFileBytes(sizeBytes: number): number {
  return markOffset(sizeBytes) + MARK_PAGE_BYTES;
}

/** Where the mark lies in a file of `fileBytes`: in its last page. Undefined: too small, or not of whole pages. */
export function markOffsetInFile(fileBytes: number): number | undefined {
  if (fileBytes < 2 * MARK_PAGE_BYTES || fileBytes % MARK_PAGE_BYTES !== 0) return undefined;
  return fileBytes - MARK_PAGE_BYTES;
}

/** The 64 bytes of `mark`. */
export function encodeMark(mark: MemoryMark): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(MARK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, MAGIC, true);
  view.setUint32(8, MARK_VERSION, true);
  view.setUint32(12, mark.dirty ? FLAG_DIRTY : 0, true);
  view.setBigUint64(16, BigInt(mark.sizeBytes), true);
  view.setBigUint64(24, BigInt(mark.generation), true);
  view.setBigUint64(32, BigInt(mark.attempt), true);
  view.setBigUint64(40, BigInt(mark.sequence), true);
  view.setUint32(60, crc32(bytes.subarray(0, 60)), true);
  return bytes;
}

/** Read a mark; `bytes` are the first MARK_BYTES of its page. Never throws: bytes of any kind may stand there. */
export function decodeMark(bytes: Uint8Array): MarkReading {
  if (bytes.length < MARK_BYTES) return { kind: 'damaged' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, MARK_BYTES);
  if (bytes.subarray(0, MARK_BYTES).every((byte) => byte === 0)) return { kind: 'none' };
  if (view.getBigUint64(0, true) !== MAGIC) return { kind: 'damaged' };
  if (view.getUint32(60, true) !== crc32(bytes.subarray(0, 60))) return { kind: 'damaged' };
  const version = view.getUint32(8, true);
  // A newer version may mean other things by its fields; that the checksum holds says that it is one.
  if (version > MARK_VERSION) return { kind: 'newer', version };
  const mark = {
    dirty: (view.getUint32(12, true) & FLAG_DIRTY) !== 0,
    sizeBytes: Number(view.getBigUint64(16, true)),
    generation: Number(view.getBigUint64(24, true)),
    attempt: Number(view.getBigUint64(32, true)),
    sequence: Number(view.getBigUint64(40, true)),
  };
  return Number.isSafeInteger(mark.sizeBytes) ? { kind: 'mark', mark } : { kind: 'damaged' };
}

/** Does the mark say that the content may be half written? True too when there is no readable mark. */
export function isTorn(reading: MarkReading): boolean {
  return reading.kind !== 'mark' || reading.mark.dirty;
}
