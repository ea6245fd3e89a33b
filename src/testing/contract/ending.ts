/** The contract of finish and close, and of finding sessions again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentOf, refuses, type Run } from './run.js';

export function endCases(run: Run): void {
  test('finish of an outgoing session is EINVAL', async () => {
    await refuses((await run().backend.create('a')).finish(), 'EINVAL');
  });

  test('finish may be repeated', async () => {
    await run().backend.create('a');
    const incoming = await (await run().cross()).retrieve('a');
    await incoming.finish();
    await incoming.finish();
  });

  test('closing an outgoing session unpreserves: its files are free, and nothing of it crosses', async () => {
    const session = await run().backend.create('a');
    const file = run().memfd('mine');
    await session.preserve(file.fd, 1n);
    await session.close();
    assert.equal(contentOf(file.fd), 'mine', 'the caller’s own fd is good as ever');
    await (await run().backend.create('b')).preserve(file.fd, 1n);
    const after = await run().cross();
    await refuses(after.retrieve('a'), 'ENOENT');
    await after.retrieve('b');
  });

  test('closing an incoming session finishes it: what nobody took is gone', async () => {
    await (await run().backend.create('a')).preserve(run().memfd('x').fd, 1n);
    const after = await run().cross();
    const incoming = await after.retrieve('a');
    await incoming.close();
    await refuses(after.retrieve('a'), 'ENOENT');
    await after.create('a');
  });

  test('a second close does nothing', async () => {
    const session = await run().backend.create('a');
    await session.close();
    await run().backend.create('a');
    await session.close();
    await refuses(run().backend.create('a'), 'EEXIST');
  });

  test('sessions that are held can be listed again, in the order of their creation', async () => {
    await run().backend.create('out-2');
    await run().backend.create('out-1');
    const before = await run().backend.recover();
    assert.deepEqual(
      before.map((session) => [session.name, session.direction]),
      [
        ['out-2', 'outgoing'],
        ['out-1', 'outgoing'],
      ],
    );
    const after = await run().cross();
    assert.deepEqual(await after.recover(), []);
    await after.retrieve('out-1');
    assert.deepEqual(
      (await after.recover()).map((session) => [session.name, session.direction]),
      [['out-1', 'incoming']],
    );
  });
}
