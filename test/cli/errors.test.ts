// Goal: errors say what, where, why and what to do; exit codes are those of docs/cli.md; a wrong command line asks nothing.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import { FakeLuod } from './fake-luod.js';
import { luoctl } from './luoctl.js';
import * as samples from './samples.js';

const fake = await FakeLuod.start();
after(() => fake.close());

test('without luod the exit code is 4 and the message names the socket and the remedy', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'luo-none-'));
  try {
    const { code, err, out } = await luoctl(dir, ['status']);
    assert.equal(code, 4);
    assert.ok(err.includes(join(dir, 'luod.sock')), err);
    assert.match(err, /\[LUOD_UNREACHABLE/);
    assert.match(err, /to do: /);
    assert.equal(out, '');
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('--dir goes before LUO_DIR, before and after the verb', async () => {
  assert.equal((await luoctl('/nowhere', ['--dir', fake.dir, 'status'])).code, 0);
  assert.equal((await luoctl('/nowhere', ['status', '--dir', fake.dir])).code, 0);
  assert.equal((await luoctl(fake.dir, ['status', '--dir', '/nowhere'])).code, 4);
});

test('an error is told with code, errno, place, facts and remedy', async () => {
  fake.answers.finish = () => {
    throw new LuoError('FINISH_VETO', 'finish is refused by 1 participant', {
      phase: 'finishing',
      participant: 'cache#1',
      handle: '0:cache/fd:index',
      data: { vetoes: ['cache#1: still copying'], open: 2 },
    });
  };
  const { code, err, out } = await luoctl(fake.dir, ['finish']);
  assert.equal(code, 1);
  assert.equal(out, '');
  assert.equal(
    err,
    `luoctl finish: finish is refused by 1 participant [FINISH_VETO, EBUSY]
  where: phase finishing, participant cache#1, handle 0:cache/fd:index
  why: vetoes: cache#1: still copying
  why: open: 2
  to do: Let the named participants complete what they wait for, then type luoctl finish.
`,
  );
});

test('a remedy of luod’s own goes before the general one', async () => {
  fake.answers.finish = () => {
    throw new LuoError('STATE_INVALID', 'not now', { remedy: 'Do this instead.' });
  };
  assert.match((await luoctl(fake.dir, ['finish'])).err, /to do: Do this instead\.\n$/);
});

test('a cycle is told along its arrows', async () => {
  fake.answers.plan = () => {
    throw new LuoError('PLAN_CYCLE', 'devices depend on each other', { data: { cycle: ['a', 'b', 'a'] } });
  };
  assert.match((await luoctl(fake.dir, ['plan'])).err, /why: cycle: a -> b -> a\n/);
});

test('with --json an error is one object on standard output, with its exit code', async () => {
  fake.answers.finish = () => {
    throw new LuoError('FINISH_VETO', 'no');
  };
  const { code, json, err } = await luoctl(fake.dir, ['finish', '--json']);
  assert.equal(code, 1);
  assert.deepEqual(json(), [{ error: { code: 'FINISH_VETO', message: 'no', errno: 'EBUSY' }, exitCode: 1 }]);
  assert.match(err, /FINISH_VETO/);
});

test('text of others reaches the terminal without its control characters', async () => {
  fake.answers.finish = () => {
    throw new LuoError('CALL_FAILED', 'bad \u001b[2J news');
  };
  assert.ok((await luoctl(fake.dir, ['finish'])).err.includes('bad \ufffd[2J news'));
});

test('a stuck scope ends with exit code 5', async () => {
  fake.answers.prepare = () => {
    throw new LuoError('STATE_STUCK', 'cache#1 is stuck since attempt 6');
  };
  assert.equal((await luoctl(fake.dir, ['prepare', 'cache'])).code, 5);
});

test('a failed prepare ends with exit code 3, because everything goes on as before', async () => {
  fake.answers.prepare = () => {
    throw new LuoError('CALL_TIMEOUT', 'prepare of cache#1 timed out');
  };
  assert.equal((await luoctl(fake.dir, ['prepare', 'cache'])).code, 3);
});

test('the same code is a plain failure where no transition was asked for', async () => {
  fake.answers.kill = () => {
    throw new LuoError('MEMBER_DIED', 'gone');
  };
  assert.equal((await luoctl(fake.dir, ['kill', 'cache', '-s', 'TERM'])).code, 1);
});

for (const verb of ['cancel', 'recover'] as const) {
  test(`${verb} that leaves members stuck names them and ends with exit code 5`, async () => {
    fake.answers[verb] = () => ({ stuck: ['cache#1', 'proxy#2'], state: 'normal' });
    const { code, err } = await luoctl(fake.dir, [verb]);
    assert.equal(code, 5);
    assert.match(err, /stuck: cache#1, proxy#2/);
    const again = await luoctl(fake.dir, [verb, '--json']);
    assert.deepEqual((again.json()[0] as { stuck: string[] }).stuck, ['cache#1', 'proxy#2']);
    assert.equal(again.code, 5);
  });
}

test('an unknown service is told apart from no luod', async () => {
  const { code, err } = await luoctl(fake.dir, ['status', 'nobody']);
  assert.equal(code, 1);
  assert.match(err, /SERVICE_UNKNOWN/);
});

test('an update that is not remembered is an error with a remedy', async () => {
  fake.answers.timeline = () => ({ timelines: [] });
  const { code, err } = await luoctl(fake.dir, ['timeline', '99']);
  fake.answers.timeline = () => ({ timelines: [samples.timeline] });
  assert.equal(code, 1);
  assert.match(err, /attempt 99 is not remembered/);
});

test('shutdown names what would be lost, and asks nothing else without --force', async () => {
  fake.answers.status = () => ({
    ...samples.status,
    boxes: [{ box: 'keys', entries: 1, sealed: false }],
    services: [{ ...samples.service, run: 'parked', pid: null }],
  });
  fake.asked.length = 0;
  const { code, err } = await luoctl(fake.dir, ['shutdown']);
  assert.equal(code, 2);
  assert.match(err, /box keys, parked service cache/);
  assert.deepEqual(
    fake.asked.map((each) => each.method),
    ['status'],
  );
});

test('a program that does not exist is found out before luod is asked', async () => {
  fake.asked.length = 0;
  for (const program of ['no-such-program', './no-such-program', '/etc/passwd', '/etc']) {
    const { code, err } = await luoctl(fake.dir, ['run', '--name', 'a', '--', program]);
    assert.equal(code, 1);
    assert.match(err, /SERVICE_START_FAILED/);
  }
  assert.deepEqual(fake.asked, []);
});

const wrong: [string, string[], RegExp][] = [
  ['no such verb', ['explode'], /unknown command/],
  ['a missing operand', ['update'], /missing required argument/],
  ['an operand too many', ['update', 'a', 'b'], /too many arguments/],
  ['an unknown option', ['status', '--loud'], /unknown option/],
  ['a missing name', ['run', '--', 'sh'], /required option/],
  ['a missing command', ['run', '--name', 'a'], /command is missing/],
  ['an empty command', ['run', '--name', 'a', '--'], /no command after --/],
  ['a command where none belongs', ['status', '--', 'sh'], /takes no command/],
  ['a service called luod', ['run', '--name', 'luod', '--', 'sh'], /luod itself/],
  ['no time', ['update', 'a', '--blackout-max', 'soon'], /expected milliseconds/],
  ['a time of nothing', ['update', 'a', '--blackout-max', '0'], /expected milliseconds/],
  ['a time of two days', ['update', 'a', '--blackout-max', '48h'], /at most a day/],
  ['no variable', ['run', '--name', 'a', '--env', '=1', '--', 'sh'], /NAME=VALUE/],
  ['an unknown restart', ['run', '--name', 'a', '--restart', 'maybe', '--', 'sh'], /Allowed choices/],
  ['no signal', ['kill', 'a', '-s', '9'], /name of a signal/],
  ['no handle', ['request', 'listener'], /OWNER\/KIND:NAME/],
  ['half a handle', ['discard', '0:cache/fd'], /OWNER\/KIND:NAME/],
  ['nothing to discard', ['discard'], /name one thing/],
  ['two things to discard', ['discard', 'a', '--box', 'b'], /name one thing/],
  ['an attempt that is no number', ['timeline', 'last'], /no number/],
  ['all and one', ['timeline', '3', '--all'], /--all/],
  ['options of a service for luod', ['update', 'luod', '--blackout-max', '5'], /no options/],
  ['two sources', ['put', 'a', 'b', '--fd', '3', '--as-file'], /exclude/],
  ['an fd that is not open', ['put', 'a', 'b', '--fd', '700'], /not open/],
  ['JSON of a command’s output', ['take', 'a', 'b', '--json', '--exec', 'cat'], /exclude/],
  ['two gaps', ['plan', '--kexec', '--gap', 'handover'], /exclude/],
  ['two command lines', ['load', 'k', '--cmdline', 'x', '--reuse-cmdline'], /exclude/],
  ['a kernel too many', ['load', 'a', 'b'], /too many arguments/],
  ['no kernel to load', ['load'], /missing required argument/],
  ['an operand for unload', ['unload', 'k'], /too many arguments/],
  ['options of no kernel', ['preflight', '--append', 'liveupdate=on'], /need a KERNEL/],
  ['an operand for kexec', ['kexec', '/boot/vmlinuz'], /too many arguments/],
  ['a check without a name', ['kexec', '--force'], /argument missing/],
  ['no time for claims', ['kexec', '--claim-max', 'never'], /expected milliseconds/],
  ['no action on blobs', ['blob'], /missing required argument/],
  ['an unknown action on blobs', ['blob', 'burn', 'notes'], /put, get, list, drop, not 'burn'/],
  ['a blob without a name', ['blob', 'get'], /needs a NAME/],
  ['a name where all are listed', ['blob', 'list', 'notes'], /takes no NAME/],
  ['replacing what is only read', ['blob', 'get', 'notes', '--replace'], /goes with blob put/],
  ['JSON of a log without end', ['logs', '-f', '--json'], /does not go with/],
];
for (const [what, args, message] of wrong) {
  test(`${what} is a usage error, exit code 2, and nothing is asked`, async () => {
    fake.asked.length = 0;
    const { code, err, out } = await luoctl(fake.dir, args);
    assert.equal(code, 2);
    assert.match(err, message);
    if (!args.includes('--json')) assert.equal(out, '');
    assert.deepEqual(fake.asked, []);
  });
}

test('no verb at all prints the help and is a usage error', async () => {
  const { code, err } = await luoctl(fake.dir, []);
  assert.equal(code, 2);
  assert.match(err, /Usage: luoctl/);
});
