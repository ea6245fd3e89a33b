/**
 * Values with structural sharing: a table by index and a map by key, each in two levels, so that a step of the engine
 * copies some dozens of words however large they are. Within one step a draft copies a chunk at most once.
 * They never change: `draft()` gives something to write on, `done()` the new value (the same one if nothing changed).
 */
const CHUNK_BITS = 6;
const CHUNK_SIZE = 1 << CHUNK_BITS;
const CHUNK_MASK = CHUNK_SIZE - 1;

/** Values by index, of a fixed length. */
export class Table<T> {
  readonly length: number;
  readonly chunks: readonly (readonly T[])[];

  constructor(length: number, chunks: readonly (readonly T[])[]) {
    this.length = length;
    this.chunks = chunks;
  }

  static of<T>(length: number, make: (index: number) => T): Table<T> {
    const chunks: T[][] = [];
    for (let start = 0; start < length; start += CHUNK_SIZE) {
      const chunk: T[] = [];
      for (let index = start; index < Math.min(length, start + CHUNK_SIZE); index += 1) chunk.push(make(index));
      chunks.push(chunk);
    }
    return new Table(length, chunks);
  }

  /** @throws RangeError no such index */
  get(index: number): T {
    const chunk = this.chunks[index >> CHUNK_BITS];
    if (chunk === undefined || (index & CHUNK_MASK) >= chunk.length) throw new RangeError(`no index ${index}`);
    return chunk[index & CHUNK_MASK]!;
  }

  draft(): TableDraft<T> {
    return new TableDraft(this);
  }
}

/** A table being written. */
export class TableDraft<T> {
  readonly #base: Table<T>;
  #chunks: T[][] | undefined;
  readonly #owned = new Set<number>();

  constructor(base: Table<T>) {
    this.#base = base;
  }

  get length(): number {
    return this.#base.length;
  }

  /** @throws RangeError no such index */
  get(index: number): T {
    if (this.#chunks === undefined) return this.#base.get(index);
    const chunk = this.#chunks[index >> CHUNK_BITS];
    if (chunk === undefined || (index & CHUNK_MASK) >= chunk.length) throw new RangeError(`no index ${index}`);
    return chunk[index & CHUNK_MASK]!;
  }

  set(index: number, value: T): void {
    if (this.get(index) === value) return;
    this.#chunks ??= [...this.#base.chunks] as T[][];
    const at = index >> CHUNK_BITS;
    if (!this.#owned.has(at)) {
      this.#chunks[at] = [...this.#chunks[at]!];
      this.#owned.add(at);
    }
    this.#chunks[at]![index & CHUNK_MASK] = value;
  }

  done(): Table<T> {
    return this.#chunks === undefined ? this.#base : new Table(this.#base.length, this.#chunks);
  }
}

const BUCKETS = 128;

function bucketOf(key: string | number): number {
  if (typeof key === 'number') return key % BUCKETS;
  let hash = 0;
  for (let index = 0; index < key.length; index += 1) hash = (hash * 31 + key.charCodeAt(index)) | 0;
  return (hash >>> 0) % BUCKETS;
}

/** Keys and their values in turn: copied in one piece, and so short that looking through it costs less than a hash. */
type Bucket<K, V> = readonly (K | V)[];

/** Where the value of `key` is, or -1. */
function placeOf<K, V>(bucket: Bucket<K, V> | undefined, key: K): number {
  if (bucket !== undefined) for (let at = 0; at < bucket.length; at += 2) if (bucket[at] === key) return at + 1;
  return -1;
}

/** Values by key, iterated in no promised order. */
export class Dictionary<K extends string | number, V> {
  readonly size: number;
  readonly buckets: readonly (Bucket<K, V> | undefined)[];

  constructor(size: number, buckets: readonly (Bucket<K, V> | undefined)[]) {
    this.size = size;
    this.buckets = buckets;
  }

  static empty<K extends string | number, V>(): Dictionary<K, V> {
    return new Dictionary<K, V>(0, []);
  }

  get(key: K): V | undefined {
    const bucket = this.buckets[bucketOf(key)];
    const place = placeOf(bucket, key);
    return place < 0 ? undefined : (bucket![place] as V);
  }

  *entries(): Generator<[K, V]> {
    for (const bucket of this.buckets) {
      if (bucket === undefined) continue;
      for (let at = 0; at < bucket.length; at += 2) yield [bucket[at] as K, bucket[at + 1] as V];
    }
  }

  draft(): DictionaryDraft<K, V> {
    return new DictionaryDraft(this);
  }
}

/** A dictionary being written. */
export class DictionaryDraft<K extends string | number, V> {
  /** The base, or what is written in its place. */
  #current: Dictionary<K, V>;
  #buckets: (Bucket<K, V> | undefined)[] | undefined;
  /** Buckets of this draft alone. */
  readonly #owned = new Set<number>();
  #size: number;

  constructor(base: Dictionary<K, V>) {
    this.#current = base;
    this.#size = base.size;
  }

  get size(): number {
    return this.#size;
  }

  get(key: K): V | undefined {
    return this.#current.get(key);
  }

  set(key: K, value: V): void {
    const bucket = this.#bucket(key);
    const place = placeOf(bucket, key);
    if (place >= 0) bucket[place] = value;
    else {
      bucket.push(key, value);
      this.#size += 1;
    }
  }

  delete(key: K): void {
    const place = placeOf(this.#current.buckets[bucketOf(key)], key);
    if (place < 0) return;
    this.#bucket(key).splice(place - 1, 2);
    this.#size -= 1;
  }

  *entries(): Generator<[K, V]> {
    yield* this.#current.entries();
  }

  done(): Dictionary<K, V> {
    return this.#buckets === undefined ? this.#current : new Dictionary(this.#size, this.#buckets);
  }

  #bucket(key: K): (K | V)[] {
    if (this.#buckets === undefined) {
      this.#buckets = [...this.#current.buckets];
      this.#current = new Dictionary(this.#size, this.#buckets);
    }
    const at = bucketOf(key);
    if (!this.#owned.has(at)) {
      this.#buckets[at] = this.#buckets[at]?.slice() ?? [];
      this.#owned.add(at);
    }
    return this.#buckets[at] as (K | V)[];
  }
}
