// Goal: what a program saved of a connection is known again exactly when nothing in it has changed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SavedSnapshot } from '../../src/client/saved-snapshot.js';
import type { Saved } from '../../src/client/types.js';

const VALUES: readonly Saved[] = [
  null,
  'text',
  '[]',
  'bytes:',
  7,
  true,
  {},
  [],
  Buffer.alloc(0),
  { db: 0 },
  { db: 1 },
  { db: 0, name: 'x' },
  { db: 0, name: null },
  { name: 'x', nested: { deep: [1] } },
  { name: 'x', nested: { deep: [2] } },
  [1, 2],
  [1, 3],
  Buffer.from([1, 2]),
  Buffer.from([1, 3]),
];
const copy = (value: Saved): Saved => (value instanceof Uint8Array ? Buffer.from(value) : structuredClone(value));

test('a value is the same as its copy, and as no other value', () => {
  for (const [index, value] of VALUES.entries())
    for (const [other, candidate] of VALUES.entries())
      assert.equal(new SavedSnapshot(value).isSameAs(copy(candidate)), index === other, `${index} and ${other}`);
});

test('it gives the value back', () => {
  for (const value of VALUES) assert.deepEqual(new SavedSnapshot(value).value, value);
});

test('what the program changes in its own object later is seen', () => {
  const flat = { db: 0, name: 'x' as string | undefined };
  const nested = { names: ['x'] };
  const [ofFlat, ofNested] = [new SavedSnapshot(flat as Saved), new SavedSnapshot(nested)];
  flat.db = 1;
  nested.names.push('y');
  assert.equal(ofFlat.isSameAs(flat as Saved), false);
  assert.equal(ofNested.isSameAs(nested), false);
  assert.deepEqual([ofFlat.value, ofNested.value], [{ db: 0, name: 'x' }, { names: ['x'] }]);
});
