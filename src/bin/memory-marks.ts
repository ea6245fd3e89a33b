/** Reads the mark in the last page of a region that a participant registered as marked. */
import { MARK_BYTES, decodeMark, isTorn, markOffsetInFile } from '../abi/memory-mark.js';
import { fstat, pread } from '../sys/index.js';

/** True: its writer had not finished; false: it is clean; undefined: there is no room for a mark. @param fd borrowed */
export function readMemoryMark(fd: number): boolean | undefined {
  const offset = markOffsetInFile(fstat(fd).sizeBytes);
  if (offset === undefined) return undefined;
  const bytes = new Uint8Array(MARK_BYTES);
  const read = pread(fd, bytes, offset);
  return isTorn(decodeMark(bytes.subarray(0, read)));
}
