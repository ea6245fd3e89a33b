/** Goal: the keeper's table refuses before it changes anything, and closes what it lets go. Method: the table, real fds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import { Store, storeLimits } from '../../src/keeper/index.js';
import { isOpen, memfdCreate, type OwnedFd } from '../../src/sys/index.js';
import { leakCheck } from '../sys/support.js';

leakCheck();

const small = { fdsMax: 10, ownerFdsMax: 5, metaBytesMax: 20 };

function fds(count: number): OwnedFd[] {
  return Array.from({ length: count }, () => memfdCreate('kept'));
}

function refused(call: () => void, code: string, limit?: string): void {
  assert.throws(call, (error: unknown) => {
    assert.ok(error instanceof LuoError);
    assert.equal(error.code, code);
    if (limit !== undefined) assert.equal(error.data?.['limit'], limit);
    return true;
  });
}

test('what was put is given back under its name, with its data', () => {
  const store = new Store(small);
  store.put('o', [{ name: 'a', meta: { x: 1 }, fds: fds(2) }], false);
  store.put('o', [{ name: 'b', fds: [] }], false);
  const numbers: number[] = [];
  assert.deepEqual(store.get('a', numbers), { name: 'a', owner: 'o', fds: 2, meta: { x: 1 } });
  assert.equal(numbers.length, 2);
  assert.deepEqual(store.list('b'), [{ name: 'b', owner: 'o', fds: 0 }]);
  assert.equal(store.fdCount, 2);
  store.clear();
});

test('an unknown name is KEEPER_UNKNOWN, also one that every object has', () => {
  const store = new Store(small);
  refused(() => store.get('nope', []), 'KEEPER_UNKNOWN');
  refused(() => store.get('toString', []), 'KEEPER_UNKNOWN');
});

test('a name that is there is refused and the old entry stays; replace takes its place and closes the old fds', () => {
  const store = new Store(small);
  const [old, ...more] = fds(3) as [OwnedFd, OwnedFd, OwnedFd];
  store.put('o', [{ name: 'a', fds: [old] }], false);
  refused(() => store.put('o', [{ name: 'a', fds: [more[0]] }], false), 'KEEPER_EXISTS');
  assert.equal(more[0].isOpen, true, 'refused fds stay the caller’s');
  const number = old.fd;
  const kept: number[] = [];
  store.get('a', kept);
  assert.deepEqual(kept, [number]);
  store.put('p', [{ name: 'a', fds: more }], true);
  assert.equal(old.isOpen, false);
  assert.equal(store.fdCount, 2);
  assert.equal(store.get('a', []).owner, 'p');
  store.clear();
  assert.equal(store.fdCount, 0);
});

test('many entries are put whole or not at all', () => {
  const store = new Store(small);
  store.put('o', [{ name: 'b', fds: fds(1) }], false);
  const given = fds(2);
  const named = (...names: string[]): { name: string; fds: OwnedFd[] }[] =>
    names.map((name, index) => ({ name, fds: [given[index]!] }));
  refused(() => store.put('o', named('a', 'b'), false), 'KEEPER_EXISTS');
  assert.equal(store.has('a'), false);
  refused(() => store.put('o', named('c', 'c'), true), 'KEEPER_EXISTS');
  assert.equal(store.has('c'), false);
  assert.deepEqual(
    given.map((fd) => fd.isOpen),
    [true, true],
  );
  store.put('o', named('a', 'b'), true);
  assert.equal(store.fdCount, 2);
  store.clear();
});

test('names of one fd each are put whole or not at all, like entries', () => {
  const store = new Store(small);
  store.put('o', [{ name: 'b', fds: fds(1) }], false);
  const given = fds(5);
  refused(() => store.putOnes('o', ['a', 'b'], given, false), 'KEEPER_EXISTS');
  refused(() => store.putOnes('o', ['c', 'd', 'c'], given, false), 'KEEPER_EXISTS');
  refused(() => store.putOnes('o', ['c', 'c'], given, true), 'KEEPER_EXISTS');
  refused(() => store.putOnes('o', ['c', 'd', 'e', 'f', 'g'], given, false), 'LIMIT_REACHED', 'keeperOwnerFdsMax');
  assert.deepEqual(store.list(), [{ name: 'b', owner: 'o', fds: 1 }], 'nothing of it is there');
  assert.equal(store.fdCount, 1);
  assert.ok(
    given.every((fd) => fd.isOpen),
    'refused fds stay the caller’s',
  );
  store.putOnes('o', ['a', 'c'], given.slice(0, 2), false);
  const numbers: number[] = [];
  assert.deepEqual(store.get('c', numbers), { name: 'c', owner: 'o', fds: 1 });
  assert.deepEqual(numbers, [given[1]!.fd]);
  store.putOnes('p', ['a', 'b'], given.slice(2, 4), true);
  assert.equal(given[0]!.isOpen, false, 'what was replaced is closed');
  assert.equal(store.fdCount, 3);
  store.drop(['c']);
  assert.equal(given[1]!.isOpen, false);
  store.clear();
  assert.equal(store.fdCount, 0);
  given[4]!.close();
});

test('names of one owner with one fd each and no data are given back at once; with any other among them they are not', () => {
  const store = new Store({ ...small, ownerFdsMax: 10 });
  const given = fds(4);
  store.putOnes('o', ['a', 'b'], given.slice(0, 2), false);
  store.put('o', [{ name: 'c', fds: given.slice(2, 3) }], false);
  store.put('o', [{ name: 'two', fds: fds(2) }], false);
  store.put('o', [{ name: 'none', fds: [] }], false);
  store.put('o', [{ name: 'data', meta: null, fds: fds(1) }], false);
  store.putOnes('p', ['other'], given.slice(3), false);
  const numbers = given.map((fd) => fd.fd);
  assert.deepEqual(store.getOnes(['c', 'a', 'b', 'a']), {
    owner: 'o',
    fds: [numbers[2], numbers[0], numbers[1], numbers[0]],
  });
  assert.deepEqual(store.getOnes(['other']), { owner: 'p', fds: [numbers[3]] });
  for (const name of ['two', 'none', 'data', 'other']) {
    assert.equal(store.getOnes(['a', name]), undefined);
    assert.equal(store.getOnes([name, 'a']), undefined);
  }
  refused(() => store.getOnes(['a', 'nope']), 'KEEPER_UNKNOWN');
  refused(() => store.getOnes(['nope', 'a']), 'KEEPER_UNKNOWN');
  store.clear();
});

test('each limit refuses by its name, and what is full for one owner is free for another', () => {
  const store = new Store(small);
  store.put('o', [{ name: 'a', fds: fds(5) }], false);
  const one = fds(1);
  refused(() => store.put('o', [{ name: 'b', fds: one }], false), 'LIMIT_REACHED', 'keeperOwnerFdsMax');
  store.put('p', [{ name: 'b', fds: one }], false);
  store.put('q', [{ name: 'c', fds: fds(4) }], false);
  const last = fds(1);
  refused(() => store.put('r', [{ name: 'd', fds: last }], false), 'LIMIT_REACHED', 'keeperFdsReserve');
  store.drop(['b', 'b', 'unknown']);
  const meta = 'x'.repeat(30);
  refused(() => store.put('r', [{ name: 'd', meta, fds: last }], false), 'LIMIT_REACHED', 'keeperMetaBytesMax');
  store.put('r', [{ name: 'd', fds: last }], false);
  store.clear();
});

test('replacing counts only what is added', () => {
  const store = new Store(small);
  store.put('o', [{ name: 'a', fds: fds(5) }], false);
  store.put('o', [{ name: 'a', fds: fds(5) }], true);
  store.put('p', [{ name: 'a', fds: fds(5) }], true);
  store.put('o', [{ name: 'b', fds: fds(5) }], false);
  assert.equal(store.fdCount, 10);
  store.clear();
});

test('entries without fds are limited as if they had one', () => {
  const store = new Store(small);
  for (let index = 0; index < 5; index += 1) store.put('o', [{ name: `e${index}`, fds: [] }], false);
  refused(() => store.put('o', [{ name: 'e5', fds: [] }], false), 'LIMIT_REACHED', 'keeperOwnerFdsMax');
  assert.equal(store.dropPrefix('e'), 5);
  store.put('o', [{ name: 'e5', fds: [] }], false);
  store.clear();
});

test('drop closes the fds and counts what was there', () => {
  const store = new Store(small);
  const kept = fds(2);
  const numbers = kept.map((fd) => fd.fd);
  store.put('o', [{ name: 'x/1', fds: [kept[0]!] }], false);
  store.put('o', [{ name: 'x/2', fds: [kept[1]!] }], false);
  assert.equal(store.drop(['x/1', 'y']), 1);
  assert.equal(isOpen(numbers[0]!), false);
  assert.equal(store.dropPrefix('x/'), 1);
  assert.equal(isOpen(numbers[1]!), false);
  assert.equal(store.dropPrefix('x/'), 0);
});

test('some descriptors stay free for the keeper itself', () => {
  assert.equal(storeLimits(1024).fdsMax, 1024 - 128);
  assert.equal(storeLimits(64).fdsMax, 0);
});
