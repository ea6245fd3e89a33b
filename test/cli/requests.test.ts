// Goal: each verb sends exactly the request that its help promises, and tells the answer in text and as JSON.
// Method: luoctl in this process against a fake luod, which checks every request against the spec.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { ServiceStatus } from '../../src/protocol/spec.js';
import { FakeLuod } from './fake-luod.js';
import { luoctl, type RunOptions } from './luoctl.js';
import * as samples from './samples.js';

const fake = await FakeLuod.start();
after(() => fake.close());

/** Runs it, and gives what was asked since. */
async function run(args: string[], options: RunOptions = {}) {
  fake.asked.length = 0;
  const ran = await luoctl(fake.dir, args, options);
  return { ...ran, asked: [...fake.asked] };
}

/** Method and params of the one request that matters: the last. */
async function requestOf(args: string[], options: RunOptions = {}): Promise<[string, unknown]> {
  const { code, asked, err } = await run(args, options);
  assert.equal(code, 0, err);
  const last = asked.at(-1)!;
  return [last.method, last.params];
}

test('run sends the caller’s directory, its environment without luo’s, and the program found in PATH', async () => {
  const env = { PATH: '/usr/bin:/bin', LUO_SECRET: 'x', NOTIFY_SOCKET: '/x', LISTEN_FDS: '1', A: '1' };
  const args = ['run', '--name', 'cache', '--env', 'B=2', '--env', 'C=x=y', '--restart', 'always'];
  const ready = ['--ready-check', 'true', '--ready-timeout', '2s', '--stop-timeout', '10'];
  const [method, params] = await requestOf([...args, ...ready, '--', 'sh', '-c', 'exit 0', '--json'], {
    env,
    cwd: '/',
  });
  assert.equal(method, 'run');
  const { argv, env: sent, ...rest } = params as { argv: string[]; env: Record<string, string> };
  assert.match(argv[0]!, /^\/(usr\/)?bin\/sh$/);
  assert.deepEqual(argv.slice(1), ['-c', 'exit 0', '--json']);
  assert.deepEqual(sent, { PATH: '/usr/bin:/bin', A: '1', B: '2', C: 'x=y' });
  assert.deepEqual(rest, {
    name: 'cache',
    cwd: '/',
    restart: 'always',
    readyCheck: 'true',
    readyMs: 2000,
    stopMs: 10,
  });
});

test('run finds a program with a slash below the caller’s directory', async () => {
  const [, params] = await requestOf(['run', '--name', 'a', '--', './sh'], { cwd: '/bin' });
  assert.deepEqual((params as { argv: string[] }).argv, ['/bin/sh']);
});

test('update sends command and limits, and says blackout, generation and pids', async () => {
  const limits = ['--blackout-max', '500ms', '--standby-max', '1m', '--prepare-max', '3', '--finish-max', '4s'];
  const { code, out, asked } = await run([
    'update',
    'cache',
    ...limits,
    '--cwd',
    '/x',
    '--env',
    'V=2',
    '--',
    '/bin/sh',
    '-v',
  ]);
  assert.equal(code, 0);
  assert.equal(out, 'cache: updated, generation 4, attempt 7; blackout 4.3 ms; pid 4711 -> 4800\n');
  assert.deepEqual(asked.at(-1), {
    method: 'update',
    fds: 0,
    params: {
      name: 'cache',
      argv: ['/bin/sh', '-v'],
      cwd: '/x',
      env: { V: '2' },
      limits: { blackoutMs: 500, standbyMs: 60_000, prepareMs: 3, finishMs: 4000 },
    },
  });
});

test('rollback is a handover with limits and without a command', async () => {
  assert.deepEqual(await requestOf(['rollback', 'cache', '--blackout-max', '9']), [
    'rollback',
    { name: 'cache', limits: { blackoutMs: 9 } },
  ]);
});

const plain: [string[], string, unknown, RegExp][] = [
  [['start', 'cache'], 'start', { name: 'cache' }, /^cache: running, pid 4711\n$/],
  [['stop', 'cache'], 'stop', { name: 'cache' }, /^cache: parked\n$/],
  [['stop', 'cache', '--timeout', '5s'], 'stop', { name: 'cache', timeoutMs: 5000 }, /parked/],
  [['discard', 'cache'], 'discard', { name: 'cache' }, /^discarded 0:cache\/fd:index\n$/],
  [['discard', '0:cache/fd:a/b'], 'discard', { handle: '0:cache/fd:a/b' }, /^discarded/],
  [['discard', '--box', 'keys'], 'discard', { box: 'keys' }, /^discarded/],
  [['kill', 'cache', '--signal', 'hup'], 'kill', { name: 'cache', signal: 'SIGHUP' }, /^cache: SIGHUP sent\n$/],
  [['kill', 'cache', '-s', 'SIGUSR1'], 'kill', { name: 'cache', signal: 'SIGUSR1' }, /SIGUSR1/],
  [['plan'], 'plan', {}, /^gap +handover$/m],
  [['plan', 'a', 'b', '--gap', 'handover'], 'plan', { gap: 'handover', scope: ['a', 'b'] }, /^2 +|STEP/m],
  [
    ['prepare', 'a', 'b', '--prepared-max', '1h'],
    'prepare',
    { scope: ['a', 'b'], limits: { preparedMs: 3_600_000 } },
    /attempt 8/,
  ],
  [
    ['prepare', 'a', '--gap', 'handover', '--', '/bin/sh'],
    'prepare',
    { scope: ['a'], gap: 'handover', argv: ['/bin/sh'] },
    /prepared: a/,
  ],
  [['cancel'], 'cancel', {}, /^cancelled/],
  [['finish'], 'finish', {}, /^finished\n$/],
  [['recover'], 'recover', {}, /^state normal\n$/],
  [['recover', '--abort'], 'recover', { abort: true }, /normal/],
  [['recover', '--forget', 'cache#1'], 'recover', { forget: 'cache#1' }, /normal/],
  [['list'], 'list', {}, /^no boxes\n$/],
  [['list', 'keys'], 'list', { box: 'keys' }, /no boxes/],
  [['seal', 'keys'], 'seal', { box: 'keys' }, /^sealed, empty\n$/],
  [['request', '0:cache/fd:listener'], 'request', { handle: '0:cache/fd:listener' }, /will be preserved/],
  [['unrequest', '0:cache/fd:listener'], 'unrequest', { handle: '0:cache/fd:listener' }, /will be left behind/],
  [['status'], 'status', {}, /^state +normal, generation 3$/m],
  [['timeline'], 'timeline', {}, /^attempt 7 \(handover\) of cache#1: done/],
  [['timeline', '7'], 'timeline', { attempt: 7 }, /^attempt 7/],
  [['timeline', '--all'], 'timeline', { all: true }, /^ATTEMPT +STARTED/],
  [['shutdown', '--force'], 'shutdown', {}, /^luod is ending\n$/],
];
for (const [args, method, params, text] of plain) {
  test(`luoctl ${args.join(' ')} asks ${method} and says what came of it`, async () => {
    const { code, out, err, asked } = await run(args);
    assert.equal(code, 0, err);
    assert.deepEqual(asked.at(-1), { method, params, fds: 0 });
    assert.match(out, text);
    assert.equal(err, '');
  });
}

for (const args of [
  ['run', '--name', 'a', '--', '/bin/sh'],
  ['update', 'cache'],
  ...plain.map(([args]) => args).filter(([verb]) => verb !== 'run'),
]) {
  test(`luoctl ${args.join(' ')} with --json writes one JSON object and nothing else`, async () => {
    const at = args.indexOf('--');
    const withJson = at < 0 ? [...args, '--json'] : [...args.slice(0, at), '--json', ...args.slice(at)];
    const { code, json, err } = await run(withJson, { tty: true });
    assert.equal(code, 0, err);
    assert.equal(json().length, 1);
    assert.equal(typeof json()[0], 'object');
    assert.equal(err, '');
  });
}

test('the golden status: fields, then services, aligned', async () => {
  const { out } = await run(['status']);
  assert.equal(
    out,
    `state   normal, generation 3
luod    version 0.1.0, pid 100, restarts 2, in /run/luo
keeper  pid 99, 5 of 1024 fds

SERVICE  STATE    PID   PROTOCOL  GENERATION  RESTARTS  COMMAND
cache    running  4711  luo       3           1         /usr/bin/node server.js --label 'a b'
`,
  );
});

test('status -v adds participants and handles, with the reason why a gap cannot be crossed', async () => {
  const { out } = await run(['status', '-v']);
  assert.match(out, /^cache#1 +0:cache +4711 +first +yes +1 +-$/m);
  assert.match(out, /^0:cache\/fd:listener .* yes +no: no kernel handler preserves sockets$/m);
});

test('status NAME shows one service and its handles', async () => {
  const { out } = await run(['status', 'cache']);
  assert.match(out, /^command +\/usr\/bin\/node server\.js --label 'a b'$/m);
  assert.match(out, /^rollback to +-$/m);
  assert.match(out, /^0:cache\/fd:listener/m);
});

test('status names stuck members and boxes', async () => {
  fake.answers.status = () => ({
    ...samples.status,
    stuck: ['cache#1'],
    boxes: [{ box: 'keys', entries: 1, sealed: true }],
  });
  const { out, code } = await run(['status']);
  fake.answers.status = () => samples.status;
  assert.equal(code, 0);
  assert.match(out, /^stuck +cache#1$/m);
  assert.match(out, /^boxes +keys \(1 entry, sealed\)$/m);
});

test('the golden plan: facts, steps, what is pulled in and by what, what is left behind and why', async () => {
  const { out } = await run(['plan', 'cache']);
  assert.equal(
    out,
    `gap                 handover
scope               cache
replaced            cache#1
bystanders          proxy#1
survives            3 handles
predicted blackout  5.5 ms

STEP  PARTICIPANT  KIND  AFTER  HANDLES
0     cache#1      fd    -      0:cache/fd:listener
1     proxy#1      fd    0      cycle of 0:proxy/fd:a, 0:proxy/fd:b

PULLED IN     BY
0:proxy/fd:a  0:cache/fd:listener -> 0:proxy/fd:a

LEFT BEHIND         WHY
0:cache/fd:scratch  its owner wants to leave it
`,
  );
});

test('list shows the entries of each box, and digests of a sealed one', async () => {
  const entry = { name: 'host-key', type: 'memfd', sizeBytes: 2602, digest: null };
  fake.answers.list = () => ({
    boxes: [
      { box: 'open', sealed: false, entries: [entry] },
      {
        box: 'shut',
        sealed: true,
        entries: [
          { ...entry, digest: 'abc' },
          { ...entry, name: 's', type: 'socket', sizeBytes: null },
        ],
      },
    ],
  });
  const { out } = await run(['list']);
  assert.equal(
    out,
    `open  1 entry
ENTRY     TYPE   SIZE
host-key  memfd  2.5 KiB

shut  2 entries, sealed
ENTRY     TYPE    SIZE     SHA256
host-key  memfd   2.5 KiB  abc
s         socket  -        -
`,
  );
});

test('a status text with control characters does not reach the terminal as such', async () => {
  const nasty: ServiceStatus = { ...samples.service, statusText: 'ok\u001b]0;evil\u0007\nline' };
  fake.answers.start = () => ({ service: nasty });
  const { out } = await run(['start', 'cache']);
  fake.answers.start = () => ({ service: samples.service });
  assert.equal(out, 'cache: running, pid 4711: ok\ufffd]0;evil\ufffd\ufffdline\n');
});

test('colour is for terminals, and NO_COLOR takes it away', async () => {
  assert.match((await run(['status'], { tty: true })).out, /\u001b\[32mnormal/);
  assert.doesNotMatch((await run(['status'], { tty: true, env: { NO_COLOR: '1' } })).out, /\u001b/);
  assert.doesNotMatch((await run(['status'])).out, /\u001b/);
});
