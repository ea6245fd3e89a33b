/**
 * Where a page of this process's memory is in the machine: what a device without an IOMMU must be told. Needs CAP_SYS_ADMIN; it holds
 * as long as the page is pinned, as the pages of a preserved memfd are, before the jump and after it.
 * @source Documentation/admin-guide/mm/pagemap.rst
 */
import { closeSync, openSync, readSync } from 'node:fs';

export const PAGE_BYTES = 4096;
const ENTRY_BYTES = 8;
const IS_PRESENT = 1n << 63n;
const FRAME = (1n << 55n) - 1n;

/** @throws Error the page is not there (it must have been touched), or this process may not know */
export function physicalAddress(address: bigint): bigint {
  const entry = Buffer.alloc(ENTRY_BYTES);
  const fd = openSync('/proc/self/pagemap', 'r');
  try {
    readSync(fd, entry, 0, ENTRY_BYTES, Number((address / BigInt(PAGE_BYTES)) * BigInt(ENTRY_BYTES)));
  } finally {
    closeSync(fd);
  }
  const value = entry.readBigUInt64LE();
  if ((value & IS_PRESENT) === 0n) throw new Error(`there is no page at 0x${address.toString(16)}`);
  if ((value & FRAME) === 0n) throw new Error('this process may not know where its memory is');
  return (value & FRAME) * BigInt(PAGE_BYTES) + (address % BigInt(PAGE_BYTES));
}
