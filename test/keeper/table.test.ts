/** Goal: the keeper's table is a Map that keeps its order. Method: beside a Map, by random operations; thousands of names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Table } from '../../src/keeper/index.js';

test('the table answers as a Map does, in the same order', () => {
  const name = fc.oneof(
    fc.nat(300).map((number) => `n/${number}`),
    fc.string({ unit: 'binary', maxLength: 3 }),
    fc.constantFrom('', '__proto__', 'toString', '0', '1'),
  );
  const operations = fc.array(fc.record({ name, removed: fc.boolean() }), { maxLength: 1000, size: 'max' });
  fc.assert(
    fc.property(operations, (list) => {
      const table = new Table();
      const plain = new Map<string, string>();
      for (const [index, { name, removed }] of list.entries()) {
        const row = table.find(name);
        assert.equal(row >= 0, plain.has(name));
        if (row >= 0) assert.equal(table.about(row).owner, plain.get(name));
        if (removed && row >= 0) table.remove(row);
        else if (!removed) assert.equal(table.add(name, { owner: `${index}`, meta: undefined }, []), row < 0);
        if (removed) plain.delete(name);
        else if (row < 0) plain.set(name, `${index}`);
      }
      assert.deepEqual(table.names(''), [...plain.keys()]);
      assert.deepEqual(
        table.names('n/1'),
        [...plain.keys()].filter((name) => name.startsWith('n/1')),
      );
    }),
  );
});

test('thousands of names come and go, and the few that stay are found', () => {
  const table = new Table();
  const about = { owner: 'o', meta: undefined };
  for (let round = 0; round < 20; round += 1) {
    const names = Array.from({ length: 5000 }, (_, index) => `${index} of round ${round}`);
    for (const name of names) assert.ok(table.add(name, about, []));
    for (const name of names) assert.equal(table.add(name, about, []), false);
    assert.equal(table.names('').length, 5000 + round);
    for (const name of names.slice(1)) table.remove(table.find(name));
  }
  assert.deepEqual(
    table.names(''),
    Array.from({ length: 20 }, (_, round) => `0 of round ${round}`),
  );
  for (const name of table.names('')) assert.ok(table.find(name) >= 0);
  assert.equal(table.find('1 of round 19'), -1);
});
