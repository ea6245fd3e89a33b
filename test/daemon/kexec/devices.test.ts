// Goal: a device of the last kernel that nobody claimed keeps the update open by its name, and is reset at finish; what was done is
// told, also by a later luod. Method: what luod knows of its last kernel over a fake of sysfs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LuoError } from '../../../src/base/errors.js';
import { Handles, type Handle } from '../../../src/daemon/handles.js';
import { Devices } from '../../../src/daemon/kexec/devices.js';
import { IncomingSessions, type Arrival } from '../../../src/daemon/kexec/incoming.js';
import { Unclaimed } from '../../../src/daemon/kexec/unclaimed.js';
import type { Logger } from '../../../src/daemon/logger.js';
import type { Backend, DeviceReset } from '../../../src/ports/index.js';
import type { JournalRecord } from '../../../src/protocol/journal.js';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined } as unknown as Logger;
const names = ['fail', 'hold', 'discard', 'claimed'] as const;
const keyOf = (name: string): string => `0:vm/device:${name}`;
const pathOf = (name: string): string => `/devices/pci0000:00/${name}`;
const arrival: Arrival = {
  attempt: 3,
  from: '7.2.13',
  torn: false,
  atMs: Date.now(),
  claimMs: 60_000,
  sessions: [{ name: 'luod', owner: '0:(luod)', preserved: [] }],
  devices: names.map((name) => ({ key: keyOf(name), path: pathOf(name) })),
};
const handleOf = (name: (typeof names)[number]): Handle => ({
  key: keyOf(name),
  owner: '0:vm',
  kind: 'device',
  name,
  compatible: 'x/1',
  policy: name === 'claimed' ? 'fail' : name,
  wants: { handover: 'keep', kexec: 'keep' },
  requested: null,
  type: 'device',
  sizeBytes: null,
  viable: { handover: { ok: true, reason: '' }, kexec: { ok: true, reason: '' } },
  dependencies: [],
  marked: false,
  hasFd: false,
  seq: 1,
  holder: null,
  leftDirty: false,
});

function parts(): {
  records: JournalRecord[];
  handles: Handles;
  incoming: IncomingSessions;
  unclaimed: Unclaimed;
} {
  const records: JournalRecord[] = [];
  const handles = new Handles(() => undefined);
  for (const name of names) handles.register(handleOf(name));
  const incoming = new IncomingSessions({} as Backend, (record) => records.push(record));
  incoming.replay({ kind: 'kexec.arrival', arrival });
  const unclaimed = new Unclaimed({
    handles,
    incoming,
    log: quiet,
    retrieve: () => Promise.reject(new Error('there is nothing to take out of a session')),
    drop: (keys) => {
      for (const key of keys) handles.remove(key);
    },
    serves: () => false,
    changed: () => undefined,
  });
  return { records, handles, incoming, unclaimed };
}

test('each unclaimed device stands in the way of finish, by its name; a claimed one does not, nor when its process has died', () => {
  const { handles, incoming, unclaimed } = parts();
  assert.deepEqual(
    unclaimed.list().map(({ key }) => key),
    names.map(keyOf),
  );
  handles.update(keyOf('claimed'), { holder: 'vm#1' });
  incoming.take(keyOf('claimed'), 'retrieved');
  handles.orphan('vm#1', 'clean');
  assert.deepEqual(
    unclaimed.status().map(({ handle, policy }) => [handle, policy]),
    [
      [keyOf('fail'), 'fail'],
      [keyOf('hold'), 'hold'],
      [keyOf('discard'), 'discard'],
    ],
  );
  assert.equal(incoming.isWaiting(keyOf('fail')), false, 'it is in no session');
});

test('when the time is over hold leaves the handle, discard drops it, fail goes on waiting; the first two are to be reset', async () => {
  const { handles, incoming, unclaimed } = parts();
  handles.update(keyOf('claimed'), { holder: 'vm#1' });
  incoming.take(keyOf('claimed'), 'retrieved');
  await unclaimed.decide(true);
  assert.deepEqual(
    unclaimed.list().map(({ key }) => key),
    [keyOf('fail')],
  );
  assert.ok(handles.get(keyOf('hold')) && !handles.get(keyOf('discard')));
  // The operator lets go of the last one.
  handles.remove(keyOf('fail'));
  incoming.take(keyOf('fail'), 'dropped');
  assert.deepEqual(
    incoming.unclaimedDevices().map(({ path }) => path),
    ['fail', 'hold', 'discard'].map(pathOf),
  );
});

test('what was decided is known to a later luod, and forgotten with the update', async () => {
  const { handles, incoming, unclaimed, records } = parts();
  await unclaimed.decide(true);
  const later = new IncomingSessions({} as Backend, () => undefined);
  for (const record of [{ kind: 'kexec.arrival', arrival }, ...records]) assert.ok(later.replay(record));
  assert.deepEqual(
    names.map((name) => later.stateOf(keyOf(name))),
    ['waiting', 'left', 'dropped', 'waiting'],
  );
  assert.equal(handles.size, 3);
  incoming.forget();
  assert.deepEqual(incoming.unclaimedDevices(), []);
});

test('each is reset once, one that cannot be is named with the reason, and none of it fails', async () => {
  const asked: string[] = [];
  const resetter = {
    reset: (path: string): Promise<DeviceReset> => {
      asked.push(path);
      if (path === pathOf('hold')) return Promise.reject(new LuoError('HANDLE_BUSY', 'a driver has it'));
      return Promise.resolve({ method: 'flr', busMasterOff: true });
    },
  };
  const records: JournalRecord[] = [];
  const devices = new Devices(resetter, quiet, (record) => records.push(record));
  const all = arrival.devices!;
  await devices.resetAll(all.slice(0, 1));
  // An earlier luod did the first; this one does the rest.
  const later = new Devices(resetter, quiet, (record) => records.push(record));
  for (const record of records) assert.ok(later.replay(record));
  await later.resetAll(all.slice(0, 2));
  await later.resetAll(all.slice(0, 2));
  assert.deepEqual(asked, [pathOf('fail'), pathOf('hold')]);
  const [first, second] = later.status();
  assert.deepEqual(first, { handle: keyOf('fail'), path: pathOf('fail'), method: 'flr', busMasterOff: true });
  assert.deepEqual([second?.method, second?.error?.code], [null, 'HANDLE_BUSY']);
  assert.deepEqual(later.snapshot(), records);
  // The next kernel has devices of its own.
  later.replay({ kind: 'kexec.arrival', arrival });
  assert.deepEqual(later.status(), []);
});
