// Goal: the same with everything real: luod, keeper, luoctl and the cache, updated by its operator under load.
// Method: a private luod of the built program; the load and the probe check every answer and never reconnect.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LoadProcess, ProbeChild } from '../../bench/load/child.js';
import { Dataset } from '../../bench/load/dataset.js';
import { check, fill } from '../../bench/load/fill.js';
import type { Reply } from '../../bench/load/reply-parser.js';
import { RespClient } from '../../bench/load/resp-client.js';
import { type TestLuod, startLuod } from '../../src/testing/luod.js';

const MAIN = fileURLToPath(new URL('../../examples/cache/main.js', import.meta.url));
const CONNECTIONS = 20;
const benchmarkMissing = spawnSync('redis-benchmark', ['--version']).error !== undefined;

describe('updates of the cache by a real luod', () => {
  const dataset = new Dataset({ totalBytes: 8 * 1024 * 1024 });
  let luod: TestLuod;
  let port: number;

  const command = (label: string, ...more: string[]): string[] => {
    const argv = [process.execPath, MAIN, '--port', '0', '--memory', '32m', '--version-label', label, ...more];
    return ['--', ...argv];
  };
  /** @throws AssertionError the update did not end with this exit code of luoctl */
  const update = async (code: number, label: string, options: string[] = [], ...more: string[]): Promise<void> => {
    const ran = await luod.luoctl(['update', 'cache', ...options, ...command(label, ...more)]);
    const log = readFileSync(join(luod.dir, 'logs', 'cache.log'), 'utf8').slice(-1500);
    assert.equal(ran.code, code, `update to ${label}: ${ran.stderr}; log of the cache: ${log}`);
  };
  /** Ask over a connection of its own. */
  const ask = async (...args: string[]): Promise<Reply> => {
    const client = await RespClient.connect({ port });
    try {
      return await client.request(...args);
    } finally {
      client.close();
    }
  };
  const version = async (): Promise<{ label: string; pid: number }> => {
    const reply = (await ask('LUO.VERSION')) as Reply[];
    return { label: String(reply[1]), pid: Number(reply[3]) };
  };
  const assertWhole = async (): Promise<void> =>
    assert.deepEqual(await check({ port }, dataset), { keys: dataset.count, missing: 0, wrong: 0 });

  before(async () => {
    luod = await startLuod();
    const ran = await luod.luoctl(['run', '--name', 'cache', '--restart', 'always', ...command('v1')]);
    assert.equal(ran.code, 0, ran.stderr);
    const log = readFileSync(join(luod.dir, 'logs', 'cache.log'), 'utf8');
    port = Number(/serves 127\.0\.0\.1:(\d+)/.exec(log)![1]);
    await fill({ port }, dataset);
  });
  after(async () => {
    await luod.stop();
  });

  test('good, crashing and hanging versions under load: no key, connection or answer is lost', async (t) => {
    const load = await LoadProcess.start(
      '--port',
      String(port),
      '--connections',
      String(CONNECTIONS),
      '--think-ms',
      '2',
    );
    t.after(() => load.kill());
    const probe = await ProbeChild.start('--port', String(port));
    t.after(() => probe.kill());
    await update(0, 'v2');
    assert.equal((await version()).label, 'v2');
    await update(3, 'v3', [], '--fail', 'crash-after-claims');
    await update(3, 'v4', ['--blackout-max', '500'], '--fail', 'hang-before-ready');
    assert.equal((await version()).label, 'v2');
    await update(0, 'v5');
    assert.equal((await version()).label, 'v5');
    const loaded = await load.finish();
    assert.deepEqual([loaded.failed, loaded.wrong, loaded.disconnects, loaded.connected], [0, 0, 0, CONNECTIONS]);
    const seen = await probe.finish();
    assert.deepEqual([seen.wrong, seen.failed, seen.lost, seen.extra, seen.disconnects], [0, 0, 0, 0, 0]);
    await assertWhole();
  });

  test(
    'redis-benchmark runs through updates without an error and without a new connection',
    { skip: benchmarkMissing && 'needs redis-benchmark (Debian: redis-tools)' },
    async () => {
      let hasEnded = false;
      const args = ['-p', String(port), '-t', 'ping,set,get,incr,mset', '-n', '40000', '-c', '20', '-q'];
      const running = promisify(execFile)('redis-benchmark', args).finally(() => (hasEnded = true));
      const accepted = async (): Promise<number> =>
        Number(/total_connections_received:(\d+)/.exec(String(await ask('INFO', 'stats')))![1]);
      const before = await accepted();
      let updates = 0;
      for (let i = 0; i < 5 && !hasEnded; i += 1) {
        await update(0, `b${i}`);
        updates += 1;
      }
      const { stdout, stderr } = await running;
      assert.equal(stderr, '');
      assert.doesNotMatch(stdout, /error/i);
      assert.ok(updates > 0);
      // Six sub-tests, the benchmark's own question for the settings in each, and the question here.
      assert.ok((await accepted()) - before <= 6 * 21 + 2);
      await assertWhole();
    },
  );

  test('the cache killed under load comes back by itself, repaired, with every key', async (t) => {
    const load = await LoadProcess.start('--port', String(port), '--connections', '10', '--prefix', 'killed:');
    t.after(() => load.kill());
    await sleep(100);
    const { pid, label } = await version();
    process.kill(pid, 'SIGKILL');
    for (let i = 0; i < 500 && (await load.status()).disconnects < 10; i += 1) await sleep(10);
    await load.finish();
    const again = await version();
    assert.notEqual(again.pid, pid);
    assert.equal(again.label, label);
    assert.match(String(await ask('INFO', 'luo')), /^repairs:1\r$/m);
    await assertWhole();
  });

  test('luod killed after the decision: the update completes without it', async (t) => {
    const load = await LoadProcess.start('--port', String(port), '--connections', '5', '--prefix', 'luod:');
    t.after(() => load.kill());
    luod.arm('luod.decide.after', 'kill');
    // luoctl may lose luod in the middle: whether it says so is not what this test is about.
    await luod.luoctl(['update', 'cache', ...command('v6')]);
    for (let i = 0; i < 500 && (await version()).label !== 'v6'; i += 1) await sleep(20);
    assert.equal((await version()).label, 'v6');
    assert.ok(luod.hits().some(({ point }) => point === 'luod.decide.after'));
    const loaded = await load.finish();
    assert.deepEqual([loaded.failed, loaded.wrong, loaded.disconnects], [0, 0, 0]);
    await assertWhole();
    await update(0, 'v7');
    assert.equal((await version()).label, 'v7');
    await assertWhole();
  });
});
