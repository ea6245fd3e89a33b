/** Goal: one listener at a path, connections counted, and callers that find what they look for. Method: real sockets. */
import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { closeAll, sendBytes, unixConnect, unixListen, type OwnedFd } from '../../src/sys/index.js';
import { Listener, Peer, Deadlines, connectPeer, decideVia } from '../../src/transport/index.js';
import { LuoError } from '../../src/base/errors.js';
import { leakCheck, rejectsWith, until, withFolder } from './support.js';

leakCheck();

test('a listener gives connections with their credentials and a file with its mode', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    const given: number[] = [];
    const listener = await Listener.listen(path, 0o600, {
      onConnection: (fd, credentials, release) => {
        given.push(credentials.pid);
        fd.close();
        release();
        release();
      },
    });
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const clients = [unixConnect(path), unixConnect(path)];
    await until(() => given.length === 2, 'both');
    assert.deepEqual(given, [process.pid, process.pid]);
    assert.equal(listener.connections, 0);
    closeAll(clients);
    listener.close();
    listener.close();
  }));

test('a socket that nobody answers at is replaced, one that lives is not', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    unixListen(path).close();
    assert.ok(existsSync(path), 'the file of the dead one is left');
    const options = { onConnection: (fd: OwnedFd) => fd.close() };
    const listener = await Listener.listen(path, 0o600, options);
    await rejectsWith(Listener.listen(path, 0o600, options), 'LUOD_RUNNING');
    listener.close();
  }));

test('of many that start at the same time exactly one listens', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    unixListen(path).close();
    const options = { onConnection: (fd: OwnedFd) => fd.close() };
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => Listener.listen(path, 0o600, options)));
    const won = results.filter((result) => result.status === 'fulfilled');
    assert.equal(won.length, 1);
    for (const { value } of won) value.close();
  }));

test('a file that is no socket is not removed, and a folder that is not there is an error', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'file');
    writeFileSync(path, 'content');
    const options = { onConnection: (fd: OwnedFd) => fd.close() };
    await assert.rejects(Listener.listen(path, 0o600, options));
    assert.ok(existsSync(path));
    await assert.rejects(Listener.listen(join(folder, 'none', 's'), 0o600, options), { errnoName: 'ENOENT' });
  }));

test('connections beyond the limit are told its name, and there is room again after a release', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    const open: Peer[] = [];
    let refused = 0;
    const listener = await Listener.listen(path, 0o600, {
      connectionsMax: 2,
      onRefused: () => (refused += 1),
      onConnection: (fd, _credentials, release) =>
        open.push(new Peer(fd, { onClose: release, onRequest: (_m, _p, _f, reply) => reply.result('hi') })),
    });
    const clients = [await connectPeer(path), await connectPeer(path)];
    for (const client of clients) assert.equal((await client.request('m', {})).result, 'hi');
    const third = await connectPeer(path);
    const reason = await third.closed;
    assert.equal(reason?.code, 'LIMIT_REACHED');
    assert.equal(reason?.data?.['limit'], 'connectionsMax');
    assert.equal(refused, 1);
    clients[0]!.close();
    await until(() => listener.connections === 1, 'the release');
    const fourth = await connectPeer(path);
    assert.equal((await fourth.request('m', {})).result, 'hi');
    for (const peer of [...clients, fourth, ...open]) peer.close();
    await Promise.all(open.map((peer) => peer.closed));
    listener.close();
  }));

test('an adopted listening socket goes on where the other holder stops', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    const first = unixListen(path);
    const client = unixConnect(path);
    let accepted = 0;
    const listener = Listener.adopt(first.dup(), {
      onConnection: (fd, _credentials, release) => {
        accepted += 1;
        fd.close();
        release();
      },
    });
    first.close();
    await until(() => accepted === 1, 'the one that waited');
    client.close();
    listener.close();
  }));

test('nobody there is LUOD_UNREACHABLE at once, or after the wait', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    await rejectsWith(connectPeer(path), 'LUOD_UNREACHABLE');
    await rejectsWith(connectPeer(path, { waitMs: 20 }), 'LUOD_UNREACHABLE');
    const waiting = connectPeer(path, { waitMs: 60_000 });
    await new Promise((resolve) => setTimeout(resolve, 10));
    const listener = await Listener.listen(path, 0o600, { onConnection: (fd) => fd.close() });
    (await waiting).close();
    listener.close();
    const stopped = AbortSignal.abort(new Error('stop'));
    await assert.rejects(connectPeer(path, { waitMs: 60_000, signal: stopped }), { message: 'stop' });
  }));

function keeperAt(path: string, answer: (count: number) => string | LuoError | 'hang up'): Promise<Listener> {
  let count = 0;
  return Listener.listen(path, 0o600, {
    onConnection: (fd, _credentials, release) => {
      const peer: Peer = new Peer(fd, {
        onClose: release,
        onRequest: (_method, _params, _fds, reply) => {
          const value = answer((count += 1));
          if (value === 'hang up') peer.close();
          else if (value instanceof LuoError) reply.error(value);
          else reply.result({ outcome: value });
        },
      });
    },
  });
}

test('decideVia gives the record, and asks again while the keeper hangs up or does not know the attempt', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'keeper.sock');
    const question = { attempt: 3, key: 'k', want: 'aborted', deadlineMs: 60_000 } as const;
    const later = decideVia(path, question);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const listener = await keeperAt(path, (count) =>
      count === 1 ? 'hang up' : count === 2 ? new LuoError('DECISION_NONE', 'not yet') : 'committed',
    );
    assert.equal(await later, 'committed');
    listener.close();
  }));

test('decideVia does not take a wrong key, a missing record or a missing keeper for an answer', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'keeper.sock');
    await rejectsWith(decideVia(path, { attempt: 1, key: 'k', deadlineMs: 30 }), 'KEEPER_LOST');
    const wrongKey = await keeperAt(path, () => new LuoError('KEEPER_KEY', 'wrong'));
    await rejectsWith(decideVia(path, { attempt: 1, key: 'k', deadlineMs: 60_000 }), 'KEEPER_KEY');
    wrongKey.close();
    const none = await keeperAt(path, () => new LuoError('DECISION_NONE', 'none'));
    await rejectsWith(decideVia(path, { attempt: 1, key: 'k', deadlineMs: 30 }), 'DECISION_NONE');
    none.close();
    const silent = unixListen(join(folder, 'silent'));
    await rejectsWith(decideVia(join(folder, 'silent'), { attempt: 1, key: 'k', deadlineMs: 30 }), 'KEEPER_LOST');
    silent.close();
    const signal = AbortSignal.timeout(20);
    await assert.rejects(decideVia(path, { attempt: 1, key: 'k', deadlineMs: 60_000, signal }), {
      name: 'TimeoutError',
    });
  }));

test('deadlines pass in their order, never early, and not when cancelled', async () => {
  const set = new Deadlines();
  const start = performance.now();
  const passed: [number, number][] = [];
  for (const ms of [60, 5, 30, 5]) set.after(ms, () => passed.push([ms, performance.now() - start]));
  const cancelled = [40, 1].map((ms) => set.after(ms, () => assert.fail('cancelled')));
  for (const deadline of cancelled) deadline.cancel();
  assert.equal(set.pending, 4);
  await until(() => passed.length === 4, 'all');
  assert.deepEqual(
    passed.map(([ms]) => ms),
    [5, 5, 30, 60],
  );
  for (const [ms, at] of passed) assert.ok(at >= ms, `${ms} came at ${at}`);
  assert.equal(set.pending, 0);
  cancelled[0]!.cancel();
});

test('a deadline set inside of a deadline passes, and one cancelled by another of its step does not', async () => {
  const set = new Deadlines();
  let second = false;
  set.after(1, () => set.after(1, () => (second = true)));
  await until(() => second, 'the second');
  const order: string[] = [];
  set.after(10, () => {
    order.push('first');
    victim.cancel();
  });
  const victim = set.after(10, () => order.push('victim'));
  set.after(30, () => order.push('last'));
  await until(() => order.includes('last'), 'the last');
  // Both may lie in different steps: then the victim is cancelled before its own.
  assert.deepEqual(order, ['first', 'last']);
});

test('bytes of a stranger at a listener harm only his connection', () =>
  withFolder(async (folder) => {
    const path = join(folder, 's');
    const reasons: (string | undefined)[] = [];
    const listener = await Listener.listen(path, 0o600, {
      onConnection: (fd, _credentials, release) => {
        new Peer(fd, {
          onClose: (error) => {
            reasons.push(error?.code);
            release();
          },
          onRequest: (_m, _p, _f, reply) => reply.result('hi'),
        });
      },
    });
    const good = await connectPeer(path);
    const bad = unixConnect(path);
    sendBytes(bad.fd, Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await until(() => reasons.length === 1, 'the stranger');
    assert.deepEqual(reasons, ['PROTO_MALFORMED']);
    assert.equal((await good.request('m', {})).result, 'hi');
    good.close();
    bad.close();
    await until(() => listener.connections === 0, 'all gone');
    listener.close();
  }));
