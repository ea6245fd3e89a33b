/**
 * The index: a hash table that grows and shrinks by one bucket at a time (linear hashing), so that no request ever waits
 * for a rehash. Buckets are heads of chains through the entries' `next`. They lie in pages of 4096; the directory of
 * those pages is in region 0. When there is no page for a new segment the chains become longer; that is all.
 *
 * Scanning: every key has a place for ever, its hash read backwards. A bucket holds one interval of these places whatever
 * the size of the table, so a scan that goes up the places returns each key that is there all the time.
 */
import {
  BUCKETS_MIN,
  HEADER,
  KIND,
  PAGE,
  PAGE_RECORD_WORDS,
  PAGE_WORDS,
  REGION_PAGE_SHIFT,
  SEGMENT_BUCKETS,
} from './layout.js';
import type { Entries } from './entries.js';
import type { Pages } from './pages.js';
import type { Region } from './region.js';

const PAGE_MASK = (1 << REGION_PAGE_SHIFT) - 1;

/** Buckets per entry at which the table shrinks, and buckets that one deletion gives up: more, so that it keeps up. */
const SPARSE = 8;
const MERGES_MAX = 2 * SPARSE;

/** The bits of a word in the opposite order. */
export function reverseBits(word: number): number {
  let v = word;
  v = ((v >>> 1) & 0x55555555) | ((v & 0x55555555) << 1);
  v = ((v >>> 2) & 0x33333333) | ((v & 0x33333333) << 2);
  v = ((v >>> 4) & 0x0f0f0f0f) | ((v & 0x0f0f0f0f) << 4);
  v = ((v >>> 8) & 0x00ff00ff) | ((v & 0x00ff00ff) << 8);
  return ((v >>> 16) | (v << 16)) >>> 0;
}

export class Table {
  readonly #entries: Entries;
  readonly #pages: Pages;
  readonly #regions: readonly Region[];
  readonly #header: Uint32Array;
  readonly #directory: number;
  readonly #segmentsMax: number;
  /** Set by `find`: what comes before the entry in its bucket, 0 for the bucket itself. */
  before = 0;

  constructor(entries: Entries, pages: Pages) {
    this.#entries = entries;
    this.#pages = pages;
    this.#regions = entries.regions;
    this.#header = entries.regions[0]!.words;
    this.#directory = entries.regions[0]!.layout.directoryWord;
    this.#segmentsMax = entries.regions[0]!.layout.directoryWords;
  }

  get buckets(): number {
    return this.#header[HEADER.buckets]!;
  }

  /** Begin empty. Every page of an earlier index has been given back already. @throws RangeError no page is free */
  format(): void {
    this.#header[HEADER.segments] = 0;
    if (!this.#addSegment()) throw new RangeError('no page is left for the index');
    this.#header[HEADER.buckets] = BUCKETS_MIN;
  }

  /** The number of the bucket of a hash. */
  bucketOf(hash: number): number {
    const buckets = this.#header[HEADER.buckets]!;
    const mask = 0xffffffff >>> Math.clz32(buckets);
    const bucket = hash & mask;
    return bucket < buckets ? bucket : bucket & (mask >>> 1);
  }

  head(bucket: number): number {
    const segment = this.#header[this.#directory + ((bucket / SEGMENT_BUCKETS) | 0)]!;
    return this.#regions[segment >>> REGION_PAGE_SHIFT]!.words[
      (segment & PAGE_MASK) * PAGE_WORDS + (bucket & (SEGMENT_BUCKETS - 1))
    ]!;
  }

  #setHead(bucket: number, address: number): void {
    const segment = this.#header[this.#directory + ((bucket / SEGMENT_BUCKETS) | 0)]!;
    this.#regions[segment >>> REGION_PAGE_SHIFT]!.words[
      (segment & PAGE_MASK) * PAGE_WORDS + (bucket & (SEGMENT_BUCKETS - 1))
    ] = address;
  }

  /** The entry of a key, or 0; `before` says where it hangs. */
  find(hash: number, key: Uint8Array, start: number, length: number): number {
    let before = 0;
    let address = this.head(this.bucketOf(hash));
    while (address !== 0) {
      if (this.#entries.hasKey(address, hash, key, start, length)) {
        this.before = before;
        return address;
      }
      before = address;
      address = this.#entries.next(address);
    }
    return 0;
  }

  /** Hang a new entry into its bucket; no other entry has its key. */
  insert(address: number, hash: number): void {
    const bucket = this.bucketOf(hash);
    this.#entries.setNext(address, this.head(bucket));
    this.#setHead(bucket, address);
    if (this.#header[HEADER.entries]! > this.#header[HEADER.buckets]!) this.#grow();
  }

  /** Put `by` in the place of `address`, which `find` has just found. One store switches over. */
  replace(address: number, by: number): void {
    this.#entries.setNext(by, this.#entries.next(address));
    this.#redirect(address, by);
  }

  /** Take out `address`, which `find` has just found. */
  remove(address: number): void {
    this.#redirect(address, this.#entries.next(address));
  }

  /** After an entry has been taken out: give up some buckets when there are far too many. */
  shrink(): void {
    for (let merged = 0; merged < MERGES_MAX; merged += 1) {
      const buckets = this.#header[HEADER.buckets]!;
      if (buckets <= BUCKETS_MIN || this.#header[HEADER.entries]! >= buckets / SPARSE) return;
      this.#mergeLast(buckets);
    }
  }

  /** The place of a hash in the order of scans. */
  place(hash: number): number {
    return reverseBits(hash);
  }

  /** The bucket that holds a place. */
  bucketAt(place: number): number {
    return this.bucketOf(reverseBits(place));
  }

  /** The first place after those of the bucket that holds `place`; 0 after the last. */
  nextPlace(place: number): number {
    const buckets = this.#header[HEADER.buckets]!;
    const top = 31 - Math.clz32(buckets);
    const bucket = this.bucketAt(place);
    const split = buckets - 2 ** top;
    const depth = bucket >= 2 ** top || bucket < split ? top + 1 : top;
    const width = 2 ** (32 - depth);
    return (Math.floor(place / width) * width + width) % 2 ** 32;
  }

  /** Ids of the pages of the index. */
  *segments(): Generator<number> {
    for (let i = 0; i < this.#header[HEADER.segments]!; i += 1) yield this.#header[this.#directory + i]!;
  }

  #redirect(address: number, to: number): void {
    if (this.before === 0) this.#setHead(this.bucketOf(this.#entries.hash(address)), to);
    else this.#entries.setNext(this.before, to);
  }

  #grow(): void {
    const buckets = this.#header[HEADER.buckets]!;
    if (buckets === this.#header[HEADER.segments]! * SEGMENT_BUCKETS && !this.#addSegment()) return;
    const half = 2 ** (31 - Math.clz32(buckets));
    const from = buckets - half;
    let stay = 0;
    let go = 0;
    let address = this.head(from);
    while (address !== 0) {
      const next = this.#entries.next(address);
      if (this.#entries.hash(address) & half) {
        this.#entries.setNext(address, go);
        go = address;
      } else {
        this.#entries.setNext(address, stay);
        stay = address;
      }
      address = next;
    }
    this.#setHead(buckets, go);
    this.#setHead(from, stay);
    this.#header[HEADER.buckets] = buckets + 1;
  }

  #mergeLast(buckets: number): void {
    const last = buckets - 1;
    const into = last - 2 ** (31 - Math.clz32(last));
    let address = this.head(last);
    while (address !== 0) {
      const next = this.#entries.next(address);
      this.#entries.setNext(address, this.head(into));
      this.#setHead(into, address);
      address = next;
    }
    this.#setHead(last, 0);
    this.#header[HEADER.buckets] = last;
    const segments = this.#header[HEADER.segments]!;
    if (segments > 1 && last === (segments - 1) * SEGMENT_BUCKETS) {
      this.#header[HEADER.segments] = segments - 1;
      this.#pages.give(this.#header[this.#directory + segments - 1]!, 1);
    }
  }

  #addSegment(): boolean {
    const segments = this.#header[HEADER.segments]!;
    if (segments === this.#segmentsMax) return false;
    const pageId = this.#pages.take(1);
    if (pageId === 0) return false;
    const region = this.#regions[pageId >>> REGION_PAGE_SHIFT]!;
    const page = pageId & PAGE_MASK;
    region.words[region.recordsWord + page * PAGE_RECORD_WORDS + PAGE.kind] = KIND.index;
    region.zero(page * PAGE_WORDS, (page + 1) * PAGE_WORDS);
    this.#header[this.#directory + segments] = pageId;
    this.#header[HEADER.segments] = segments + 1;
    return true;
  }
}
