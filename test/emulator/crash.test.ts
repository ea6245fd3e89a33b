// Goal: whoever is killed after a simulated kexec, and wherever: everything is claimed, nothing is left over, nobody stays stuck,
// and the one loss that no program can prevent is said. Method: rows of the VM suite (test/vm/crash.test.ts); a process that
// passes a fault point is killed by it. One machine for all, with one jump for each row.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { FaultPoint } from '../../src/base/fault-points.js';
import { LUOD_AFTER, PARTICIPANT_AFTER } from '../vm/crash-rows.js';
import type { LuodStatus } from '../vm/bed/vm.js';
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

/** Nothing of the last kernel is held any more: not by luod, not by its keeper, not by the kernel. */
async function nothingLeft(): Promise<void> {
  const { kexec } = await machine.until('nothing kept that was not kept before', async () => {
    const now = await machine.status();
    return now.keeper.entries <= peace ? now : undefined;
  });
  assert.equal(kexec.arrived?.error, undefined);
  assert.throws(() => readFileSync(join(machine.luodFolder, 'arriving')), { code: 'ENOENT' });
  assert.deepEqual(
    machine.emulator.inspect().sessions.filter(({ direction }) => direction === 'incoming'),
    [],
  );
}

const points = (): string[] => machine.hits().map(({ point }) => point);
const killed = (list: readonly FaultPoint[]): Arms => Object.fromEntries(list.map((point) => [point, 'kill']));

suite(
  'killed after a simulated kexec',
  { skip: process.getuid?.() === 0 ? false : 'luod crosses the kexec gap as root only' },
  () => {
    before(async () => {
      machine = await EmulatedMachine.start({ luod: true });
      await machine.until('luod', async () => (await machine.status()).state === 'normal' || undefined);
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
    });
    after(() => machine.close());

    test('nobody: all is claimed after the jump', async () => {
      await machine.kexec();
      const { status, found } = await whole('after a jump in peace');
      assert.deepEqual([found.created, found.torn, found.role], [false, false, 'restart']);
      peace = status.keeper.entries;
    });

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

    test('the keeper before luod runs: the one loss that cannot be prevented is said, and luod works', async () => {
      await machine.kexec({ 'keeper.session.retrieved': 'kill' });
      await machine.until('its death', () => points().includes('keeper.session.retrieved') || undefined);
      await machine.startLuod();
      const status = await machine.until('the next luod', async () => {
        const now = await machine.status();
        return now.state === 'normal' ? now : undefined;
      });
      assert.equal(status.kexec.arrived?.error?.code, 'ARRIVAL_LOST');
      assert.match((await machine.luoctl(['status'])).out, /ARRIVAL_LOST/);
    });
  },
);
