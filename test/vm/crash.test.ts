// Goal: whoever is killed in an update across the kexec gap, and wherever: before the jump everything serves again in the old
// kernel, after it everything is claimed in the new one; nothing is lost, nothing is left over, and the next jump works. The one loss that
// no program can prevent is said. Method: a process that passes a fault point is killed by it. Rows before the jump need no boot; those
// after it share one for each kind of process, which dies at one point after the other, each time it comes back.
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { FaultPoint } from '../../src/base/fault-points.js';
import { kernels } from './bed/kernels.js';
import { Vm, type Hello, type LuodStatus } from './bed/vm.js';
import {
  BEFORE,
  EITHER_WAY,
  KEEPER_AFTER,
  KEEPER_ALONE,
  KEEPER_BEFORE,
  LUOD_AFTER,
  PARTICIPANT_AFTER,
  SERVING_AFTER,
} from './crash-rows.js';

const { from, to } = kernels();
const COMMAND_LINE =
  'console=ttyS0 panic=-1 root=/dev/vda rootfstype=erofs ro init=/init quiet loglevel=4 liveupdate=on bed.luod=/run/luo';
const BYTES = 2 ** 20;
const FAULTS = '/run/faults';
/** Nothing is armed, and can be. */
const ARMABLE = ['nothing:delay'];

interface Found {
  readonly pid: number;
  readonly role: string;
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
  readonly stateBytes: number;
}

let vm: Vm;
let failed = true;
const lines: string[] = [];
/** Entries of the keeper in peace. */
let peace = 0;

before(async () => {
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    append: `bed.arm=${ARMABLE[0]}`,
    files: { '/boot/from': from.path, '/boot/to': to.path },
  });
  await vm.untilState('normal');
  await runPart();
});
after(async () => {
  console.log(['killed                     where      outcome', ...lines].join('\n'));
  await vm.stop(failed);
});

/** Start the service, and wait for it. */
async function runPart(): Promise<void> {
  const argv = ['node', '/luo/dist/test/vm/guest/participant.js', 'part', String(BYTES), '{"stateBytes":1000}'];
  await vm.run('test/vm/guest/luod.js', 'runAll', ['/run/luo', [{ name: 'part', argv }], 1]);
  peace = (await whole('at the begin')).status.keeper.entries;
}

function told(who: string, where: string, outcome: string): void {
  lines.push(`${who.padEnd(26)} ${where.padEnd(10)} ${outcome}`);
}

/** Wait until one process serves, and look at everything that it has. */
function whole(when: string): Promise<{ status: LuodStatus; found: Found }> {
  return vm.until(`peace ${when}`, async () => {
    const status = await vm.status();
    const [service] = status.services;
    if (status.state !== 'normal' || status.phase !== null || service?.run !== 'running')
      throw new Error(JSON.stringify(status));
    const found = JSON.parse(await vm.read('/run/p/part.json')) as Found;
    if (found.pid !== service.pid) throw new Error(`pid ${service.pid} has not said what it found`);
    assert.equal(found.wrong, 0, when);
    assert.equal(found.stateBytes, 1000, when);
    assert.deepEqual(status.kexec.unclaimed, []);
    assert.deepEqual(status.stuck, []);
    return { status, found };
  });
}

const hits = async (): Promise<string[]> => {
  const text = await vm.read(`${FAULTS}/hits`).catch(() => '');
  return text.split('\n').flatMap((line) => line.split(' ')[0] || []);
};
/** @param arms fault points of the next kernel, each with what is done there */
const load = (kernel: string, arms: readonly string[] = []): Promise<unknown> =>
  vm.ask('load', { kernel, cmdline: [COMMAND_LINE, ...arms.map((arm) => `bed.arm=${arm}`)].join(' ') });
const kill = (points: readonly FaultPoint[]): string[] => points.map((point) => `${point}:kill`);
let isInFrom = true;

/** Jump into the other kernel of the two. */
async function jump(arms: readonly string[]): Promise<Hello> {
  isInFrom = !isInFrom;
  await load(isInFrom ? '/boot/from' : '/boot/to', arms);
  const jumped = vm.jumped(vm.hello);
  jumped.catch(() => undefined);
  const back = vm.ask<{ error?: object }>('kexec').then(
    (result) => Promise.reject(new Error(`there was no jump: ${JSON.stringify(result)}`)),
    // Its kernel is gone.
    () => jumped,
  );
  return Promise.race([jumped, back]);
}

suite('before the jump', () => {
  for (const point of BEFORE) {
    test(`killed at ${point}: everything serves again, and nothing stays pinned`, async () => {
      const earlier = await whole('before');
      await load('/boot/to');
      await vm.write(`${FAULTS}/${point}`, 'kill');
      const outcome = await vm
        .ask<{ outcome: string }>('kexec', { limits: { blackoutMs: 30_000 } })
        .then((result) => result.outcome)
        // Whoever asked was connected to the one that is dead.
        .catch(() => 'aborted');
      assert.equal(outcome, 'aborted', 'there was no jump');
      const { found } = await whole('after');
      assert.ok((await hits()).includes(point), 'the point was passed');
      // Under a new keeper luod replaces itself, when nothing else is to be done.
      const isSameLuod = point.startsWith('old.');
      await vm.until('nothing kept that was not kept before, by the right luod', async () => {
        const { keeper, luod } = await vm.status();
        const isSame = luod.pid === earlier.status.luod.pid;
        return (keeper.entries <= peace && isSame === isSameLuod) || undefined;
      });
      const isRestarted = found.pid !== earlier.found.pid;
      assert.equal(isRestarted, point.startsWith('old.'), 'only a process that was killed is another one');
      told(point, 'before', `${isRestarted ? 'restarted' : 'serves again'}${found.torn ? ', torn' : ''}`);
    });
  }
});

suite('after the jump', () => {
  test('a jump in peace after all that', async () => {
    const { release } = await jump(ARMABLE);
    const { status, found } = await whole(`after ${release}`);
    assert.deepEqual([found.created, found.torn], [false, false]);
    peace = status.keeper.entries;
    told('nobody', 'after', 'all claimed');
  });

  for (const point of EITHER_WAY) {
    test(`killed at ${point}, before the jump or without it: it comes back to what it had`, async () => {
      await vm.write(`${FAULTS}/${point}`, 'kill');
      const wasInFrom = isInFrom;
      const came = await jump(ARMABLE).catch((error: unknown) => {
        assert.match(String(error), /there was no jump/);
        isInFrom = wasInFrom;
      });
      const { found } = await whole(`after the death at ${point}`);
      assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
      // After a jump the hits are gone, and the log may have ended before: over a simulated one they are looked at.
      if (!came) assert.ok((await hits()).includes(point), 'the point was passed');
      await nothingLeft();
      told(point, 'before', `restarted ${came ? 'after the jump' : 'without a jump'}`);
    });
  }

  for (const point of KEEPER_BEFORE) {
    test(`killed at ${point}, before anybody freezes: a new keeper is given everything, and all is claimed after the jump`, async () => {
      await vm.write(`${FAULTS}/${point}`, 'kill');
      await jump(ARMABLE);
      const { found } = await whole(`after the death at ${point}`);
      assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
      await nothingLeft();
      assert.match(await lastLog(), /the keeper is gone/);
      told(point, 'before', 'all claimed after the jump');
    });
  }

  test('luod killed at each of its points, one death after the other: everything is claimed, once', async () => {
    const { release } = await jump(kill(LUOD_AFTER));
    const { status, found } = await whole(`after ${release}`);
    assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
    await vm.until('each point was passed', async () => (await hits()).length === LUOD_AFTER.length || undefined);
    assert.deepEqual((await hits()).sort(), [...LUOD_AFTER].sort());
    await nothingLeft();
    for (const point of LUOD_AFTER) told(point, 'after', 'all claimed');
    assert.ok((await vm.status()).luod.restarts >= LUOD_AFTER.length, String(status.luod.restarts));
  });

  test('the participant killed at each of its points: it comes back to what it had, and the update to its end', async () => {
    const { release } = await jump(kill(PARTICIPANT_AFTER));
    const { found } = await whole(`after ${release}`);
    assert.deepEqual([found.created, found.role], [false, 'restart']);
    assert.deepEqual((await hits()).sort(), [...PARTICIPANT_AFTER].sort());
    await nothingLeft();
    for (const point of PARTICIPANT_AFTER) told(point, 'after', `all claimed${found.torn ? ', torn' : ''}`);
  });

  for (const point of SERVING_AFTER) {
    test(`the participant killed at ${point}: it comes back, and the update ends without it`, async () => {
      await jump(kill([point]));
      await vm.until('its death', async () => (await hits()).includes(point) || undefined);
      const { found } = await whole(`after the death at ${point}`);
      assert.deepEqual([found.created, found.torn, found.role], [false, true, 'restart']);
      await nothingLeft();
      told(point, 'after', 'all claimed, torn');
    });
  }

  test('the keeper killed while everything waits to be claimed: luod has it all, and gives it to the next keeper', async () => {
    const { release } = await jump(['new.hello:stop']);
    const stopped = await vm.until('the participant', async () => {
      const hit = /^new\.hello (\d+)$/m.exec(await vm.read(`${FAULTS}/hits`));
      return hit ? Number(hit[1]) : undefined;
    });
    const updated = await vm.untilState('updated');
    assert.deepEqual(
      updated.kexec.unclaimed.map(({ handle }) => handle),
      ['0:part/fd:part'],
    );
    await vm.kill(updated.keeper.pid, 'SIGKILL');
    await vm.until('another keeper', async () => {
      const { keeper } = await vm.status();
      return keeper.pid !== updated.keeper.pid || undefined;
    });
    await vm.kill(stopped, 'SIGCONT');
    const { found } = await whole(`after ${release}`);
    assert.deepEqual([found.created, found.torn], [false, false]);
    await nothingLeft();
    told('keeper, in updated', 'after', 'all claimed');
  });

  for (const point of KEEPER_AFTER) {
    test(`the keeper killed at ${point}, while luod runs: everything is claimed`, async () => {
      await jump(kill([point]));
      await vm.until('its death', async () => (await hits()).includes(point) || undefined);
      const { found } = await whole(`after the death at ${point}`);
      assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
      await nothingLeft();
      told(point, 'after', 'all claimed');
    });
  }

  for (const point of KEEPER_ALONE) {
    test(`the keeper killed at ${point}, before luod runs: the one loss that cannot be prevented is said, and luod works`, async () => {
      await jump(kill([point]));
      await vm.until('the keeper’s death', async () => (await hits()).includes(point) || undefined);
      await vm.must(['luod', '--dir', '/run/luo', '--background']);
      const status = await vm.untilState('normal');
      assert.equal(status.kexec.arrived?.error?.code, 'ARRIVAL_LOST');
      assert.match((await vm.luoctl(['status'])).stdout, /ARRIVAL_LOST/);
      await runPart();
      told(point, 'after', 'lost, and said so');
      failed = point !== KEEPER_ALONE.at(-1);
    });
  }
});

/** What luod had written in the last kernel. */
const lastLog = (): Promise<string> => vm.must(['luoctl', '--dir', '/run/luo', 'blob', 'get', 'luod-log']);

/** Nothing of the last kernel is held any more, and luod, which replaces itself under a new keeper, has done so. */
async function nothingLeft(): Promise<void> {
  const { kexec } = await vm.until('nothing kept that was not kept before, by a luod of its keeper', async () => {
    const now = await vm.status();
    const [, parent] = /\) \S (\d+) /.exec(await vm.read(`/proc/${now.luod.pid}/stat`)) ?? [];
    return now.keeper.entries <= peace && Number(parent) === now.keeper.pid ? now : undefined;
  });
  assert.equal(kexec.arrived?.error, undefined);
  await assert.rejects(vm.read('/run/luo/arriving'), 'there is nothing that could be lost any more');
}
