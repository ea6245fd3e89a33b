// Goal: luod is the supervisor that a person expects: it starts, watches, restarts, parks and forgets services, and its own
// death changes nothing for them. Method: the built luod, luoctl where its words matter, shell scripts as services.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestLuod } from '../../src/testing/index.js';
import { startLuod } from '../../src/testing/index.js';
import type { ServiceStatus, UpdateResult } from '../../src/protocol/spec.js';
import {
  asOperator,
  ask,
  assertNothingLeft,
  isAlive,
  json,
  killLuod,
  read,
  refused,
  run,
  service,
  status,
  until,
} from './harness.js';

let luod: TestLuod;
before(async () => {
  luod = await startLuod();
});
after(async () => {
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, []);
  assertNothingLeft(stopped.files);
});

const FOREVER = 'exec sleep 1000';

function stop(name: string, timeoutMs?: number): Promise<ServiceStatus> {
  return asOperator(luod, async (peer) => {
    const { service: stopped } = await ask(peer, 'stop', { name, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
    return stopped;
  });
}

function start(name: string): Promise<ServiceStatus> {
  return asOperator(luod, async (peer) => (await ask(peer, 'start', { name })).service);
}

function discard(name: string): Promise<string[]> {
  return asOperator(luod, async (peer) => (await ask(peer, 'discard', { name })).discarded);
}

async function end(name: string): Promise<void> {
  await stop(name, 2000);
  await discard(name);
}

test('a service gets the directory and the environment of its caller, and nothing of luo or systemd from there', async () => {
  const cwd = join(luod.scratch, 'here');
  mkdirSync(cwd);
  const ran = await luod.luoctl(
    [
      'run',
      '--name',
      'env',
      '--env',
      'K=V=1',
      '--ready-check',
      'test -s env',
      '--',
      'sh',
      '-c',
      `env > env; ${FOREVER}`,
    ],
    {
      cwd,
      env: { OF_CALLER: 'yes', LUO_SECRET: 'of-caller', NOTIFY_SOCKET: '/of/caller', LISTEN_FDS: '9', LUO_X: 'x' },
    },
  );
  assert.equal(ran.code, 0, ran.stderr);
  const env = new Map(
    read(join(cwd, 'env'))
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  assert.equal(env.get('K'), 'V=1');
  assert.equal(env.get('OF_CALLER'), 'yes');
  assert.equal(env.get('PWD'), cwd);
  assert.equal(env.get('LUO_SERVICE'), 'env');
  assert.equal(env.get('LUO_SOCKET'), luod.socket);
  assert.notEqual(env.get('LUO_SECRET'), 'of-caller');
  assert.notEqual(env.get('NOTIFY_SOCKET'), '/of/caller');
  for (const name of ['LUO_X', 'LISTEN_FDS', 'LISTEN_PID', 'LUO_KEEPER_CHANNEL', 'LUO_NOFILE', 'LUO_DIR'])
    assert.equal(env.has(name), false, name);
  await end('env');
});

test('a silent program is running once it lived long enough without a word', async () => {
  const ran = await json<{ service: ServiceStatus }>(luod, ['run', '--name', 'silent', '--', 'sleep', '1000']);
  assert.equal(ran.service.run, 'running');
  assert.equal(ran.service.protocol, 'none');
  assert.ok(isAlive(ran.service.pid!));
  await end('silent');
  assert.equal(isAlive(ran.service.pid!), false);
});

test('with a ready check a service is ready when the check succeeds, and not before', async () => {
  const path = join(luod.scratch, 'ready');
  const running = run(luod, 'checked', `sleep 0.5; echo > ${path}; ${FOREVER}`, { readyCheck: `test -e ${path}` });
  const found = await until('a start', async () => (await status(luod)).services.find((one) => one.name === 'checked'));
  assert.equal(found.run, 'starting');
  assert.equal((await running).run, 'running');
  assert.notEqual(read(path), '');
  await end('checked');
});

test('a ready check that never succeeds fails the start within its time, and says which check', async () => {
  const error = await refused(
    run(luod, 'unready', FOREVER, { readyCheck: 'false', readyMs: 400, restart: 'no' }),
    'SUCCESSOR_TIMEOUT',
  );
  assert.match(error.message, /'false'/);
  await end('unready');
});

test('a program that ends before it is ready fails the start with its exit code', async () => {
  const error = await refused(
    run(luod, 'broken', 'echo no luck >&2; exit 7', { readyCheck: 'sleep 1', restart: 'no' }),
    'SERVICE_START_FAILED',
  );
  assert.match(error.message, /exit code 7/);
  const { run: word, lastExit } = await service(luod, 'broken');
  assert.equal(word, 'exited');
  assert.deepEqual(lastExit, { code: 7, signal: null });
  assert.match((await luod.luoctl(['logs', 'broken'])).stdout, /no luck/);
  await discard('broken');
});

test('a program that is not there, or whose directory is not, cannot be started', async () => {
  for (const more of [{ argv: [join(luod.scratch, 'none')] }, { cwd: join(luod.scratch, 'none') }]) {
    const error = await refused(run(luod, 'absent', 'true', more), 'SERVICE_START_FAILED');
    assert.match(error.message, /no such program or folder/);
  }
  await discard('absent');
});

test('a name that is running is refused, also while its start is under way', async () => {
  const first = run(luod, 'once', FOREVER);
  const second = run(luod, 'once', FOREVER);
  const results = await Promise.allSettled([first, second]);
  assert.deepEqual(results.map((one) => one.status).sort(), ['fulfilled', 'rejected']);
  await refused(run(luod, 'once', FOREVER), 'SERVICE_EXISTS');
  await refused(start('once'), 'SERVICE_RUNNING');
  await refused(discard('once'), 'SERVICE_RUNNING');
  await stop('once', 2000);
  await asOperator(luod, async (peer) => {
    const starting = ask(peer, 'start', { name: 'once' });
    await refused(ask(peer, 'discard', { name: 'once' }), 'SERVICE_RUNNING');
    await starting;
  });
  await end('once');
});

test('verbs on a name that nobody knows are refused as such', async () => {
  for (const work of [stop, start, discard]) await refused(work('nobody'), 'SERVICE_UNKNOWN');
  await asOperator(luod, async (peer) => {
    await refused(ask(peer, 'kill', { name: 'nobody', signal: 'SIGHUP' }), 'SERVICE_UNKNOWN');
    await refused(ask(peer, 'update', { name: 'nobody' }), 'SERVICE_UNKNOWN');
    await refused(ask(peer, 'rollback', { name: 'nobody' }), 'SERVICE_UNKNOWN');
    await refused(ask(peer, 'logs', { name: 'nobody' }), 'SERVICE_UNKNOWN');
  });
});

test('a name that is no text, or has too many bytes, is refused by the name of the limit', async () => {
  await refused(run(luod, 'x\ud800', FOREVER), 'PROTO_INVALID');
  const error = await refused(run(luod, 'ü'.repeat(150), FOREVER), 'LIMIT_REACHED');
  assert.equal(error.data?.['limit'], 'nameBytesMax');
  await refused(run(luod, 'a/b', FOREVER), 'PROTO_INVALID');
});

test('a long name and one with emoji work, files and notification socket included', async () => {
  for (const name of ['n'.repeat(200), 'caché 🚀']) {
    const started = await run(luod, name, `test -S "$NOTIFY_SOCKET" && ${FOREVER}`);
    assert.equal(started.run, 'running');
    await end(name);
  }
});

test('a command that is larger than the limit is refused by its name', async () => {
  const error = await refused(run(luod, 'fat', FOREVER, { env: { FAT: 'x'.repeat(600 * 1024) } }), 'LIMIT_REACHED');
  assert.equal(error.data?.['limit'], 'serviceBytesMax');
});

test('exit codes and signals are told as they were', async () => {
  for (const [script, exit] of [
    ['exit 0', { code: 0, signal: null }],
    ['exit 42', { code: 42, signal: null }],
    ['kill -SEGV $$', { code: null, signal: 'SIGSEGV' }],
  ] as const) {
    const go = join(luod.scratch, 'go');
    await run(luod, 'exits', `while ! [ -e ${go} ]; do sleep 0.02; done; rm ${go}; ${script}`, { restart: 'no' });
    writeFileSync(go, '');
    const ended = await until('its end', async () => {
      const now = await service(luod, 'exits');
      return now.run === 'exited' && now;
    });
    assert.deepEqual(ended.lastExit, exit);
    await discard('exits');
  }
});

test('a signal reaches the main process, and a wrong one nobody', async () => {
  const got = join(luod.scratch, 'got');
  const started = await run(
    luod,
    'signals',
    `trap 'echo hup > ${got}' HUP; echo > ${got}.set; while :; do sleep 0.05; done`,
    {
      readyCheck: `test -e ${got}.set`,
    },
  );
  assert.equal((await luod.luoctl(['kill', 'signals', '--signal', 'HUP'])).code, 0);
  await until('the signal', () => read(got) === 'hup\n');
  await asOperator(luod, (peer) => refused(ask(peer, 'kill', { name: 'signals', signal: 'SIGNO' }), 'PROTO_INVALID'));
  assert.ok(isAlive(started.pid!));
  await end('signals');
});

test('restart `no` leaves an ended service alone, `on-failure` a good end, and `always` none', async () => {
  const log = join(luod.scratch, 'starts');
  const script = (code: number): string => `echo $0 >> ${log}.$LUO_SERVICE; sleep 1; exit ${code}`;
  await run(luod, 'r-no', script(1), { restart: 'no' });
  await run(luod, 'r-good', script(0), { restart: 'on-failure' });
  await run(luod, 'r-bad', script(1), { restart: 'on-failure' });
  await run(luod, 'r-always', script(0), { restart: 'always' });
  const starts = (name: string): number => read(`${log}.${name}`).split('\n').length - 1;
  await until('restarts', () => starts('r-bad') >= 3 && starts('r-always') >= 3);
  assert.equal(starts('r-no'), 1);
  assert.equal(starts('r-good'), 1);
  assert.equal((await service(luod, 'r-no')).run, 'exited');
  assert.equal((await service(luod, 'r-good')).run, 'exited');
  assert.ok((await service(luod, 'r-bad')).restarts >= 2);
  const shown = await until('the back-off', async () => {
    const now = await service(luod, 'r-bad');
    return now.run === 'backing-off' && now;
  });
  assert.equal(shown.pid, null);
  for (const name of ['r-no', 'r-good', 'r-bad', 'r-always']) await end(name);
});

test('a service that is stopped while it backs off is not started again', async () => {
  const log = join(luod.scratch, 'tries');
  await run(luod, 'crash', `echo >> ${log}; sleep 0.1; exit 1`);
  await until('a back-off', async () => (await service(luod, 'crash')).run === 'backing-off');
  assert.equal((await stop('crash')).run, 'parked');
  const tries = read(log);
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.equal(read(log), tries);
  await discard('crash');
});

test('stop is SIGTERM, and SIGKILL after the time for it; then the service is parked', async () => {
  await run(luod, 'polite', 'trap "echo bye; exit 0" TERM; while :; do sleep 0.05; done');
  const polite = await stop('polite');
  assert.equal(polite.run, 'parked');
  assert.deepEqual(polite.lastExit, { code: 0, signal: null });
  assert.match(read(polite.log), /bye/);
  const stubborn = await run(luod, 'stubborn', `trap "" TERM; echo > ${luod.scratch}/s; while :; do sleep 0.05; done`, {
    readyCheck: `test -e ${luod.scratch}/s`,
  });
  const killed = await stop('stubborn', 300);
  assert.deepEqual(killed.lastExit, { code: null, signal: 'SIGKILL' });
  assert.equal(isAlive(stubborn.pid!), false);
  assert.equal((await stop('stubborn')).run, 'parked', 'a second stop changes nothing');
  await discard('polite');
  await discard('stubborn');
});

test('a parked service starts again with its own command, and discard makes it unknown', async () => {
  const first = await run(luod, 'again', FOREVER);
  await stop('again');
  assert.equal((await service(luod, 'again')).pid, null);
  const second = await start('again');
  assert.equal(second.run, 'running');
  assert.notEqual(second.pid, first.pid);
  assert.deepEqual(second.argv, first.argv);
  await stop('again');
  const { log } = await service(luod, 'again');
  assert.deepEqual(await discard('again'), []);
  await refused(start('again'), 'SERVICE_UNKNOWN');
  assert.equal(read(log), '', 'its log is gone too');
});

test('output of both streams is in the log, in order, over a restart', async () => {
  await run(luod, 'talks', `echo out; echo err >&2; ${FOREVER}`);
  await stop('talks');
  await start('talks');
  const { stdout } = await luod.luoctl(['logs', 'talks']);
  assert.equal(stdout, 'out\nerr\nout\nerr\n');
  assert.equal((await luod.luoctl(['logs', 'talks', '-n', '1'])).stdout, 'err\n');
  await end('talks');
});

test('an update of a silent service ends the old process before the new one starts, and rollback brings it back', async () => {
  const log = join(luod.scratch, 'order');
  const command = (version: string): string[] => [
    '/bin/sh',
    '-c',
    `echo ${version} on >> ${log}; trap 'echo ${version} off >> ${log}; exit 0' TERM; while :; do sleep 0.05; done`,
  ];
  const first = await run(luod, 'plain', '', { argv: command('v1'), readyCheck: `grep -q 'on$' ${log}` });
  const updated = await json<UpdateResult>(luod, ['update', 'plain', '--', ...command('v2')]);
  assert.equal(updated.outcome, 'committed');
  assert.equal(updated.pidBefore, first.pid);
  assert.ok(isAlive(updated.pidAfter!));
  assert.equal(isAlive(first.pid!), false);
  assert.deepEqual((await service(luod, 'plain')).previous, command('v1'));
  const back = await json<UpdateResult>(luod, ['rollback', 'plain']);
  assert.equal(back.outcome, 'committed');
  assert.equal(read(log), 'v1 on\nv1 off\nv2 on\nv2 off\nv1 on\n');
  const again = await json<UpdateResult>(luod, ['rollback', 'plain']);
  assert.equal(again.outcome, 'committed', 'rollback of the rollback is v2');
  assert.deepEqual((await service(luod, 'plain')).argv, command('v2'));
  await end('plain');
});

test('a new version that ends at once is rolled back, exit code 3, and the old command runs', async () => {
  await run(luod, 'stays', FOREVER, { readyCheck: 'sleep 0.3' });
  const generation = (await service(luod, 'stays')).generation;
  const failed = await luod.luoctl(['update', 'stays', '--', 'sh', '-c', 'exit 9']);
  assert.equal(failed.code, 3, failed.stderr);
  assert.match(failed.stderr, /SUCCESSOR_DIED|SERVICE_START_FAILED/);
  const now = await until('the old command', async () => {
    const one = await service(luod, 'stays');
    return one.run === 'running' && one;
  });
  assert.equal(now.generation, generation);
  assert.equal(now.argv[2], FOREVER);
  assert.equal((await status(luod)).state, 'normal');
  await end('stays');
});

test('an old process that ignores SIGTERM is not lost: the update is rolled back and its command serves', async () => {
  await run(luod, 'deaf', `trap "" TERM; echo up; while :; do sleep 0.05; done`, { readyCheck: 'sleep 0.3' });
  const failed = await luod.luoctl(['update', 'deaf', '--blackout-max', '400ms', '--', 'sleep', '1000']);
  assert.equal(failed.code, 3, failed.stderr);
  const now = await until('a serving process', async () => {
    const one = await service(luod, 'deaf');
    return one.run === 'running' && one;
  });
  assert.match(now.argv[2]!, /trap/);
  assert.deepEqual((await status(luod)).stuck, []);
  await end('deaf');
});

test('a service that was never updated has nothing to roll back to', async () => {
  await run(luod, 'new', FOREVER);
  await asOperator(luod, (peer) => refused(ask(peer, 'rollback', { name: 'new' }), 'SERVICE_NO_PREVIOUS'));
  await end('new');
});

test('an update of a parked service starts the new command; a broken one leaves the old command running', async () => {
  await run(luod, 'parked', FOREVER);
  await stop('parked');
  const updated = await asOperator(luod, (peer) =>
    ask(peer, 'update', { name: 'parked', argv: ['/bin/sh', '-c', 'exec sleep 2000'] }),
  );
  assert.equal(updated.outcome, 'committed');
  assert.equal(updated.pidBefore, null);
  assert.ok(isAlive(updated.pidAfter!));
  await stop('parked');
  const failed = await asOperator(luod, (peer) =>
    ask(peer, 'update', { name: 'parked', argv: ['/bin/sh', '-c', 'exit 5'], env: { A: 'b' } }),
  );
  // The check `true` may pass before the program has ended: then its end comes after the commit.
  if (failed.outcome === 'aborted') {
    assert.equal(failed.error?.code, 'SERVICE_START_FAILED');
    const now = await service(luod, 'parked');
    assert.equal(now.argv[2], 'exec sleep 2000');
    assert.equal(now.run, 'running');
  }
  await end('parked');
});

test('services outlive luod, and the exit status of one that ended meanwhile is known', async () => {
  const go = join(luod.scratch, 'die');
  const lives = await run(luod, 'lives', `while :; do date >> ${luod.scratch}/ticks; sleep 0.05; done`);
  const dies1 = await run(luod, 'dies', `while ! [ -e ${go} ]; do sleep 0.02; done; exit 33`, { restart: 'no' });
  const { luod: old } = await status(luod);
  // Stopped first, so that the service surely ends while nobody looks.
  process.kill(old.pid, 'SIGSTOP');
  writeFileSync(go, '');
  await until('its end', () => !isAlive(dies1.pid!));
  process.kill(old.pid, 'SIGKILL');
  const now = await until('another luod', async () => {
    const one = await status(luod);
    return one.luod.pid !== old.pid && one;
  });
  const dies = now.services.find((one) => one.name === 'dies')!;
  assert.deepEqual(dies.lastExit, { code: 33, signal: null });
  assert.equal(dies.run, 'exited');
  const still = now.services.find((one) => one.name === 'lives')!;
  assert.equal(still.pid, lives.pid);
  assert.equal(still.run, 'running');
  assert.equal(now.luod.restarts >= 1, true);
  await end('lives');
  await discard('dies');
});

test('a service that ended while luod was dead is started again by its policy', async () => {
  const first = await run(luod, 'phoenix', FOREVER, { restart: 'always' });
  const { luod: old } = await status(luod);
  process.kill(old.pid, 'SIGSTOP');
  process.kill(first.pid!, 'SIGKILL');
  process.kill(old.pid, 'SIGKILL');
  const now = await until('a new process', async () => {
    const one = await service(luod, 'phoenix');
    return one.run === 'running' && one.pid !== first.pid && one;
  });
  assert.deepEqual(now.lastExit, { code: null, signal: 'SIGKILL' });
  await end('phoenix');
});

test('a parked service is parked, and a start under way is finished, by the next luod', async () => {
  await run(luod, 'rests', FOREVER);
  await stop('rests');
  const go = join(luod.scratch, 'may-be-ready');
  const running = run(luod, 'begins', FOREVER, { readyCheck: `test -e ${go}` }).catch((error: unknown) => error);
  await until('its process', async () => (await status(luod)).services.find((one) => one.name === 'begins')?.pid);
  await killLuod(luod);
  await running;
  assert.equal((await service(luod, 'rests')).run, 'parked');
  assert.equal((await service(luod, 'begins')).run, 'starting');
  writeFileSync(go, '');
  await until('readiness', async () => (await service(luod, 'begins')).run === 'running');
  await end('begins');
  await discard('rests');
});
