// Goal: signals reach the program once, whether they are for the emulator alone or for the whole job; a stopped program is a stopped
// job; and luoctl ends by the signal that ended the program. Method: a C program that prints each signal that it gets.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { before, test } from 'node:test';
import { GroupSignals } from '../../../src/emulator/launch/signals.js';
import { Workshop, luoctl, run, start, withoutCompiler, type Started } from '../support.js';

const workshop = new Workshop();
let signals = '';
before(() => {
  if (withoutCompiler === false) signals = workshop.build('signals');
});
const skip = withoutCompiler;

async function listening(): Promise<Started> {
  const emulated = start([luoctl, 'emulate', '--', signals]);
  await emulated.outHas('ready');
  return emulated;
}

/** State of a process: `T` is stopped. */
const stateOf = (pid: number): string => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;

async function untilStopped(pid: number): Promise<void> {
  for (let tries = 0; tries < 600 && stateOf(pid) !== 'T'; tries += 1) await sleep(20);
  assert.equal(stateOf(pid), 'T');
}

test('a signal for the emulator alone is passed on, once', { skip }, async () => {
  const emulated = await listening();
  for (const [name, number] of [
    ['SIGINT', 2],
    ['SIGQUIT', 3],
    ['SIGHUP', 1],
    ['SIGUSR1', 10],
    ['SIGUSR2', 12],
    ['SIGWINCH', 28],
    ['SIGINT', 2],
  ] as const) {
    const before_ = emulated.out();
    process.kill(emulated.pid, name);
    await emulated.outHas(`${before_}got ${number}\n`);
  }
  process.kill(emulated.pid, 'SIGTERM');
  const end = await emulated.ended;
  assert.deepEqual([end.code, end.out.split('\n').length], [9, 10], end.out);
});

test('a signal for the whole job has reached the program already, and does not come twice', { skip }, async () => {
  const emulated = await listening();
  for (const name of ['SIGINT', 'SIGHUP', 'SIGUSR1'] as const) {
    const before_ = emulated.out();
    process.kill(-emulated.pid, name);
    await emulated.outHas(`${before_}got `);
    // A second one would have come by now, and would stand in the next comparison.
    await sleep(300);
  }
  process.kill(-emulated.pid, 'SIGTERM');
  const end = await emulated.ended;
  assert.deepEqual([end.code, end.out], [9, 'ready\ngot 2\ngot 1\ngot 10\ngot 15\n']);
});

test('luoctl ends by the signal that ended the program', async () => {
  for (const [name, number] of [
    ['SIGTERM', 15],
    ['SIGKILL', 9],
    ['SIGSEGV', 11],
    ['SIGINT', 2],
    ['SIGPIPE', 13],
    ['SIGABRT', 6],
  ] as const) {
    const end = await run([luoctl, 'emulate', '--', 'sh', '-c', `kill -${number} $$; sleep 10`]);
    assert.deepEqual([end.code, end.signal], [null, name], end.err);
  }
});

test('a program that stops is a stopped job, and goes on with it', async () => {
  const script = start([luoctl, 'emulate', '--', 'sh', '-c', 'echo $$; kill -STOP $$; echo on; exit 5']);
  await script.outHas('\n');
  await untilStopped(script.pid);
  process.kill(script.pid, 'SIGCONT');
  const end = await script.ended;
  assert.deepEqual([end.code, end.out.split('\n')[1]], [5, 'on']);
});

test('a program whose reader has gone ends as without the emulator', async () => {
  const told = async (way: string): Promise<string> =>
    (await run(['sh', '-c', `{ ${way} sh -c 'yes; echo yes $? >&2'; echo all $? >&2; } | head -1`])).err;
  assert.equal(await told(`${luoctl} emulate --`), await told(''));
});

test('the launcher process counts: more than before is a signal for the group', () => {
  const group = new GroupSignals();
  assert.equal(group.wasForGroup('SIGINT', 0), false);
  assert.equal(group.wasForGroup('SIGINT', 1), true);
  assert.equal(group.wasForGroup('SIGINT', 1), false);
  assert.equal(group.wasForGroup('SIGTERM', 1), true);
  assert.equal(group.wasForGroup('SIGINT', 3), true);
});
