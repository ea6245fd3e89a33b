// Goal: at its start in a new kernel the keeper takes everything that the manifest names before anything else happens, and
// says what it found; whatever fails, what it has it keeps. The device is the model of the kernel's.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import { arrive, createSession, retrieveSession } from '../../src/keeper/liveupdate.js';
import { Store } from '../../src/keeper/store.js';
import { ARRIVAL_ENTRY, ARRIVING_FILE, type KeeperArrival } from '../../src/protocol/manifest.js';
import { pwrite } from '../../src/sys/index.js';
import { ERRNO } from '../../src/abi/index.js';
import { leakCheck } from '../sys/support.js';
import { FakeDevice } from './fake-device.js';

leakCheck();

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'luo-arrival-'));
});
let open: { close(): void }[] = [];
afterEach(() => {
  rmSync(dir, { recursive: true });
  for (const each of open) each.close();
  open = [];
});

function newDevice(names?: readonly string[]): FakeDevice {
  const device = new FakeDevice(names);
  open.push(device.manifest);
  return device;
}

function newStore(fdsMax = 100): Store {
  const store = new Store({ fdsMax, ownerFdsMax: 100, metaBytesMax: 100_000 });
  open.push({ close: () => store.clear() });
  return store;
}

const names = (store: Store): string[] =>
  store
    .list()
    .map((entry) => entry.name)
    .sort();
const said = (store: Store): KeeperArrival => store.get(ARRIVAL_ENTRY, []).meta as KeeperArrival;

test('the session is kept before the manifest is read, and the rest follows', async () => {
  const device = newDevice();
  const store = newStore();
  const found = await arrive(store, device, dir);
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
});

test('a cold boot, no device, a broken one and a held one are told apart', async () => {
  for (const [state, prepare] of [
    ['cold', (device: FakeDevice) => device.sessions.clear()],
    ['missing', (device: FakeDevice) => device.openErrors.push(ERRNO.ENOENT)],
    ['broken', (device: FakeDevice) => device.openErrors.push(ERRNO.EIO)],
    ['held', (device: FakeDevice) => device.openErrors.push(...Array<number>(100).fill(ERRNO.EBUSY))],
  ] as const) {
    const device = newDevice();
    prepare(device);
    const store = newStore();
    assert.equal((await arrive(store, device, dir, 50)).state, state);
    assert.deepEqual(names(store), ['luod/arrival']);
  }
});

test('a device that somebody lets go of in time is waited for', async () => {
  const device = newDevice();
  device.openErrors.push(ERRNO.EBUSY, ERRNO.EBUSY);
  const store = newStore();
  assert.equal((await arrive(store, device, dir, 5_000)).state, 'arrived');
});

test('a session that cannot be had is named, and the others are kept', async () => {
  const device = newDevice();
  device.retrieveErrors.set('one', ERRNO.EINVAL);
  const store = newStore();
  const { sessions } = await arrive(store, device, dir);
  assert.deepEqual(sessions, [
    { name: 'one', ok: false, code: 'SESSION_TAKEN', errno: 'EINVAL' },
    { name: 'two', ok: true },
  ]);
  assert.ok(names(store).includes('incoming/two'));
});

test('without a readable head only the session luod is held, and that is said', async () => {
  const device = newDevice();
  pwrite(device.manifest.fd, Buffer.alloc(1 << 16), 0);
  const store = newStore();
  const found = await arrive(store, device, dir);
  assert.deepEqual([found.state, found.headDamaged], ['arrived', true]);
  assert.deepEqual(names(store), ['incoming/luod', 'luod/arrival', 'luod/manifest.arrived']);
});

test('a name that the kernel does not have, and one that it cannot give, are named with why', async () => {
  const device = newDevice(['luod', 'one', 'two', 'gone', 'dear']);
  device.sessions.delete('gone');
  device.sessions.add('dear');
  device.retrieveErrors.set('dear', ERRNO.ENOMEM);
  const store = newStore();
  const { sessions } = await arrive(store, device, dir);
  assert.deepEqual(sessions.slice(2), [
    { name: 'gone', ok: false, code: 'SESSION_MISSING', errno: 'ENOENT' },
    { name: 'dear', ok: false, code: 'SYS', errno: 'ENOMEM' },
  ]);
});

test('what the table has no room for is left with the kernel, where it is safe', async () => {
  const device = newDevice();
  // Room for the session luod, its manifest, and one more.
  const store = newStore(3);
  const { state, sessions } = await arrive(store, device, dir);
  assert.equal(state, 'arrived');
  assert.deepEqual(sessions, [
    { name: 'one', ok: true },
    { name: 'two', ok: false, code: 'LIMIT_REACHED', errno: 'ENOSPC' },
  ]);
  assert.ok(!device.calls.includes('retrieve two'));
  await assert.rejects(createSession(store, device, 'new'), { code: 'LIMIT_REACHED' });
  await assert.rejects(retrieveSession(store, device, 'two'), { code: 'LIMIT_REACHED' });
  assert.ok(!device.calls.includes('create new'));
  store.drop(['incoming/one']);
  await retrieveSession(store, device, 'two');
});

test('a manifest that cannot be taken out leaves the session held', async () => {
  const device = newDevice();
  device.retrieveFdError = ERRNO.ENOENT;
  const store = newStore();
  const found = await arrive(store, device, dir);
  assert.deepEqual([found.state, found.headDamaged, found.sessions], ['arrived', true, []]);
  assert.deepEqual(names(store), ['incoming/luod', 'luod/arrival']);
});

test('a session luod that somebody else took is not taken for a cold boot', async () => {
  const device = newDevice();
  device.retrieveErrors.set('luod', ERRNO.EINVAL);
  const store = newStore();
  const found = await arrive(store, device, dir);
  assert.deepEqual([found.state, found.error?.code], ['broken', 'SESSION_TAKEN']);
});

test('one damaged head is enough for all names', async () => {
  const device = newDevice();
  pwrite(device.manifest.fd, Buffer.alloc(4096), 0);
  const store = newStore();
  const found = await arrive(store, device, dir);
  assert.equal(found.headDamaged, false);
  assert.deepEqual(
    found.sessions.map(({ ok }) => ok),
    [true, true],
  );
});

test('the device is closed again whatever happens', async () => {
  for (const spoil of [
    (_: FakeDevice) => undefined,
    (device: FakeDevice) => device.sessions.clear(),
    (device: FakeDevice) => device.retrieveErrors.set('luod', ERRNO.ENOMEM),
    (device: FakeDevice) => pwrite(device.manifest.fd, Buffer.alloc(1 << 16), 0),
  ]) {
    const device = newDevice();
    spoil(device);
    const store = newStore();
    await arrive(store, device, dir);
    assert.equal(device.openNow, false);
    await assert.rejects(retrieveSession(store, device, 'nowhere'));
    assert.equal(device.openNow, false);
  }
});

test('sessions are made and taken one at a time, with the errors in words', async () => {
  const device = newDevice();
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
});

test('that something is taken is written down before it is, and who finds nothing where it was says so', async () => {
  const path = join(dir, ARRIVING_FILE);
  const first = newDevice();
  const retrieve = first.retrieve.bind(first);
  const before: boolean[] = [];
  first.retrieve = (held, name) => {
    before.push(existsSync(path));
    return retrieve(held, name);
  };
  await arrive(newStore(), first, dir);
  assert.deepEqual(new Set(before), new Set([true]));
  const { sessions } = JSON.parse(readFileSync(path, 'utf8')) as { sessions: string[] };
  assert.deepEqual(sessions, ['one', 'two']);
  // Both holders are dead: the kernel has finished it all.
  const second = newDevice();
  second.sessions.clear();
  const found = await arrive(newStore(), second, dir);
  assert.deepEqual([found.state, found.error?.code, found.sessions], ['ended', 'ARRIVAL_LOST', []]);
  assert.match(found.error!.message, /3 sessions/);
  // It goes on being said, until there is another kernel.
  assert.equal((await arrive(newStore(), second, dir)).state, 'ended');
});

test('what was written down in another kernel, or cannot be read, says nothing of this one', async () => {
  const path = join(dir, ARRIVING_FILE);
  for (const text of [JSON.stringify({ bootId: 'another', sessions: ['one'] }), '{"boot', '']) {
    writeFileSync(path, text);
    const device = newDevice();
    device.sessions.clear();
    assert.equal((await arrive(newStore(), device, dir)).state, 'cold');
    assert.ok(!existsSync(path), 'after a cold boot there is nothing to be written down');
  }
});

test('a device that is held, or not there, is no arrival that could be lost', async () => {
  for (const errno of [ERRNO.ENOENT, ERRNO.EIO]) {
    const device = newDevice();
    device.openErrors.push(errno);
    await arrive(newStore(), device, dir);
    assert.ok(!existsSync(join(dir, ARRIVING_FILE)));
  }
});
