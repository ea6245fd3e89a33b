/** Goal: a descriptor has one owner, is closed once, and a forgotten one is named. Method: real descriptors. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OwnedFd, closeAll, dupFd, fstat, isOpen, memfdCreate, sameOpenFile } from '../../src/sys/index.js';
import { leakCheck, throwsErrno } from './support.js';

leakCheck();

test('close closes the descriptor, and a second close does nothing', () => {
  const owned = memfdCreate('x');
  const fd = owned.fd;
  owned.close();
  assert.equal(isOpen(fd), false);
  const other = memfdCreate('y');
  assert.equal(other.fd, fd, 'the number is free again');
  owned.close();
  assert.equal(isOpen(fd), true, 'the second close must not close what has the number now');
  other.close();
});

test('using a closed one stops the program instead of meaning somebody else’s descriptor', () => {
  const owned = memfdCreate('x');
  owned.close();
  assert.throws(() => owned.fd, { name: 'AssertionError' });
  assert.throws(() => owned.take(), { name: 'AssertionError' });
  assert.throws(() => owned.dup(), { name: 'AssertionError' });
  assert.equal(owned.isOpen, false);
});

test('take hands the number over and leaves nothing to close', () => {
  const owned = memfdCreate('x');
  const fd = owned.take();
  owned.close();
  assert.equal(isOpen(fd), true);
  new OwnedFd(fd).close();
});

test('a number that is no descriptor is refused', () => {
  assert.throws(() => new OwnedFd(-1), { name: 'AssertionError' });
  assert.throws(() => new OwnedFd(1.5), { name: 'AssertionError' });
});

test('dup is the same open file under another number, close-on-exec', () => {
  const owned = memfdCreate('x');
  const copy = owned.dup();
  assert.notEqual(copy.fd, owned.fd);
  assert.equal(sameOpenFile({ pid: process.pid, fd: owned.fd }, { pid: process.pid, fd: copy.fd }), true);
  assert.equal(fstat(copy.fd).ino, fstat(owned.fd).ino);
  closeAll([owned, copy]);
  throwsErrno(() => dupFd(owned.isOpen ? 0 : 1_000_000), 'EBADF');
});

test('tracking names what is open and where it was made', () => {
  const seen = OwnedFd.live().length;
  const owned = memfdCreate('tracked');
  const live = OwnedFd.live();
  assert.equal(live.length, seen + 1);
  assert.equal(live.at(-1)?.fd, owned.fd);
  assert.match(live.at(-1)?.stack ?? '', /owned-fd\.test/);
  owned[Symbol.dispose]();
  assert.equal(OwnedFd.live().length, seen);
});
