// Goal: a virtual machine goes on over the replacement of its monitor and of its host's kernel, there and back; a failed
// update costs it nothing, and a monitor that is killed costs it what a power failure does.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Report } from '../../examples/kvm-guest/main.js';
import { tellKvmStory, type Crossing } from '../../examples/kvm-guest/story.js';
import { kernels } from './bed/kernels.js';
import { PATIENT, Vm } from './bed/vm.js';

const PORT = 7100;
/** The guest leaves little of its emulated processor to the next monitor. */
const UPDATE = ['update', 'guest', ...PATIENT, '--standby-max', '5m'];
const WAIT_MS = 600_000;
const PROGRAM = ['node', '/luo/dist/examples/kvm-guest/main.js'];

function assertWentOn(crossing: Crossing, rebuilds: number): void {
  assert.ok(crossing.countBefore > 0);
  assert.ok(crossing.countAfter >= crossing.countBefore, 'the guest counts on');
  assert.equal(crossing.memoryWrong, 0);
  assert.equal(crossing.spuriousInjected, rebuilds, 'one spurious interrupt for each start');
  assert.ok(crossing.interruptsInjected > crossing.spuriousInjected);
  assert.ok(crossing.blackoutMs > 0);
  assert.ok(crossing.ok);
}

test('the guest goes on over an update of its monitor, the jump into the other kernel, and the jump back', async () => {
  const { from, to } = kernels();
  const { memoryBytes, handover, jumps } = await tellKvmStory({
    memory: '8m',
    isBackWanted: true,
    tell: (what) => (how) => console.log(`${what}: ${how}`),
  });
  assert.equal(memoryBytes, 8 * 2 ** 20);
  assertWentOn(handover, 1);
  assert.deepEqual(
    jumps.map(({ kernelBefore, kernelAfter }) => [kernelBefore, kernelAfter]),
    [
      [from.version, to.version],
      [to.version, from.version],
    ],
  );
  jumps.forEach((jump, index) => assertWentOn(jump, index + 2));
});

describe('what can go wrong', () => {
  let vm: Vm;
  let isFailed = true;

  before(async () => {
    vm = await Vm.start({ kernel: kernels().to, luod: '/run/luo' });
    await vm.untilState('normal');
    const args = ['run', '--name', 'guest', '--restart', 'always', '--', ...PROGRAM, '--memory', '8m'];
    await vm.must(['luoctl', '--dir', '/run/luo', ...args], { timeoutMs: WAIT_MS });
  });
  after(() => vm.stop(isFailed));

  /** Wait for a report that `isWanted`, of a guest that sleeps: no interrupt is on its way. */
  function untilReport(isWanted: (report: Report) => boolean, path = ''): Promise<Report> {
    return vm.until(
      'the report',
      async () => {
        const text = await vm.must(['wget', '-q', '-O', '-', `http://127.0.0.1:${PORT}/${path}`]);
        const report = JSON.parse(text) as Report;
        return report.isHalted && isWanted(report) ? report : undefined;
      },
      WAIT_MS,
    );
  }

  test('a version that cannot take the processor over is rolled back; the guest goes on where it was', async () => {
    const old = await untilReport(({ guest }) => guest.rounds > 3);
    const { code, stdout, stderr } = await vm.luoctl([...UPDATE, '--', ...PROGRAM, '--fail', 'restore'], {
      timeoutMs: WAIT_MS,
    });
    assert.equal(code, 3, stdout + stderr);
    assert.match((await vm.luoctl(['logs', 'guest'])).stdout + stderr, /told to fail at the restore/);
    const now = await untilReport(({ guest }) => guest.rounds > old.guest.rounds + 3, 'verify');
    assert.equal(now.pid, old.pid);
    assert.deepEqual([now.guest.wrong, now.guest.boots, now.verification!.wrongWords], [0, 1, 0]);
    // It was stopped and started again, in the same machine.
    assert.deepEqual([now.monitor.rebuilds, now.monitor.spurious], [0, 1]);
    assert.equal(now.guest.interrupts, now.monitor.injected);
  });

  test('a monitor that is killed takes its registers with it: the guest is booted again, in whole memory', async () => {
    const old = await untilReport(() => true);
    await vm.kill(old.pid, 'SIGKILL');
    const now = await untilReport(({ pid, guest }) => pid !== old.pid && guest.rounds > 3, 'verify');
    assert.equal(now.role, 'restart');
    assert.equal(now.memoryBytes, old.memoryBytes);
    assert.deepEqual([now.guest.wrong, now.guest.boots, now.verification!.wrongWords], [0, 2, 0]);
    assert.deepEqual([now.monitor.rebuilds, now.monitor.spurious], [0, 0]);
  });

  test('and that guest can be handed over as the first could', async () => {
    const old = await untilReport(() => true);
    await vm.must(['luoctl', '--dir', '/run/luo', ...UPDATE], { timeoutMs: WAIT_MS });
    const now = await untilReport(({ guest }) => guest.rounds > old.guest.rounds + 3, 'verify');
    assert.notEqual(now.pid, old.pid);
    assert.deepEqual([now.guest.wrong, now.guest.boots, now.verification!.wrongWords], [0, 2, 0]);
    assert.deepEqual([now.monitor.rebuilds, now.monitor.spurious], [1, 1]);
  });

  test('where there is no KVM the monitor says so, and does not start', async () => {
    await vm.must(['mv', '/dev/kvm', '/dev/kvm.away']);
    try {
      // Without a check a program that says nothing for some seconds is taken for a silent one that serves.
      const check = ['--ready-check', 'wget -q -O - http://127.0.0.1:7101/', '--ready-timeout', '5m'];
      const args = ['run', '--name', 'without', ...check, '--', ...PROGRAM, '--port', '7101', '--memory', '8m'];
      const { code } = await vm.luoctl(args, { timeoutMs: WAIT_MS });
      assert.notEqual(code, 0);
      assert.match((await vm.luoctl(['logs', 'without'])).stdout, /no virtual machine can be made here: ENOENT/);
    } finally {
      await vm.must(['mv', '/dev/kvm.away', '/dev/kvm']);
    }
    isFailed = false;
  });
});
