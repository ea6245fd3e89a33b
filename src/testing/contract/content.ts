/** The contract of content, position, size, seals, and of many files and sessions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SEAL } from '../../abi/linux.js';
import * as sys from '../../sys/index.js';
import { contentOf, fdinfoOf, type Run } from './run.js';

export function contentCases(run: Run): void {
  test('content and position come over the gap', async () => {
    const file = run().memfd('hello kexec world');
    await (await run().backend.create('a')).preserve(file.fd, 0x1an);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 0x1an);
    assert.equal(contentOf(fd), 'hello kexec world');
    assert.equal(fdinfoOf(fd, 'pos'), '17');
  });

  test('what is written after preserving is carried too: there is no snapshot', async () => {
    const file = run().memfd('hello world');
    await (await run().backend.create('a')).preserve(file.fd, 1n);
    sys.pwrite(file.fd, Buffer.from('HELLO'), 0);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    assert.equal(contentOf(fd), 'HELLO world');
  });

  test('the position is that of the gap, not that of the preserving', async () => {
    const file = run().memfd('0123456789');
    await (await run().backend.create('a')).preserve(file.fd, 1n);
    const reader = run().own(sys.openFile(`/proc/self/fd/${file.fd}`, 2));
    await (await run().backend.create('b')).close();
    sys.read(file.fd, Buffer.alloc(1));
    assert.equal(fdinfoOf(reader.fd, 'pos'), '0');
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    assert.equal(fdinfoOf(fd, 'pos'), '10');
  });

  test('an empty file is a file', async () => {
    await (await run().backend.create('a')).preserve(run().memfd().fd, 1n);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    assert.equal(sys.fstat(fd).sizeBytes, 0);
  });

  test('a file of several megabytes is the same to the last byte', async () => {
    const bytes = Buffer.alloc(3 * 1024 * 1024 + 17);
    for (let index = 0; index < bytes.length; index += 4096) bytes.writeUInt32LE(index, index % (bytes.length - 4));
    const path = join(run().directory, 'bytes');
    writeFileSync(path, bytes);
    const file = run().memfd();
    sys.ftruncate(file.fd, bytes.length);
    for (let at = 0; at < bytes.length;) at += sys.pwrite(file.fd, bytes.subarray(at), at);
    await (await run().backend.create('a')).preserve(file.fd, 1n);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    const back = Buffer.alloc(bytes.length);
    for (let at = 0; at < back.length;) at += sys.pread(fd, back.subarray(at), at);
    assert.ok(back.equals(readFileSync(path)));
  });

  test('what comes back can be written and resized', async () => {
    await (await run().backend.create('a')).preserve(run().memfd('abc').fd, 1n);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    sys.pwrite(fd, Buffer.from('X'), 0);
    sys.ftruncate(fd, 5);
    assert.equal(contentOf(fd), 'Xbc\0\0');
  });

  test('seals that were there at the preserving come back', async () => {
    const file = run().memfd('sealed');
    const seals = SEAL.SHRINK | SEAL.GROW;
    sys.addSeals(file.fd, seals);
    await (await run().backend.create('a')).preserve(file.fd, 1n);
    const fd = await run().retrieve(await (await run().cross()).retrieve('a'), 1n);
    assert.equal(sys.getSeals(fd), seals);
  });

  test('several sessions with several files are kept apart', async () => {
    for (const name of ['a', 'b', 'c']) {
      const session = await run().backend.create(name);
      for (const token of [1n, 2n]) await session.preserve(run().memfd(`${name}${token}`).fd, token);
    }
    const after = await run().cross();
    for (const name of ['c', 'a', 'b']) {
      const incoming = await after.retrieve(name);
      for (const token of [1n, 2n]) assert.equal(contentOf(await run().retrieve(incoming, token)), `${name}${token}`);
    }
  });

  test('500 files go in one session', async () => {
    const session = await run().backend.create('many');
    for (let index = 0; index < 500; index += 1) {
      const file = run().memfd(`file-data-${index}`);
      await session.preserve(file.fd, BigInt(index));
      file.close();
    }
    const incoming = await (await run().cross()).retrieve('many');
    for (let index = 0; index < 500; index += 1) {
      const file = await incoming.retrieve(BigInt(index));
      assert.equal(contentOf(file.fd), `file-data-${index}`);
      file.close();
    }
  });

  test('200 empty sessions cross: a name alone is state', async () => {
    for (let index = 0; index < 200; index += 1) await run().backend.create(`many-test-${index}`);
    const after = await run().cross();
    for (let index = 0; index < 200; index += 1) await (await after.retrieve(`many-test-${index}`)).finish();
  });

  test('a file makes several journeys', async () => {
    let fd = run().memfd('traveller').fd;
    for (let journey = 0; journey < 3; journey += 1) {
      await (await run().backend.create('a')).preserve(fd, 1n);
      const incoming = await (await run().cross()).retrieve('a');
      fd = await run().retrieve(incoming, 1n);
      await incoming.close();
    }
    assert.equal(contentOf(fd), 'traveller');
  });
}
