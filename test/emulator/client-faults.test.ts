// Goal: what a client meets when the kernel fails, which a real one cannot be told to do: each fault as luo's own model of the
// kernel and its source have it, seen from a program. Method: a client under luoctl emulate --fault, and what it was answered.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './support.js';
import { emulate } from './typed.js';

const CLIENT = join(root, 'dist/test/emulator/guest/faulty.js');

/** What the client was answered, one list for each time that it ran. */
async function answers(step: string, fault: string, after?: string): Promise<unknown[]> {
  const { code, out, err } = await emulate(
    [process.execPath, CLIENT, step],
    ['--fault', fault, ...(after === undefined ? [] : ['--init', `'${process.execPath}' '${CLIENT}' ${after}`])],
  );
  assert.equal(code, 0, out + err);
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

test('incoming data that cannot be read is EIO of every open, for as long as the kernel runs', async () => {
  assert.deepEqual(await answers('open', 'open:EIO:always'), [['EIO', 'EIO', 'EIO']]);
});

test('incoming data that cannot be read stays so, also if the fault is ordered once', async () => {
  assert.deepEqual(await answers('open', 'open:EIO'), [['EIO', 'EIO', 'EIO']]);
});

test('the third preserve is ENOMEM: its token and its file are free, and the rest goes on', async () => {
  assert.deepEqual(await answers('preserve', 'preserve:3:ENOMEM'), [['ok', 'ok', 'ENOMEM', 'ok', 'EEXIST', 's']]);
});

test('a file that refuses to freeze gives reboot its errno; everything goes on, and the next jump takes it all along', async () => {
  assert.deepEqual(await answers('freeze', 'freeze:token=1:EBUSY', 'afterFreeze'), [
    ['ok', 'EINVAL', 'ok', 'EBUSY', 's', 'ok', 'EEXIST', 'ok'],
    ['before', 'later', 'ok'],
  ]);
});

test('a finish that is vetoed is EBUSY and finishes nothing; the next one does', async () => {
  assert.deepEqual(await answers('leave', 'finish:session=a:EBUSY', 'finish'), [
    ['a1', 'EBUSY', 'a1', 'a2', 'ok', 'ENOENT'],
  ]);
});

test('a close whose finish is vetoed leaves a session that nobody can have: EINVAL, and its files stay busy', async () => {
  assert.deepEqual(await answers('leave', 'finish:session=a:EBUSY:always', 'close'), [
    ['ok', 'EINVAL', 'EINVAL', 'a1', 'EBUSY', 'b1', 'ok'],
  ]);
});

test('a retrieve that failed fails the same way for ever; other tokens and sessions do not', async () => {
  assert.deepEqual(await answers('leave', 'retrieve:session=a:token=2:EIO', 'retrieve'), [
    ['a1', 'EIO', 'EIO', 'a3', 'EIO', 'b2', 'ok', 'ENOENT'],
  ]);
});
