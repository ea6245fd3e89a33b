// Goal: what a memfd keeps and loses over a kexec. Method: each attribute apart, against what the kernel was seen to do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  memfdAfterKexec,
  memfdKexecWarnings,
  memfdPreserveErrno,
  SEAL,
  whilePreservedErrno,
} from '../../src/model/index.js';
import type { MemfdAttributes } from '../../src/model/index.js';

const PLAIN: MemfdAttributes = {
  sizeBytes: 8192,
  offset: 0,
  seals: 0,
  access: 'readWrite',
  append: false,
  nonblock: false,
  name: 'cache',
  mode: 0o600,
};

test('the position of the jump is kept, not that of the preserving', () => {
  assert.equal(memfdAfterKexec({ ...PLAIN, offset: 5 }, { ...PLAIN, offset: 17 }).offset, 17);
});

test('seals that were there at the preserving are kept', () => {
  const seals = SEAL.shrink | SEAL.grow | SEAL.seal;
  assert.equal(memfdAfterKexec({ ...PLAIN, seals }, { ...PLAIN, seals }).seals, seals);
});

test('seals that were added afterwards are lost', () => {
  const later = { ...PLAIN, seals: SEAL.shrink | SEAL.grow };
  assert.equal(memfdAfterKexec(PLAIN, later).seals, 0);
});

test('a memfd sealed against EXEC comes back sealed 0x3e with mode 0777', () => {
  const noexec = { ...PLAIN, seals: SEAL.exec };
  const back = memfdAfterKexec(noexec, noexec);
  assert.equal(back.seals, 0x3e);
  assert.equal(back.mode, 0o777);
});

test('access escalates, O_APPEND and O_NONBLOCK are lost, and so is the name', () => {
  const odd: MemfdAttributes = { ...PLAIN, access: 'read', append: true, nonblock: true };
  const back = memfdAfterKexec(odd, odd);
  assert.deepEqual([back.access, back.append, back.nonblock, back.name], ['readWrite', false, false, '']);
});

test('an unknown seal is EOPNOTSUPP, too many pages are EFBIG', () => {
  assert.equal(memfdPreserveErrno({ seals: 64, sizeBytes: 0 }), 'EOPNOTSUPP');
  assert.equal(memfdPreserveErrno({ seals: 0, sizeBytes: 0xffff_ffff * 4096 }), null);
  assert.equal(memfdPreserveErrno({ seals: 0, sizeBytes: 0xffff_ffff * 4096 + 1 }), 'EFBIG');
  assert.equal(memfdPreserveErrno({ seals: 63, sizeBytes: 0 }), null);
});

test('while it is preserved its size is fixed and its pages cannot be sealed, but it can be written in place', () => {
  assert.equal(whilePreservedErrno('write'), null);
  assert.equal(whilePreservedErrno('truncate'), 'EPERM');
  assert.equal(whilePreservedErrno('fallocate'), 'EPERM');
  assert.equal(whilePreservedErrno('writeBeyondEnd'), 'EPERM');
  assert.equal(whilePreservedErrno('zeroRange'), 'EOPNOTSUPP');
  assert.equal(whilePreservedErrno('sealWrite'), 'EBUSY');
  assert.equal(whilePreservedErrno('sealSize'), null);
});

test('what would come back read-only is warned of, what is read-only already is not', () => {
  assert.equal(memfdKexecWarnings({ seals: SEAL.exec, access: 'readWrite' }).length, 1);
  assert.deepEqual(memfdKexecWarnings({ seals: SEAL.exec | SEAL.write, access: 'readWrite' }), []);
  assert.deepEqual(memfdKexecWarnings(PLAIN), []);
  assert.match(memfdKexecWarnings({ seals: 0, access: 'read' })[0]!, /writable/);
});
