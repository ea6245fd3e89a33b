/**
 * Goal: what luod gave the keeper is there when luod is not, decisions have one writer, and nothing is left behind.
 * Method: the keeper as a process, a puppet as its luod, kill -9 where it hurts.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { LIMITS } from '../../src/base/limits.js';
import {
  closeAll,
  fstat,
  kill,
  memfdCreate,
  pipe,
  processExists,
  pwrite,
  read,
  type OwnedFd,
} from '../../src/sys/index.js';
import { connectPeer, decideVia, type KeeperClient } from '../../src/transport/index.js';
import { leakCheck, until } from '../sys/support.js';
import { rejectsWith } from '../transport/support.js';
import { Harness, keeperPath, withKeeper } from './support.js';

leakCheck();

async function keepJournal(client: KeeperClient, content: string): Promise<void> {
  const journal = memfdCreate('journal');
  pwrite(journal.fd, Buffer.from(content), 0);
  await client.put({ name: 'luod/journal', owner: 'luod', replace: true }, [journal.fd]);
  journal.close();
}

const sh = (script: string): { argv: string[]; cwd: string; env: Record<string, string> } => ({
  argv: ['/bin/sh', '-c', script],
  cwd: '/',
  env: { PATH: '/usr/bin:/bin' },
});

test('entries, decisions and children outlive a luod that is killed', () =>
  withKeeper(async (harness, first) => {
    const memfd = memfdCreate('x');
    await first.client.put({ name: 'a', owner: '0:s', meta: { n: 1 } }, [memfd.fd, memfd.fd]);
    await first.client.putMany('0:s', [{ name: 'b' }, { name: 'c', meta: 'm' }], [memfd.fd, memfd.fd]);
    await first.client.open(7, 'key');
    assert.equal(await first.client.decide(7, 'key', 'committed'), 'committed');
    const { pid, pidfd } = await first.client.spawn({ name: 'svc', ...sh('exec sleep 1000') }, []);
    harness.killLuod(first);

    const second = await harness.next();
    const list = await second.client.list();
    assert.deepEqual(
      list.entries.map((entry) => [entry.name, entry.fds]),
      [
        ['a', 2],
        ['b', 1],
        ['c', 1],
      ],
    );
    assert.equal(list.luodDeaths, 1);
    assert.deepEqual(list.attempts, [{ attempt: 7, key: 'key', outcome: 'committed' }]);
    const kept = await second.client.get('a');
    assert.deepEqual(kept.meta, { n: 1 });
    assert.equal(fstat(kept.owned[1]!.fd).ino, fstat(memfd.fd).ino);
    const many = await second.client.getMany(['c', 'a']);
    assert.deepEqual(
      many.map((entry) => [entry.name, entry.owned.length]),
      [
        ['c', 1],
        ['a', 2],
      ],
    );
    const children = await second.client.children();
    assert.deepEqual(
      children.map(({ child }) => [child.name, child.pid, child.exited]),
      [['svc', pid, false]],
    );
    assert.equal(await second.client.drop({ names: ['a', 'nope'], prefix: 'b' }), 2);
    await rejectsWith(second.client.get('a'), 'KEEPER_UNKNOWN');
    await rejectsWith(second.client.getMany(['c', 'a']), 'KEEPER_UNKNOWN');
    closeAll([memfd, pidfd, ...kept.owned, ...many.flatMap((entry) => entry.owned)]);
    closeAll(children.map(({ pidfd: owned }) => owned).filter((owned): owned is OwnedFd => owned !== undefined));
  }));

test('the first writer decides, whoever it is, and only the key opens the record', () =>
  withKeeper(async (harness, { client }) => {
    const socket = join(harness.dir, 'keeper.sock');
    await rejectsWith(client.decide(1, 'k', 'committed'), 'DECISION_NONE');
    await client.open(1, 'k');
    assert.equal(await client.decide(1, 'k'), null);
    await rejectsWith(client.decide(1, 'wrong', 'committed'), 'KEEPER_KEY');
    await rejectsWith(decideVia(socket, { attempt: 1, key: 'w', want: 'aborted', deadlineMs: 10_000 }), 'KEEPER_KEY');
    const [mine, theirs] = await Promise.all([
      client.decide(1, 'k', 'committed'),
      decideVia(socket, { attempt: 1, key: 'k', want: 'aborted', deadlineMs: 10_000 }),
    ]);
    assert.equal(mine, theirs, 'both are told the same');
    assert.equal(await decideVia(socket, { attempt: 1, key: 'k', deadlineMs: 10_000 }), mine);
    await client.open(1, 'k', mine === 'committed' ? 'aborted' : 'committed');
    assert.equal(await client.decide(1, 'k'), mine, 'opening again does not overwrite');
  }));

test('at the keeper’s socket nothing but decide can be done, and long or endless questions harm only the asker', () =>
  withKeeper(async (harness, { client }) => {
    const path = join(harness.dir, 'keeper.sock');
    assert.equal(statSync(path).mode & 0o777, 0o660);
    const stranger = await connectPeer(path);
    for (const method of ['put', 'get', 'list', 'drop', 'spawn', 'open', 'next', 'shutdown', 'children']) {
      await rejectsWith(stranger.request(method, {}), 'PROTO_UNKNOWN_METHOD');
    }
    await rejectsWith(stranger.request('decide', { attempt: 'x' }), 'PROTO_INVALID');
    const memfd = memfdCreate('x');
    stranger.request('decide', {}, { fds: [memfd.fd] }).catch(() => {});
    assert.equal((await stranger.closed)?.code, 'LIMIT_REACHED');
    memfd.close();
    const long = await connectPeer(path);
    long.request('decide', { attempt: 1, key: 'k'.repeat(10_000) }).catch(() => {});
    assert.equal((await long.closed)?.code, 'PROTO_TOO_LONG');
    assert.equal((await client.list()).entries.length, 0);
  }));

test('limits refuse by name and the keeper goes on', () =>
  withKeeper(async (_harness, { client }) => {
    const memfd = memfdCreate('x');
    await rejectsWith(
      client.put({ name: 'a', owner: 'o', meta: 'x'.repeat(LIMITS.keeperMetaBytesMax) }, []),
      'LIMIT_REACHED',
    );
    await client.put({ name: 'a', owner: 'o' }, []);
    await rejectsWith(client.put({ name: 'a', owner: 'o' }, [memfd.fd]), 'KEEPER_EXISTS');
    await rejectsWith(client.putMany('o', [{ name: 'p' }, { name: 'q' }], [memfd.fd]), 'PROTO_FDS');
    for (const what of [{}, { names: ['p'], entries: [{ name: 'p' }] }, { names: [] }]) {
      await rejectsWith(client.call('putMany', { owner: 'o', ...what }, { fds: [memfd.fd] }), 'PROTO_INVALID');
    }
    await rejectsWith(client.call('decide', {} as never), 'PROTO_INVALID');
    assert.equal((await client.list()).entries.length, 1);
    memfd.close();
  }));

test('a keeper with few descriptors refuses what it cannot hold and keeps what it has', () =>
  withKeeper(
    async (_harness, { client }) => {
      const memfd = memfdCreate('x');
      const { fdsMax } = await client.list();
      assert.equal(fdsMax, 300 - LIMITS.keeperFdsReserve);
      const some = new Array<number>(100).fill(memfd.fd);
      await client.put({ name: 'a', owner: 'o' }, some);
      const refused = await rejectsWith(client.put({ name: 'b', owner: 'o' }, some), 'LIMIT_REACHED');
      assert.equal(refused.data?.['limit'], 'keeperFdsReserve');
      // More than it can even receive: the kernel drops some of them on the way.
      const lost = await rejectsWith(
        client.put({ name: 'c', owner: 'o' }, new Array<number>(250).fill(memfd.fd)),
        'LIMIT_REACHED',
      );
      assert.equal(lost.data?.['limit'], 'fds');
      const kept = await client.get('a');
      assert.equal(kept.owned.length, 100);
      closeAll([...kept.owned, memfd]);
    },
    { nofile: 300 },
  ));

test('many entries are given back in short only to who asks for it, and only where nothing is lost by it', () =>
  withKeeper(async (_harness, { client }) => {
    const files = ['0', '1', '2'].map((name) => memfdCreate(name));
    const numbers = files.map((file) => file.fd);
    await client.putMany('o', [{ name: 'a' }, { name: 'b' }], numbers.slice(0, 2));
    await client.put({ name: 'c', owner: 'o', meta: 'm' }, numbers.slice(2));
    const entries = ['b', 'a'].map((name) => ({ name, owner: 'o', fds: 1 }));
    for (const [params, result] of [
      [{ names: ['b', 'a'] }, { entries }],
      [{ names: ['b', 'a'], brief: false }, { entries }],
      [{ names: ['b', 'a'], brief: true }, { owner: 'o' }],
      [{ names: ['b', 'c'], brief: true }, { entries: [entries[0], { name: 'c', owner: 'o', fds: 1, meta: 'm' }] }],
    ] as const) {
      const answer = await client.call('getMany', params as never);
      assert.deepEqual(answer.result, result);
      assert.equal(answer.fds.length, 2);
      closeAll(answer.fds);
    }
    const short = await client.getMany(['b', 'a']);
    assert.deepEqual(
      short.map(({ owned, ...entry }) => [entry, owned.map((fd) => fstat(fd.fd).ino)]),
      entries.map((entry, index) => [entry, [fstat(numbers[1 - index]!).ino]]),
    );
    await rejectsWith(client.getMany(['b', 'nope']), 'KEEPER_UNKNOWN');
    await rejectsWith(client.call('getMany', { names: ['a'], brief: 1 } as never), 'PROTO_INVALID');
    closeAll([...files, ...short.flatMap((entry) => entry.owned)]);
  }));

test('8,192 fds are stored and claimed in one message each', () =>
  withKeeper(async (_harness, { client }) => {
    const memfd = memfdCreate('x');
    const names = Array.from({ length: LIMITS.messageFdsMax }, (_, index) => ({ name: `n${index}` }));
    await client.putMany('o', names, new Array<number>(names.length).fill(memfd.fd));
    const entries = await client.getMany(names.map(({ name }) => name));
    assert.equal(entries.length, names.length);
    closeAll(entries.flatMap((entry) => entry.owned));
    const more = await rejectsWith(client.put({ name: 'more', owner: 'o' }, [memfd.fd]), 'LIMIT_REACHED');
    assert.equal(more.data?.['limit'], 'keeperOwnerFdsMax');
    memfd.close();
  }));

// ------------------------------------------------------------------------------------------------ children

test('a child gets its fds, folder and environment, and its end is told with its status', () =>
  withKeeper(async (_harness, luod) => {
    const [reading, writing] = pipe();
    const script = 'echo "$A $PWD $0 $(ls -l /proc/self/fd/0 | grep -c null)"; exit 3';
    const { pid, pidfd } = await luod.client.spawn(
      { name: 'svc', argv: ['/bin/sh', '-c', script, 'zero'], cwd: '/tmp', env: { A: 'hello', PATH: '/usr/bin:/bin' } },
      [0, writing.fd].map((fd) => (fd === 0 ? reading.fd : fd)),
    );
    await until(() => luod.exits.length === 1, 'the end');
    assert.deepEqual(luod.exits, [{ name: 'svc', pid, exited: true, code: 3, signal: null }]);
    const output = Buffer.alloc(200);
    assert.equal(output.toString('utf8', 0, read(reading.fd, output)), 'hello /tmp zero 0\n');
    const listed = await luod.client.children();
    assert.deepEqual(listed, [{ child: luod.exits[0], pidfd: undefined }]);
    await luod.client.forget(pid);
    assert.deepEqual(await luod.client.children(), []);
    closeAll([reading, writing, pidfd]);
  }));

test('LISTEN_PID is the child’s own pid, and the limit of open files is what was asked', () =>
  withKeeper(async (_harness, luod) => {
    const [reading, writing] = pipe();
    const { pid, pidfd } = await luod.client.spawn(
      { name: 'svc', ...sh('echo "$LISTEN_PID $$ $(ulimit -S -n)" >&3'), listenFds: true, nofile: 77 },
      [reading.fd, writing.fd, writing.fd, writing.fd],
    );
    await until(() => luod.exits.length === 1, 'the end');
    const output = Buffer.alloc(200);
    assert.equal(output.toString('utf8', 0, read(reading.fd, output)), `${pid} ${pid} 77\n`);
    closeAll([reading, writing, pidfd]);
  }));

test('what cannot be started is refused, and leaves no child', () =>
  withKeeper(async (_harness, { client }) => {
    const env = { PATH: '/usr/bin:/bin' };
    await rejectsWith(client.spawn({ name: 's', argv: ['/none/such'], cwd: '/', env }, []), 'SERVICE_START_FAILED');
    await rejectsWith(client.spawn({ name: 's', argv: ['sleep', '1'], cwd: '/none', env }, []), 'SERVICE_START_FAILED');
    await rejectsWith(client.spawn({ name: 's', argv: ['/etc/passwd'], cwd: '/', env }, []), 'SERVICE_START_FAILED');
    await rejectsWith(client.spawn({ name: 's', argv: ['a\0b'], cwd: '/', env }, []), 'SERVICE_START_FAILED');
    assert.deepEqual(await client.children(), []);
  }));

test('the status of a child that ended while luod was dead is kept', () =>
  withKeeper(async (harness, first) => {
    const { pid, pidfd } = await first.client.spawn({ name: 'svc', ...sh('sleep 0.05; kill -9 $$') }, []);
    harness.killLuod(first);
    const second = await harness.next();
    await until(() => !processExists(pid), 'the child to be reaped');
    const [only] = await second.client.children();
    assert.deepEqual(only?.child, { name: 'svc', pid, exited: true, code: null, signal: 'SIGKILL' });
    pidfd.close();
  }));

test('orphans of services become the keeper’s, and are reaped, while its own children are left to Node', () =>
  withKeeper(async (harness, luod) => {
    const [reading, writing] = pipe();
    const { pidfd } = await luod.client.spawn({ name: 'svc', ...sh('(sleep 0.1; exit 4) & echo $!') }, [
      reading.fd,
      writing.fd,
    ]);
    const output = Buffer.alloc(100);
    const orphan = Number(output.toString('utf8', 0, read(reading.fd, output)));
    await until(() => luod.exits.length === 1, 'the parent');
    if (processExists(orphan)) {
      const parent = /^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${orphan}/status`, 'utf8'))?.[1];
      assert.equal(Number(parent), harness.keeper!.pid);
    }
    await until(() => !processExists(orphan), 'the orphan to be reaped');
    assert.equal(luod.exits[0]!.code, 0);
    closeAll([reading, writing, pidfd]);
  }));

// ------------------------------------------------------------------------------------------------ luod itself

test('the next command follows the end of the old one, and is the current one once it confirms', () =>
  withKeeper(async (harness, first) => {
    await keepJournal(first.client, 'good');
    await first.client.confirm();
    await first.client.next(harness.argv('new'));
    harness.killLuod(first);
    const second = await harness.next();
    assert.equal(second.label, 'new');
    await second.client.confirm();
    harness.killLuod(second);
    const third = await harness.next();
    assert.equal(third.label, 'new');
  }));

test('a next command that ends before it confirms gives way to the old one', () =>
  withKeeper(async (harness, first) => {
    await keepJournal(first.client, 'good');
    await first.client.confirm();
    await first.client.next(harness.argv('new'));
    harness.killLuod(first);
    const second = await harness.next();
    assert.equal(second.label, 'new');
    harness.killLuod(second);
    const third = await harness.next();
    assert.equal(third.label, 'luod');
    await third.client.next(harness.argv('dies'));
    harness.killLuod(third);
    assert.equal((await harness.next()).label, 'luod', 'also one that dies before it said a word');
  }));

test('a next command that cannot read the journal, or be started, is refused, and the old one stays', () =>
  withKeeper(async (harness, first) => {
    await rejectsWith(first.client.next(harness.argv('new')), 'KEEPER_UNKNOWN');
    await keepJournal(first.client, 'damaged');
    await first.client.confirm();
    await rejectsWith(first.client.next(harness.argv('new')), 'JOURNAL_TOO_NEW');
    await rejectsWith(first.client.next(['/none/such']), 'SERVICE_START_FAILED');
    assert.deepEqual(await first.client.children(), []);
    harness.killLuod(first);
    assert.equal((await harness.next()).label, 'luod');
  }));

test('a luod that never works ends the keeper with a word why', async () => {
  const harness = new Harness();
  try {
    await harness.start('dies');
    assert.equal((await harness.ended()).code, 1);
    assert.match(harness.stderr, /ended 5 times/);
    assert.equal(existsSync(join(harness.dir, 'keeper.sock')), false);
  } finally {
    await harness.stop();
  }
});

test('shutdown ends everything that runs and removes what lies around', () =>
  withKeeper(async (harness, { client, pid }) => {
    const memfd = memfdCreate('x');
    await client.put({ name: 'a', owner: 'o' }, [memfd.fd]);
    // One that ignores SIGTERM, with an orphan that does too.
    const env = { PATH: '/usr/bin:/bin', WHERE: harness.folder };
    const script = 'trap "" TERM; (trap "" TERM; setsid sleep 1000 & sleep 1000) & sleep 1000';
    const child = await client.spawn({ name: 'svc', argv: ['/bin/sh', '-c', script], cwd: '/', env }, []);
    await client.shutdown();
    kill(pid, 'SIGTERM');
    assert.deepEqual(await harness.ended(), { code: 0, signal: null });
    assert.deepEqual(harness.leftovers(), []);
    assert.equal(existsSync(join(harness.dir, 'keeper.sock')), false);
    assert.equal(existsSync(join(harness.dir, 'keeper.pid')), false);
    closeAll([memfd, child.pidfd]);
  }));

test('SIGTERM reaches luod and the keeper ends with it; SIGHUP does nothing', () =>
  withKeeper(async (harness) => {
    assert.equal(Number(readFileSync(join(harness.dir, 'keeper.pid'), 'utf8')), harness.keeper!.pid);
    kill(harness.keeper!.pid!, 'SIGHUP');
    kill(harness.keeper!.pid!, 'SIGTERM');
    assert.deepEqual(await harness.ended(), { code: 0, signal: null });
    assert.deepEqual(harness.leftovers(), []);
  }));

test('a second SIGINT ends a luod that does not listen', () =>
  withKeeper(
    async (harness, luod) => {
      kill(harness.keeper!.pid!, 'SIGINT');
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal(processExists(luod.pid), true);
      kill(harness.keeper!.pid!, 'SIGINT');
      assert.deepEqual(await harness.ended(), { code: 0, signal: null });
      assert.deepEqual(harness.leftovers(), []);
    },
    { label: 'stubborn' },
  ));

test('a second keeper in the same folder is refused and harms nothing', () =>
  withKeeper(async (harness, { client }) => {
    const argv = [keeperPath, '--dir', harness.dir, '--', ...harness.argv('other')];
    const { status, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /LUOD_RUNNING/);
    assert.equal((await client.list()).pid, harness.keeper!.pid);
    assert.equal(Number(readFileSync(join(harness.dir, 'keeper.pid'), 'utf8')), harness.keeper!.pid);
  }));

test('a keeper without a command says how it is used', () => {
  const { status, stderr } = spawnSync(process.execPath, [keeperPath, '--dir', '/tmp'], { encoding: 'utf8' });
  assert.equal(status, 2);
  assert.match(stderr, /usage/);
});

// ------------------------------------------------------------------------------------------------ the keeper's own death

test('a keeper that a living luod starts knows no decision until luod writes it, and restarts luod when it ends', async () => {
  const harness = new Harness();
  try {
    await harness.listen();
    mkdirSync(harness.dir);
    const { spawn } = await import('node:child_process');
    const [command, ...args] = [...harness.argv('adopter'), keeperPath, harness.dir, ...harness.argv('luod')];
    spawn(command!, args, { stdio: 'inherit' });
    const living = await harness.next();
    assert.equal(living.label, 'adopter');
    const list = await living.client.list();
    assert.notEqual(list.pid, living.pid);
    await rejectsWith(living.client.decide(4, 'k', 'aborted'), 'DECISION_NONE');
    const waiting = decideVia(join(harness.dir, 'keeper.sock'), { attempt: 4, key: 'k', deadlineMs: 60_000 });
    await living.client.open(4, 'k', 'committed');
    assert.equal(await waiting, 'committed');
    assert.equal(await living.client.decide(4, 'k', 'aborted'), 'committed');
    const memfd = memfdCreate('x');
    await living.client.put({ name: 'refilled', owner: 'o' }, [memfd.fd]);
    memfd.close();
    harness.killLuod(living);
    const next = await harness.next();
    assert.equal(next.label, 'luod');
    const after = await next.client.list();
    assert.equal(after.pid, list.pid);
    assert.deepEqual(
      after.entries.map((entry) => entry.name),
      ['refilled'],
    );
    await next.client.shutdown();
    kill(next.pid, 'SIGTERM');
    await until(() => !existsSync(join(harness.dir, 'keeper.pid')), 'the keeper to end');
  } finally {
    await harness.stop();
  }
});

for (const point of ['keeper.put', 'keeper.decide.before', 'keeper.decide.after', 'keeper.spawn'] as const) {
  test(`the fault point ${point} kills the keeper there, and luod is told KEEPER_LOST`, async () => {
    const harness = new Harness();
    try {
      const faults = join(harness.folder, 'faults');
      mkdirSync(faults);
      writeFileSync(join(faults, point), 'kill');
      await harness.start('luod', { env: { LUO_FAULT_DIR: faults } });
      const { client } = await harness.next();
      await client.open(1, 'k');
      const request =
        point === 'keeper.put'
          ? client.put({ name: 'a', owner: 'o' }, [])
          : point === 'keeper.spawn'
            ? client.spawn({ name: 's', ...sh('exit 0') }, [])
            : client.decide(1, 'k', 'committed');
      await rejectsWith(request, 'KEEPER_LOST');
      assert.deepEqual(await harness.ended(), { code: null, signal: 'SIGKILL' });
    } finally {
      await harness.stop();
    }
  });
}
