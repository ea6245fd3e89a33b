/**
 * Gives out pages, single or in runs, from all regions: first fit in a bitmap of pages. The bitmap and the counts of used
 * pages can be rebuilt from the page records; a page's record is the truth, and its owner writes it.
 *
 * Full memory is an answer (0), never an exception. Hints of where to look live in JS and begin at zero.
 */
import {
  BITMAP_WORD,
  HEADER,
  KIND,
  PAGE,
  PAGE_BYTES,
  PAGE_RECORD_WORDS,
  REGION_PAGE_SHIFT,
  type RegionLayout,
} from './layout.js';
import type { Region } from './region.js';

const PAGE_MASK = (1 << REGION_PAGE_SHIFT) - 1;

/** Number of trailing zero bits of a word that is not zero. */
function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

export class Pages {
  readonly #regions: readonly Region[];
  /** Per region: no page before this word of the bitmap is free. */
  readonly #firstMaybeFree: number[];
  #regionHint = 0;

  constructor(regions: readonly Region[]) {
    this.#regions = regions;
    this.#firstMaybeFree = regions.map(() => 0);
  }

  /** Mark what no one may have: the region's own tables, and the bits past its end. */
  format(region: Region): void {
    const { pageCount, firstPage, recordsWord }: RegionLayout = region.layout;
    region.zero(BITMAP_WORD, recordsWord);
    for (let page = 0; page < firstPage; page += 1) {
      this.#mark(region, page, 1);
      region.words[recordsWord + page * PAGE_RECORD_WORDS + PAGE.kind] = KIND.reserved;
    }
    for (let page = pageCount; page < (recordsWord - BITMAP_WORD) * 32; page += 1) this.#mark(region, page, 1);
    region.words[HEADER.pagesUsed] = firstPage;
  }

  /**
   * Take `count` adjoining pages. Their records are the taker's to write.
   * @returns id of the first, or 0 when no region has so many together
   */
  take(count: number): number {
    const regions = this.#regions;
    for (let i = 0; i < regions.length; i += 1) {
      const index = (this.#regionHint + i) % regions.length;
      const region = regions[index]!;
      if (region.pageCount - region.words[HEADER.pagesUsed]! < count) continue;
      const page = count === 1 ? this.#findOne(region, index) : this.#findRun(region, index, count);
      if (page === 0) continue;
      this.#mark(region, page, count);
      region.words[HEADER.pagesUsed]! += count;
      this.#regionHint = index;
      return ((index << REGION_PAGE_SHIFT) | page) >>> 0;
    }
    return 0;
  }

  /** Give back what `take` gave; the record says `free` from now on. */
  give(pageId: number, count: number): void {
    const index = pageId >>> REGION_PAGE_SHIFT;
    const region = this.#regions[index]!;
    const page = pageId & PAGE_MASK;
    region.words[region.recordsWord + page * PAGE_RECORD_WORDS + PAGE.kind] = KIND.free;
    for (let p = page; p < page + count; p += 1) region.words[BITMAP_WORD + (p >>> 5)]! &= ~(1 << (p & 31));
    region.words[HEADER.pagesUsed]! -= count;
    this.#firstMaybeFree[index] = Math.min(this.#firstMaybeFree[index]!, page >>> 5);
    this.#regionHint = Math.min(this.#regionHint, index);
  }

  /** Forget where free pages were seen: the bitmap has been written anew. */
  forget(): void {
    this.#firstMaybeFree.fill(0);
    this.#regionHint = 0;
  }

  /** Take pages that are known to be free: only while a damaged store is being rebuilt. */
  claim(region: Region, page: number, count: number): void {
    this.#mark(region, page, count);
    region.words[HEADER.pagesUsed]! += count;
  }

  /** Bytes in use, in whole pages, the tables of the regions included. */
  get usedBytes(): number {
    return this.#regions.reduce((sum, region) => sum + region.words[HEADER.pagesUsed]! * PAGE_BYTES, 0);
  }

  /** Bytes of all pages. */
  get totalBytes(): number {
    return this.#regions.reduce((sum, region) => sum + region.pageCount * PAGE_BYTES, 0);
  }

  #mark(region: Region, page: number, count: number): void {
    for (let p = page; p < page + count; p += 1) region.words[BITMAP_WORD + (p >>> 5)]! |= 1 << (p & 31);
  }

  #findOne(region: Region, index: number): number {
    const words = region.words;
    for (let word = BITMAP_WORD + this.#firstMaybeFree[index]!; word < region.recordsWord; word += 1) {
      const bits = words[word]!;
      if (bits === 0xffffffff) continue;
      this.#firstMaybeFree[index] = word - BITMAP_WORD;
      return (word - BITMAP_WORD) * 32 + trailingZeros(~bits);
    }
    this.#firstMaybeFree[index] = region.recordsWord - BITMAP_WORD;
    return 0;
  }

  #findRun(region: Region, index: number, count: number): number {
    const words = region.words;
    let run = 0;
    for (let page = this.#firstMaybeFree[index]! * 32; page < region.pageCount;) {
      const bits = words[BITMAP_WORD + (page >>> 5)]!;
      if ((page & 31) === 0 && bits === 0xffffffff) {
        run = 0;
        page += 32;
      } else if ((page & 31) === 0 && bits === 0) {
        run += 32;
        page += 32;
        if (run >= count) return page - run;
      } else {
        run = (bits >>> (page & 31)) & 1 ? 0 : run + 1;
        page += 1;
        if (run >= count) return page - run;
      }
    }
    return 0;
  }
}
