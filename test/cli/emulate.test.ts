// Goal: luoctl emulate asks the emulator for what was typed, ends as the program did, and says plainly what is wrong otherwise.
// Method: the verb in this process, with an emulator that only remembers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import type { EmulateRequest, EmulatorCheck, EmulatorPort } from '../../src/ports/emulator.js';
import { luoctl, type Ran } from './luoctl.js';

/** Run `luoctl emulate` with `args`; what the emulator was asked for. */
async function emulate(
  args: readonly string[],
  end = { code: 0 as number | null, signal: null as number | null },
): Promise<{ ran: Ran; asked: EmulateRequest[] }> {
  const asked: EmulateRequest[] = [];
  const emulator: Partial<EmulatorPort> = {
    run: async (request) => {
      asked.push(request);
      return end;
    },
  };
  return { ran: await luoctl('/nowhere', ['emulate', ...args], { emulator }), asked };
}

test('a program is asked for with everything that was typed', async () => {
  const { ran, asked } = await emulate([
    '--strict',
    '--trace=json',
    '--fault',
    'open:EIO',
    '--fault',
    'freeze:EBUSY',
    '--init',
    './init 2',
    '--',
    'a',
    '-b',
    '--',
    'c d',
  ]);
  assert.equal(ran.code, 0, ran.err);
  const { tell: _, ...request } = asked[0]!;
  assert.deepEqual(request, {
    argv: ['a', '-b', '--', 'c d'],
    init: './init 2',
    strict: true,
    trace: 'json',
    faults: ['open:EIO', 'freeze:EBUSY'],
  });
});

test('by default nothing is traced, failed or strict, and the program is its own init', async () => {
  const { asked } = await emulate(['--', 'a']);
  const { tell: _, ...request } = asked[0]!;
  assert.deepEqual(request, { argv: ['a'], init: null, strict: false, trace: null, faults: [] });
  assert.equal((await emulate(['--trace', '--', 'a'])).asked[0]!.trace, 'text');
});

test('it ends as the program ended, by code or by signal', async () => {
  assert.equal((await emulate(['--', 'a'], { code: 7, signal: null })).ran.code, 7);
  assert.equal((await emulate(['--', 'a'], { code: null, signal: 15 })).ran.code, 143);
});

test('what the emulator tells goes to standard error', async () => {
  const emulator: Partial<EmulatorPort> = {
    run: async ({ tell }) => {
      tell('a call');
      return { code: 0, signal: null };
    },
  };
  const { out, err } = await luoctl('/nowhere', ['emulate', '--trace', '--', 'a'], { emulator });
  assert.deepEqual([out, err], ['', 'a call\n']);
});

test('a program that is not there is 127, one that cannot be executed 126, an emulator that cannot run 125', async () => {
  const failures: [LuoError, number][] = [
    [new LuoError('EMULATOR_PROGRAM', 'no', { errno: 'ENOENT' }), 127],
    [new LuoError('EMULATOR_PROGRAM', 'no', { errno: 'EACCES' }), 126],
    [new LuoError('EMULATOR_UNABLE', 'no'), 125],
    [new LuoError('EMULATOR_LOST', 'no'), 125],
  ];
  for (const [error, code] of failures) {
    const emulator: Partial<EmulatorPort> = { run: () => Promise.reject(error) };
    const ran = await luoctl('/nowhere', ['emulate', '--json', '--', 'a'], { emulator });
    assert.equal(ran.code, code);
    assert.deepEqual(ran.json(), [{ error: error.toWire(), exitCode: code }]);
    assert.match(ran.err, new RegExp(error.code));
  }
});

test('a wrong command line is refused before anything is started', async () => {
  const wrong = [
    [],
    ['--'],
    ['jump'],
    ['kexec', 'x'],
    ['kexec', '0'],
    ['kexec', '1', '--', 'a'],
    ['--trace=xml', '--', 'a'],
    ['kexec', '1', '2'],
  ];
  for (const args of wrong) {
    const { ran, asked } = await emulate(args);
    assert.deepEqual([ran.code, asked.length], [2, 0], `${args.join(' ')}: ${ran.err}`);
  }
});

test('a simulated kexec is asked for by pid, or without one', async () => {
  const asked: (number | undefined)[] = [];
  const emulator: Partial<EmulatorPort> = {
    kexec: async (pid) => {
      asked.push(pid);
      return pid ?? 77;
    },
  };
  const named = await luoctl('/nowhere', ['emulate', 'kexec', '4711', '--json'], { emulator });
  const only = await luoctl('/nowhere', ['emulate', 'kexec'], { emulator });
  assert.deepEqual(asked, [4711, undefined]);
  assert.deepEqual(named.json(), [{ pid: 4711 }]);
  assert.match(only.out, /77/);
});

test('a simulated kexec that is refused fails with its errno', async () => {
  const error = new LuoError('EMULATOR_KEXEC', 'refused', { errno: 'EBUSY' });
  const ran = await luoctl('/nowhere', ['emulate', 'kexec', '--json'], {
    emulator: { kexec: () => Promise.reject(error) },
  });
  assert.equal(ran.code, 1);
  assert.deepEqual(ran.json(), [{ error: error.toWire(), exitCode: 1 }]);
});

test('--check prints every condition with its remedy, and fails if one fails', async () => {
  const checks: EmulatorCheck[] = [
    { check: 'kernel', result: 'pass', reason: 'it is new enough', remedy: null },
    { check: 'rights', result: 'warn', reason: 'no_new_privs', remedy: 'run it as root' },
  ];
  const emulator = (list: readonly EmulatorCheck[]): Partial<EmulatorPort> => ({ check: async () => list });
  const good = await luoctl('/nowhere', ['emulate', '--check'], { emulator: emulator(checks) });
  assert.equal(good.code, 0);
  for (const text of ['pass', 'kernel', 'warn', 'no_new_privs', 'rights: run it as root'])
    assert.ok(good.out.includes(text), text);
  const bad = [...checks, { check: 'attempt', result: 'fail' as const, reason: 'no', remedy: 'another machine' }];
  const failed = await luoctl('/nowhere', ['emulate', '--check', '--json'], { emulator: emulator(bad) });
  assert.equal(failed.code, 1);
  assert.deepEqual(failed.json(), [{ checks: bad }]);
});
