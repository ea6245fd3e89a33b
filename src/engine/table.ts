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

/** Values by key, iterated in no promised order. */
export class Dictionary<K extends string | number, V> {
  readonly size: number;
  readonly buckets: readonly (ReadonlyMap<K, V> | undefined)[];

  constructor(size: number, buckets: readonly (ReadonlyMap<K, V> | undefined)[]) {
    this.size = size;
    this.buckets = buckets;
  }

  static empty<K extends string | number, V>(): Dictionary<K, V> {
    return new Dictionary<K, V>(0, []);
  }

  get(key: K): V | undefined {
    return this.buckets[bucketOf(key)]?.get(key);
  }

  *entries(): Generator<[K, V]> {
    for (const bucket of this.buckets) if (bucket !== undefined) yield* bucket;
  }

  draft(): DictionaryDraft<K, V> {
    return new DictionaryDraft(this);
  }
}

/** A dictionary being written. */
export class DictionaryDraft<K extends string | number, V> {
  readonly #base: Dictionary<K, V>;
  #buckets: (Map<K, V> | undefined)[] | undefined;
  readonly #owned = new Set<number>();
  #size: number;

  constructor(base: Dictionary<K, V>) {
    this.#base = base;
    this.#size = base.size;
  }

  get size(): number {
    return this.#size;
  }

  get(key: K): V | undefined {
    return this.#buckets === undefined ? this.#base.get(key) : this.#buckets[bucketOf(key)]?.get(key);
  }

  set(key: K, value: V): void {
    const bucket = this.#bucket(key);
    if (!bucket.has(key)) this.#size += 1;
    bucket.set(key, value);
  }

  delete(key: K): void {
    if (this.get(key) === undefined) return;
    this.#bucket(key).delete(key);
    this.#size -= 1;
  }

  *entries(): Generator<[K, V]> {
    yield* this.#buckets === undefined ? this.#base.entries() : new Dictionary(this.#size, this.#buckets).entries();
  }

  done(): Dictionary<K, V> {
    return this.#buckets === undefined ? this.#base : new Dictionary(this.#size, this.#buckets);
  }

  #bucket(key: K): Map<K, V> {
    this.#buckets ??= [...this.#base.buckets] as (Map<K, V> | undefined)[];
    const at = bucketOf(key);
    if (!this.#owned.has(at)) {
      this.#buckets[at] = new Map(this.#buckets[at]);
      this.#owned.add(at);
    }
    return this.#buckets[at]!;
  }
}
