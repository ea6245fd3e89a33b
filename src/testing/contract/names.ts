/** The contract of names: what is one, and who has it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentOf, refuses, type Run } from './run.js';

export function nameCases(run: Run): void {
  test('an empty name is EINVAL', async () => {
    await refuses(run().backend.create(''), 'EINVAL');
  });

  test('63 bytes are a name, 64 are EINVAL', async () => {
    await run().backend.create('A'.repeat(63));
    await refuses(run().backend.create('X'.repeat(64)), 'EINVAL');
  });

  test('bytes are counted, not characters', async () => {
    await run().backend.create('ü'.repeat(31));
    await refuses(run().backend.create('ü'.repeat(32)), 'EINVAL');
  });

  test('a name with a NUL, or one that is no Unicode, is EINVAL', async () => {
    await refuses(run().backend.create('a\0b'), 'EINVAL');
    await refuses(run().backend.create('\ud800'), 'EINVAL');
  });

  test('every other byte is allowed, and comes over the gap', async () => {
    const names = ['a/b', '../..', 'a%2Fb', ' ', 'a\nb', '%', '日本', '.'];
    for (const name of names) assert.equal((await run().backend.create(name)).name, name);
    const after = await run().cross();
    for (const name of names) assert.equal((await after.retrieve(name)).name, name);
  });

  test('a duplicate is EEXIST until the first one is closed', async () => {
    const session = await run().backend.create('a');
    await refuses(run().backend.create('a'), 'EEXIST');
    await session.close();
    await run().backend.create('a');
  });

  test('an outgoing session may have the name of an incoming one', async () => {
    await (await run().backend.create('a')).preserve(run().memfd('old').fd, 1n);
    const after = await run().cross();
    const incoming = await after.retrieve('a');
    const outgoing = await after.create('a');
    assert.deepEqual([incoming.direction, outgoing.direction], ['incoming', 'outgoing']);
    await outgoing.preserve(run().memfd('new').fd, 1n);
    assert.equal(contentOf(await run().retrieve(incoming, 1n)), 'old');
    await outgoing.close();
    assert.equal(contentOf(await run().retrieve(incoming, 1n)), 'old');
  });

  test('an unknown name is ENOENT, and so is one that is still outgoing', async () => {
    await refuses(run().backend.retrieve('a'), 'ENOENT');
    await refuses(run().backend.retrieve(''), 'ENOENT');
    await refuses(run().backend.retrieve('X'.repeat(64)), 'ENOENT');
    await run().backend.create('a');
    await refuses(run().backend.retrieve('a'), 'ENOENT');
  });

  test('a session is retrieved once: then EINVAL, and ENOENT after its close', async () => {
    await run().backend.create('a');
    const after = await run().cross();
    const session = await after.retrieve('a');
    await refuses(after.retrieve('a'), 'EINVAL');
    await session.close();
    await refuses(after.retrieve('a'), 'ENOENT');
  });
}
