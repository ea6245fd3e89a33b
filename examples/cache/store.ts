/**
 * The cache's store: strings by key, with expiry, in memory that outlives the process. Everything is in the regions;
 * opening an existing store reads one page of each, whatever their size.
 *
 * It never writes before `activate`, so that a successor can attach memory that another process still uses. It never
 * changes an entry's content in place: a new value is a new entry, complete before the index points to it, and the old
 * one is made void after that. So a process that is killed leaves every key with its old value or its new one.
 * Unhappy paths: full memory is an answer (`full`, `false`) that changes nothing; after a death `activate({ torn: true })`
 * verifies every entry and rebuilds the rest (repair.ts).
 *
 * Keys and values are passed as (bytes, start, length), so that nothing is copied but into the store.
 */
import assert from 'node:assert';
import { randomInt } from 'node:crypto';
import { Entries, NO_EXPIRY } from './entries.js';
import { hashKey } from './hash.js';
import { INT64_MAX, INT64_MIN, parseInteger } from './integer.js';
import { changeExpiry } from './journal.js';
import {
  HEADER,
  LAYOUT_VERSION,
  MAGIC0,
  MAGIC1,
  PAGE_RECORD_WORDS,
  REGIONS_MAX,
  SLOT_BYTES,
  entryBytes,
} from './layout.js';
import { Pages } from './pages.js';
import { Region } from './region.js';
import { repair, type RepairReport } from './repair.js';
import { Slabs } from './slabs.js';
import { Table } from './table.js';

/** Longest key, bytes. */
export const KEY_BYTES_MAX = 65_535;
/** Buckets that are looked through for expired entries before a request is refused because the memory is full. */
const FULL_SWEEP_BUCKETS = 256;

/** The memory holds a store that this program cannot use. */
export class StoreError extends Error {
  override name = 'StoreError';
}

/** One key with its value, as pieces of larger buffers. */
export interface Pair {
  readonly key: Uint8Array;
  readonly keyStart: number;
  readonly keyLength: number;
  readonly value: Uint8Array;
  readonly valueStart: number;
  readonly valueLength: number;
}

export interface StoreOptions {
  /** Milliseconds since 1970; by default the system's clock. */
  readonly now?: () => number;
  /** Makes the view of a region; a test may count or stop what is written through it. */
  readonly makeRegion?: (buffer: ArrayBuffer, totalBytes: number) => Region;
}

export class Store {
  readonly regions: readonly Region[];
  readonly entries: Entries;
  readonly pages: Pages;
  readonly slabs: Slabs;
  readonly table: Table;
  readonly #header: Uint32Array;
  readonly #now: () => number;
  readonly #digits = Buffer.alloc(24);
  #writable = false;
  #sweepPlace = 0;
  /** Entries that ended by their expiry since this process began. */
  expired = 0;

  /**
   * Attach memory: fresh (all zero) or that of an earlier process. Writes nothing.
   * @throws StoreError the memory holds something else, another version, or regions of different stores
   * @throws RangeError sizes not usable
   */
  constructor(buffers: readonly ArrayBuffer[], options: StoreOptions = {}) {
    this.#now = options.now ?? Date.now;
    const totalBytes = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    if (buffers.length === 0 || buffers.length > REGIONS_MAX) {
      throw new RangeError(`a store has 1 to ${REGIONS_MAX} regions, not ${buffers.length}`);
    }
    const makeRegion = options.makeRegion ?? ((buffer, total) => new Region(buffer, total));
    this.regions = buffers.map((buffer, index) => makeRegion(buffer, index === 0 ? totalBytes : 0));
    this.#header = this.regions[0]!.words;
    if (this.formatted) this.#checkHeaders();
    else if (this.#header[HEADER.magic0] !== 0 && this.#header[HEADER.magic0] !== MAGIC0) {
      throw new StoreError('the memory holds something that is not a cache');
    }
    this.entries = new Entries(this.regions);
    this.pages = new Pages(this.regions);
    this.slabs = new Slabs(this.regions, this.pages);
    this.table = new Table(this.entries, this.pages);
  }

  /** Has an earlier process, or this one, begun a store here? */
  get formatted(): boolean {
    return this.#header[HEADER.formatted] === 1;
  }

  /**
   * From now on this process writes. Fresh memory is formatted; torn memory is repaired, which takes time by its size.
   * @returns what the repair found, or undefined when there was none
   */
  activate(how: { readonly torn: boolean }): RepairReport | undefined {
    this.#writable = true;
    if (!this.formatted) this.#format();
    else if (how.torn) return repair(this);
    return undefined;
  }

  /** From now on this process writes nothing, expiry included; `activate` undoes it. */
  deactivate(): void {
    this.#writable = false;
  }

  /** Entries, those included that have expired and were not met since. */
  get count(): number {
    return this.#header[HEADER.entries]!;
  }
  /** Entries that have an expiry. */
  get volatileCount(): number {
    return this.#header[HEADER.volatileEntries]!;
  }
  /** A number of the header (HEADER); for INFO and tests. */
  headerWord(word: number): number {
    return this.#header[word]!;
  }

  /** The live entry of a key, or 0. An expired one is taken out on the way, unless this process may not write. */
  lookup(key: Uint8Array, start: number, length: number): number {
    const address = this.table.find(this.#hash(key, start, length), key, start, length);
    if (address === 0 || !this.#isExpired(address)) return address;
    if (this.#writable) this.#expire(address);
    return 0;
  }

  /**
   * Set a key.
   * @param expiry ms since 1970, or NO_EXPIRY
   * @returns false when the memory is full; nothing has changed then
   */
  set(pair: Pair, expiry: number): boolean {
    const address = this.#allocate(entryBytes(pair.keyLength, pair.valueLength));
    if (address === 0) return false;
    this.#place(address, pair, expiry);
    return true;
  }

  /** Set several keys without expiry, all or none. @returns false when the memory is full */
  setMany(pairs: readonly Pair[]): boolean {
    const addresses: number[] = [];
    for (const pair of pairs) {
      const address = this.#allocate(entryBytes(pair.keyLength, pair.valueLength));
      if (address === 0) {
        for (const taken of addresses) this.slabs.free(taken);
        return false;
      }
      addresses.push(address);
    }
    for (const [index, pair] of pairs.entries()) this.#place(addresses[index]!, pair, NO_EXPIRY);
    return true;
  }

  /** @returns whether the key was there */
  delete(key: Uint8Array, start: number, length: number): boolean {
    this.#mustWrite();
    const address = this.lookup(key, start, length);
    if (address === 0) return false;
    this.#drop(address);
    return true;
  }

  /**
   * Add to the integer that a key holds (0 when there is no such key). The expiry stays.
   * @returns the new value, or why nothing has changed
   */
  increment(
    key: Uint8Array,
    start: number,
    length: number,
    by: number | bigint,
  ): number | bigint | 'not-integer' | 'overflow' | 'full' {
    const old = this.lookup(key, start, length);
    let value: number | bigint = 0;
    let expiry = NO_EXPIRY;
    if (old !== 0) {
      const bytes = this.entries.region(old).bytes;
      const parsed = parseInteger(bytes, this.entries.valueStart(old), this.entries.valueLength(old));
      if (parsed === undefined) return 'not-integer';
      value = parsed;
      expiry = this.entries.expiry(old);
    }
    const sum = typeof value === 'number' && typeof by === 'number' ? value + by : BigInt(value) + BigInt(by);
    // The sum of two safe integers may not be one: then count again in 64 bits.
    const result = typeof sum === 'number' && !Number.isSafeInteger(sum) ? BigInt(value) + BigInt(by) : sum;
    if (typeof result === 'bigint' && (result > INT64_MAX || result < INT64_MIN)) return 'overflow';
    const valueLength = this.#digits.write(String(result), 'latin1');
    const pair = { key, keyStart: start, keyLength: length, value: this.#digits, valueStart: 0, valueLength };
    return this.set(pair, expiry) ? result : 'full';
  }

  /** When a live entry ends, ms since 1970, or NO_EXPIRY. */
  expiry(address: number): number {
    return this.entries.expiry(address);
  }

  /** Give a live entry another end. One in the past takes it out at once. */
  setExpiry(address: number, expiry: number): void {
    this.#mustWrite();
    const before = this.entries.expiry(address) === NO_EXPIRY ? 0 : 1;
    changeExpiry(this.entries, address, expiry);
    this.#header[HEADER.volatileEntries]! += (expiry === NO_EXPIRY ? 0 : 1) - before;
  }

  /**
   * Visit live entries from a place on. Every key that is there from the first call of a scan to its last is visited.
   * @param cursor 0, or what the last call gave
   * @param count stop after the bucket in which so many have been visited
   * @returns the next cursor, 0 at the end
   */
  scan(cursor: number, count: number, visit: (address: number) => void): number {
    const now = this.#now();
    let place = cursor;
    let seen = 0;
    for (let buckets = 0; buckets < count * 10 && seen < count; buckets += 1) {
      let address = this.table.head(this.table.bucketAt(place));
      while (address !== 0) {
        const next = this.entries.next(address);
        if (this.table.place(this.entries.hash(address)) >= place && !this.#isExpired(address, now)) {
          visit(address);
          seen += 1;
        }
        address = next;
      }
      place = this.table.nextPlace(place);
      if (place === 0) return 0;
    }
    return place;
  }

  /**
   * Look through some buckets, where the last call ended, and take out what has expired.
   * @returns how many were taken out
   */
  sweep(buckets: number): number {
    this.#mustWrite();
    if (this.volatileCount === 0) return 0;
    const before = this.expired;
    const now = this.#now();
    for (let i = 0; i < Math.min(buckets, this.table.buckets); i += 1) {
      let address = this.table.head(this.table.bucketAt(this.#sweepPlace));
      // The place is moved on first: taking entries out may merge this bucket with another.
      this.#sweepPlace = this.table.nextPlace(this.#sweepPlace);
      while (address !== 0) {
        const next = this.entries.next(address);
        if (this.#isExpired(address, now)) {
          const bytes = this.entries.region(address).bytes;
          const start = this.entries.keyStart(address);
          const length = this.entries.keyLength(address);
          this.table.find(this.entries.hash(address), bytes, start, length);
          this.#expire(address);
        }
        address = next;
      }
    }
    return this.expired - before;
  }

  /** Forget everything, at once: a new epoch makes every entry void, then the pages are given back. */
  clear(): void {
    this.#mustWrite();
    this.#header[HEADER.epoch]! += 1;
    this.#reset({ fresh: false });
  }

  /** Empty page records, lists, counters and index. The entries must be void already. */
  #reset(how: { readonly fresh: boolean }): void {
    for (const region of this.regions) {
      const { recordsWord, pageCount } = region.layout;
      if (!how.fresh) region.zero(recordsWord, recordsWord + pageCount * PAGE_RECORD_WORDS);
      this.pages.format(region);
    }
    this.pages.forget();
    for (let index = 0; index < SLOT_BYTES.length; index += 1) this.#header[HEADER.partial + index] = 0;
    this.#header[HEADER.entries] = 0;
    this.#header[HEADER.volatileEntries] = 0;
    this.table.format();
  }

  /** Bytes in use, in whole pages, and of all pages. */
  get memory(): { readonly usedBytes: number; readonly totalBytes: number } {
    return { usedBytes: this.pages.usedBytes, totalBytes: this.pages.totalBytes };
  }

  #hash(key: Uint8Array, start: number, length: number): number {
    return hashKey(key, start, length, this.#header[HEADER.secret]!);
  }

  #isExpired(address: number, now = 0): boolean {
    const expiry = this.entries.expiry(address);
    return expiry !== NO_EXPIRY && expiry <= (now || this.#now());
  }

  #allocate(sizeBytes: number): number {
    this.#mustWrite();
    const address = this.slabs.allocate(sizeBytes);
    if (address !== 0 || this.volatileCount === 0) return address;
    return this.sweep(FULL_SWEEP_BUCKETS) > 0 ? this.slabs.allocate(sizeBytes) : 0;
  }

  #place(address: number, pair: Pair, expiry: number): void {
    const { key, keyStart, keyLength } = pair;
    const hash = this.#hash(key, keyStart, keyLength);
    const old = this.table.find(hash, key, keyStart, keyLength);
    const { value, valueStart, valueLength } = pair;
    this.entries.write(address, hash, expiry, key, keyStart, keyLength, value, valueStart, valueLength);
    if (expiry !== NO_EXPIRY) this.#header[HEADER.volatileEntries]! += 1;
    if (old === 0) {
      this.#header[HEADER.entries]! += 1;
      this.table.insert(address, hash);
    } else {
      this.table.replace(old, address);
      this.#release(old);
    }
  }

  /** Take out an entry that `table.find` has just found. */
  #drop(address: number): void {
    this.table.remove(address);
    this.#header[HEADER.entries]! -= 1;
    this.#release(address);
    this.table.shrink();
  }

  #expire(address: number): void {
    this.expired += 1;
    this.#drop(address);
  }

  #release(address: number): void {
    if (this.entries.expiry(address) !== NO_EXPIRY) this.#header[HEADER.volatileEntries]! -= 1;
    this.entries.kill(address);
    this.slabs.free(address);
  }

  #mustWrite(): void {
    assert(this.#writable, 'the store is not this process’s to write: activate comes first');
  }

  #format(): void {
    const storeId = [randomInt(2 ** 32), randomInt(2 ** 32)] as const;
    // An earlier process may have died in the middle of this; else the memory is zero and is left untouched.
    const fresh = this.#header[HEADER.magic0] === 0;
    for (const [index, region] of this.regions.entries()) {
      const words = region.words;
      words[HEADER.magic0] = MAGIC0;
      words[HEADER.magic1] = MAGIC1;
      words[HEADER.version] = LAYOUT_VERSION;
      words[HEADER.regionIndex] = index;
      words[HEADER.regionCount] = this.regions.length;
      [words[HEADER.storeId0], words[HEADER.storeId1]] = storeId;
      words[HEADER.pageCount] = region.pageCount;
    }
    this.#header[HEADER.secret] = randomInt(2 ** 32);
    this.#reset({ fresh });
    for (const region of [...this.regions].reverse()) region.words[HEADER.formatted] = 1;
  }

  #checkHeaders(): void {
    for (const [index, region] of this.regions.entries()) {
      const words = region.words;
      if (words[HEADER.magic0] !== MAGIC0 || words[HEADER.magic1] !== MAGIC1) {
        throw new StoreError(`region ${index} holds something that is not a cache`);
      }
      if (words[HEADER.version] !== LAYOUT_VERSION) {
        throw new StoreError(
          `region ${index} has layout ${words[HEADER.version]}; this program knows ${LAYOUT_VERSION}`,
        );
      }
      const same =
        words[HEADER.storeId0] === this.#header[HEADER.storeId0] &&
        words[HEADER.storeId1] === this.#header[HEADER.storeId1] &&
        words[HEADER.regionIndex] === index &&
        words[HEADER.regionCount] === this.regions.length &&
        words[HEADER.pageCount] === region.pageCount;
      if (!same) throw new StoreError(`region ${index} belongs to another store, or its place or size has changed`);
    }
  }
}
