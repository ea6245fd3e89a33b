/** The contract of retrieve: refusals, and whose file it is that comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sys from '../../sys/index.js';
import { contentOf, fdinfoOf, refuses, type Run } from './run.js';

const O_CLOEXEC = 0o2000000;

export function retrieveCases(run: Run): void {
  test('on an outgoing session it is EINVAL', async () => {
    const session = await run().backend.create('a');
    await session.preserve(run().memfd().fd, 1n);
    await refuses(session.retrieve(1n), 'EINVAL');
  });

  test('an unknown token is ENOENT', async () => {
    const session = await run().backend.create('a');
    await session.preserve(run().memfd().fd, 1n);
    await refuses((await (await run().cross()).retrieve('a')).retrieve(2n), 'ENOENT');
  });

  test('every token is ENOENT after finish', async () => {
    const session = await run().backend.create('a');
    await session.preserve(run().memfd().fd, 1n);
    const incoming = await (await run().cross()).retrieve('a');
    await incoming.finish();
    await refuses(incoming.retrieve(1n), 'ENOENT');
  });

  test('a second retrieve is another fd of the same open file', async () => {
    await (await run().backend.create('a')).preserve(run().memfd('hello').fd, 1n);
    const incoming = await (await run().cross()).retrieve('a');
    const one = await run().retrieve(incoming, 1n);
    const two = await run().retrieve(incoming, 1n);
    assert.notEqual(one, two);
    // One position for both; kcmp(2) would say it too, but not every kernel has it.
    sys.write(one, Buffer.from(' there'));
    assert.deepEqual([fdinfoOf(one, 'pos'), fdinfoOf(two, 'pos')], ['11', '11']);
  });

  test('tokens are retrieved in any order', async () => {
    const session = await run().backend.create('a');
    for (const token of [1n, 2n, 3n]) await session.preserve(run().memfd(`${token}`).fd, token);
    const incoming = await (await run().cross()).retrieve('a');
    for (const token of [3n, 1n, 2n]) assert.equal(contentOf(await run().retrieve(incoming, token)), `${token}`);
  });

  test('what comes back is close-on-exec', async () => {
    await (await run().backend.create('a')).preserve(run().memfd().fd, 1n);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    assert.notEqual(Number.parseInt(fdinfoOf(fd, 'flags'), 8) & O_CLOEXEC, 0);
  });

  test('what came back is good after finish and close', async () => {
    await (await run().backend.create('a')).preserve(run().memfd('stays').fd, 1n);
    const incoming = await (await run().cross()).retrieve('a');
    const fd = await run().retrieve(incoming, 1n);
    await incoming.finish();
    await incoming.close();
    assert.equal(contentOf(fd), 'stays');
  });
}
