// Goal: luod and keeper are dead at the same time, so that nobody knows a decision any more. What was serving serves on;
// what is frozen stays frozen rather than act beside a successor that lives, and thaws when that is seen to be dead. Then
// `luoctl recover` brings luod and keeper back onto the same directory: nothing that a process still has is lost, exactly one
// generation acts, and the next update goes as ever.
// Method: luod is held still at a point, the keeper is killed, then luod; the clients see who answers.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultPoint } from '../../src/base/fault-points.js';
import type { LuodResult } from '../../src/protocol/spec.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import { isAlive, isStopped, killBoth, pidsOf } from './processes.js';
import { freePort } from './scene.js';
import { LineClient, Traffic } from './traffic.js';
import { WORKLOADS } from './workload.js';

const { command, program } = WORKLOADS.counters;
const CONNECTIONS = 5;
/** Long enough for a frozen process to ask several times. */
const FROZEN_MS = 1_500;
const SOON_MS = 30_000;
const PEACE_MS = 60_000;
/** A start of Node may take seconds on a machine that does other things. */
const HIT_MS = 60_000;

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
    await traffic.stop();
    const { forced, files } = await luod.stop();
    assert.deepEqual({ forced, files: files.filter((file) => !file.startsWith('logs')) }, { forced: [], files: [] });
  } finally {
    await traffic?.stop();
    for (const pid of servicePids(luod)) process.kill(pid, 'SIGKILL');
    await luod.stop();
  }
}

async function statusOf(luod: TestLuod): Promise<LuodResult<'status'>> {
  const { code, stdout, stderr } = await luod.luoctl(['status', '--json']);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as LuodResult<'status'>;
}

/** Wait until luod says that nothing is under way, and that the service is there. */
async function untilPeace(luod: TestLuod): Promise<LuodResult<'status'>> {
  for (const until = performance.now() + PEACE_MS; ; await sleep(50)) {
    const status = await statusOf(luod);
    const { state, phase, stuck, services, participants } = status;
    const isBack = services[0]?.run === 'running' && participants.length === 1 && participants[0]!.connected;
    if (state === 'normal' && phase === null && stuck.length === 0 && isBack) return status;
    assert.ok(performance.now() < until, `no peace: ${JSON.stringify(status)}\n${luod.output()}`);
  }
}

/** The operator's one command; then version `label` serves with everything, and can be updated. */
async function recovered(stage: Stage, label: string): Promise<void> {
  const { luod, port, traffic } = stage;
  const { code, stderr } = await luod.luoctl(['recover']);
  assert.equal(code, 0, `${stderr}\n${luod.output()}`);
  assert.match(stderr, /starting a luod/);
  await assertPeace(stage, label);
  assert.equal(traffic.disconnects, 0, 'no connection ended');
  const updated = await luod.luoctl(['update', 'counters', '--', ...command('v9', port)]);
  assert.equal(updated.code, 0, `${updated.stderr}\n${luod.output()}`);
  await assertPeace(stage, 'v9');
  assert.equal(traffic.disconnects, 0, 'the next update loses no connection');
}

async function assertPeace({ luod, port, traffic }: Stage, label: string): Promise<void> {
  const { services, lost, handles } = await untilPeace(luod);
  assert.equal(lost, undefined);
  assert.deepEqual(
    handles.filter(({ viable, claimed }) => !viable.handover.ok || !claimed),
    [],
    'every handle is whole',
  );
  assert.ok(await traffic.flows(SOON_MS), `${label} serves`);
  assert.equal(await who(port), `+${label} ${services[0]!.pid} whole`);
  assert.deepEqual(servicePids(luod), [services[0]!.pid], 'one generation is left');
}

function servicePids(luod: TestLuod): number[] {
  return luod.leftovers().processes.flatMap(({ pid, command: text }) => (text.includes(program) ? [pid] : []));
}

/** An update in which luod stands still at `point`; then both are killed. */
async function updateUntil({ luod, port }: Stage, point: FaultPoint): Promise<void> {
  luod.arm(point, 'stop');
  const update = luod.startLuoctl(['update', 'counters', '--', ...command('v2', port)]);
  try {
    for (const until = performance.now() + HIT_MS; ; await sleep(5)) {
      if (luod.hits().some((hit) => hit.point === point && isStopped(hit.pid))) break;
      assert.ok(performance.now() < until && update.exitCode === null, `'${point}' is passed\n${luod.output()}`);
    }
    await killBoth(luod);
    assert.equal(update.exitCode, null, 'luoctl does not claim that it is done');
  } finally {
    // It waits for luod to come back; nobody waits for it.
    update.kill('SIGKILL');
    if (update.exitCode === null && update.signalCode === null) await once(update, 'exit');
  }
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

test('between updates: the service serves on, and luod takes it up again with all that it holds', async () => {
  await onStage(async (stage) => {
    const { luod, traffic, oldPid } = stage;
    await killBoth(luod);
    assert.ok(await traffic.flows(SOON_MS));
    assert.equal(await luod.answers(), false);
    await recovered(stage, 'v1');
    assert.equal(isAlive(oldPid), false, 'the process that was taken up has handed over to v9');
  });
});

test('while prepared: the old process serves on, since nothing was frozen; recover ends the new one', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.prepared');
    assert.ok(await stage.traffic.flows(SOON_MS));
    assert.equal(await who(stage.port), `+v1 ${stage.oldPid} whole`);
    await recovered(stage, 'v1');
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
    await recovered(stage, 'v1');
  });
});

test('while frozen, the successor alive: recover brings the old process back and ends the new one', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.frozen');
    assert.equal(await stage.traffic.flows(FROZEN_MS), false);
    await recovered(stage, 'v1');
  });
});

test('when the successor is ready and nothing was decided: neither acts until recover decides', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.ready');
    assert.equal(await stage.traffic.flows(FROZEN_MS), false);
    assert.equal(servicePids(stage.luod).length, 2);
    await recovered(stage, 'v1');
  });
});

test('the keeper had recorded the commit, and nobody was told: neither acts until recover decides', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.decide.after');
    assert.equal(await stage.traffic.flows(FROZEN_MS), false);
    await recovered(stage, 'v1');
  });
});

test('after go: the successor serves on, the old process never acts again, and recover ends the update', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.go.acked');
    assert.ok(await stage.traffic.flows(SOON_MS));
    assert.match(await who(stage.port), /^\+v2 \d+ whole$/);
    await recovered(stage, 'v2');
  });
});

test('when it is being finished: the successor serves on, and recover ends the update', async () => {
  await onStage(async (stage) => {
    await updateUntil(stage, 'luod.finish.sent');
    assert.ok(await stage.traffic.flows(SOON_MS));
    await recovered(stage, 'v2');
  });
});

test('the old process died frozen: its command comes back on the memory that its successor still had', async () => {
  await onStage(async (stage) => {
    const { luod, traffic, port, oldPid } = stage;
    await updateUntil(stage, 'luod.ready');
    process.kill(oldPid, 'SIGKILL');
    assert.equal(await traffic.flows(FROZEN_MS), false, 'the successor does not act without a decision');
    const { code, stderr } = await luod.luoctl(['recover']);
    assert.equal(code, 0, stderr);
    const { services, lost } = await untilPeace(luod);
    assert.equal(lost, undefined);
    assert.ok(await traffic.flows(SOON_MS), 'every counter goes on from its value');
    assert.equal(await who(port), `+v1 ${services[0]!.pid} whole`);
  });
});

test('luod dies while it refills a new keeper: the next luod takes up what is missing there', async () => {
  await onStage(async (stage) => {
    const { luod } = stage;
    luod.arm('keeper.put', 'stop');
    const [daemon, keeper] = pidsOf(luod);
    process.kill(keeper, 'SIGKILL');
    while (!luod.hits().some((hit) => hit.point === 'keeper.put' && isStopped(hit.pid))) await sleep(5);
    process.kill(daemon, 'SIGKILL');
    while (isAlive(daemon)) await sleep(1);
    process.kill(luod.hits().at(-1)!.pid, 'SIGCONT');
    for (const until = performance.now() + SOON_MS; !(await luod.answers()); await sleep(50)) {
      assert.ok(performance.now() < until, `the new keeper starts a luod\n${luod.output()}`);
    }
    await assertPeace(stage, 'v1');
    const updated = await luod.luoctl(['update', 'counters', '--', ...command('v9', stage.port)]);
    assert.equal(updated.code, 0, `${updated.stderr}\n${luod.output()}`);
    await assertPeace(stage, 'v9');
    assert.equal(stage.traffic.disconnects, 0);
  });
});

test('what nobody has any more is named until the operator has seen it, and its service starts afresh', async () => {
  await onStage(async ({ luod, traffic, oldPid }) => {
    assert.equal((await luod.luoctl(['put', 'box', 'note'], { stdin: 'text' })).code, 0);
    assert.equal((await luod.luoctl(['seal', 'box'])).code, 0);
    await killBoth(luod);
    await traffic.stop();
    process.kill(oldPid, 'SIGKILL');
    while (isAlive(oldPid)) await sleep(1);
    const started = await luod.luoctl(['recover', '--json']);
    assert.equal(started.code, 0, `${started.stderr}\n${luod.output()}`);
    const lost = ['box/box', `${process.getuid!()}:counters/fd:counters`, `${process.getuid!()}:counters/fd:listener`];
    assert.deepEqual((JSON.parse(started.stdout) as { lost?: string[] }).lost?.toSorted(), lost.toSorted());
    assert.equal((await statusOf(luod)).lost, undefined, 'recover has shown it');
    assert.deepEqual((await statusOf(luod)).boxes, []);
    await untilPeace(luod);
    assert.notEqual(servicePids(luod)[0], oldPid);
  });
});

test('after an orderly end nothing is taken up', async () => {
  const luod = await startLuod();
  try {
    assert.equal((await luod.luoctl(['shutdown', '--force'])).code, 0);
    for (const until = performance.now() + SOON_MS; luod.leftovers().processes.length > 0; await sleep(20)) {
      assert.ok(performance.now() < until, 'everything ends');
    }
    assert.equal((await luod.luoctl(['recover'])).code, 4, 'no luod, and nothing to take up');
  } finally {
    await luod.stop();
  }
});
