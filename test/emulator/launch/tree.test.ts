// Goal: nothing that a program has started outlives the emulated machine: not at its end, not at a simulated kexec, not when the
// emulator or its launcher process is killed. Method: a tree of processes that ignores every signal, in sessions of its own, orphaned,
// stopped; afterwards no process of it is there.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { before, test } from 'node:test';
import { startEmulator } from '../../../src/testing/index.js';
import { Workshop, luoctl, processesWith, run, start, withoutCompiler } from '../support.js';

const workshop = new Workshop();
let tree = '';
before(() => {
  if (withoutCompiler === false) tree = workshop.build('tree');
});
const skip = withoutCompiler;

/** No process of the tree is there, or comes; it may take a moment until the kernel has taken apart what was killed. */
async function assertGone(): Promise<void> {
  for (let tries = 0; tries < 600 && processesWith(tree).length > 0; tries += 1) await sleep(50);
  assert.deepEqual(processesWith(tree), []);
}

const childOf = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);

test('the end of the first program is the end of all, and its code is the result', { skip }, async () => {
  const end = await run([luoctl, 'emulate', '--', 'sh', '-c', `{ ${tree} & } | { read word; echo $word; exit 3; }`]);
  assert.deepEqual([end.code, end.out], [3, 'ready\n'], end.err);
  await assertGone();
});

test(
  'a simulated kexec ends all, also while they fork without a pause, and the next kernel starts its init',
  { skip },
  async () => {
    const emulated = start([luoctl, 'emulate', '--init', `echo init; exit 4`, '--', tree, 'storm']);
    await emulated.outHas('ready');
    const jump = await run([luoctl, 'emulate', 'kexec', String(emulated.pid)]);
    assert.equal(jump.code, 0, jump.err);
    const end = await emulated.ended;
    assert.deepEqual([end.code, end.out], [4, 'ready\ninit\n'], end.err);
    await assertGone();
  },
);

for (const [who, message] of [
  ['emulator', 'the emulator of /dev/liveupdate has died'],
  ['launcher process', 'launcher process'],
] as const) {
  test(`a killed ${who} takes all along and says so`, { skip }, async () => {
    const emulated = start([luoctl, 'emulate', '--', tree]);
    await emulated.outHas('ready');
    const launcher = childOf(emulated.pid);
    process.kill(who === 'emulator' ? emulated.pid : launcher, 'SIGKILL');
    const end = await emulated.ended;
    if (who === 'emulator') assert.equal(end.signal, 'SIGKILL');
    else assert.equal(end.code, 125);
    assert.ok(end.err.includes(message), end.err);
    await assertGone();
  });
}

test('a killed emulator is no hang for a program that waits for an answer of it', { skip }, async () => {
  const script = 'exec 3<>/dev/liveupdate; echo open; sleep 100';
  const emulated = start([
    luoctl,
    'emulate',
    '--fault',
    'open:delay=60000',
    '--',
    'sh',
    '-c',
    `echo before; ${script}`,
  ]);
  await emulated.outHas('before');
  await sleep(300);
  process.kill(emulated.pid, 'SIGKILL');
  const end = await emulated.ended;
  assert.equal(end.out, 'before\n');
});

test('programs of a test end with its emulator, and no descriptor is left', { skip }, async () => {
  const before_ = readdirSync('/proc/self/fd').length;
  const emulator = await startEmulator();
  const programs = await Promise.all([1, 2, 3].map(() => emulator.start([tree])));
  await Promise.all(programs.map((program) => program.outHas('ready')));
  await emulator.kexec();
  assert.deepEqual(
    (await Promise.all(programs.map((program) => program.ended))).map(({ signal }) => signal),
    ['SIGKILL', 'SIGKILL', 'SIGKILL'],
  );
  await emulator.booted(1);
  const again = await emulator.start([tree]);
  await again.outHas('ready');
  await emulator.close();
  await assertGone();
  await sleep(20);
  assert.ok(readdirSync('/proc/self/fd').length <= before_ + 3, 'the loop of this process has descriptors of its own');
});

test('many short programs at once are each told with their own end', async () => {
  await using emulator = await startEmulator();
  const ends = await Promise.all(
    Array.from({ length: 60 }, (_, index) => emulator.run(['sh', '-c', `echo ${index}; exit ${index}`])),
  );
  assert.deepEqual(
    ends.map(({ code, out }) => [code, out]),
    ends.map((_, index) => [index, `${index}\n`]),
  );
});

test('a program that is not there, or is none, is refused, and the emulator goes on', async () => {
  await using emulator = await startEmulator();
  await assert.rejects(emulator.run(['/nowhere/program']), { code: 'EMULATOR_PROGRAM', errno: 'ENOENT' });
  await assert.rejects(emulator.run(['no-such-program-anywhere']), { code: 'EMULATOR_PROGRAM', errno: 'ENOENT' });
  await assert.rejects(emulator.run(['/etc']), { code: 'EMULATOR_PROGRAM', errno: 'EACCES' });
  await assert.rejects(emulator.run(['true'], { cwd: '/nowhere' }), { code: 'EMULATOR_PROGRAM' });
  assert.equal((await emulator.run(['true'])).code, 0);
  assert.deepEqual((await emulator.run(['cat'], { input: 'text' })).out, 'text');
});
