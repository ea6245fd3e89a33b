/**
 * Walks over all pages that hold entries, from the page records alone: what the repair and the verification share. It
 * trusts nothing else, and stays inside the region whatever the records say.
 */
import { KIND, PAGE, PAGE_RECORD_WORDS, PAGE_SHIFT, REGION_PAGE_SHIFT, SLOT_BYTES } from './layout.js';
import type { Region } from './region.js';
import { GRANULES_OF_CLASS, SLOTS_OF_CLASS } from './slabs.js';

/** A page, or a run of pages, in use. */
export interface UsedPage {
  readonly region: Region;
  readonly page: number;
  readonly pageId: number;
  /** Number of the first word of its record. */
  readonly record: number;
  readonly kind: 'slab' | 'run' | 'index';
  /** Size class of a slab; -1 else. */
  readonly sizeClass: number;
  /** Pages of a run; 1 else. */
  readonly count: number;
}

/** All pages in use behind the region's tables. A record that makes no sense is passed over as a free page. */
export function* usedPages(regions: readonly Region[]): Generator<UsedPage> {
  for (const [index, region] of regions.entries()) {
    for (let page = region.layout.firstPage; page < region.pageCount; page += 1) {
      const record = region.recordsWord + page * PAGE_RECORD_WORDS;
      const word = region.words[record + PAGE.kind]!;
      const pageId = ((index << REGION_PAGE_SHIFT) | page) >>> 0;
      const rest = word >>> 4;
      const found = { region, page, pageId, record };
      if ((word & 15) === KIND.slab && rest < SLOT_BYTES.length) {
        yield { ...found, kind: 'slab', sizeClass: rest, count: 1 };
      } else if ((word & 15) === KIND.run && rest > 0 && page + rest <= region.pageCount) {
        yield { ...found, kind: 'run', sizeClass: -1, count: rest };
        // The record of a run that was given up meanwhile says nothing about the pages behind it.
        if (region.words[record + PAGE.kind] === word) page += rest - 1;
      } else if ((word & 15) === KIND.index) {
        yield { ...found, kind: 'index', sizeClass: -1, count: 1 };
      }
    }
  }
}

/** The addresses of the slots of a slab page, or the one of a run. */
export function addressesOf(used: UsedPage): number[] {
  const first = (used.pageId << PAGE_SHIFT) >>> 0;
  if (used.kind === 'index') return [];
  if (used.kind === 'run') return [first];
  const step = GRANULES_OF_CLASS[used.sizeClass]!;
  return Array.from({ length: SLOTS_OF_CLASS[used.sizeClass]! }, (_, slot) => first + slot * step);
}
