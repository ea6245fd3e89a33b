/**
 * A map as a value: `with` and `without` give a new map and leave the old one as it was. Buckets are shared between the
 * two, so that a change costs one bucket and the list of buckets, not all the entries.
 * Never here: an order of the entries; who needs one keeps a sequence number in the value.
 */
const ENTRIES_PER_BUCKET = 16;

export type Key = string | number | bigint;

export class PersistentMap<K extends Key, V> {
  readonly size: number;
  readonly #buckets: readonly ReadonlyMap<K, V>[];

  private constructor(buckets: readonly ReadonlyMap<K, V>[], size: number) {
    this.#buckets = buckets;
    this.size = size;
  }

  static empty<K extends Key, V>(): PersistentMap<K, V> {
    return new PersistentMap<K, V>([new Map()], 0);
  }

  get(key: K): V | undefined {
    return this.#buckets[bucketOf(key, this.#buckets.length)]!.get(key);
  }

  has(key: K): boolean {
    return this.#buckets[bucketOf(key, this.#buckets.length)]!.has(key);
  }

  with(key: K, value: V): PersistentMap<K, V> {
    const buckets = this.size >= this.#buckets.length * ENTRIES_PER_BUCKET ? this.#grown() : [...this.#buckets];
    const index = bucketOf(key, buckets.length);
    const before = buckets[index]!;
    buckets[index] = new Map(before).set(key, value);
    return new PersistentMap(buckets, this.size + (before.has(key) ? 0 : 1));
  }

  without(key: K): PersistentMap<K, V> {
    if (!this.has(key)) return this;
    const buckets = [...this.#buckets];
    const index = bucketOf(key, buckets.length);
    const bucket = new Map(buckets[index]!);
    bucket.delete(key);
    buckets[index] = bucket;
    return new PersistentMap(buckets, this.size - 1);
  }

  *entries(): IterableIterator<[K, V]> {
    for (const bucket of this.#buckets) yield* bucket;
  }

  *values(): IterableIterator<V> {
    for (const bucket of this.#buckets) yield* bucket.values();
  }

  #grown(): ReadonlyMap<K, V>[] {
    const buckets: Map<K, V>[] = Array.from({ length: this.#buckets.length * 4 }, () => new Map<K, V>());
    for (const [key, value] of this.entries()) buckets[bucketOf(key, buckets.length)]!.set(key, value);
    return buckets;
  }
}

/** @param count a power of two */
function bucketOf(key: Key, count: number): number {
  return hash(key) & (count - 1);
}

function hash(key: Key): number {
  if (typeof key === 'string') {
    let value = 0x811c9dc5;
    for (let index = 0; index < key.length; index += 1) value = Math.imul(value ^ key.charCodeAt(index), 0x01000193);
    return mixed(value);
  }
  if (typeof key === 'bigint') return mixed(Number(BigInt.asIntN(32, key ^ (key >> 32n))));
  return mixed(key | 0);
}

/** Spreads keys that differ in few bits, such as tokens 0, 1, 2 or multiples of a page, over the buckets. */
function mixed(value: number): number {
  let bits = value;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
