// Goal: sessions of the kernel live in the keeper: luod may die at any time, and the next one finds them. What the last kernel
// left is there before luod is started, and is taken once. Method: the keeper as a process at a device of the test.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ARRIVAL_ENTRY, type KeeperArrival } from '../../src/protocol/manifest.js';
import { closeAll } from '../../src/sys/index.js';
import type { KeeperClient } from '../../src/transport/index.js';
import { leakCheck } from '../sys/support.js';
import { rejectsWith } from '../transport/support.js';
import { Harness, keeperPath, keeperWithDevicePath, withKeeper } from './support.js';

leakCheck();

const atDevice = { program: keeperWithDevicePath };
const arriving = { program: keeperWithDevicePath, args: ['--kexec'] };
const namesOf = async (client: KeeperClient): Promise<string[]> =>
  (await client.list()).entries.map((entry) => entry.name).sort();

test('a session that luod asked for outlives luod, and ends with its entry', () =>
  withKeeper(async (harness, first) => {
    (await first.client.sessionCreate('luo-1')).close();
    (await first.client.sessionRetrieve('one')).close();
    harness.killLuod(first);
    const { client } = await harness.next();
    assert.deepEqual(await namesOf(client), ['incoming/one', 'session/luo-1']);
    const kept = await client.get('session/luo-1');
    assert.deepEqual([kept.owner, kept.owned.length], ['luod', 1]);
    closeAll(kept.owned);
    assert.equal(await client.drop({ names: ['session/luo-1', 'incoming/one'] }), 2);
    // The kernel has no such session any more, which the keeper does not remember by itself.
    (await client.sessionCreate('luo-1')).close();
  }, atDevice));

test('a session that was never left, or was taken, or has no name, is refused by its own code', () =>
  withKeeper(async (_, { client }) => {
    await rejectsWith(client.sessionRetrieve('nowhere'), 'SESSION_MISSING');
    (await client.sessionRetrieve('one')).close();
    await client.drop({ names: ['incoming/one'] });
    await rejectsWith(client.sessionRetrieve('one'), 'SESSION_TAKEN');
    await rejectsWith(client.sessionCreate(''), 'PROTO_INVALID');
    await rejectsWith(client.sessionCreate('x'.repeat(64)), 'PROTO_INVALID');
    assert.deepEqual(await namesOf(client), []);
  }, atDevice));

test('requests for sessions that come at once are done one after the other at the one device', () =>
  withKeeper(async (_, { client }) => {
    const fds = await Promise.all([
      ...['a', 'b', 'c'].map((name) => client.sessionCreate(name)),
      ...['one', 'two'].map((name) => client.sessionRetrieve(name)),
    ]);
    closeAll(fds);
    assert.deepEqual(await namesOf(client), ['incoming/one', 'incoming/two', 'session/a', 'session/b', 'session/c']);
  }, atDevice));

test('what arrived is there when luod starts, and is not taken a second time for the next luod', () =>
  withKeeper(async (harness, first) => {
    const arrived = ['incoming/luod', 'incoming/one', 'incoming/two', 'luod/arrival', 'luod/manifest.arrived'];
    assert.deepEqual(await namesOf(first.client), arrived);
    const found = (await first.client.get(ARRIVAL_ENTRY)).meta as KeeperArrival;
    assert.equal(found.state, 'arrived');
    await first.client.drop({ names: ['incoming/two'] });
    harness.killLuod(first);
    const { client } = await harness.next();
    assert.deepEqual(
      await namesOf(client),
      arrived.filter((name) => name !== 'incoming/two'),
    );
  }, arriving));

test('a keeper that was not told to, and one that takes the place of another, leave alone what is there', async () => {
  await withKeeper(async (_, { client }) => assert.deepEqual(await namesOf(client), []), atDevice);
  const harness = new Harness();
  try {
    await harness.listen();
    mkdirSync(harness.dir);
    const [command, ...args] = [...harness.argv('adopter'), keeperWithDevicePath, harness.dir, ...harness.argv('luod')];
    spawn(command!, args, { stdio: 'inherit' });
    assert.deepEqual(await namesOf((await harness.next()).client), []);
  } finally {
    await harness.stop();
  }
  const { status, stderr } = spawnSync(
    process.execPath,
    [keeperPath, '--dir', '/tmp', '--adopt', '--kexec', '--', 'true'],
    { encoding: 'utf8' },
  );
  assert.equal(status, 2);
  assert.match(stderr, /usage/);
});

for (const point of ['keeper.manifest.retrieved', 'keeper.session.retrieved', 'keeper.arrived'] as const) {
  test(`the fault point ${point} kills the keeper there, before luod is started`, async () => {
    const harness = new Harness();
    try {
      const faults = join(harness.folder, 'faults');
      mkdirSync(faults);
      writeFileSync(join(faults, point), 'kill');
      await harness.start('luod', { ...arriving, env: { LUO_FAULT_DIR: faults } });
      assert.deepEqual(await harness.ended(), { code: null, signal: 'SIGKILL' });
      assert.equal(harness.luods.length, 0);
      assert.ok(!existsSync(join(faults, point)), 'it came by');
    } finally {
      await harness.stop();
    }
  });
}

test('the fault point keeper.session.created kills the keeper there, and luod is told KEEPER_LOST', async () => {
  const harness = new Harness();
  try {
    const faults = join(harness.folder, 'faults');
    mkdirSync(faults);
    writeFileSync(join(faults, 'keeper.session.created'), 'kill');
    await harness.start('luod', { ...atDevice, env: { LUO_FAULT_DIR: faults } });
    const { client } = await harness.next();
    await rejectsWith(client.sessionCreate('luo-1'), 'KEEPER_LOST');
    assert.deepEqual(await harness.ended(), { code: null, signal: 'SIGKILL' });
  } finally {
    await harness.stop();
  }
});

test('where there is no device, that is what both ways of asking say', { skip: hasDevice() }, () =>
  withKeeper(
    async (_, { client }) => {
      const found = (await client.get(ARRIVAL_ENTRY)).meta as KeeperArrival;
      assert.deepEqual([found.state, found.error?.code], ['missing', 'LIVEUPDATE_MISSING']);
      await rejectsWith(client.sessionCreate('a'), 'LIVEUPDATE_MISSING');
      await rejectsWith(client.sessionRetrieve('a'), 'LIVEUPDATE_MISSING');
    },
    { args: ['--kexec'] },
  ),
);

/** With one, the test would take what belongs to the machine's luod. */
function hasDevice(): string | false {
  return existsSync('/dev/liveupdate') && 'needs a machine without /dev/liveupdate';
}
