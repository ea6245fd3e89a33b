/**
 * The three hashes of the cache, all plain 32-bit arithmetic: of a key (which bucket), of an entry's words (is it
 * whole), and of a key with its value (the digest that a client can compute too). None of them is cryptographic; the
 * first two are seeded with the store's own secret, so that a client can neither aim at one bucket nor forge an entry.
 */

const PRIME1 = 0x9e3779b1;
const PRIME2 = 0x85ebca77;
const PRIME3 = 0xc2b2ae3d;

/** Mix the bits of a 32-bit number; the low bits of the result depend on all of them. */
export function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), PRIME2);
  h = Math.imul(h ^ (h >>> 13), PRIME3);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Hash of a key. */
export function hashKey(bytes: Uint8Array, start: number, length: number, seed: number): number {
  let h = seed ^ length;
  const end = start + length;
  for (let i = start; i < end; i += 1) h = Math.imul(h ^ bytes[i]!, PRIME1) ^ (h >>> 15);
  return mix(h);
}

/** Hash of the words from `start` up to `end`. Four lanes, because one would wait for each multiplication. */
export function hashWords(words: Uint32Array, start: number, end: number, seed: number): number {
  let a = seed;
  let b = seed ^ PRIME2;
  let c = seed ^ PRIME3;
  let d = ~seed;
  let i = start;
  for (const last = end - 3; i < last; i += 4) {
    a = Math.imul(a ^ words[i]!, PRIME1) ^ (a >>> 15);
    b = Math.imul(b ^ words[i + 1]!, PRIME2) ^ (b >>> 14);
    c = Math.imul(c ^ words[i + 2]!, PRIME3) ^ (c >>> 13);
    d = Math.imul(d ^ words[i + 3]!, PRIME1) ^ (d >>> 16);
  }
  for (; i < end; i += 1) a = Math.imul(a ^ words[i]!, PRIME1) ^ (a >>> 15);
  return mix(mix(a) ^ Math.imul(mix(b), PRIME1) ^ Math.imul(mix(c), PRIME2) ^ Math.imul(mix(d), PRIME3));
}

/**
 * A digest of any number of keys with their values. The order in which they are added does not matter, and the digests
 * of two disjoint sets add up to that of both: so a client can take it in pieces, or compute what it must be.
 */
export class Digest {
  count = 0;
  #low = 0;
  #high = 0;

  /** Add one key with its value. */
  add(
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
  ): void {
    const keyHash = hashKey(key, keyStart, keyLength, PRIME3);
    let a = keyHash ^ valueLength;
    let b = mix(keyHash) ^ PRIME2;
    let i = valueStart;
    const end = valueStart + valueLength;
    for (const last = end - 7; i < last; i += 8) {
      const x = value[i]! | (value[i + 1]! << 8) | (value[i + 2]! << 16) | (value[i + 3]! << 24);
      const y = value[i + 4]! | (value[i + 5]! << 8) | (value[i + 6]! << 16) | (value[i + 7]! << 24);
      a = Math.imul(a ^ x, PRIME1) ^ (a >>> 15);
      b = Math.imul(b ^ y, PRIME2) ^ (b >>> 14);
    }
    for (; i < end; i += 1) a = Math.imul(a ^ value[i]!, PRIME1) ^ (a >>> 15);
    const low = mix(mix(a) ^ Math.imul(b, PRIME3));
    this.#low = (this.#low + low) >>> 0;
    this.#high = (this.#high + mix(low ^ mix(b) ^ Math.imul(a, PRIME2))) >>> 0;
    this.count += 1;
  }

  /** Add what another digest holds, as `hex` and `count`. */
  addPart(hex: string, count: number): void {
    this.#high = (this.#high + Number.parseInt(hex.slice(0, 8), 16)) >>> 0;
    this.#low = (this.#low + Number.parseInt(hex.slice(8), 16)) >>> 0;
    this.count += count;
  }

  /** Sixteen hexadecimal digits. */
  get hex(): string {
    return this.#high.toString(16).padStart(8, '0') + this.#low.toString(16).padStart(8, '0');
  }
}
