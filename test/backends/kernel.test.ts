// Goal: what of the kernel's backend is not the kernel: names that it would cut are refused, errors are the kernel's again, calls
// keep their order and outlive the caller's fd, nothing leaks. Method: a store whose sessions are eventfds, which refuse
// every ioctl with ENOTTY. What the kernel does is asked of kernels: test/vm/kernel-backend.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKernelBackend } from '../../src/backends/kernel/index.js';
import { LuoError } from '../../src/base/errors.js';
import type { Direction, SessionStore } from '../../src/ports/index.js';
import { eventfd, memfdCreate, type OwnedFd } from '../../src/sys/index.js';
import { refuses } from '../../src/testing/contract/run.js';
import { leakCheck } from '../sys/support.js';

leakCheck();

class FakeStore implements SessionStore {
  readonly calls: string[] = [];
  readonly held: { readonly name: string; readonly direction: Direction; readonly owned: OwnedFd }[] = [];
  error: LuoError | undefined;

  create = (name: string): Promise<number> => this.#add('create', name, 'outgoing');
  retrieve = (name: string): Promise<number> => this.#add('retrieve', name, 'incoming');

  drop(name: string, direction: Direction): Promise<void> {
    this.calls.push(`drop ${name} ${direction}`);
    const at = this.held.findIndex((one) => one.name === name && one.direction === direction);
    for (const { owned } of this.held.splice(at, 1)) owned.close();
    return Promise.resolve();
  }

  list(): ReturnType<SessionStore['list']> {
    return this.held.map(({ name, direction, owned }) => ({ name, direction, fd: owned.fd }));
  }

  end(): void {
    for (const { owned } of this.held.splice(0)) owned.close();
  }

  #add(call: string, name: string, direction: Direction): Promise<number> {
    this.calls.push(`${call} ${name}`);
    if (this.error) return Promise.reject(this.error);
    const owned = eventfd(0);
    this.held.push({ name, direction, owned });
    return Promise.resolve(owned.fd);
  }
}

test('it says what it carries: memfds, and sessions that nobody can list', () => {
  const backend = createKernelBackend(new FakeStore());
  assert.deepEqual([backend.gap, backend.capabilities], ['kexec', { files: 'memfd', listable: false }]);
});

test('a name that is none is refused without asking anybody, as the kernel refuses it', async () => {
  const store = new FakeStore();
  const backend = createKernelBackend(store);
  for (const name of ['', 'x'.repeat(64), 'ü'.repeat(32), 'a\0b', '\ud800', 'a\udc00']) {
    await refuses(backend.create(name), 'EINVAL');
    await refuses(backend.retrieve(name), 'ENOENT');
  }
  assert.deepEqual(store.calls, []);
});

test('what was explained for people is an errno again, and trouble with the device stays what it is', async () => {
  const store = new FakeStore();
  const backend = createKernelBackend(store);
  store.error = new LuoError('SESSION_MISSING', 'not there');
  await refuses(backend.retrieve('a'), 'ENOENT');
  store.error = new LuoError('SESSION_TAKEN', 'gone');
  await refuses(backend.retrieve('a'), 'EINVAL');
  store.error = new LuoError('SYS', 'twice', { errno: 'EEXIST' });
  await refuses(backend.create('a'), 'EEXIST');
  for (const code of ['LIVEUPDATE_HELD', 'LIVEUPDATE_MISSING', 'LIVEUPDATE_BROKEN', 'KEEPER_LOST'] as const) {
    store.error = new LuoError(code, 'the device');
    await assert.rejects(backend.create('a'), { code });
    await assert.rejects(backend.retrieve('a'), { code });
  }
});

test('the errno of each call is the kernel’s', async () => {
  const store = new FakeStore();
  const session = await createKernelBackend(store).create('a');
  const file = memfdCreate('x');
  await refuses(session.preserve(file.fd, 1n), 'ENOTTY');
  await refuses(session.retrieve(1n), 'ENOTTY');
  await refuses(session.finish(), 'ENOTTY');
  // An fd that is none is the kernel's to refuse, in its own order.
  await refuses(session.preserve(1_000_000, 1n), 'ENOTTY');
  await refuses(session.preserve(-1, 1n), 'ENOTTY');
  file.close();
  store.end();
});

test('calls that were made before a close are done before it, and those after it are EBADF', async () => {
  const store = new FakeStore();
  const session = await createKernelBackend(store).create('a');
  const file = memfdCreate('x');
  // ENOTTY: the session's fd was still open when their turn came.
  const before = [1n, 2n, 3n].map((token) => refuses(session.preserve(file.fd, token), 'ENOTTY'));
  file.close();
  const closed = session.close();
  await refuses(session.preserve(0, 4n), 'EBADF');
  await refuses(session.retrieve(1n), 'EBADF');
  await refuses(session.finish(), 'EBADF');
  await Promise.all([...before, closed]);
  await session.close();
  assert.deepEqual(store.calls, ['create a', 'drop a outgoing']);
});

test('sessions that an earlier luod left are found again, each way of each name', async () => {
  const store = new FakeStore();
  const backend = createKernelBackend(store);
  await backend.create('b');
  await backend.retrieve('a');
  await backend.create('a');
  const again = await createKernelBackend(store).recover();
  assert.deepEqual(
    again.map(({ name, direction }) => [name, direction]),
    [
      ['b', 'outgoing'],
      ['a', 'incoming'],
      ['a', 'outgoing'],
    ],
  );
  await again[1]!.close();
  assert.deepEqual(store.calls.at(-1), 'drop a incoming');
  store.end();
});
