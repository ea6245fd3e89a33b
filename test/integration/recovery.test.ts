// Goal: luod and keeper may die at any time, and what they held and supervised is there afterwards; what cannot be known is
// said to be unknown. Method: SIGKILL by pid, raw participants and shell services, with everything compared before and after.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CallParams, HandleInfo } from '../../src/protocol/spec.js';
import { memfdCreate, pread, pwrite } from '../../src/sys/index.js';
import type { Peer, Responder } from '../../src/transport/index.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import {
  ask,
  connect,
  fdCount,
  isAlive,
  json,
  killLuod,
  refused,
  root,
  run,
  service,
  status,
  until,
  withLuod,
} from './harness.js';

/** A participant of this process, which nobody supervises: it answers every call, and can come back. */
class Member {
  readonly name: string;
  readonly calls: string[] = [];
  peer!: Peer;
  participant = '';
  phase = 'running';
  #luod: TestLuod;

  constructor(luod: TestLuod, name: string) {
    this.#luod = luod;
    this.name = name;
  }

  async join(resume = false): Promise<{ resumed: boolean }> {
    this.peer = await connect(this.#luod, (method, params, _fds, reply) => this.#called(method, params, reply));
    const hello = await ask(this.peer, 'hello', {
      protocol: [1],
      client: 'member',
      join: true,
      service: this.name,
      ...(resume ? { resume: { participant: this.participant, attempt: null, phase: this.phase } } : {}),
    });
    this.participant = hello.participant!;
    return hello;
  }

  /** Register a memfd with this content. */
  async keep(name: string, content: string): Promise<HandleInfo> {
    const memfd = memfdCreate(name);
    pwrite(memfd.fd, Buffer.from(content), 0);
    const { handles } = await ask(
      this.peer,
      'register',
      { handles: [{ kind: 'fd', name, compatible: 'x/1', fds: 1 }] },
      [memfd.fd],
    );
    memfd.close();
    return handles[0]!;
  }

  #called(method: string, params: unknown, reply: Responder): void {
    this.calls.push(method);
    assert.equal(typeof (params as CallParams<'go'>).attempt, 'number');
    reply.result(method === 'canFinish' ? { ok: true } : {});
  }
}

test('luod killed at rest: services, participants and handles are as before, and nothing is opened twice', () =>
  withLuod(async (luod) => {
    const started = await run(luod, 'a', 'exec sleep 1000');
    const member = new Member(luod, 'm');
    await member.join();
    await ask(member.peer, 'ready', {});
    await member.keep('data', 'kept');
    const before = await status(luod);
    const keeperFds = fdCount(before.keeper.pid);
    const after = await killLuod(luod);
    assert.equal(after.luod.restarts, before.luod.restarts + 1);
    assert.equal(after.services[0]?.pid, started.pid);
    assert.deepEqual(
      after.participants.map((one) => [one.id, one.connected]),
      [[member.participant, false]],
    );
    assert.deepEqual(after.handles, before.handles);
    assert.equal((await member.join(true)).resumed, true);
    assert.equal((await status(luod)).participants[0]?.connected, true);
    await until('the same fds in the keeper', () => fdCount(before.keeper.pid) === keeperFds);
    member.peer.close();
    await until('the end of the lease', async () => (await status(luod)).handles.length === 0);
  }));

test('luod killed ten times in a row: it comes back each time, the last as the first', () =>
  withLuod(async (luod) => {
    const started = await run(luod, 'a', 'exec sleep 1000');
    const counts = new Set<number>();
    for (let round = 0; round < 10; round += 1) {
      const now = await killLuod(luod);
      assert.equal(now.services[0]?.pid, started.pid);
      assert.equal(now.services[0]?.run, 'running');
      await sleep(50);
      counts.add(fdCount(now.keeper.pid));
    }
    assert.equal(counts.size, 1, `fds of the keeper: ${[...counts].join(', ')}`);
    assert.equal((await status(luod)).luod.restarts, 10);
  }));

test('luod killed while it comes back comes back all the same', () =>
  withLuod(async (luod) => {
    const started = await run(luod, 'a', 'exec sleep 1000');
    const { luod: first } = await status(luod);
    process.kill(first.pid, 'SIGKILL');
    const keeper = luod.pid;
    const second = await until('the next process', async () => {
      const children = readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'latin1').trim().split(' ').map(Number);
      return children.find((pid) => pid !== first.pid && pid !== started.pid && isAlive(pid));
    });
    process.kill(second, 'SIGKILL');
    const now = await status(luod);
    assert.notEqual(now.luod.pid, second);
    assert.equal(now.services[0]?.pid, started.pid);
  }));

test('a resume by a stranger, or of somebody who was never there, is a new start or refused', () =>
  withLuod(async (luod) => {
    const member = new Member(luod, 'm');
    member.participant = '0:nobody';
    assert.equal((await member.join(true)).resumed, false);
    const other = new Member(luod, 'm');
    other.participant = member.participant;
    await refused(other.join(true), 'STATE_BUSY');
    other.peer.close();
    member.peer.close();
  }));

test('a service that was prepared when luod died is back in normal, and can be updated', () =>
  withLuod(async (luod) => {
    await run(luod, 'a', 'exec sleep 1000');
    await json(luod, ['prepare', 'a']);
    assert.equal((await status(luod)).state, 'prepared');
    await killLuod(luod);
    await until('normal', async () => (await status(luod)).state === 'normal');
    assert.equal((await service(luod, 'a')).run, 'running');
    assert.deepEqual((await status(luod)).stuck, []);
    assert.equal((await luod.luoctl(['update', 'a'])).code, 0);
  }));

test('keeper killed: a new one holds everything, luod replaces itself under it, services run on', () =>
  withLuod(async (luod) => {
    const started = await run(luod, 'a', 'exec sleep 1000', { restart: 'no' });
    const member = new Member(luod, 'm');
    await member.join();
    await member.keep('data', 'precious');
    const before = await status(luod);
    process.kill(before.keeper.pid, 'SIGKILL');
    const after = await until('another keeper and another luod', async () => {
      const now = await status(luod);
      return now.keeper.pid !== before.keeper.pid && now.luod.pid !== before.luod.pid && now;
    });
    assert.equal(after.services[0]?.pid, started.pid);
    assert.deepEqual(after.handles, before.handles);
    assert.equal(after.keeper.entries, before.keeper.entries);
    assert.equal(after.keeper.fds, before.keeper.fds);
    await member.join(true);
    const { luod: own } = await status(luod);
    process.kill(own.pid, 'SIGKILL');
    await until('a luod from the new keeper', async () => (await status(luod)).luod.pid !== own.pid);
    process.kill(started.pid!, 'SIGKILL');
    const ended = await until('the end of the orphan', async () => {
      const now = await service(luod, 'a');
      return now.pid === null && now;
    });
    assert.equal(ended.lastExit?.unknown, true, 'nobody was its parent');
    member.peer.close();
    assert.equal((await luod.luoctl(['start', 'a'])).code, 0);
    await luod.luoctl(['kill', 'a', '--signal', 'TERM']);
    const known = await until('a status', async () => {
      const now = await service(luod, 'a');
      return now.pid === null && now;
    });
    assert.deepEqual(known.lastExit, { code: null, signal: 'SIGTERM' }, 'that of the new keeper’s child is known');
  }));

test('a new keeper that is killed while it is refilled is followed by another: nothing is lost', () =>
  withLuod(async (luod) => {
    const started = await run(luod, 'a', 'exec sleep 1000');
    const member = new Member(luod, 'm');
    await member.join();
    await member.keep('data', 'precious');
    const before = await status(luod);
    luod.arm('keeper.put', 'kill');
    process.kill(before.keeper.pid, 'SIGKILL');
    const after = await until('a third keeper and another luod', async () => {
      const now = await status(luod);
      return now.keeper.pid !== before.keeper.pid && now.luod.pid !== before.luod.pid && now;
    });
    const [hit] = luod.hits();
    assert.deepEqual([hit?.point, hit?.pid === before.keeper.pid], ['keeper.put', false], 'the second one was killed');
    assert.equal(after.services[0]?.pid, started.pid);
    assert.deepEqual(after.handles, before.handles);
    assert.deepEqual([after.keeper.entries, after.keeper.fds], [before.keeper.entries, before.keeper.fds]);
    member.peer.close();
  }));

test('the content of what was kept is the same under the third keeper', () =>
  withLuod(async (luod) => {
    const content = 'x'.repeat(100_000);
    assert.equal((await luod.luoctl(['put', 'b', 'n'], { stdin: content })).code, 0);
    for (let round = 0; round < 2; round += 1) {
      const { keeper, luod: own } = await status(luod);
      process.kill(keeper.pid, 'SIGKILL');
      await until('another keeper and another luod', async () => {
        const now = await status(luod);
        return now.keeper.pid !== keeper.pid && now.luod.pid !== own.pid;
      });
    }
    assert.equal((await luod.luoctl(['take', 'b', 'n'])).stdout, content);
    const peer = await connect(luod);
    await ask(peer, 'hello', { protocol: [1], client: 't', join: false });
    const { fds } = await ask(peer, 'take', { box: 'b', name: 'n' });
    assert.equal(pread(fds![0]!.fd, Buffer.alloc(200_000), 0), content.length);
    fds![0]!.close();
    peer.close();
  }));

test('keeper and luod both killed: services run on by themselves, a new luod takes them up, what lay in boxes is gone', async () => {
  const luod = await startLuod();
  const started = await run(luod, 'a', 'exec sleep 1000');
  await luod.luoctl(['put', 'b', 'n'], { stdin: 'gone' });
  const { keeper, luod: own } = await status(luod);
  process.kill(keeper.pid, 'SIGSTOP');
  process.kill(own.pid, 'SIGKILL');
  process.kill(keeper.pid, 'SIGKILL');
  await until('both dead', () => !isAlive(own.pid) && !isAlive(keeper.pid));
  assert.ok(isAlive(started.pid!), 'a service does not depend on them to run');
  const status4 = await luod.luoctl(['status']);
  assert.equal(status4.code, 4, 'no luod answers');
  const again = spawn(join(root, 'bin/luod'), ['--dir', luod.dir], {
    stdio: 'ignore',
    env: { ...process.env, ...luod.env, NODE_TEST_CONTEXT: undefined },
  });
  const ended = new Promise((resolve) => again.once('exit', resolve));
  const fresh = await status(luod);
  assert.deepEqual(
    fresh.services.map(({ name, pid }) => [name, pid]),
    [['a', started.pid]],
  );
  assert.deepEqual([fresh.boxes, fresh.handles], [[], []]);
  assert.equal(fresh.state, 'normal');
  process.kill(again.pid!, 'SIGTERM');
  assert.equal(await ended, 0);
  assert.deepEqual((await luod.stop()).forced, []);
});

test('participants that nobody supervises and that do not come back are gone after a while, with what they held', () =>
  withLuod(async (luod) => {
    const gone = new Member(luod, 'gone');
    const back = new Member(luod, 'back');
    for (const member of [gone, back]) {
      await member.join();
      await member.keep('data', member.name);
    }
    await killLuod(luod);
    gone.peer.close();
    await back.join(true);
    const after = await until('the end of its lease', async () => {
      const now = await status(luod);
      return now.participants.length === 1 && now;
    });
    assert.equal(after.participants[0]?.id, back.participant);
    assert.deepEqual(
      after.handles.map((one) => one.owner),
      [back.participant],
    );
    back.peer.close();
  }));
