/** Goal: memory with a descriptor, its seals, and zero-copy views behave as the kernel says. Method: real memfds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MADV, MAP, MFD, PROT, SEAL } from '../../src/abi/index.js';
import { LuoError } from '../../src/base/errors.js';
import {
  Mapping,
  addSeals,
  fstat,
  ftruncate,
  getSeals,
  getStatusFlags,
  memfdCreate,
  pread,
  pwrite,
  read,
  setStatusFlags,
  viewBytesMax,
  write,
} from '../../src/sys/index.js';
import { leakCheck, throwsErrno } from './support.js';

leakCheck();

const page = 4096;

function withMemfd(sizeBytes: number, use: (fd: number) => void, flags?: number): void {
  const owned = flags === undefined ? memfdCreate('test') : memfdCreate('test', flags);
  try {
    ftruncate(owned.fd, sizeBytes);
    use(owned.fd);
  } finally {
    owned.close();
  }
}

test('a memfd has the size that it was given, and pread returns what pwrite wrote', () => {
  withMemfd(100, (fd) => {
    assert.equal(fstat(fd).sizeBytes, 100);
    assert.equal(pwrite(fd, Buffer.from('hello'), 95), 5);
    const into = Buffer.alloc(10);
    assert.equal(pread(fd, into, 95), 5);
    assert.equal(into.toString('utf8', 0, 5), 'hello');
    assert.equal(pread(fd, into, 100), 0);
  });
});

test('read and write move the offset that all holders share', () => {
  withMemfd(0, (fd) => {
    assert.equal(write(fd, Buffer.from('abc')), 3);
    assert.equal(read(fd, Buffer.alloc(3)), 0);
    assert.equal(pread(fd, Buffer.alloc(3), 0), 3);
  });
});

test('a name that is too long is EINVAL', () => throwsErrno(() => memfdCreate('x'.repeat(250)), 'EINVAL'));

test('a closed descriptor is EBADF in every call', () => {
  const owned = memfdCreate('x');
  const fd = owned.fd;
  owned.close();
  throwsErrno(() => fstat(fd), 'EBADF');
  throwsErrno(() => ftruncate(fd, 1), 'EBADF');
  throwsErrno(() => read(fd, Buffer.alloc(1)), 'EBADF');
  throwsErrno(() => write(fd, Buffer.alloc(1)), 'EBADF');
  throwsErrno(() => pread(fd, Buffer.alloc(1), 0), 'EBADF');
  throwsErrno(() => pwrite(fd, Buffer.alloc(1), 0), 'EBADF');
  throwsErrno(() => getSeals(fd), 'EBADF');
  throwsErrno(() => getStatusFlags(fd), 'EBADF');
  throwsErrno(() => setStatusFlags(fd, 0), 'EBADF');
  throwsErrno(() => Mapping.map({ fd, sizeBytes: page, protection: PROT.READ }), 'EBADF');
});

test('sealed against shrinking and growing, a memfd keeps its size', () => {
  withMemfd(page, (fd) => {
    addSeals(fd, SEAL.SHRINK | SEAL.GROW);
    assert.equal(getSeals(fd), SEAL.SHRINK | SEAL.GROW);
    throwsErrno(() => ftruncate(fd, 0), 'EPERM');
    throwsErrno(() => ftruncate(fd, 2 * page), 'EPERM');
  });
});

test('SEAL.WRITE is EBUSY while a writable shared mapping lives, FUTURE_WRITE is not', () => {
  withMemfd(page, (fd) => {
    const mapping = Mapping.map({ fd, sizeBytes: page, protection: PROT.READ | PROT.WRITE });
    throwsErrno(() => addSeals(fd, SEAL.WRITE), 'EBUSY');
    addSeals(fd, SEAL.FUTURE_WRITE);
    new Uint8Array(mapping.buffer)[0] = 7;
    throwsErrno(() => pwrite(fd, Buffer.from('x'), 0), 'EPERM');
    throwsErrno(() => Mapping.map({ fd, sizeBytes: page, protection: PROT.READ | PROT.WRITE }), 'EPERM');
    mapping.unmap();
  });
});

test('no seal can be added after SEAL.SEAL, nor to a memfd made without sealing', () => {
  withMemfd(page, (fd) => {
    addSeals(fd, SEAL.SEAL);
    throwsErrno(() => addSeals(fd, SEAL.GROW), 'EPERM');
  });
  withMemfd(page, (fd) => throwsErrno(() => addSeals(fd, SEAL.GROW), 'EPERM'), MFD.CLOEXEC);
});

test('two mappings of one memfd are the same memory', () => {
  withMemfd(2 * page, (fd) => {
    const one = Mapping.map({ fd, sizeBytes: 2 * page, protection: PROT.READ | PROT.WRITE });
    const other = Mapping.map({ fd, sizeBytes: page, protection: PROT.READ, offset: page });
    new Uint8Array(one.buffer)[page + 3] = 42;
    assert.equal(new Uint8Array(other.buffer)[3], 42);
    assert.equal(one.buffer, one.buffer, 'one view, made once');
    one.unmap();
    other.unmap();
  });
});

test('a mapping outlives its descriptor', () => {
  const owned = memfdCreate('x');
  ftruncate(owned.fd, page);
  const mapping = Mapping.map({ fd: owned.fd, sizeBytes: page, protection: PROT.READ | PROT.WRITE });
  owned.close();
  new Uint8Array(mapping.buffer)[0] = 1;
  mapping.unmap();
  mapping.unmap();
  assert.throws(() => mapping.buffer, { name: 'AssertionError' });
  assert.throws(() => mapping.protect(PROT.READ), { name: 'AssertionError' });
});

test('a read-only mapping becomes writable by protect, with the same view', () => {
  withMemfd(page, (fd) => {
    const mapping = Mapping.map({ fd, sizeBytes: page, protection: PROT.READ });
    const view = new Uint8Array(mapping.buffer);
    assert.equal(view[0], 0);
    mapping.protect(PROT.READ | PROT.WRITE);
    view[0] = 9;
    const into = Buffer.alloc(1);
    pread(fd, into, 0);
    assert.equal(into[0], 9);
    mapping.unmap();
  });
});

test('replace maps another file over the same addresses, and views stay', () => {
  withMemfd(page, (first) => {
    withMemfd(page, (second) => {
      pwrite(first, Buffer.from([1]), 0);
      pwrite(second, Buffer.from([2]), 0);
      const mapping = Mapping.map({ fd: first, sizeBytes: page, protection: PROT.READ });
      const view = new Uint8Array(mapping.buffer);
      assert.equal(view[0], 1);
      mapping.replace({ fd: second, protection: PROT.READ | PROT.WRITE });
      assert.equal(view[0], 2);
      view[1] = 3;
      mapping.unmap();
    });
  });
});

test('advice is taken at once and on a thread, and bad advice is EINVAL both ways', async () => {
  const owned = memfdCreate('x');
  ftruncate(owned.fd, 16 * page);
  const mapping = Mapping.map({ fd: owned.fd, sizeBytes: 16 * page, protection: PROT.READ | PROT.WRITE });
  mapping.advise(MADV.POPULATE_READ);
  await mapping.adviseAsync(MADV.POPULATE_WRITE, { offset: page, sizeBytes: page });
  throwsErrno(() => mapping.advise(9999), 'EINVAL');
  await assert.rejects(mapping.adviseAsync(9999), { name: 'SysError', errnoName: 'EINVAL' });
  mapping.unmap();
  owned.close();
});

test('a part outside of the mapping is an error of the program', () => {
  withMemfd(page, (fd) => {
    const mapping = Mapping.map({ fd, sizeBytes: page, protection: PROT.READ });
    assert.throws(() => mapping.advise(MADV.NORMAL, { offset: page, sizeBytes: page }), { name: 'AssertionError' });
    assert.throws(() => mapping.protect(PROT.READ, { offset: -page }), { name: 'AssertionError' });
    mapping.unmap();
  });
});

test('size 0 and a crooked offset are EINVAL, a pipe cannot be mapped', () => {
  withMemfd(page, (fd) => {
    throwsErrno(() => Mapping.map({ fd, sizeBytes: 0, protection: PROT.READ }), 'EINVAL');
    throwsErrno(() => Mapping.map({ fd, sizeBytes: page, protection: PROT.READ, offset: 1 }), 'EINVAL');
  });
});

test('a view larger than this Node can make is refused, and does not end the process', () => {
  const sizeBytes = 5 * 1024 ** 3;
  withMemfd(sizeBytes, (fd) => {
    const flags = MAP.SHARED | MAP.NORESERVE;
    const mapping = Mapping.map({ fd, sizeBytes, protection: PROT.READ, flags });
    if (viewBytesMax < sizeBytes) {
      assert.throws(
        () => mapping.buffer,
        (error: unknown) => error instanceof LuoError && error.code === 'UNSUPPORTED',
      );
    } else {
      assert.equal(mapping.buffer.byteLength, sizeBytes);
    }
    mapping.unmap();
  });
});

test('a view of exactly 4 GiB works on every Node', () => {
  const sizeBytes = 4 * 1024 ** 3;
  withMemfd(sizeBytes, (fd) => {
    pwrite(fd, Buffer.from([5]), sizeBytes - 1);
    const mapping = Mapping.map({ fd, sizeBytes, protection: PROT.READ, flags: MAP.SHARED | MAP.NORESERVE });
    assert.equal(new DataView(mapping.buffer).getUint8(sizeBytes - 1), 5);
    mapping.unmap();
  });
});
