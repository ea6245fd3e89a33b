/** The contract of preserve: refusals in their order, and calls that are not awaited. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sys from '../../sys/index.js';
import { contentOf, NO_FD, refuses, type Run } from './run.js';

export function preserveCases(run: Run): void {
  test('a bad fd is EBADF', async () => {
    await refuses((await run().backend.create('a')).preserve(NO_FD, 1n), 'EBADF');
  });

  test('a used token is EEXIST, also with a bad fd; another session may use it', async () => {
    const session = await run().backend.create('a');
    await session.preserve(run().memfd().fd, 1n);
    await refuses(session.preserve(run().memfd().fd, 1n), 'EEXIST');
    await refuses(session.preserve(NO_FD, 1n), 'EEXIST');
    await (await run().backend.create('b')).preserve(run().memfd().fd, 1n);
  });

  test('the same file is EBUSY: again, through a dup, through another open, in another session', async () => {
    const session = await run().backend.create('a');
    const other = await run().backend.create('b');
    const file = run().memfd();
    await session.preserve(file.fd, 1n);
    const dup = run().own(file.dup());
    const reopened = run().own(sys.openFile(`/proc/self/fd/${file.fd}`, 0));
    for (const target of [session, other])
      for (const same of [file, dup, reopened]) await refuses(target.preserve(same.fd, 2n), 'EBUSY');
  });

  test('a refused preserve leaves nothing behind', async () => {
    const session = await run().backend.create('a');
    const file = run().memfd('x');
    await session.preserve(file.fd, 1n);
    await refuses(session.preserve(file.fd, 2n), 'EBUSY');
    await session.preserve(run().memfd('y').fd, 2n);
    const incoming = await (await run().cross()).retrieve('a');
    assert.equal(contentOf(await run().retrieve(incoming, 1n)), 'x');
    assert.equal(contentOf(await run().retrieve(incoming, 2n)), 'y');
  });

  test('on an incoming session it is EINVAL', async () => {
    await run().backend.create('a');
    const incoming = await (await run().cross()).retrieve('a');
    await refuses(incoming.preserve(run().memfd().fd, 1n), 'EINVAL');
  });

  test('a retrieved file is EBUSY until its session is finished', async () => {
    await (await run().backend.create('a')).preserve(run().memfd('x').fd, 1n);
    const after = await run().cross();
    const incoming = await after.retrieve('a');
    const fd = await run().retrieve(incoming, 1n);
    const next = await after.create('next');
    await refuses(next.preserve(fd, 1n), 'EBUSY');
    await incoming.finish();
    await next.preserve(fd, 1n);
  });

  test('tokens are all of u64', async () => {
    const session = await run().backend.create('a');
    const tokens = [0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, 0xffff_ffff_ffff_ffffn];
    for (const token of tokens) await session.preserve(run().memfd(`${token}`).fd, token);
    const incoming = await (await run().cross()).retrieve('a');
    for (const token of tokens) assert.equal(contentOf(await run().retrieve(incoming, token)), `${token}`);
  });

  test('calls may be pipelined, and the fd closed as soon as the call has returned', async () => {
    const session = await run().backend.create('a');
    const pending = Array.from({ length: 100 }, (_, index) => {
      const file = run().memfd(`file ${index}`);
      const promise = session.preserve(file.fd, BigInt(index));
      file.close();
      return promise;
    });
    await Promise.all(pending);
    const incoming = await (await run().cross()).retrieve('a');
    for (let index = 0; index < 100; index += 1)
      assert.equal(contentOf(await run().retrieve(incoming, BigInt(index))), `file ${index}`);
  });

  test('one refusal among pipelined calls concerns itself only', async () => {
    const session = await run().backend.create('a');
    const first = session.preserve(run().memfd('1').fd, 1n);
    const again = session.preserve(run().memfd('2').fd, 1n);
    const second = session.preserve(run().memfd('3').fd, 2n);
    await refuses(again, 'EEXIST');
    await Promise.all([first, second]);
    const incoming = await (await run().cross()).retrieve('a');
    assert.equal(contentOf(await run().retrieve(incoming, 1n)), '1');
    assert.equal(contentOf(await run().retrieve(incoming, 2n)), '3');
  });

  test('a closed session is EBADF', async () => {
    const session = await run().backend.create('a');
    await session.close();
    await refuses(session.preserve(run().memfd().fd, 1n), 'EBADF');
    await refuses(session.retrieve(1n), 'EBADF');
    await refuses(session.finish(), 'EBADF');
  });

  test('a session of the time before the gap is EBADF', async () => {
    const session = await run().backend.create('a');
    await run().cross();
    await refuses(session.preserve(run().memfd().fd, 1n), 'EBADF');
    await session.close();
    await run().backend.retrieve('a');
  });
}
