/**
 * Gives out room for entries: slots of equal size in slab pages (segregated free lists, one per size class), and runs of
 * whole pages for what is larger than half a page. A slab page whose last slot is given back becomes an ordinary page
 * again, so that memory moves between sizes. At most half of a large entry's room is lost to rounding, a fifth of a
 * small one's.
 *
 * It never looks into entries. Free slots are linked through their second word; the first is 0 (no valid check).
 */
import {
  CLASS_OF_GRANULES,
  ENTRY,
  GRANULE_BYTES,
  GRANULE_MASK,
  HEADER,
  KIND,
  PAGE,
  PAGE_BYTES,
  PAGE_RECORD_WORDS,
  PAGE_SHIFT,
  REGION_PAGE_SHIFT,
  SLOT_BYTES,
  SLOT_BYTES_MAX,
} from './layout.js';
import type { Pages } from './pages.js';
import type { Region } from './region.js';

const PAGE_MASK = (1 << REGION_PAGE_SHIFT) - 1;
/** Slots of a page, and granules of a slot, by size class. */
export const SLOTS_OF_CLASS = SLOT_BYTES.map((bytes) => Math.floor(PAGE_BYTES / bytes));
export const GRANULES_OF_CLASS = SLOT_BYTES.map((bytes) => bytes / GRANULE_BYTES);

export class Slabs {
  readonly #regions: readonly Region[];
  readonly #pages: Pages;
  /** Words of region 0: the heads of the lists. */
  readonly #header: Uint32Array;

  constructor(regions: readonly Region[], pages: Pages) {
    this.#regions = regions;
    this.#pages = pages;
    this.#header = regions[0]!.words;
  }

  /** Room for `sizeBytes`. @returns its address, or 0 when the memory is full */
  allocate(sizeBytes: number): number {
    if (sizeBytes > SLOT_BYTES_MAX) return this.#allocateRun(Math.ceil(sizeBytes / PAGE_BYTES));
    const sizeClass = CLASS_OF_GRANULES[(sizeBytes + GRANULE_BYTES - 1) >> 4]!;
    let pageId = this.#header[HEADER.partial + sizeClass]!;
    if (pageId === 0) {
      pageId = this.#newPage(sizeClass);
      if (pageId === 0) return 0;
    }
    const words = this.#regions[pageId >>> REGION_PAGE_SHIFT]!.words;
    const record = this.#record(pageId);
    const first = pageId << PAGE_SHIFT;
    let slot = words[record + PAGE.freeSlot]!;
    if (slot !== 0) {
      slot -= 1;
      const address = first + slot * GRANULES_OF_CLASS[sizeClass]!;
      words[record + PAGE.freeSlot] = words[((address & GRANULE_MASK) << 2) + ENTRY.next]!;
    } else {
      slot = words[record + PAGE.carved]!;
      words[record + PAGE.carved] = slot + 1;
    }
    const used = words[record + PAGE.used]! + 1;
    words[record + PAGE.used] = used;
    if (used === SLOTS_OF_CLASS[sizeClass]) this.#unlink(pageId, sizeClass);
    return (first + slot * GRANULES_OF_CLASS[sizeClass]!) >>> 0;
  }

  /** Give back what `allocate` gave. The caller has already made the entry's check 0. */
  free(address: number): void {
    const pageId = address >>> PAGE_SHIFT;
    const region = this.#regions[pageId >>> REGION_PAGE_SHIFT]!;
    const words = region.words;
    const record = this.#record(pageId);
    const kind = words[record + PAGE.kind]!;
    if ((kind & 15) === KIND.run) {
      this.#pages.give(pageId, kind >>> 4);
      return;
    }
    const sizeClass = kind >>> 4;
    const slot = (address & ((1 << PAGE_SHIFT) - 1)) / GRANULES_OF_CLASS[sizeClass]!;
    words[((address & GRANULE_MASK) << 2) + ENTRY.next] = words[record + PAGE.freeSlot]!;
    words[record + PAGE.freeSlot] = slot + 1;
    const used = words[record + PAGE.used]! - 1;
    words[record + PAGE.used] = used;
    if (used === SLOTS_OF_CLASS[sizeClass]! - 1) this.link(pageId, sizeClass);
    // The last page with room of its class is kept, so that one entry that comes and goes does not take and give pages.
    if (used === 0 && (words[record + PAGE.next] !== 0 || words[record + PAGE.previous] !== 0)) {
      this.#unlink(pageId, sizeClass);
      this.#pages.give(pageId, 1);
    }
  }

  /** Bytes that were given out for `address`. */
  roomBytes(address: number): number {
    const pageId = address >>> PAGE_SHIFT;
    const kind = this.#regions[pageId >>> REGION_PAGE_SHIFT]!.words[this.#record(pageId) + PAGE.kind]!;
    return (kind & 15) === KIND.run ? (kind >>> 4) * PAGE_BYTES : SLOT_BYTES[kind >>> 4]!;
  }

  /** Put a page at the head of the list of those with room. */
  link(pageId: number, sizeClass: number): void {
    const head = this.#header[HEADER.partial + sizeClass]!;
    const record = this.#record(pageId);
    const words = this.#regions[pageId >>> REGION_PAGE_SHIFT]!.words;
    words[record + PAGE.next] = head;
    words[record + PAGE.previous] = 0;
    if (head !== 0) this.#regions[head >>> REGION_PAGE_SHIFT]!.words[this.#record(head) + PAGE.previous] = pageId;
    this.#header[HEADER.partial + sizeClass] = pageId;
  }

  #unlink(pageId: number, sizeClass: number): void {
    const record = this.#record(pageId);
    const words = this.#regions[pageId >>> REGION_PAGE_SHIFT]!.words;
    const next = words[record + PAGE.next]!;
    const previous = words[record + PAGE.previous]!;
    if (previous === 0) this.#header[HEADER.partial + sizeClass] = next;
    else this.#regions[previous >>> REGION_PAGE_SHIFT]!.words[this.#record(previous) + PAGE.next] = next;
    if (next !== 0) this.#regions[next >>> REGION_PAGE_SHIFT]!.words[this.#record(next) + PAGE.previous] = previous;
    words[record + PAGE.next] = 0;
    words[record + PAGE.previous] = 0;
  }

  #newPage(sizeClass: number): number {
    const pageId = this.#pages.take(1);
    if (pageId === 0) return 0;
    const words = this.#regions[pageId >>> REGION_PAGE_SHIFT]!.words;
    const record = this.#record(pageId);
    words[record + PAGE.used] = 0;
    words[record + PAGE.freeSlot] = 0;
    words[record + PAGE.carved] = 0;
    words[record + PAGE.kind] = KIND.slab | (sizeClass << 4);
    this.link(pageId, sizeClass);
    return pageId;
  }

  #allocateRun(count: number): number {
    const pageId = this.#pages.take(count);
    if (pageId === 0) return 0;
    // A repair that finds this record must not find a valid entry of an earlier life of the page behind it.
    const words = this.#regions[pageId >>> REGION_PAGE_SHIFT]!.words;
    words[(((pageId << PAGE_SHIFT) & GRANULE_MASK) << 2) + ENTRY.check] = 0;
    words[this.#record(pageId) + PAGE.kind] = KIND.run | (count << 4);
    return (pageId << PAGE_SHIFT) >>> 0;
  }

  #record(pageId: number): number {
    return this.#regions[pageId >>> REGION_PAGE_SHIFT]!.recordsWord + (pageId & PAGE_MASK) * PAGE_RECORD_WORDS;
  }
}
