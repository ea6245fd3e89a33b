// Goal: luod and keeper are dead at the same time, so that nobody knows a decision any more. What was serving serves on;
// what is frozen stays frozen rather than act beside a successor that lives, and thaws when that is seen to be dead.
// Method: luod is held still at a point, the keeper is killed, then luod; the clients see who answers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { FaultPoint } from '../../src/base/fault-points.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import { isAlive, isStopped } from './processes.js';
import { freePort } from './scene.js';
import { LineClient, Traffic } from './traffic.js';
import { WORKLOADS } from './workload.js';

const { command, program } = WORKLOADS.counters;
const luodProgram = fileURLToPath(new URL('../../../bin/luod', import.meta.url));
const CONNECTIONS = 5;
/** Long enough for a frozen process to ask several times. */
const FROZEN_MS = 1_500;
const SOON_MS = 10_000;
/** luoctl waits for luod to come back; nobody waits for luoctl. */
const LUOCTL_MS = 1_500;

interface Stage {
  readonly luod: TestLuod;
  readonly port: number;
  readonly traffic: Traffic;
  /** Of the version that serves at the beginning. */
  readonly oldPid: number;
}

/** A service under load, for `work`; whatever is left of all of it is ended afterwards. */
async function onStage(work: (stage: Stage) => Promise<void>): Promise<void> {
  const luod = await startLuod();
  const port = await freePort();
  let traffic: Traffic | undefined;
  try {
    const ran = await luod.luoctl(['run', '--name', 'counters', '--', ...command('v1', port)]);
    assert.equal(ran.code, 0, ran.stderr);
    traffic = new Traffic({ port, connections: CONNECTIONS, thinkMs: 10 });
    assert.ok(await traffic.flows(SOON_MS));
    await work({ luod, port, traffic, oldPid: servicePids(luod)[0]! });
    assert.deepEqual(traffic.wrong, []);
    assert.equal(traffic.disconnects, 0);
  } finally {
    await traffic?.stop();
    for (const pid of servicePids(luod)) process.kill(pid, 'SIGKILL');
    await luod.stop();
  }
}

function servicePids(luod: TestLuod): number[] {
  return luod.leftovers().processes.flatMap(({ pid, command: text }) => (text.includes(program) ? [pid] : []));
}

/** Both at once: luod, standing still, sees nothing of the keeper's end. */
async function killBoth(luod: TestLuod): Promise<void> {
  const [daemon, keeper] = ['luod.pid', 'keeper.pid'].map((file) => Number(readFileSync(join(luod.dir, file), 'utf8')));
  process.kill(daemon!, 'SIGSTOP');
  while (!isStopped(daemon!)) await sleep(1);
  process.kill(keeper!, 'SIGKILL');
  while (isAlive(keeper!)) await sleep(1);
  process.kill(daemon!, 'SIGKILL');
  while (isAlive(daemon!)) await sleep(1);
}

/** An update in which luod stands still at `point`; then both are killed. */
async function updateUntil({ luod, port }: Stage, point: FaultPoint): Promise<void> {
  luod.arm(point, 'stop');
  const update = luod.luoctl(['update', 'counters', '--', ...command('v2', port)], { timeoutMs: LUOCTL_MS });
  while (!luod.hits().some((hit) => hit.point === point && isStopped(hit.pid))) await sleep(5);
  await killBoth(luod);
  assert.notEqual((await update).code, 0, 'luoctl does not claim that it is done');
}

async function who(port: number): Promise<string> {
  const client = await LineClient.connect(port);
  try {
    assert.equal(await client.ask('CHECK'), '+ok');
    return await client.ask('WHO');
  } finally {
    client.close();
  }
}

test('between updates: the service serves on, and a new luod can be started in the same folder', async () => {
  await onStage(async ({ luod, port, traffic, oldPid }) => {
    await killBoth(luod);
    assert.ok(await traffic.flows(SOON_MS));
    assert.equal(await luod.answers(), false);
    const again = spawn(luodProgram, ['--dir', luod.dir], { env: { ...process.env, ...luod.env }, stdio: 'ignore' });
    for (let tries = 0; !(await luod.answers()); tries += 1) {
      assert.ok(tries < 500 && again.exitCode === null, 'a new luod answers');
      await sleep(20);
    }
    assert.equal((await luod.luoctl(['status', '--json'])).code, 0);
    assert.ok(await traffic.flows(SOON_MS));
    assert.equal(await who(port), `+v1 ${oldPid} whole`);
  });
});

test('while prepared: the old process serves on, since nothing was frozen', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.prepared');
    assert.ok(await stage.traffic.flows(SOON_MS));
    assert.equal(await who(stage.port), `+v1 ${stage.oldPid} whole`);
  });
});

test('while frozen: the old process stays frozen as long as its successor lives, and thaws when that is dead', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.frozen');
    assert.equal(await stage.traffic.flows(FROZEN_MS), false);
    const successor = servicePids(stage.luod).find((pid) => pid !== stage.oldPid);
    assert.ok(successor !== undefined, 'the successor waits');
    process.kill(successor, 'SIGKILL');
    assert.ok(await stage.traffic.flows(SOON_MS), 'the old process serves again');
    assert.equal(await who(stage.port), `+v1 ${stage.oldPid} whole`);
  });
});

test('when the successor is ready and nothing was decided: neither acts', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.ready');
    assert.equal(await stage.traffic.flows(FROZEN_MS), false);
    assert.equal(servicePids(stage.luod).length, 2);
    const successor = servicePids(stage.luod).find((pid) => pid !== stage.oldPid)!;
    process.kill(successor, 'SIGKILL');
    assert.ok(await stage.traffic.flows(SOON_MS), 'the old process serves again');
    assert.equal(await who(stage.port), `+v1 ${stage.oldPid} whole`);
  });
});

test('after go: the successor serves on, and the old process never acts again', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.go.acked');
    assert.ok(await stage.traffic.flows(SOON_MS));
    assert.match(await who(stage.port), /^\+v2 \d+ whole$/);
  });
});
