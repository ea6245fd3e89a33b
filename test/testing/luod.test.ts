// Goal: the helper of all integration tests starts a real luod, and after stop nothing of it exists. Method: the built
// program, ended in good order, killed, and never begun; what is left is looked for in /proc and on disk.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { processesOf, startLuod } from '../../src/testing/index.js';

test('luod answers, luoctl talks to it, and after stop neither a process nor a file is left', async () => {
  const luod = await startLuod();
  const root = dirname(luod.dir);
  assert.equal(await luod.answers(), true);
  const { code, stdout, stderr } = await luod.luoctl(['status', '--json']);
  assert.equal(code, 0, stderr);
  assert.equal((JSON.parse(stdout) as { state: string }).state, 'normal');
  assert.ok(luod.leftovers().processes.length >= 2, 'keeper and luod');
  assert.ok(luod.leftovers().files.includes('luod.sock'));
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, []);
  assert.equal(stopped.code, 0, luod.output());
  assert.deepEqual(processesOf(luod.id), []);
  assert.equal(existsSync(root), false);
  assert.equal(await luod.answers(), false);
});

test('a second stop gives the same answer', async () => {
  const luod = await startLuod();
  const first = luod.stop();
  assert.equal(luod.stop(), first);
  await first;
});

test('a failing luoctl is an exit code with its words, no exception', async () => {
  await using luod = await startLuod();
  const { code, stderr } = await luod.luoctl(['update', 'nobody']);
  assert.equal(code, 1);
  assert.notEqual(stderr, '');
});

test('what a service has started is found, and killed when it does not end by itself', async () => {
  const luod = await startLuod({ stopMs: 1000 });
  // A process that has left its parent, and ignores SIGTERM: found by its environment alone.
  const stray = spawn('/bin/sh', ['-c', 'trap "" TERM; while :; do sleep 0.1; done'], {
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, ...luod.env },
  });
  await once(stray, 'spawn');
  const ended = once(stray, 'exit');
  while (!luod.leftovers().processes.some((each) => each.pid === stray.pid)) await sleep(10);
  process.kill(luod.pid, 'SIGTERM');
  const { forced } = await luod.stop();
  assert.ok(forced.some((each) => each.pid === stray.pid));
  await ended;
});

test('after SIGKILL of keeper and luod stop ends what may have come after them, in good order', async () => {
  const luod = await startLuod();
  for (const { pid } of luod.leftovers().processes) process.kill(pid, 'SIGKILL');
  const { forced } = await luod.stop();
  assert.deepEqual(forced, []);
  assert.deepEqual(processesOf(luod.id), []);
});

test('a luod that cannot start is an error with its output, and leaves nothing', async () => {
  // A folder for temporary files of its own: other tests make theirs at the same time.
  const own = mkdtempSync(join(tmpdir(), 'luo-start-'));
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = own;
  try {
    await assert.rejects(startLuod({ args: ['--no-such-option'] }), /luod ended with .*\n.*no-such-option/s);
    assert.deepEqual(readdirSync(own), []);
  } finally {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    rmSync(own, { recursive: true });
  }
});

test('an armed fault point is hit once, by the process that passes it, and is told', async () => {
  await using luod = await startLuod({ faults: { 'luod.ready': 'delay 1' } });
  assert.deepEqual(luod.hits(), []);
  luod.arm('luod.standby', 'kill');
  assert.equal(readFileSync(join(dirname(luod.dir), 'faults', 'luod.standby'), 'utf8'), 'kill');
  luod.disarm('luod.standby');
  luod.disarm('luod.standby');
  luod.arm('keeper.spawn', 'delay 1');
  await luod.luoctl(['run', '--name', 'a', '--', 'sleep', '1000']);
  const hits = luod.hits();
  assert.equal(hits[0]?.point, 'keeper.spawn');
  assert.equal(hits[0]?.pid, luod.pid);
});
