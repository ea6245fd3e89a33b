// Goal: whoever is killed in a simulated kexec, and wherever: before the jump everything serves again in the old kernel, after it
// everything is claimed in the new one; nothing is left over, nobody stays stuck, and the one loss that no program can prevent is said.
// Method: rows of the VM suite (test/vm/crash.test.ts); a process that passes a fault point is killed by it. One machine for all. That
// there is a row for every point is shown by a jump in which every point says that it was passed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { FAULT_POINTS, KEXEC_FAULT_POINTS, type FaultPoint } from '../../src/base/fault-points.js';
import {
  ALL_AFTER,
  ALL_BEFORE,
  BEFORE,
  EITHER_WAY,
  KEEPER_AFTER,
  KEEPER_ALONE,
  KEEPER_BEFORE,
  LUOD_AFTER,
  NOT_PASSED,
  PARTICIPANT_AFTER,
  SERVING_AFTER,
} from '../vm/crash-rows.js';
import type { LuodStatus } from '../vm/bed/vm.js';
import { parentOf } from '../crash/processes.js';
import { root } from '../vm/bed/root.js';
import { ask } from '../vm/guest/luod.js';
import { EmulatedMachine, type Arms } from './bed/machine.js';

const BYTES = 2 ** 16;
const STATE_BYTES = 1000;

interface Found {
  readonly pid: number;
  readonly role: string;
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
  readonly stateBytes: number;
}

const EVERY_POINT = [...FAULT_POINTS, ...KEXEC_FAULT_POINTS];

let machine: EmulatedMachine;
/** Entries of the keeper in peace. */
let peace = 0;

/** Wait until one process serves, and look at everything that it has. */
function whole(when: string): Promise<{ status: LuodStatus; found: Found }> {
  return machine.until(`peace ${when}`, async () => {
    const status = await machine.status();
    const [service] = status.services;
    if (status.state !== 'normal' || status.phase !== null || service?.run !== 'running')
      throw new Error(JSON.stringify(status));
    const found = JSON.parse(readFileSync(join(machine.runFolder, 'p/part.json'), 'utf8')) as Found;
    if (found.pid !== service.pid) throw new Error(`pid ${service.pid} has not said what it found`);
    assert.deepEqual([found.wrong, found.stateBytes], [0, STATE_BYTES], when);
    assert.deepEqual([status.kexec.unclaimed, status.stuck], [[], []], when);
    return { status, found };
  });
}

/**
 * Nothing of the last kernel is held any more: not by luod, not by its keeper, not by the kernel. And luod, which replaces itself under
 * a new keeper, has done so.
 */
async function nothingLeft(): Promise<void> {
  const { kexec } = await machine.until('nothing kept that was not kept before, by a luod of its keeper', async () => {
    const now = await machine.status();
    const isOfKeeper = parentOf(now.luod.pid) === now.keeper.pid;
    return now.keeper.entries <= peace && isOfKeeper ? now : undefined;
  });
  assert.equal(kexec.arrived?.error, undefined);
  assert.throws(() => readFileSync(join(machine.luodFolder, 'arriving')), { code: 'ENOENT' });
  assert.deepEqual(
    machine.emulator.inspect().sessions.filter(({ direction }) => direction === 'incoming'),
    [],
  );
}

/** Start the service, and wait for it. */
async function runPart(): Promise<void> {
  const options = { stateBytes: STATE_BYTES, folder: join(machine.runFolder, 'p') };
  const argv = [process.execPath, join(root, 'dist/test/vm/guest/participant.js'), 'part', String(BYTES)];
  const { PATH = '/usr/bin:/bin' } = process.env;
  await ask(machine.luodFolder, 'run', {
    name: 'part',
    argv: [...argv, JSON.stringify(options)],
    cwd: '/',
    env: { PATH },
    readyMs: 120_000,
  });
  peace = (await whole('at the begin')).status.keeper.entries;
}

const points = (): string[] => machine.hits().map(({ point }) => point);
/** Each says once that it was passed, and nothing else happens. */
const passedBy = (list: readonly FaultPoint[]): Arms => Object.fromEntries(list.map((point) => [point, 'delay 0']));
const killed = (list: readonly FaultPoint[]): Arms => Object.fromEntries(list.map((point) => [point, 'kill']));

test('every fault point has a row for the kexec gap, or a reason why it is not passed there, and not both', () => {
  const rows = new Set([...ALL_BEFORE, ...ALL_AFTER]);
  const excluded = Object.keys(NOT_PASSED);
  assert.deepEqual([...rows, ...excluded].sort(), [...EVERY_POINT].sort());
});

suite(
  'killed in a simulated kexec',
  { skip: process.getuid?.() === 0 ? false : 'luod crosses the kexec gap as root only' },
  () => {
    before(async () => {
      machine = await EmulatedMachine.start({ luod: true });
      await machine.until('luod', async () => (await machine.status()).state === 'normal' || undefined);
      await runPart();
    });
    after(() => machine.close());

    for (const point of BEFORE) {
      test(`at ${point}, before the jump: everything serves again, and nothing stays pinned`, async () => {
        const earlier = await whole('before');
        machine.arm(killed([point]));
        await machine.kexecInVain();
        const { found } = await whole('after');
        assert.ok(points().includes(point), 'the point was passed');
        // Under a new keeper luod replaces itself, when nothing else is to be done.
        const isSameLuod = point.startsWith('old.');
        await machine.until('nothing kept that was not kept before, by the right luod', async () => {
          const { keeper, luod } = await machine.status();
          const isSame = luod.pid === earlier.status.luod.pid;
          return (keeper.entries <= peace && isSame === isSameLuod) || undefined;
        });
        assert.deepEqual(
          machine.emulator.inspect().sessions.filter(({ name }) => name.includes('part')),
          [],
        );
        assert.equal(found.pid !== earlier.found.pid, point.startsWith('old.'), 'only who was killed is another one');
      });
    }

    test('nobody: all is claimed after the jump, and every point that is passed has its row', async () => {
      machine.arm(passedBy(EVERY_POINT));
      const before = await machine.kexec(passedBy(EVERY_POINT));
      const { status, found } = await whole('after a jump in peace');
      assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
      assert.deepEqual([...new Set(before)].sort(), [...ALL_BEFORE].sort());
      await machine.until('each point was passed', () => points().length >= ALL_AFTER.length || undefined);
      assert.deepEqual(points().sort(), [...ALL_AFTER].sort());
      peace = status.keeper.entries;
    });

    for (const point of EITHER_WAY) {
      test(`at ${point}, before the jump or without it: it comes back to what it had`, async () => {
        machine.arm(killed([point]));
        const { jumped, passed } = await machine.kexecOrBack();
        assert.ok(passed.includes(point), 'the point was passed');
        const { found } = await whole(jumped ? 'after the jump' : 'without a jump');
        assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
        await nothingLeft();
      });
    }

    for (const point of KEEPER_BEFORE) {
      test(`the keeper at ${point}, before anybody freezes: a new one is given everything, and all is claimed after the jump`, async () => {
        machine.arm(killed([point]));
        assert.ok((await machine.kexec()).includes(point), 'the point was passed');
        const { found } = await whole('after the jump');
        assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
        await nothingLeft();
      });
    }

    test('luod at each of its points after the jump, one death after the other: everything is claimed, once', async () => {
      await machine.kexec(killed(LUOD_AFTER));
      const { found } = await whole('after the deaths of luod');
      assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
      await machine.until('each point was passed', () => points().length === LUOD_AFTER.length || undefined);
      assert.deepEqual(points().sort(), [...LUOD_AFTER].sort());
      await nothingLeft();
      assert.match((await machine.luoctl(['timeline'])).out, /kernel \S+ → \S+, ±1000 ms/);
      const { restarts } = (await machine.status()).luod;
      assert.ok(restarts >= LUOD_AFTER.length, String(restarts));
    });

    test('the participant at each of its points: it comes back to what it had, and the update to its end', async () => {
      await machine.kexec(killed(PARTICIPANT_AFTER));
      const { found } = await whole('after the deaths of the participant');
      assert.deepEqual([found.created, found.role], [false, 'restart']);
      assert.deepEqual(points().sort(), [...PARTICIPANT_AFTER].sort());
      await nothingLeft();
    });

    for (const point of SERVING_AFTER) {
      test(`the participant at ${point}: it comes back, and the update ends without it`, async () => {
        await machine.kexec(killed([point]));
        await machine.until('its death', () => points().includes(point) || undefined);
        const { found } = await whole('after the death of the participant');
        assert.deepEqual([found.created, found.torn, found.role], [false, true, 'restart']);
        await nothingLeft();
      });
    }

    test('the keeper while everything waits to be claimed: luod has it all, and gives it to the next keeper', async () => {
      await machine.kexec({ 'new.hello': 'stop' });
      const stopped = await machine.until('the participant', () => machine.hits()[0]?.pid);
      const updated = await machine.until('the end of the jump', async () => {
        const now = await machine.status();
        return now.state === 'updated' && now.phase === null ? now : undefined;
      });
      assert.deepEqual(
        updated.kexec.unclaimed.map(({ handle }) => handle),
        ['0:part/fd:part'],
      );
      process.kill(updated.keeper.pid, 'SIGKILL');
      await machine.until('another keeper', async () => {
        const { keeper } = await machine.status();
        return keeper.pid !== updated.keeper.pid || undefined;
      });
      process.kill(stopped, 'SIGCONT');
      const { found } = await whole('after the death of the keeper');
      assert.deepEqual([found.created, found.torn], [false, false]);
      await nothingLeft();
    });

    for (const point of KEEPER_AFTER) {
      test(`the keeper at ${point}, while luod runs after the jump: everything is claimed`, async () => {
        await machine.kexec(killed([point]));
        await machine.until('its death', () => points().includes(point) || undefined);
        const { found } = await whole('after the death of the keeper');
        assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
        await nothingLeft();
      });
    }

    for (const point of KEEPER_ALONE) {
      test(`the keeper at ${point}, before luod runs: the one loss that cannot be prevented is said, and luod works`, async () => {
        await machine.kexec(killed([point]));
        await machine.until('its death', () => points().includes(point) || undefined);
        await machine.startLuod();
        const status = await machine.until('the next luod', async () => {
          const now = await machine.status();
          return now.state === 'normal' ? now : undefined;
        });
        assert.equal(status.kexec.arrived?.error?.code, 'ARRIVAL_LOST');
        assert.match((await machine.luoctl(['status'])).out, /ARRIVAL_LOST/);
        await runPart();
      });
    }
  },
);
