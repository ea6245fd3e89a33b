// Goal: at its start in a new kernel the keeper takes everything that the manifest names before anything else happens, and
// says what it found; whatever fails, what it has it keeps. The device is the model of the kernel's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import { arrive, createSession, retrieveSession, type LiveupdateDevice } from '../../src/keeper/liveupdate.js';
import { Store } from '../../src/keeper/store.js';
import {
  ARRIVAL_ENTRY,
  encodeHeads,
  encodeSlot,
  planManifest,
  type KeeperArrival,
} from '../../src/protocol/manifest.js';
import { SysError, eventfd, ftruncate, memfdCreate, pwrite } from '../../src/sys/index.js';
import type { OwnedFd } from '../../src/sys/index.js';
import { ERRNO } from '../../src/abi/index.js';

/** A device whose sessions are eventfds, and that fails as it is told. */
class FakeDevice implements LiveupdateDevice {
  readonly calls: string[] = [];
  readonly manifest: OwnedFd;
  readonly sessions = new Set<string>(['luod', 'one', 'two']);
  openErrors: number[] = [];
  retrieveErrors = new Map<string, number>();

  constructor(names: readonly string[] = ['luod', 'one', 'two']) {
    const layout = planManifest(names, 200);
    this.manifest = memfdCreate('fake-manifest');
    ftruncate(this.manifest.fd, layout.fileBytes);
    for (const part of encodeHeads(layout, names)) pwrite(this.manifest.fd, part.bytes, part.offset);
    const slot = encodeSlot(layout, {}, { frozen: true, sequence: 1 });
    pwrite(this.manifest.fd, slot.bytes, slot.offset);
  }
  open(): OwnedFd {
    const errno = this.openErrors.shift();
    if (errno !== undefined) throw new SysError('open', errno);
    this.calls.push('open');
    return eventfd(0);
  }
  create(_device: number, name: string): OwnedFd {
    this.calls.push(`create ${name}`);
    return eventfd(0);
  }
  retrieve(_device: number, name: string): OwnedFd {
    this.calls.push(`retrieve ${name}`);
    const errno = this.retrieveErrors.get(name);
    if (errno !== undefined) throw new SysError('ioctl', errno);
    if (!this.sessions.has(name)) throw new SysError('ioctl', ERRNO.ENOENT);
    return eventfd(0);
  }
  retrieveFd(): OwnedFd {
    this.calls.push('retrieve manifest');
    return this.manifest.dup();
  }
}

const newStore = (): Store => new Store({ fdsMax: 100, ownerFdsMax: 100, metaBytesMax: 100_000 });
const names = (store: Store): string[] =>
  store
    .list()
    .map((entry) => entry.name)
    .sort();
const said = (store: Store): KeeperArrival => store.get(ARRIVAL_ENTRY, []).meta as KeeperArrival;

test('the session is kept before the manifest is read, and the rest follows', async () => {
  const device = new FakeDevice();
  const store = newStore();
  const found = await arrive(store, device);
  assert.deepEqual(device.calls, ['open', 'retrieve luod', 'retrieve manifest', 'retrieve one', 'retrieve two']);
  assert.deepEqual(names(store), [
    'incoming/luod',
    'incoming/one',
    'incoming/two',
    'luod/arrival',
    'luod/manifest.arrived',
  ]);
  assert.equal(found.state, 'arrived');
  assert.deepEqual(said(store), found);
  store.clear();
  device.manifest.close();
});

test('a cold boot, no device, a broken one and a held one are told apart', async () => {
  for (const [state, prepare] of [
    ['cold', (device: FakeDevice) => device.sessions.clear()],
    ['missing', (device: FakeDevice) => device.openErrors.push(ERRNO.ENOENT)],
    ['broken', (device: FakeDevice) => device.openErrors.push(ERRNO.EIO)],
    ['held', (device: FakeDevice) => device.openErrors.push(...Array<number>(100).fill(ERRNO.EBUSY))],
  ] as const) {
    const device = new FakeDevice();
    prepare(device);
    const store = newStore();
    assert.equal((await arrive(store, device, 50)).state, state);
    assert.deepEqual(names(store), ['luod/arrival']);
    store.clear();
    device.manifest.close();
  }
});

test('a device that somebody lets go of in time is waited for', async () => {
  const device = new FakeDevice();
  device.openErrors.push(ERRNO.EBUSY, ERRNO.EBUSY);
  const store = newStore();
  assert.equal((await arrive(store, device, 5_000)).state, 'arrived');
  store.clear();
  device.manifest.close();
});

test('a session that cannot be had is named, and the others are kept', async () => {
  const device = new FakeDevice();
  device.retrieveErrors.set('one', ERRNO.EINVAL);
  const store = newStore();
  const { sessions } = await arrive(store, device);
  assert.deepEqual(sessions, [
    { name: 'one', ok: false, errno: 'EINVAL' },
    { name: 'two', ok: true },
  ]);
  assert.ok(names(store).includes('incoming/two'));
  store.clear();
  device.manifest.close();
});

test('without a readable head only the session luod is held, and that is said', async () => {
  const device = new FakeDevice();
  pwrite(device.manifest.fd, Buffer.alloc(1 << 16), 0);
  const store = newStore();
  const found = await arrive(store, device);
  assert.deepEqual([found.state, found.headDamaged], ['arrived', true]);
  assert.deepEqual(names(store), ['incoming/luod', 'luod/arrival', 'luod/manifest.arrived']);
  store.clear();
  device.manifest.close();
});

test('sessions are made and taken one at a time, with the errors in words', async () => {
  const device = new FakeDevice();
  const store = newStore();
  assert.ok((await createSession(store, device, 'new')) >= 0);
  assert.ok((await retrieveSession(store, device, 'one')) >= 0);
  assert.deepEqual(names(store), ['incoming/one', 'session/new']);
  const code = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'none',
      (error: unknown) => LuoError.from(error).code,
    );
  assert.equal(await code(retrieveSession(store, device, 'nowhere')), 'SESSION_MISSING');
  device.retrieveErrors.set('two', ERRNO.EINVAL);
  assert.equal(await code(retrieveSession(store, device, 'two')), 'SESSION_TAKEN');
  device.openErrors.push(...Array<number>(100).fill(ERRNO.EBUSY));
  assert.equal(await code(createSession(store, device, 'late', 50)), 'LIVEUPDATE_HELD');
  store.clear();
  device.manifest.close();
});
