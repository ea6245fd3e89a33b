// Goal: whenever a process dies in the middle of an operation, the repaired store holds every other key unchanged, and
// the key of the operation with its old value or its new one, never a mix; and it is sound again.
// Method: the death is simulated after every single store into the memory: each operation is run again and again on a
// copy of the memory, allowed one store more each time. Byte copies are cut at every byte.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_EXPIRY } from '../../examples/cache/entries.js';
import { ENTRY, HEADER, PAGE_BYTES } from '../../examples/cache/layout.js';
import { Region } from '../../examples/cache/region.js';
import { problemsOf } from '../../examples/cache/verify.js';
import { TestStore, pairOf } from './fixtures.js';

/** Thrown by the store into the memory that does not happen any more. */
class Death extends Error {}

/** How many stores may still happen; shared by all regions of one run. */
const budget = { stores: Number.POSITIVE_INFINITY };

function spend(): void {
  if (budget.stores <= 0) throw new Death();
  budget.stores -= 1;
}

const counting: ProxyHandler<Uint32Array> = {
  get: (target, property) => Reflect.get(target, property, target) as unknown,
  set(target, property, value) {
    spend();
    return Reflect.set(target, property, value, target);
  },
};

/** A region in which every store counts, byte copies byte by byte. */
function mortalRegion(buffer: ArrayBuffer, totalBytes: number): Region {
  const region = new Region(buffer, totalBytes);
  const plain = region.words;
  Object.defineProperty(region, 'words', { value: new Proxy(plain, counting) });
  region.write = (at, source, start, length) => {
    for (let i = 0; i < length; i += 1) {
      spend();
      region.bytes[at + i] = source[start + i]!;
    }
  };
  region.zero = (start, end) => {
    // Every hundredth word: a cut between two zeroes looks like one a little earlier.
    for (let i = start; i < end; i += 1) {
      if ((i - start) % 100 === 0) spend();
      plain[i] = 0;
    }
  };
  return region;
}

type Content = ReadonlyMap<string, readonly [value: string, expiry: number]>;

function contentOf(tested: TestStore): Content {
  const found = new Map<string, readonly [string, number]>();
  for (const [key, value] of tested.content()) found.set(key, [value, tested.expiryOf(key)!]);
  return found;
}

/**
 * Run `operation` on copies of the memory with every budget of stores from none on, until it gets through; repair after
 * each death.
 * @param step only every so many stores, for operations of very many
 * @returns number of stores of the operation, in steps
 */
function dieEverywhere(
  base: TestStore,
  operation: (tested: TestStore) => void,
  touched: readonly string[],
  step = 1,
): number {
  const before = contentOf(base);
  const done = mortalCopy(base);
  operation(done);
  const after = contentOf(done);
  for (let stores = 0; ; stores += step) {
    const mortal = mortalCopy(base);
    budget.stores = stores;
    try {
      operation(mortal);
      return stores;
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    } finally {
      budget.stores = Number.POSITIVE_INFINITY;
    }
    const repaired = new TestStore(
      mortal.buffers.map((buffer) => buffer.slice(0)),
      { torn: true },
    );
    repaired.nowMs = base.nowMs;
    assert.deepEqual(problemsOf(repaired.store), [], `after ${stores} stores`);
    checkContent(contentOf(repaired), before, after, touched, stores);
    assert.equal(repaired.set('afterwards', 'works'), true);
  }
}

/** The same store over copies of its memory; its process can die. */
function mortalCopy(base: TestStore, how: { readonly activate: boolean } = { activate: true }): TestStore {
  const buffers = base.buffers.map((buffer) => buffer.slice(0));
  const copy = new TestStore(buffers, { makeRegion: mortalRegion, ...how });
  copy.nowMs = base.nowMs;
  return copy;
}

function checkContent(found: Content, before: Content, after: Content, touched: readonly string[], at: number): void {
  for (const key of new Set([...before.keys(), ...after.keys(), ...found.keys()])) {
    const [is, was, will] = [found, before, after].map((content) => JSON.stringify(content.get(key)));
    if (touched.includes(key)) assert.ok(is === was || is === will, `${key} after ${at} stores: ${is}`);
    else assert.equal(is, was, `${key}, which was not touched, after ${at} stores`);
  }
}

/** A store with some entries of all sorts, and free rooms between them. */
function filled(...sizes: number[]): TestStore {
  const base = TestStore.ofSize(...(sizes.length > 0 ? sizes : [256 * 1024]));
  for (let i = 0; i < 30; i += 1) base.set(`k${i}`, `value ${i}`, i % 5 === 0 ? base.nowMs + 1000 + i : NO_EXPIRY);
  base.set('large', 'L'.repeat(PAGE_BYTES + 100));
  for (let i = 0; i < 30; i += 7) base.delete(`k${i}`);
  return base;
}

for (const [what, operation, touched] of [
  ['a new key', (t) => t.set('new', 'n'.repeat(100)), ['new']],
  ['a new key with expiry', (t) => t.set('new', 'value', t.nowMs + 7), ['new']],
  ['a key of no bytes', (t) => t.set('', ''), ['']],
  ['an overwrite of the same size', (t) => t.set('k1', 'VALUE 1'), ['k1']],
  ['an overwrite of another size', (t) => t.set('k5', 'V'.repeat(700)), ['k5']],
  ['an overwrite of a large value by a small one', (t) => t.set('large', 'small'), ['large']],
  [
    'an MSET of an old and two new keys',
    (t) => t.store.setMany([pairOf('k1', 'VALUE 1'), pairOf('m1', 'x'.repeat(90)), pairOf('m2', '')]),
    ['k1', 'm1', 'm2'],
  ],
  ['a deletion', (t) => t.delete('k2'), ['k2']],
  ['a deletion of a large value', (t) => t.delete('large'), ['large']],
  ['an increment of a new counter', (t) => t.increment('counter', 3), ['counter']],
  ['an expiry that is set', (t) => t.expire('k1', t.nowMs + 0x1_2345_6789), ['k1']],
  ['an expiry that is changed', (t) => t.expire('k5', t.nowMs + 0x1_0000_0000), ['k5']],
  ['an expiry that is taken away', (t) => t.expire('k10', NO_EXPIRY), ['k10']],
] as const satisfies readonly (readonly [string, (tested: TestStore) => unknown, readonly string[]])[]) {
  test(`death after every store: ${what}`, () => {
    const deaths = dieEverywhere(filled(), operation, touched);
    assert.ok(deaths > 2, `only ${deaths} stores`);
  });
}

test('death after every store: an increment of a counter that is there', () => {
  const base = filled();
  base.set('counter', '99', base.nowMs + 500);
  dieEverywhere(base, (tested) => tested.increment('counter', 1), ['counter']);
});

test('death after every store: a large value of many pages', () => {
  const base = filled();
  const deaths = dieEverywhere(base, (tested) => tested.set('large', 'new'.repeat(7000)), ['large'], 97);
  assert.ok(deaths > 20_000);
});

test('death after every store: a growing index, with a new page of it', () => {
  const base = TestStore.ofSize(512 * 1024);
  for (let i = 0; i < 4096; i += 1) base.set(`k${i}`, 'v');
  assert.equal(base.store.table.buckets, 4096);
  const deaths = dieEverywhere(base, (tested) => tested.set('one more', 'v'), ['one more']);
  assert.ok(deaths > 40);
});

test('death after every store: a shrinking index', () => {
  const base = TestStore.ofSize(256 * 1024);
  for (let i = 0; i < 400; i += 1) base.set(`k${i}`, 'v');
  for (let i = 20; i < 400; i += 1) base.delete(`k${i}`);
  dieEverywhere(base, (tested) => tested.delete('k3'), ['k3']);
});

test('death after every store: clear keeps all or nothing', () => {
  const base = filled();
  const all = [...contentOf(base).keys()];
  const sizes = new Set<number>();
  const deaths = dieEverywhere(base, (tested) => tested.store.clear(), all);
  for (let stores = 0; stores < deaths; stores += 1) {
    const mortal = mortalCopy(base);
    budget.stores = stores;
    assert.throws(() => mortal.store.clear(), Death);
    budget.stores = Number.POSITIVE_INFINITY;
    sizes.add(contentOf(new TestStore(mortal.buffers, { torn: true })).size);
  }
  assert.deepEqual([...sizes].sort(), [0, all.length].sort());
});

test('death after every store of the first format leaves memory that can be formatted', () => {
  const fresh = new TestStore([new ArrayBuffer(128 * 1024), new ArrayBuffer(128 * 1024)], { activate: false });
  for (let stores = 0; ; stores += 1) {
    const dying = mortalCopy(fresh, { activate: false });
    budget.stores = stores;
    try {
      dying.store.activate({ torn: false });
      break;
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    } finally {
      budget.stores = Number.POSITIVE_INFINITY;
    }
    const again = new TestStore(dying.buffers, { torn: true });
    assert.deepEqual(problemsOf(again.store), []);
    assert.equal(again.set('k', 'v'), true);
  }
});

test('death in the middle of a repair: the next repair completes it', () => {
  const base = filled();
  const torn = mortalCopy(base);
  budget.stores = 9;
  assert.throws(() => torn.set('k1', 'half written'), Death);
  budget.stores = Number.POSITIVE_INFINITY;
  for (let stores = 0; ; stores += 1) {
    const again = mortalCopy(torn, { activate: false });
    budget.stores = stores;
    try {
      again.store.activate({ torn: true });
      break;
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    } finally {
      budget.stores = Number.POSITIVE_INFINITY;
    }
    const repaired = new TestStore(again.buffers, { torn: true });
    assert.deepEqual(problemsOf(repaired.store), []);
    checkContent(contentOf(repaired), contentOf(base), contentOf(base), [], stores);
  }
});

test('a flipped bit in an entry drops that entry alone', () => {
  const base = filled();
  const key = Buffer.from('k3');
  const address = base.store.lookup(key, 0, key.length);
  base.store.regions[0]!.bytes[base.store.entries.valueStart(address)]! ^= 4;
  const report = new TestStore(base.buffers).store.activate({ torn: true });
  assert.deepEqual({ ...report, durationMs: 0 }, { kept: 25, dropped: 1, duplicates: 0, durationMs: 0 });
});

test('of two whole entries of a key the later one stays', () => {
  const base = filled();
  const before = base.buffers.map((buffer) => buffer.slice(0));
  const key = Buffer.from('k3');
  const old = base.store.lookup(key, 0, key.length);
  base.set('k3', 'the newer one');
  // The old entry's check as it was, as if the process had died before it made the entry void.
  const at = base.store.entries.word(old) + ENTRY.check;
  new Uint32Array(base.buffers[0]!)[at] = new Uint32Array(before[0]!)[at]!;
  const again = new TestStore(base.buffers, { torn: true });
  assert.equal(again.get('k3'), 'the newer one');
  assert.equal(again.store.headerWord(HEADER.repairedDuplicates), 1);
  assert.deepEqual(problemsOf(again.store), []);
});

test('a value that looks like an entry is not taken for one', () => {
  const base = filled();
  // The bytes of a real, whole entry as the value of another, then void: its room may be carved up anew.
  const key = Buffer.from('k1');
  const address = base.store.lookup(key, 0, key.length);
  const start = base.store.entries.word(address) * 4;
  const forged = base.store.regions[0]!.bytes.toString('latin1', start, start + 48).repeat(300);
  base.set('forged', forged);
  base.delete('forged');
  const again = new TestStore(base.buffers, { torn: true });
  assert.equal(again.store.headerWord(HEADER.repairedDuplicates), 0);
  assert.deepEqual(problemsOf(again.store), []);
});
