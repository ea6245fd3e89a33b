// Goal: scenarios, written once as code before and after the gap, run over a real kexec, by the kernel's own calls and by luod;
// a side that fails is the error of the run, with what it had logged.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { runScenario } from './bed/scenario.js';
import type { Vm } from './bed/vm.js';

const { from, to, sameVersion } = kernels();

async function leaveByItself(vm: Vm, target: string): Promise<void> {
  await vm.run('test/vm/guest/load.js', 'load', [target]);
  await vm.run('test/vm/guest/memfds.js', 'jump');
}

test('memory that the kernel preserved is there after the gap, and the host’s clock has gone on', async () => {
  const { before, after, carried } = await runScenario<{ word: string }>('test/vm/scenarios/raw-memfd.js', {
    leave: leaveByItself,
  });
  assert.deepEqual([before.release, before.gap], [from.version, 0]);
  assert.deepEqual([after.release, after.gap], [to.version, 1]);
  assert.notEqual(after.bootId, before.bootId);
  assert.equal(carried.word, `written under ${from.version}`);
});

test('a service of luod has its memory again after the gap, and a process that is another one', async () => {
  const { after } = await runScenario('test/vm/scenarios/service-memory.js');
  assert.deepEqual([after.release, after.gap], [to.version, 1]);
});

test('a blob crosses without any update around it, and no file does', async () => {
  const { after } = await runScenario('test/vm/scenarios/blob.js', { luod: '/run/luo', leave: leaveByItself });
  assert.equal(after.gap, 1);
});

test(
  'the way back, into the older kernel, is a scenario like any other',
  { skip: sameVersion && 'needs two kernels' },
  async () => {
    const { after } = await runScenario('test/vm/scenarios/raw-memfd.js', { from: to, to: from, leave: leaveByItself });
    assert.equal(after.release, from.version);
  },
);

test('a side that fails ends the run with its words and what it had logged', async () => {
  const never = (): Promise<void> => Promise.reject(new Error('nothing is left'));
  await assert.rejects(runScenario('test/vm/scenarios/failing.js', { leave: never }), (error: Error) => {
    assert.match(error.message, /before the gap/);
    assert.match(error.message, /the first side is not as it must be/);
    assert.match(error.message, /it went well until here/);
    return true;
  });
});

test('a gap that nobody jumps over is the error of who tried', async () => {
  const refused = (): Promise<void> => Promise.reject(new Error('nothing was loaded'));
  await assert.rejects(runScenario('test/vm/scenarios/raw-memfd.js', { leave: refused }), /nothing was loaded/);
});

test('a module without a scenario is said to be one', async () => {
  await assert.rejects(
    runScenario('test/vm/guest/load.js', { leave: leaveByItself }),
    /'test\/vm\/guest\/load\.js' exports no 'scenario'/,
  );
});
