// Goal: the log that is kept for the next kernel stays within its memory and ends with what was said last, whatever the lines
// are. Method: lines of every kind into the memfd, which is read back whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogRing } from '../../../src/daemon/kexec/log-ring.js';
import { fstat, preadFully } from '../../../src/sys/index.js';

const RING_BYTES = 256 * 1024;

function textOf(fd: number): string {
  const bytes = Buffer.alloc(fstat(fd).sizeBytes);
  preadFully(fd, bytes, 0);
  return bytes.toString('utf8').replace(/\0+$/, '');
}

test('a full ring forgets its older half and begins with a whole line', () => {
  using fd = LogRing.create();
  const ring = new LogRing(fd.fd, 0);
  const line = (index: number): string => `${String(index).padStart(6, '0')} ${'x'.repeat(92)}\n`;
  for (let index = 0; index < 10_000; index += 1) ring.write(line(index));
  assert.equal(fstat(fd.fd).sizeBytes, RING_BYTES);
  const lines = textOf(fd.fd).split(/(?<=\n)/);
  assert.ok(lines.length >= RING_BYTES / 100 / 2, `${lines.length} lines`);
  assert.deepEqual(
    lines,
    lines.map((_, index) => line(10_000 - lines.length + index)),
  );
});

test('lines that are longer than what a ring takes are cut, and it still has room', () => {
  using fd = LogRing.create();
  const ring = new LogRing(fd.fd, 0);
  for (const letter of 'abcde') ring.write(`${letter.repeat(RING_BYTES)}\n`);
  ring.write('the last word\n');
  assert.equal(fstat(fd.fd).sizeBytes, RING_BYTES);
  assert.match(textOf(fd.fd), /e{1000}the last word\n$/);
});

test('a ring that an earlier luod began is gone on with', () => {
  using fd = LogRing.create();
  new LogRing(fd.fd, 0).write('one\n');
  new LogRing(fd.fd, 4).write('two\n');
  assert.equal(textOf(fd.fd), 'one\ntwo\n');
});
