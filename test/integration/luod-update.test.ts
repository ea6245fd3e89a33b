// Goal: luod is replaced under everything that runs, and a next command that does not work changes nothing. Method: the
// built luod, next commands that fail at each step, and a journal from the future.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encodeHeader } from '../../src/protocol/journal.js';
import { memfdCreate, pwrite } from '../../src/sys/index.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import {
  asOperator,
  ask,
  assertNothingLeft,
  isAlive,
  json,
  operator,
  program,
  read,
  refused,
  root,
  run,
  status,
  until,
} from './harness.js';

const realLuod = join(root, 'dist/src/bin/luod.js');
let luod: TestLuod;
let servicePid: number;
before(async () => {
  luod = await startLuod();
  servicePid = (await run(luod, 'stays', 'exec sleep 1000')).pid!;
});
after(async () => {
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, []);
  assertNothingLeft(stopped.files);
});

/** A shell script as the next luod. */
function nextCommand(text: string): string[] {
  const path = join(luod.scratch, 'next.sh');
  writeFileSync(path, text, { mode: 0o755 });
  return ['/bin/sh', path];
}

async function assertAllIsWell(): Promise<void> {
  const now = await status(luod);
  assert.equal(now.state, 'normal');
  assert.equal(now.services[0]?.pid, servicePid);
  assert.equal(now.services[0]?.run, 'running');
  assert.ok(isAlive(servicePid));
}

test('luod is replaced by its own command: another process, the same services, the same socket', async () => {
  const before = await status(luod);
  const watching = await operator(luod);
  const { pidBefore, pidAfter } = await json<{ pidBefore: number; pidAfter: number }>(luod, ['update', 'luod']);
  assert.equal(pidBefore, before.luod.pid);
  assert.notEqual(pidAfter, pidBefore);
  await watching.closed;
  const now = await status(luod);
  assert.equal(now.luod.pid, pidAfter);
  assert.equal(now.luod.restarts, before.luod.restarts, 'that was no death');
  assert.equal(now.keeper.pid, before.keeper.pid);
  await assertAllIsWell();
});

test('twenty connections that wait at the door meanwhile are all answered', async () => {
  const updating = json(luod, ['update', 'luod']);
  const answers = await Promise.all(Array.from({ length: 20 }, () => status(luod)));
  assert.equal(answers.length, 20);
  await updating;
  await assertAllIsWell();
});

test('a next command that cannot read the journal is refused, and the running luod goes on', async () => {
  const before = await status(luod);
  for (const argv of [nextCommand('exit 1'), nextCommand('kill -9 $$')]) {
    const error = await asOperator(luod, (peer) => refused(ask(peer, 'updateLuod', { argv }), 'JOURNAL_TOO_NEW'));
    assert.match(error.message, /cannot read the journal/);
  }
  const ran = await luod.luoctl(['update', 'luod', '--', '/bin/false']);
  assert.equal(ran.code, 1, ran.stderr);
  assert.equal((await status(luod)).luod.pid, before.luod.pid);
  await assertAllIsWell();
});

test('a next command that is no program is refused', async () => {
  await asOperator(luod, (peer) =>
    refused(ask(peer, 'updateLuod', { argv: [join(luod.scratch, 'none')] }), 'SERVICE_START_FAILED'),
  );
  await assertAllIsWell();
});

test('a next command that passes the check and dies before it works makes room for the old one', async () => {
  const before = await status(luod);
  const argv = nextCommand(`case "$*" in *--check-journal*) exit 0;; esac
echo >> ${luod.scratch}/tries
exit 1`);
  await asOperator(luod, (peer) => ask(peer, 'updateLuod', { argv }));
  const now = await until('the old command', async () => {
    const one = await status(luod);
    return one.luod.pid !== before.luod.pid && one;
  });
  assert.equal(read(join(luod.scratch, 'tries')), '\n', 'it was tried once');
  assert.equal(now.keeper.pid, before.keeper.pid);
  await assertAllIsWell();
  const again = await json<{ pidAfter: number }>(luod, ['update', 'luod']);
  assert.equal((await status(luod)).luod.pid, again.pidAfter, 'the next update is a good one');
});

test('a new command that works is the one that is started after a death', async () => {
  const argv = nextCommand(`echo "$*" >> ${luod.scratch}/own
exec ${process.execPath} ${realLuod} "$@"`);
  await asOperator(luod, (peer) => ask(peer, 'updateLuod', { argv }));
  const started = (): number => read(join(luod.scratch, 'own')).split('\n').length - 1;
  await until('check and start', () => started() === 2);
  const own = await status(luod);
  process.kill(own.luod.pid, 'SIGKILL');
  await until('another luod', async () => (await status(luod)).luod.pid !== own.luod.pid);
  assert.equal(started(), 3);
  await assertAllIsWell();
  await json(luod, ['update', 'luod', '--', process.execPath, realLuod]);
  assert.equal(started(), 3, 'and back');
});

test('luod is not replaced while an update is open', async () => {
  await json(luod, ['prepare', 'stays']);
  await asOperator(luod, (peer) => refused(ask(peer, 'updateLuod', {}), 'STATE_BUSY'));
  await json(luod, ['cancel']);
  await assertAllIsWell();
});

test('--check-journal says by its exit code whether this version can read what is behind fd 3', async () => {
  for (const [version, code] of [
    [1, 0],
    [2, 1],
  ] as const) {
    const memfd = memfdCreate('journal');
    pwrite(memfd.fd, encodeHeader(version), 0);
    const child = spawn(process.execPath, [realLuod, '--check-journal'], {
      stdio: ['ignore', 'ignore', 'pipe', memfd.fd],
    });
    memfd.close();
    let said = '';
    child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const [exit] = (await once(child, 'close')) as [number];
    assert.equal(exit, code);
    if (code !== 0) assert.match(said, /JOURNAL_TOO_NEW/);
  }
});

test('a journal from the future: luod refuses to start, and what the keeper holds is untouched', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'luo-future-'));
  try {
    const report = join(dir, 'report');
    const keeper = spawn(
      process.execPath,
      [
        join(root, 'dist/src/bin/keeper.js'),
        '--dir',
        join(dir, 'luo'),
        '--',
        process.execPath,
        program('future-luod'),
        realLuod,
        join(dir, 'done'),
        report,
      ],
      {
        stdio: 'ignore',
        env: { PATH: process.env['PATH'], LUO_DIR: join(dir, 'luo'), LUO_KEEPER_CHANNEL: '1' },
      },
    );
    await once(keeper, 'exit');
    assert.equal(read(`${report}.next`), 'JOURNAL_TOO_NEW');
    const { names, luodDeaths, fds } = JSON.parse(read(report)) as { names: string[]; luodDeaths: number; fds: number };
    assert.deepEqual(names.sort(), ['box/b/thing', 'luod/journal']);
    assert.equal(fds, 1);
    assert.equal(luodDeaths, 2, 'the writer, then the luod that refused');
    assert.match(read(join(dir, 'luo/logs/luod.log')), /JOURNAL_TOO_NEW/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
