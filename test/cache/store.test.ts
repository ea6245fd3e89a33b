// Goal: the store behaves as a Map with expiry, through full memory, growth, shrinking and reopening; and everything
// that it keeps twice agrees at any time.
// Method: random programs of operations against a Map (fast-check prints the seed of a failing run), and facts by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NO_EXPIRY } from '../../examples/cache/entries.js';
import { Digest } from '../../examples/cache/hash.js';
import { HEADER, SLOT_BYTES, SLOT_BYTES_MAX, entryBytes } from '../../examples/cache/layout.js';
import { parseInteger } from '../../examples/cache/integer.js';
import { Store, StoreError } from '../../examples/cache/store.js';
import { problemsOf } from '../../examples/cache/verify.js';
import { TestStore, pairOf } from './fixtures.js';

const KIB = 1024;

/** The same program on a Map; only as much of the store as can be said without knowing its memory. */
class Model {
  readonly values = new Map<string, { value: string; expiry: number }>();
  get(key: string, now: number): string | undefined {
    const found = this.values.get(key);
    if (found && found.expiry !== NO_EXPIRY && found.expiry <= now) {
      this.values.delete(key);
      return undefined;
    }
    return found?.value;
  }
}

type Operation =
  | { readonly op: 'set'; readonly key: string; readonly bytes: number; readonly ttl: number }
  | { readonly op: 'delete' | 'get' | 'persist' | 'increment' | 'sweep' | 'clear' | 'reopen'; readonly key: string }
  | { readonly op: 'expire' | 'wait'; readonly key: string; readonly ttl: number };

const keyArbitrary = fc.oneof(
  fc.integer({ min: 0, max: 60 }).map((n) => `key:${n}`),
  fc.string({ maxLength: 3 }),
);
const bytesArbitrary = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 300 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 9000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 8000, max: 60_000 }) },
);
const operationArbitrary: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      op: fc.constant('set' as const),
      key: keyArbitrary,
      bytes: bytesArbitrary,
      ttl: fc.constantFrom(0, 0, 0, 5, 50),
    }),
  },
  {
    weight: 16,
    arbitrary: fc.record({
      op: fc.constantFrom('delete' as const, 'get' as const, 'persist' as const, 'increment' as const),
      key: keyArbitrary,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constantFrom('expire' as const, 'wait' as const),
      key: keyArbitrary,
      ttl: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('sweep' as const, 'reopen' as const), key: keyArbitrary }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('clear' as const), key: keyArbitrary }) },
);

function apply(test: TestStore, model: Model, operation: Operation): TestStore {
  const { key, op } = operation;
  const before = model.get(key, test.nowMs);
  const known = model.values.get(key);
  switch (op) {
    case 'set': {
      const value = String.fromCharCode(97 + (operation.bytes % 26)).repeat(operation.bytes);
      const expiry = operation.ttl === 0 ? NO_EXPIRY : test.nowMs + operation.ttl;
      // Full memory is an answer that changes nothing; the model learns of it and must find the old value.
      if (test.set(key, value, expiry)) model.values.set(key, { value, expiry });
      break;
    }
    case 'delete':
      assert.equal(test.delete(key), before !== undefined);
      model.values.delete(key);
      break;
    case 'expire':
      assert.equal(test.expire(key, test.nowMs + operation.ttl), before !== undefined);
      if (known) known.expiry = test.nowMs + operation.ttl;
      break;
    case 'persist':
      assert.equal(test.expire(key, NO_EXPIRY), before !== undefined);
      if (known) known.expiry = NO_EXPIRY;
      break;
    case 'increment': {
      const result = test.increment(key, 7);
      if (before === undefined || /^(0|-?[1-9]\d*)$/.test(before)) {
        if (result === 'full') break;
        assert.equal(Number(result), Number(before ?? 0) + 7);
        model.values.set(key, { value: String(result), expiry: known?.expiry ?? NO_EXPIRY });
      } else {
        assert.equal(result, 'not-integer');
      }
      break;
    }
    case 'wait':
      test.nowMs += operation.ttl;
      break;
    case 'sweep':
      test.store.sweep(100);
      break;
    case 'clear':
      test.store.clear();
      model.values.clear();
      break;
    case 'reopen': {
      const again = new TestStore(test.buffers);
      again.nowMs = test.nowMs;
      return again;
    }
    case 'get':
      break;
  }
  assert.equal(test.get(key), model.get(key, test.nowMs));
  return test;
}

for (const sizes of [[256 * KIB], [128 * KIB, 192 * KIB, 144 * KIB]]) {
  test(`random programs on ${sizes.length} region(s) behave as on a Map`, () => {
    fc.assert(
      fc.property(fc.array(operationArbitrary, { maxLength: 250, size: 'max' }), (operations) => {
        let tested = TestStore.ofSize(...sizes);
        const model = new Model();
        for (const operation of operations) tested = apply(tested, model, operation);
        assert.deepEqual(problemsOf(tested.store), []);
        for (const key of [...model.values.keys()]) model.get(key, tested.nowMs);
        const expected = new Map([...model.values].map(([key, { value }]) => [key, value]));
        assert.deepEqual(tested.content(), expected);
      }),
      { numRuns: 60 },
    );
  });
}

test('full memory refuses, changes nothing, and takes again what was given back', () => {
  const tested = TestStore.ofSize(256 * KIB);
  let count = 0;
  while (tested.set(`k${count}`, 'v'.repeat(500))) count += 1;
  assert.ok(count > 300, `only ${count} entries found room`);
  assert.deepEqual(problemsOf(tested.store), []);
  assert.equal(tested.store.count, count);
  assert.equal(tested.store.setMany([pairOf('a', 'x'.repeat(20_000)), pairOf('b', 'x'.repeat(30_000))]), false);
  assert.equal(tested.get('k0'), 'v'.repeat(500));
  assert.equal(tested.store.count, count);
  for (let i = 0; i < count; i += 1) assert.equal(tested.get(`k${i}`), 'v'.repeat(500));
  assert.ok(tested.delete('k7'));
  assert.ok(tested.set('again', 'w'.repeat(500)));
  assert.deepEqual(problemsOf(tested.store), []);
});

test('a refused MSET leaves none of its keys', () => {
  const tested = TestStore.ofSize(256 * KIB);
  const pairs = Array.from({ length: 600 }, (_, i) => pairOf(`m${i}`, 'v'.repeat(700)));
  assert.equal(tested.store.setMany(pairs), false);
  assert.equal(tested.store.count, 0);
  assert.deepEqual(problemsOf(tested.store), []);
  assert.equal(tested.store.setMany(pairs.slice(0, 100)), true);
});

test('an MSET that names a key twice keeps the last value', () => {
  const tested = TestStore.ofSize(256 * KIB);
  assert.ok(tested.store.setMany([pairOf('a', '1'), pairOf('a', '2')]));
  assert.equal(tested.get('a'), '2');
  assert.equal(tested.store.count, 1);
  assert.deepEqual(problemsOf(tested.store), []);
});

test('memory moves between sizes: what small values filled, large ones can fill again', () => {
  const tested = TestStore.ofSize(1024 * KIB);
  const rounds = [40, 3000, 60_000, 200, 20_000, 40];
  const filled = rounds.map((bytes) => {
    let count = 0;
    while (tested.set(`k${count}`, 'v'.repeat(bytes))) count += 1;
    for (let i = 0; i < count; i += 1) assert.ok(tested.delete(`k${i}`));
    assert.deepEqual(problemsOf(tested.store), []);
    return count;
  });
  assert.ok(filled[5]! >= filled[0]! * 0.9, `first ${filled[0]} small entries, later ${filled[5]}`);
});

test('expired entries make room when the memory is full', () => {
  const tested = TestStore.ofSize(128 * KIB);
  for (let i = 0; tested.set(`k${i}`, 'v'.repeat(100), tested.nowMs + 10); i += 1);
  assert.equal(tested.set('late', 'v'.repeat(100)), false);
  tested.nowMs += 10;
  assert.equal(tested.set('late', 'v'.repeat(100)), true);
  assert.equal(tested.get('k0'), undefined);
});

test('an overwrite of a key in full memory refuses and keeps the old value', () => {
  const tested = TestStore.ofSize(128 * KIB);
  let count = 0;
  while (tested.set(`k${count}`, `${count}`.padEnd(3000))) count += 1;
  assert.equal(tested.set('k1', 'new'.padEnd(3000)), false);
  assert.equal(tested.get('k1'), '1'.padEnd(3000));
});

test('a scan returns every key that is there all the time, while the table grows and shrinks', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.array(fc.integer({ min: -400, max: 400 })), (count, changes) => {
      const tested = TestStore.ofSize(512 * KIB);
      for (let i = 0; i < 200; i += 1) tested.set(`stays:${i}`, 'v');
      const seen = new Set<string>();
      let other = 0;
      let cursor = 0;
      let step = 0;
      do {
        cursor = tested.store.scan(cursor, count, (address) => seen.add(tested.keyAt(address)));
        // A table that grows with every step would never be at its end.
        const change = changes[step] ?? 0;
        for (let i = 0; i < change; i += 1) tested.set(`other:${(other += 1)}`, 'v');
        for (let i = 0; i > change && other > 0; i -= 1) tested.delete(`other:${(other -= 1) + 1}`);
        step += 1;
        assert.ok(step < 5000, 'the scan does not end');
      } while (cursor !== 0);
      for (let i = 0; i < 200; i += 1) assert.ok(seen.has(`stays:${i}`), `stays:${i} was not returned`);
    }),
    { numRuns: 40 },
  );
});

test('the table shrinks when most keys are gone, and gives its pages back', () => {
  const tested = TestStore.ofSize(4096 * KIB);
  for (let i = 0; i < 20_000; i += 1) assert.ok(tested.set(`k${i}`, 'v'));
  const { buckets } = tested.store.table;
  assert.ok(buckets >= 20_000);
  const used = tested.store.memory.usedBytes;
  for (let i = 0; i < 20_000; i += 1) assert.ok(tested.delete(`k${i}`));
  assert.ok(tested.store.table.buckets < buckets / 100);
  assert.ok(tested.store.memory.usedBytes < used / 4);
  assert.deepEqual(problemsOf(tested.store), []);
});

test('a sweep takes out what has expired and nothing else', () => {
  const tested = TestStore.ofSize(256 * KIB);
  for (let i = 0; i < 300; i += 1) tested.set(`k${i}`, 'v', i % 3 === 0 ? tested.nowMs + 5 : NO_EXPIRY);
  assert.equal(tested.store.volatileCount, 100);
  tested.nowMs += 5;
  let removed = 0;
  for (let i = 0; i < 50 && tested.store.volatileCount > 0; i += 1) removed += tested.store.sweep(64);
  assert.equal(removed, 100);
  assert.equal(tested.store.count, 200);
  assert.deepEqual(problemsOf(tested.store), []);
});

test('integers are added in 64 bits and never beyond', () => {
  const tested = TestStore.ofSize(256 * KIB);
  assert.equal(tested.increment('n', 1), 1);
  assert.equal(tested.increment('n', -5), -4);
  tested.set('n', '9007199254740991');
  assert.equal(tested.increment('n', 1), 9007199254740992n);
  tested.set('n', '9223372036854775806');
  assert.equal(tested.increment('n', 1), 9223372036854775807n);
  assert.equal(tested.increment('n', 1), 'overflow');
  assert.equal(tested.get('n'), '9223372036854775807');
  tested.set('n', '-9223372036854775808');
  assert.equal(tested.increment('n', -1), 'overflow');
  for (const text of ['', ' 1', '1 ', '+1', '01', '-0', '1.0', '-', '9223372036854775808', 'x', '1'.repeat(21)]) {
    tested.set('n', text);
    assert.equal(tested.increment('n', 1), 'not-integer', `'${text}' was taken for an integer`);
  }
});

test('parseInteger takes exactly what String gives for a 64-bit integer', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const bytes = Buffer.from(String(value));
      assert.equal(BigInt(parseInteger(bytes, 0, bytes.length)!), value);
    }),
  );
});

test('increment keeps the expiry, set drops it', () => {
  const tested = TestStore.ofSize(256 * KIB);
  tested.set('n', '1', tested.nowMs + 100);
  tested.increment('n', 1);
  assert.equal(tested.expiryOf('n'), tested.nowMs + 100);
  tested.set('n', '1');
  assert.equal(tested.expiryOf('n'), NO_EXPIRY);
  assert.equal(tested.store.volatileCount, 0);
});

test('a reopened store has everything, and opening writes nothing', () => {
  const tested = TestStore.ofSize(256 * KIB, 256 * KIB);
  for (let i = 0; i < 500; i += 1) tested.set(`k${i}`, `v${i}`);
  const before = tested.buffers.map((buffer) => Buffer.from(buffer.slice(0)));
  const again = new Store(tested.buffers);
  const key = Buffer.from('k77');
  assert.notEqual(again.lookup(key, 0, key.length), 0);
  assert.throws(() => again.set(pairOf('a', 'b'), NO_EXPIRY), /activate/);
  assert.throws(() => again.delete(key, 0, key.length), /activate/);
  for (const [i, buffer] of tested.buffers.entries()) assert.ok(before[i]!.equals(Buffer.from(buffer)));
});

test('an expired key is gone for a store that may not write, and stays in memory', () => {
  const tested = TestStore.ofSize(256 * KIB);
  tested.set('k', 'v', tested.nowMs + 10);
  const later = new Store(tested.buffers, { now: () => tested.nowMs + 10 });
  const key = Buffer.from('k');
  assert.equal(later.lookup(key, 0, 1), 0);
  assert.equal(later.count, 1);
});

test('clear forgets everything, and the store works on', () => {
  const tested = TestStore.ofSize(512 * KIB);
  for (let round = 0; round < 3; round += 1) {
    for (let i = 0; i < 1000; i += 1) assert.ok(tested.set(`k${i}`, 'v'.repeat(100)));
    tested.store.clear();
    assert.equal(tested.store.count, 0);
    assert.equal(tested.get('k1'), undefined);
    assert.deepEqual(problemsOf(tested.store), []);
  }
});

test('what is no cache, another layout, or regions of two stores are refused', () => {
  const tested = TestStore.ofSize(256 * KIB, 256 * KIB);
  const other = TestStore.ofSize(256 * KIB, 256 * KIB);
  const [first, second] = tested.buffers as [ArrayBuffer, ArrayBuffer];
  assert.throws(() => new Store([first, other.buffers[1]!]), StoreError);
  assert.throws(() => new Store([first]), StoreError);
  assert.throws(() => new Store([second, first]), StoreError);
  const newer = first.slice(0);
  new Uint32Array(newer)[HEADER.version] = 99;
  assert.throws(() => new Store([newer, second]), /layout 99/);
  const foreign = new ArrayBuffer(256 * KIB);
  new Uint32Array(foreign)[0] = 0x12345678;
  assert.throws(() => new Store([foreign]), StoreError);
  assert.throws(() => new Store([]), RangeError);
  assert.throws(() => new Store([new ArrayBuffer(4096)]), RangeError);
});

test('every size class is large enough for what it is chosen for', () => {
  for (let index = 1; index < SLOT_BYTES.length; index += 1) assert.ok(SLOT_BYTES[index]! > SLOT_BYTES[index - 1]!);
  const tested = TestStore.ofSize(1024 * KIB);
  for (let bytes = 0; bytes < SLOT_BYTES_MAX + 100; bytes += 7) {
    tested.set('k', 'v'.repeat(bytes));
    const address = tested.store.lookup(Buffer.from('k'), 0, 1);
    const room = tested.store.slabs.roomBytes(address);
    assert.ok(room >= entryBytes(1, bytes), `${bytes} bytes got ${room}`);
    assert.ok(room <= Math.max(48, entryBytes(1, bytes) * 2), `${bytes} bytes got ${room}`);
  }
});

test('digests do not depend on the order, add up in parts, and tell any changed byte', () => {
  const add = (digest: Digest, key: string, value: string): void => {
    const [k, v] = [Buffer.from(key), Buffer.from(value)];
    digest.add(k, 0, k.length, v, 0, v.length);
  };
  fc.assert(
    fc.property(fc.uniqueArray(fc.string(), { minLength: 1 }), fc.integer({ min: 0, max: 40 }), (keys, length) => {
      const [forward, backward, left, right] = [new Digest(), new Digest(), new Digest(), new Digest()];
      for (const key of keys) add(forward, key, key.repeat(length));
      for (const key of [...keys].reverse()) add(backward, key, key.repeat(length));
      for (const [i, key] of keys.entries()) add(i % 2 === 0 ? left : right, key, key.repeat(length));
      left.addPart(right.hex, right.count);
      assert.equal(forward.hex, backward.hex);
      assert.equal(forward.hex, left.hex);
      assert.equal(left.count, keys.length);
    }),
  );
  const seen = new Set<string>();
  const value = Buffer.alloc(33, 'a');
  for (let i = -1; i < value.length; i += 1) {
    const changed = Buffer.from(value);
    if (i >= 0) changed[i]! ^= 1;
    const digest = new Digest();
    digest.add(value, 0, 4, changed, 0, changed.length);
    seen.add(digest.hex);
  }
  assert.equal(seen.size, 34);
});
