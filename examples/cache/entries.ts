/**
 * Reads and writes single entries: header, key, value, and the check that tells a whole entry from a torn one.
 *
 * Happy path: `write` fills the room and stores the check last; from that store on the entry is valid. `kill` stores 0
 * there; from then on it is not. Unhappy path: the process is killed in between, and `isWhole` says no, because the check
 * covers hash, lengths, sequence, key and value, and is seeded with the store's secret, its epoch and the entry's own
 * address: neither old content of the room nor bytes that a client chose look like an entry.
 * The expiry is not covered by the check but by 16 bits of its own, since it changes in place (see journal.ts).
 */
import { ENTRY, ENTRY_HEADER_BYTES, GRANULE_MASK, HEADER, REGION_SHIFT, entryBytes } from './layout.js';
import { hashWords, mix } from './hash.js';
import type { Region } from './region.js';

/** Of an entry that lives until it is deleted. */
export const NO_EXPIRY = 0;

/** 16 bits over an expiry, for the upper half of its second word. */
function expiryCheck(low: number, high: number): number {
  return mix(low ^ Math.imul(high + 1, 0x27d4eb2f)) & 0xffff;
}
/** First word of an expiry given in ms since 1970. */
export function expiryLow(expiry: number): number {
  return expiry >>> 0;
}
/** Second word: the upper 16 bits of the time, below a check. */
export function expiryHigh(expiry: number): number {
  const high = Math.floor(expiry / 2 ** 32) & 0xffff;
  return (high | (expiryCheck(expiry >>> 0, high) << 16)) >>> 0;
}

export class Entries {
  readonly regions: readonly Region[];
  readonly #header: Uint32Array;

  constructor(regions: readonly Region[]) {
    this.regions = regions;
    this.#header = regions[0]!.words;
  }

  /** The region of an address. */
  region(address: number): Region {
    return this.regions[address >>> REGION_SHIFT]!;
  }

  /** The number of an entry's first word in its region. */
  word(address: number): number {
    return (address & GRANULE_MASK) << 2;
  }

  /** Fill the room at `address`. The entry is valid when this returns, and has no successor in its bucket. */
  write(
    address: number,
    hash: number,
    expiry: number,
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
  ): void {
    const region = this.region(address);
    const words = region.words;
    const at = this.word(address);
    const sequence = (this.#header[HEADER.sequence]! + 1) >>> 0;
    this.#header[HEADER.sequence] = sequence;
    words[at + ENTRY.check] = 0;
    words[at + ENTRY.next] = 0;
    words[at + ENTRY.hash] = hash;
    words[at + ENTRY.keyLength] = keyLength;
    words[at + ENTRY.valueLength] = valueLength;
    words[at + ENTRY.sequence] = sequence;
    words[at + ENTRY.expiryLow] = expiryLow(expiry);
    words[at + ENTRY.expiryHigh] = expiryHigh(expiry);
    const body = at + ENTRY.body;
    const keyWords = (keyLength + 3) >> 2;
    const end = body + keyWords + Math.ceil(valueLength / 4);
    // The unused bytes of a last word are part of the check.
    if (keyWords > 0) words[body + keyWords - 1] = 0;
    if (valueLength > 0) words[end - 1] = 0;
    region.write(body * 4, key, keyStart, keyLength);
    region.write((body + keyWords) * 4, value, valueStart, valueLength);
    words[at + ENTRY.check] = this.checkOf(address, words, at, end);
  }

  /** The check that a whole entry has; never 0. */
  checkOf(address: number, words: Uint32Array, at: number, end: number): number {
    const seed =
      this.#header[HEADER.secret]! ^
      Math.imul(this.#header[HEADER.epoch]! + 1, 0x165667b1) ^
      Math.imul(address, 0x9e3779b1) ^
      mix(words[at + ENTRY.hash]! ^ Math.imul(words[at + ENTRY.sequence]!, 0x85ebca77)) ^
      mix(words[at + ENTRY.keyLength]! + Math.imul(words[at + ENTRY.valueLength]!, 0xc2b2ae3d));
    return hashWords(words, at + ENTRY.body, end, seed) || 1;
  }

  /** Is there a whole entry in the room of `roomBytes` at `address`? Never throws, whatever lies there. */
  isWhole(address: number, roomBytes: number): boolean {
    const words = this.region(address).words;
    const at = this.word(address);
    const check = words[at + ENTRY.check]!;
    if (check === 0) return false;
    const keyLength = words[at + ENTRY.keyLength]!;
    const valueLength = words[at + ENTRY.valueLength]!;
    if (keyLength > roomBytes || valueLength > roomBytes || entryBytes(keyLength, valueLength) > roomBytes)
      return false;
    const end = at + (ENTRY_HEADER_BYTES >> 2) + ((keyLength + 3) >> 2) + Math.ceil(valueLength / 4);
    if (check !== this.checkOf(address, words, at, end)) return false;
    const low = words[at + ENTRY.expiryLow]!;
    const high = words[at + ENTRY.expiryHigh]!;
    return high >>> 16 === expiryCheck(low, high & 0xffff);
  }

  /** Make an entry void. */
  kill(address: number): void {
    this.region(address).words[this.word(address) + ENTRY.check] = 0;
  }

  /** When it ends, ms since 1970, or NO_EXPIRY. */
  expiry(address: number): number {
    const words = this.region(address).words;
    const at = this.word(address);
    return (words[at + ENTRY.expiryHigh]! & 0xffff) * 2 ** 32 + words[at + ENTRY.expiryLow]!;
  }

  /** Is it the entry of this key? */
  hasKey(address: number, hash: number, key: Uint8Array, start: number, length: number): boolean {
    const region = this.region(address);
    const words = region.words;
    const at = this.word(address);
    if (words[at + ENTRY.hash] !== hash || words[at + ENTRY.keyLength] !== length) return false;
    const bytes = region.bytes;
    const from = (at + ENTRY.body) * 4;
    for (let i = 0; i < length; i += 1) if (bytes[from + i] !== key[start + i]) return false;
    return true;
  }

  keyStart(address: number): number {
    return (this.word(address) + ENTRY.body) * 4;
  }
  keyLength(address: number): number {
    return this.region(address).words[this.word(address) + ENTRY.keyLength]!;
  }
  valueStart(address: number): number {
    return this.keyStart(address) + ((this.keyLength(address) + 3) & ~3);
  }
  valueLength(address: number): number {
    return this.region(address).words[this.word(address) + ENTRY.valueLength]!;
  }
  hash(address: number): number {
    return this.region(address).words[this.word(address) + ENTRY.hash]!;
  }
  sequence(address: number): number {
    return this.region(address).words[this.word(address) + ENTRY.sequence]!;
  }
  next(address: number): number {
    return this.region(address).words[this.word(address) + ENTRY.next]!;
  }
  setNext(address: number, next: number): void {
    this.region(address).words[this.word(address) + ENTRY.next] = next;
  }
}
