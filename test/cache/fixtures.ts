/** What the tests of the store share: a store over plain memory, keys and values as strings. */
import { NO_EXPIRY } from '../../examples/cache/entries.js';
import { type Pair, Store, type StoreOptions } from '../../examples/cache/store.js';

export function pairOf(key: string, value: string): Pair {
  const [keyBytes, valueBytes] = [Buffer.from(key, 'latin1'), Buffer.from(value, 'latin1')];
  return {
    key: keyBytes,
    keyStart: 0,
    keyLength: keyBytes.length,
    value: valueBytes,
    valueStart: 0,
    valueLength: valueBytes.length,
  };
}

export interface TestStoreOptions extends Pick<StoreOptions, 'makeRegion'> {
  /** Default: true. */
  readonly activate?: boolean;
  readonly torn?: boolean;
}

/** A store that is asked in strings. */
export class TestStore {
  readonly store: Store;
  readonly buffers: readonly ArrayBuffer[];
  nowMs = 1_000_000;

  constructor(buffers: readonly ArrayBuffer[], options: TestStoreOptions = {}) {
    this.buffers = buffers;
    const { makeRegion } = options;
    this.store = new Store(buffers, { now: () => this.nowMs, ...(makeRegion ? { makeRegion } : {}) });
    if (options.activate ?? true) this.store.activate({ torn: options.torn ?? false });
  }

  static ofSize(...sizes: number[]): TestStore {
    return new TestStore(sizes.map((size) => new ArrayBuffer(size)));
  }

  set(key: string, value: string, expiry: number = NO_EXPIRY): boolean {
    return this.store.set(pairOf(key, value), expiry);
  }
  get(key: string): string | undefined {
    const bytes = Buffer.from(key, 'latin1');
    const address = this.store.lookup(bytes, 0, bytes.length);
    return address === 0 ? undefined : this.valueAt(address);
  }
  delete(key: string): boolean {
    const bytes = Buffer.from(key, 'latin1');
    return this.store.delete(bytes, 0, bytes.length);
  }
  expire(key: string, expiry: number): boolean {
    const bytes = Buffer.from(key, 'latin1');
    const address = this.store.lookup(bytes, 0, bytes.length);
    if (address !== 0) this.store.setExpiry(address, expiry);
    return address !== 0;
  }
  expiryOf(key: string): number | undefined {
    const bytes = Buffer.from(key, 'latin1');
    const address = this.store.lookup(bytes, 0, bytes.length);
    return address === 0 ? undefined : this.store.expiry(address);
  }
  increment(key: string, by: number | bigint): number | bigint | string {
    const bytes = Buffer.from(key, 'latin1');
    return this.store.increment(bytes, 0, bytes.length, by);
  }
  keyAt(address: number): string {
    const start = this.store.entries.keyStart(address);
    const bytes = this.store.entries.region(address).bytes;
    return bytes.toString('latin1', start, start + this.store.entries.keyLength(address));
  }
  valueAt(address: number): string {
    const start = this.store.entries.valueStart(address);
    const bytes = this.store.entries.region(address).bytes;
    return bytes.toString('latin1', start, start + this.store.entries.valueLength(address));
  }
  /** Everything that a scan finds. */
  content(): Map<string, string> {
    const found = new Map<string, string>();
    let cursor = 0;
    do {
      cursor = this.store.scan(cursor, 10, (address) => found.set(this.keyAt(address), this.valueAt(address)));
    } while (cursor !== 0);
    return found;
  }
}
