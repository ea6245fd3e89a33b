/**
 * Where everything lies in the cache's memory. Pure numbers; the code that moves bytes is in the other files.
 *
 * A store is one or more *regions* of at most 4 GiB (the largest view that every supported Node allows). A region is cut
 * into pages of 16 KiB; each page is free, a slab of equal slots, the head or the rest of a run for one large entry, or
 * a segment of the index. An *address* is a u32: 4 bits of region and 28 bits of 16-byte granules; 0 is no address.
 *
 * ```
 * region: | header 4 KiB | page bitmap | page records, 32 B each | directory (region 0 only) | pages ... |
 * entry:  | check | next | hash | key length | value length | sequence | expiry (2 words) | key | value |
 * ```
 * What is needed to find every entry again after a torn write: `kind` of each page (one aligned word) and `check` of
 * each entry. All else (bitmap, free lists, index, counters) can be rebuilt from these; see repair.ts.
 */

/** Version of this layout; a store of another version is refused, never converted silently. */
export const LAYOUT_VERSION = 1;
/** What a region says to luo that it is. */
export const COMPATIBLE = `luo-cache-region/${LAYOUT_VERSION}`;

export const GRANULE_BYTES = 16;
export const PAGE_BYTES = 16_384;
/** Granules of a page, as a shift: an address without these bits is a page id. */
export const PAGE_SHIFT = 10;
export const PAGE_WORDS = PAGE_BYTES / 4;
/** Granules of a region, as a shift. */
export const REGION_SHIFT = 28;
export const GRANULE_MASK = (1 << REGION_SHIFT) - 1;
/** Pages of a region, as a shift in a page id. */
export const REGION_PAGE_SHIFT = REGION_SHIFT - PAGE_SHIFT;
export const REGION_BYTES_MAX = 2 ** 32;
export const REGIONS_MAX = 16;

/** Word numbers in the header of each region. */
export const HEADER = {
  magic0: 0,
  magic1: 1,
  version: 2,
  regionIndex: 3,
  regionCount: 4,
  storeId0: 5,
  storeId1: 6,
  pageCount: 7,
  /** 1 when everything else has been written for the first time. */
  formatted: 8,
  pagesUsed: 9,
  // From here on: region 0 only.
  secret: 16,
  /** Part of every check: FLUSHALL counts it up and so makes every entry void with one store. */
  epoch: 17,
  sequence: 18,
  entries: 19,
  volatileEntries: 20,
  buckets: 21,
  segments: 22,
  /** A change of expiry in flight: address, two words of new expiry, check. */
  journalAddress: 24,
  journalLow: 25,
  journalHigh: 26,
  journalCheck: 27,
  // Statistics of the last repair, for INFO.
  repairs: 40,
  repairedKept: 41,
  repairedDropped: 42,
  repairedDuplicates: 43,
  /** Heads of the lists of slab pages that have a free slot, one word per size class: page ids. */
  partial: 64,
} as const;

export const MAGIC0 = 0x434f554c; // 'LUOC'
export const MAGIC1 = 0x45484341; // 'ACHE'
export const BITMAP_WORD = 1024;

/** Word numbers in a page record. */
export const PAGE = { kind: 0, used: 1, freeSlot: 2, carved: 3, next: 4, previous: 5 } as const;
export const PAGE_RECORD_WORDS = 8;
/** Low four bits of `kind`; the rest is the size class of a slab, or the pages of a run. */
export const KIND = { free: 0, slab: 1, run: 2, index: 3, reserved: 4 } as const;

/** Word numbers in an entry. */
export const ENTRY = {
  check: 0,
  next: 1,
  hash: 2,
  keyLength: 3,
  valueLength: 4,
  sequence: 5,
  expiryLow: 6,
  expiryHigh: 7,
  body: 8,
} as const;
export const ENTRY_HEADER_BYTES = 32;

/** Slot sizes in bytes: steps of an eighth to a quarter, the large ones exact parts of a page. */
export const SLOT_BYTES = [
  48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1168, 1360, 1632, 1808,
  2048, 2336, 2720, 3264, 4096, 5456, 8192,
] as const;
export const SLOT_BYTES_MAX = 8192;

/** Index by granules: the size class of an entry of so many granules. */
export const CLASS_OF_GRANULES = ((): Uint8Array => {
  const classes = new Uint8Array(SLOT_BYTES_MAX / GRANULE_BYTES + 1);
  let index = 0;
  for (let granules = 0; granules < classes.length; granules += 1) {
    while (SLOT_BYTES[index]! < granules * GRANULE_BYTES) index += 1;
    classes[granules] = index;
  }
  return classes;
})();

/** Buckets of one page of the index. */
export const SEGMENT_BUCKETS = PAGE_WORDS;
/** Buckets of an empty store. */
export const BUCKETS_MIN = 16;

/** Where the parts of a region begin. */
export interface RegionLayout {
  readonly pageCount: number;
  /** Word number of the first page record. */
  readonly recordsWord: number;
  /** Word number of the directory of index segments, and its words; 0 but in region 0. */
  readonly directoryWord: number;
  readonly directoryWords: number;
  /** The first page that can be given out. */
  readonly firstPage: number;
}

/**
 * @param sizeBytes of this region
 * @param totalBytes of all regions when this is region 0, else 0: sizes the directory
 * @throws RangeError when the region is too small to hold anything, or larger than 4 GiB
 */
export function regionLayout(sizeBytes: number, totalBytes: number): RegionLayout {
  const pageCount = Math.floor(sizeBytes / PAGE_BYTES);
  if (sizeBytes > REGION_BYTES_MAX) throw new RangeError(`a region of ${sizeBytes} bytes is larger than 4 GiB`);
  const recordsWord = BITMAP_WORD + Math.ceil(pageCount / 128) * 4;
  const directoryWord = totalBytes > 0 ? recordsWord + pageCount * PAGE_RECORD_WORDS : 0;
  const directoryWords = totalBytes > 0 ? Math.ceil(totalBytes / SLOT_BYTES[0] / SEGMENT_BUCKETS) : 0;
  const endWord = recordsWord + pageCount * PAGE_RECORD_WORDS + directoryWords;
  const firstPage = Math.ceil(endWord / PAGE_WORDS);
  if (firstPage + 2 > pageCount) throw new RangeError(`a region of ${sizeBytes} bytes is too small: 64 KiB at least`);
  return { pageCount, recordsWord, directoryWord, directoryWords, firstPage };
}

/** Bytes of an entry: header, key and value, each begun on a word. */
export function entryBytes(keyLength: number, valueLength: number): number {
  return ENTRY_HEADER_BYTES + ((keyLength + 3) & ~3) + Math.ceil(valueLength / 4) * 4;
}
