// Goal: the memory backend keeps the contract over both gaps, and simulates what only the kernel does. Method: the contract
// suite, then what a kexec keeps and loses of a memfd, and the failures of handlers.
import assert from 'node:assert/strict';
import { readlinkSync, statSync } from 'node:fs';
import { suite, test } from 'node:test';
import { MFD, O } from '../../src/abi/linux.js';
import { MemoryBackend } from '../../src/backends/memory/index.js';
import { addSeals, getSeals, memfdCreate, openFile, pread, pwrite, fstat } from '../../src/sys/index.js';
import { backendContract } from '../../src/testing/backend-contract.js';
import { contentOf, fdinfoOf, refuses } from '../../src/testing/contract/run.js';

for (const gap of ['kexec', 'handover'] as const) {
  backendContract(`memory, ${gap}`, async () => {
    const backend = new MemoryBackend({ gap });
    return {
      backend,
      cross: async () => {
        backend.cross();
        return backend;
      },
      end: async () => backend.close(),
    };
  });
}

suite('a simulated kexec', () => {
  test('hands back another file: what an old fd writes afterwards does not arrive', async () => {
    using file = memfdCreate('old');
    pwrite(file.fd, Buffer.from('before'), 0);
    const backend = new MemoryBackend({ gap: 'kexec' });
    await (await backend.create('a')).preserve(file.fd, 1n);
    backend.kexec();
    pwrite(file.fd, Buffer.from('after!'), 0);
    const back = await (await backend.retrieve('a')).retrieve(1n);
    assert.equal(contentOf(back.fd), 'before');
    assert.notEqual(fstat(back.fd).ino, fstat(file.fd).ino);
    back.close();
    backend.close();
  });

  test('loses seals that came after preserving, the name, and the access mode', async () => {
    using file = memfdCreate('cache');
    pwrite(file.fd, Buffer.from('x'), 0);
    using readOnly = openFile(`/proc/self/fd/${file.fd}`, O.RDONLY);
    const backend = new MemoryBackend({ gap: 'kexec' });
    await (await backend.create('a')).preserve(readOnly.fd, 1n);
    addSeals(file.fd, 2 | 4);
    backend.kexec();
    const back = await (await backend.retrieve('a')).retrieve(1n);
    assert.equal(getSeals(back.fd), 0);
    assert.doesNotMatch(readlinkSync(`/proc/self/fd/${back.fd}`), /cache/);
    pwrite(back.fd, Buffer.from('y'), 0);
    back.close();
    backend.close();
  });

  test('a memfd made with MFD_NOEXEC_SEAL comes back read-only, of fixed size, and executable', async () => {
    using file = memfdCreate('noexec', MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL);
    pwrite(file.fd, Buffer.from('x'), 0);
    const backend = new MemoryBackend({ gap: 'kexec' });
    await (await backend.create('a')).preserve(file.fd, 1n);
    backend.kexec();
    const back = await (await backend.retrieve('a')).retrieve(1n);
    assert.equal(getSeals(back.fd), 0x3e);
    assert.equal(statSync(`/proc/self/fd/${back.fd}`).mode & 0o777, 0o777);
    assert.throws(() => pwrite(back.fd, Buffer.from('y'), 0), { errnoName: 'EPERM' });
    back.close();
    backend.close();
  });

  test('keeps a position behind the end of the file', async () => {
    using file = memfdCreate('far');
    const scratch = Buffer.alloc(100);
    pwrite(file.fd, scratch, 0);
    const { read, ftruncate } = await import('../../src/sys/index.js');
    read(file.fd, scratch);
    ftruncate(file.fd, 10);
    const backend = new MemoryBackend({ gap: 'kexec' });
    await (await backend.create('a')).preserve(file.fd, 1n);
    backend.kexec();
    const back = await (await backend.retrieve('a')).retrieve(1n);
    assert.equal(fdinfoOf(back.fd, 'pos'), '100');
    assert.equal(fstat(back.fd).sizeBytes, 10);
    back.close();
    backend.close();
  });

  test('incoming sessions that were not finished do not travel again', async () => {
    const backend = new MemoryBackend({ gap: 'kexec' });
    await backend.create('a');
    backend.kexec();
    await backend.retrieve('a');
    backend.kexec();
    await refuses(backend.retrieve('a'), 'ENOENT');
    backend.close();
  });

  test('a refusal to freeze is the errno of the jump, and everything goes on', async () => {
    using file = memfdCreate('x');
    const backend = new MemoryBackend({ gap: 'kexec' });
    const session = await backend.create('a');
    await session.preserve(file.fd, 1n);
    backend.fail.freeze = (name, token) => (name === 'a' && token === 1n ? 'EINVAL' : undefined);
    assert.throws(() => backend.kexec(), { code: 'SYS', errno: 'EINVAL' });
    using other = memfdCreate('y');
    await session.preserve(other.fd, 2n);
    backend.fail.freeze = () => undefined;
    backend.kexec();
    await backend.retrieve('a');
    backend.close();
  });
});

suite('failures of handlers', () => {
  test('a failed retrieve fails the same way for ever', async () => {
    using file = memfdCreate('x');
    const backend = new MemoryBackend({ gap: 'kexec' });
    await (await backend.create('a')).preserve(file.fd, 1n);
    backend.kexec();
    const session = await backend.retrieve('a');
    backend.fail.retrieve = () => 'ENOMEM';
    await refuses(session.retrieve(1n), 'ENOMEM');
    backend.fail.retrieve = () => undefined;
    await refuses(session.retrieve(1n), 'ENOMEM');
    backend.close();
  });

  test('a vetoed finish is EBUSY, finishes nothing, and a close after it leaves the session unreachable', async () => {
    using file = memfdCreate('x');
    pwrite(file.fd, Buffer.from('x'), 0);
    const backend = new MemoryBackend({ gap: 'kexec' });
    await (await backend.create('a')).preserve(file.fd, 1n);
    backend.kexec();
    const session = await backend.retrieve('a');
    backend.fail.vetoFinish = () => true;
    await refuses(session.finish(), 'EBUSY');
    const back = await session.retrieve(1n);
    const byte = Buffer.alloc(1);
    pread(back.fd, byte, 0);
    assert.equal(byte.toString(), 'x');
    back.close();
    await session.close();
    await refuses(backend.retrieve('a'), 'EINVAL');
    backend.close();
  });
});

suite('a simulated handover', () => {
  test('carries the named sessions only, and refuses unknown names', async () => {
    const backend = new MemoryBackend({ gap: 'handover' });
    await backend.create('a');
    const b = await backend.create('b');
    assert.throws(() => backend.handover(['a', 'none']), { code: 'SYS', errno: 'ENOENT' });
    backend.handover(['a']);
    await backend.retrieve('a');
    using file = memfdCreate('x');
    await b.preserve(file.fd, 1n);
    backend.close();
  });

  test('onto a waiting session of that name is EEXIST', async () => {
    const backend = new MemoryBackend({ gap: 'handover' });
    await backend.create('a');
    backend.handover();
    await backend.create('a');
    assert.throws(() => backend.handover(), { code: 'SYS', errno: 'EEXIST' });
    backend.close();
  });
});
