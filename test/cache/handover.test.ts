// Goal: the cache is replaced by another version of itself under load: no key lost, no connection dropped, no answer
// wrong; a broken version is rolled back; after a SIGKILL its memory is repaired.
// Method: the real program and library in processes of their own, under a scripted luod; the load and the probe check
// every answer and never reconnect.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LoadProcess, ProbeChild } from '../../bench/load/child.js';
import { Dataset } from '../../bench/load/dataset.js';
import { check, fill, serverDigest } from '../../bench/load/fill.js';
import { RespClient } from '../../bench/load/resp-client.js';
import { closeAll } from '../../src/sys/index.js';
import { FakeLuod, type FakeMember } from '../client/fake-luod.js';
import { listeningPort } from '../client/ports.js';

const PROGRAM = '../../cache/cache-service';
const CONNECTIONS = 50;

function version(label: string, ...more: string[]): Record<string, string> {
  return { CACHE_ARGS: JSON.stringify(['--port', '0', '--memory', '64m', '--version-label', label, ...more]) };
}

describe('handover of the cache', () => {
  const dataset = new Dataset({ totalBytes: 16 * 1024 * 1024 });
  let luod: FakeLuod;
  let current: FakeMember;
  let port: number;
  let client: RespClient;

  const info = async (name: string): Promise<string | undefined> =>
    new RegExp(`^${name}:(.*)\r$`, 'm').exec(String(await client.request('INFO')))?.[1];
  const label = async (): Promise<string> => String(((await client.request('LUO.VERSION')) as Buffer[])[1]);
  const assertWhole = async (): Promise<void> =>
    assert.deepEqual(await check({ port }, dataset), { keys: dataset.count, missing: 0, wrong: 0 });

  before(async () => {
    luod = await FakeLuod.start();
    current = await luod.startFirst(PROGRAM, version('v1'));
    port = listeningPort(luod, 'cache');
    client = await RespClient.connect({ port });
    await fill({ port }, dataset);
  });
  after(async () => {
    client.close();
    await luod.stop();
  });

  test('three updates under load lose no key, no connection and no answer', async (t) => {
    const load = await LoadProcess.start('--port', String(port), '--connections', String(CONNECTIONS));
    t.after(() => load.kill());
    const probe = await ProbeChild.start('--port', String(port));
    t.after(() => probe.kill());
    const acceptedBefore = await info('total_connections_received');
    for (const next of ['v2', 'v3', 'v4']) {
      current = await luod.update(current, PROGRAM, version(next));
      assert.equal(await label(), next);
      await sleep(100);
    }
    const result = await load.finish();
    assert.deepEqual(
      { ...result, requests: 0, gapMsMax: 0, latency: 0 },
      {
        connections: CONNECTIONS,
        requests: 0,
        failed: 0,
        wrong: 0,
        disconnects: 0,
        connected: CONNECTIONS,
        gapMsMax: 0,
        latency: 0,
      },
    );
    const seen = await probe.finish();
    assert.deepEqual([seen.wrong, seen.failed, seen.lost, seen.extra, seen.disconnects], [0, 0, 0, 0, 0]);
    assert.equal(await info('total_connections_received'), acceptedBefore);
    await assertWhole();
    assert.deepEqual(await serverDigest({ port }, dataset.prefix), dataset.digest());
  });

  test('half a command, and what the connection is called, go over', async () => {
    const half = await RespClient.connect({ port });
    await half.request('CLIENT', 'SETNAME', 'halfway');
    const echoed = new Promise((resolve) => half.send(Buffer.from('*2\r\n$4\r\nECHO\r\n$10\r\n01234'), 1, resolve));
    await sleep(50);
    current = await luod.update(current, PROGRAM, version('v4b'));
    half.send(Buffer.from('56789\r\n'), 0, () => undefined);
    assert.equal(String(await echoed), '0123456789');
    assert.equal(String(await half.request('CLIENT', 'GETNAME')), 'halfway');
    half.close();
  });

  test('a version that crashes after its claims changes nothing', async () => {
    luod.attempt += 1;
    const child = luod.spawn(PROGRAM, version('v5', '--fail', 'crash-after-claims'), 'successor');
    const code = await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(code, 1);
    await (await luod.joined()).heard('closed');
    assert.equal(await label(), 'v4b');
    await assertWhole();
  });

  test('a version that hangs before it is ready is rolled back under load', async (t) => {
    const load = await LoadProcess.start('--port', String(port), '--connections', '10');
    t.after(() => load.kill());
    const next = await luod.startSuccessor(PROGRAM, version('v6', '--fail', 'hang-before-ready'));
    const prepared = await luod.prepare(current, next);
    const frozen = await luod.freeze(current, { successor: next });
    const restoring = assert.rejects(luod.restore(next, 'frozen', [frozen]));
    await sleep(100);
    assert.equal(next.hasSaid('ready'), false);
    assert.equal(luod.decide('aborted'), 'aborted');
    await current.call('cancel', { attempt: luod.attempt, deadlineMs: 5000 });
    process.kill(next.pid, 'SIGKILL');
    await restoring;
    closeAll([...prepared.fds, ...frozen.fds]);
    await sleep(100);
    const result = await load.finish();
    assert.deepEqual([result.failed, result.wrong, result.disconnects], [0, 0, 0]);
    assert.equal(await label(), 'v4b');
    await assertWhole();
  });

  test('after a SIGKILL under load the restarted cache repairs its memory and has every key', async (t) => {
    const load = await LoadProcess.start('--port', String(port), '--connections', '10', '--prefix', 'killed:');
    t.after(() => load.kill());
    await sleep(100);
    process.kill(current.pid, 'SIGKILL');
    await current.heard('closed');
    // A load that was told to stop does not count the ends of its connections.
    for (let i = 0; i < 500 && (await load.status()).disconnects < 10; i += 1) await sleep(10);
    assert.equal((await load.finish()).disconnects, 10);
    for (const kept of luod.handles.values()) kept.torn = true;
    luod.spawn(PROGRAM, version('v7'), 'restart');
    current = await luod.joined();
    await current.heard('ready');
    await current.call('restore', { attempt: 0, part: 'frozen', deadlineMs: 5000, parcels: [] });
    await current.call('go', { attempt: 0, deadlineMs: 10_000 });
    client = await RespClient.connect({ port });
    assert.equal(await label(), 'v7');
    assert.equal(await info('repairs'), '1');
    assert.ok(Number(await info('last_repair_kept')) >= dataset.count);
    await assertWhole();
  });
});
