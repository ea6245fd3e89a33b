// Goal: whoever is killed in an update across the kexec gap, and wherever: before the jump everything serves again in the old
// kernel, after it everything is claimed in the new one; nothing is lost, nothing is left over, and the next jump works.
// Method: a process that passes a fault point is killed by it. Rows before the jump need none; each row after it is one.
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { FaultPoint } from '../../src/base/fault-points.js';
import { kernels } from './bed/kernels.js';
import { Vm, type LuodStatus } from './bed/vm.js';

const { from, to } = kernels();
const COMMAND_LINE =
  'console=ttyS0 panic=-1 root=/dev/vda rootfstype=erofs ro init=/init quiet loglevel=4 liveupdate=on bed.luod=/run/luo';
const BYTES = 2 ** 20;

interface Found {
  readonly pid: number;
  readonly role: string;
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
  readonly stateBytes: number;
}

/** Passed by luod, the keeper, or the participant, before the jump. */
const BEFORE: readonly FaultPoint[] = [
  'luod.prepare.sent',
  'luod.session.preserved',
  'luod.prepared',
  'luod.manifest.preserved',
  'luod.freeze.sent',
  'luod.frozen',
  'luod.decide.before',
  'luod.decide.after',
  'luod.manifest.frozen',
  'luod.jump',
  'keeper.session.created',
  'keeper.decide.before',
  'keeper.decide.after',
  'old.prepare',
  'old.prepared',
  'old.freeze',
  'old.frozen',
];
/** Passed in the new kernel. */
const AFTER: readonly FaultPoint[] = [
  'luod.arrived',
  'luod.claim.retrieved',
  'luod.finish.sent',
  'luod.session.finished',
  'luod.finished',
  'new.claimed',
  'new.restore.frozen',
  'new.ready',
  'new.go',
  'new.finish',
];

let vm: Vm;
const lines: string[] = [];
/** Fds of the keeper in peace. */
let peace = 0;

before(async () => {
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    append: 'bed.arm=nothing:delay',
    files: { '/boot/from': from.path, '/boot/to': to.path },
  });
  await vm.untilState('normal');
  const program = ['node', '/luo/dist/test/vm/guest/participant.js', 'part', String(BYTES), '{"stateBytes":1000}'];
  await vm.must(['luoctl', '--dir', '/run/luo', 'run', '--name', 'part', '--', ...program]);
  await vm.must(['luoctl', '--dir', '/run/luo', 'load', '/boot/to', '--cmdline', COMMAND_LINE]);
  peace = (await whole('at the begin')).status.keeper.entries;
});
after(async () => {
  console.log(['killed                     where      outcome', ...lines].join('\n'));
  await vm.stop(lines.length < BEFORE.length + AFTER.length + 1);
});

/** Wait until one process serves, and look at everything that it has. */
async function whole(when: string): Promise<{ status: LuodStatus; found: Found }> {
  return vm.until(
    `peace ${when}`,
    async () => {
      const status = await vm.luoctlJson<LuodStatus>(['status']);
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
    },
    90_000,
  );
}

suite('before the jump', () => {
  for (const point of BEFORE) {
    test(`killed at ${point}: everything serves again, and nothing stays pinned`, async () => {
      const earlier = await whole('before');
      await vm.write(`/run/faults/${point}`, 'kill');
      const kexec = await vm.luoctl(['kexec', '--blackout-max', '4s'], { timeoutMs: 60_000 });
      assert.notEqual(kexec.code, 0, 'there was no jump');
      const { status, found } = await whole('after');
      await vm.until('nothing kept that was not kept before', async () =>
        (await vm.luoctlJson<LuodStatus>(['status'])).keeper.entries <= peace ? true : undefined,
      );
      const isRestarted = found.pid !== earlier.found.pid;
      assert.equal(isRestarted, point.startsWith('old.'), 'only a process that was killed is another one');
      lines.push(
        `${point.padEnd(26)} ${'before'.padEnd(10)} ${isRestarted ? 'restarted' : 'serves again'}${found.torn ? ', torn' : ''}, luod pid ${status.luod.pid}`,
      );
    });
  }
});

suite('after the jump', () => {
  for (const [index, point] of AFTER.entries()) {
    test(`killed at ${point}: everything is claimed, and it comes to its end`, async () => {
      const target = index % 2 === 0 ? '/boot/to' : '/boot/from';
      await vm.must(['rm', '-f', '/run/faults/*']);
      const { release } = await vm.kexec(target, { load: ['--cmdline', `${COMMAND_LINE} bed.arm=${point}:kill`] });
      const { status, found } = await whole(`after ${release}`);
      assert.equal(found.created, false);
      lines.push(
        `${point.padEnd(26)} ${'after'.padEnd(10)} all claimed${found.torn ? ', torn' : ''}, ${status.luod.restarts} deaths of luod`,
      );
    });
  }

  test('a jump in peace afterwards', async () => {
    await vm.kexec('/boot/to', { load: ['--cmdline', COMMAND_LINE] });
    const { found } = await whole('at the end');
    assert.deepEqual([found.created, found.torn], [false, false]);
    lines.push('nobody'.padEnd(37) + ' all claimed');
  });
});
