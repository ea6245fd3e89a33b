// Goal: the two tables below the model. Method: the persistent map against a Map, by random operations; the file table
// against files that are plain objects.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FileIdentities, PersistentMap } from '../../src/model/index.js';

test('a persistent map answers as a Map does, and every earlier version stays as it was', () => {
  const operations = fc.array(fc.record({ key: fc.bigInt({ min: 0n, max: 300n }), value: fc.option(fc.nat()) }), {
    maxLength: 400,
  });
  fc.assert(
    fc.property(operations, (list) => {
      let map = PersistentMap.empty<bigint, number>();
      const plain = new Map<bigint, number>();
      const versions: { map: PersistentMap<bigint, number>; plain: Map<bigint, number> }[] = [];
      for (const { key, value } of list) {
        if (versions.length < 20) versions.push({ map, plain: new Map(plain) });
        map = value === null ? map.without(key) : map.with(key, value);
        if (value === null) plain.delete(key);
        else plain.set(key, value);
      }
      for (const version of [...versions, { map, plain }]) {
        assert.equal(version.map.size, version.plain.size);
        assert.deepEqual(new Map(version.map.entries()), version.plain);
      }
    }),
  );
});

test('a change of a large map costs a bucket, not the map', () => {
  let map = PersistentMap.empty<bigint, number>();
  for (let index = 0; index < 20_000; index += 1) map = map.with(BigInt(index) << 12n, index);
  // Keys that are multiples of a page are spread as well as any.
  assert.equal(map.size, 20_000);
  for (const index of [0, 1, 19_999]) assert.equal(map.get(BigInt(index) << 12n), index);
  assert.equal(map.get(1n), undefined);
  assert.equal(map.without(1n), map, 'nothing to take away');
});

/** Open files as objects: the fd is the number, `file` says which open file it refers to. */
class FakeFiles {
  readonly fds = new Map<number, { file: number; ino: bigint; memfd: boolean }>();
  compared = 0;
  readonly identities = new FileIdentities({
    stat: (fd) => ({ dev: 1n, ...this.fds.get(fd)! }),
    compare: (a, b) => {
      this.compared += 1;
      return this.fds.get(a)!.file - this.fds.get(b)!.file;
    },
  });
  open(fd: number, file: number, ino = 7n, memfd = false): number {
    this.fds.set(fd, { file, ino, memfd });
    return fd;
  }
}

test('two fds of one open file have one identity, of two open files on one inode they have two', () => {
  const files = new FakeFiles();
  const identity = files.identities.identify(files.open(3, 100));
  files.identities.hold(3, identity);
  assert.equal(files.identities.identify(files.open(4, 100)), identity);
  assert.notEqual(files.identities.identify(files.open(5, 101)), identity);
});

test('two opens of one memfd are one file', () => {
  const files = new FakeFiles();
  assert.equal(
    files.identities.identify(files.open(3, 100, 9n, true)),
    files.identities.identify(files.open(4, 101, 9n, true)),
  );
});

test('a forgotten file is a new one when it comes again', () => {
  const files = new FakeFiles();
  const identity = files.identities.identify(files.open(3, 100));
  files.identities.hold(3, identity);
  files.identities.forget(3);
  files.identities.forget(3);
  assert.notEqual(files.identities.identify(files.open(4, 100)), identity);
});

test('among a thousand files of one inode a file is found by few comparisons', () => {
  const files = new FakeFiles();
  for (let file = 0; file < 1000; file += 1) {
    const fd = files.open(file, (file * 7919) % 1000);
    files.identities.hold(fd, files.identities.identify(fd));
  }
  files.compared = 0;
  const dup = files.open(5000, 500);
  const original = [...files.fds].find(([fd, each]) => fd < 1000 && each.file === 500)![0];
  assert.equal(files.identities.identify(dup), files.identities.identify(original));
  assert.ok(files.compared <= 22, `${files.compared} comparisons`);
});
