// Goal: a plain line server is handed from process to process without one lost, doubled or changed byte.
// Method: real child processes under a scripted luod, real clients that check every answer and never reconnect.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { closeAll } from '../../src/sys/index.js';
import { FakeLuod, type FakeMember } from './fake-luod.js';
import { Counter, LineClient } from './line-client.js';
import { pattern } from './pattern.js';
import { listeningPort } from './ports.js';

const STYLES = ['single', 'pipelined', 'pieces'] as const;

describe('handover of a plain server', () => {
  let luod: FakeLuod;
  let current: FakeMember;
  let port: number;
  const clients: LineClient[] = [];
  const open = async (): Promise<LineClient> => {
    const client = await LineClient.open(port);
    clients.push(client);
    return client;
  };

  before(async () => {
    luod = await FakeLuod.start();
    current = await luod.startFirst('line-service', { HELLO: '0' });
    port = listeningPort(luod, 'listener');
  });
  after(async () => {
    for (const client of clients) client.close();
    await luod.stop();
  });

  test('60 connections under load see every answer in order across three switches', async () => {
    const counters: Counter[] = [];
    for (let index = 0; index < 60; index += 1) counters.push(new Counter(await open(), index, STYLES[index % 3]!));
    for (let round = 0; round < 3; round += 1) {
      const before = counters.reduce((sum, one) => sum + one.answered, 0);
      current = await luod.update(current, 'line-service');
      while (counters.reduce((sum, one) => sum + one.answered, 0) < before + 1000) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    for (const counter of counters) await counter.stop();
    assert.ok(counters.every((one) => !one.client.ended));
  });

  test('the successor answers, with the state and the memory of the old one', async () => {
    const client = await open();
    const state = JSON.parse(await client.ask('STATE')) as Record<string, unknown>;
    assert.deepEqual(state, {
      restored: 3,
      greeting: 3,
      torn: false,
      created: false,
      generation: 3,
      role: 'successor',
    });
    assert.equal(await client.ask('PID'), String(current.pid));
  });

  test('a slow reader gets the unsent output of the old process whole and once', async () => {
    const bytes = 12_000_000;
    const slow = await open();
    slow.socket.pause();
    slow.write(`BIG ${bytes}\nECHO behind\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    current = await luod.update(current, 'line-service');
    slow.socket.resume();
    assert.ok((await slow.read(bytes)).equals(pattern(bytes)));
    assert.equal(await slow.line(), 'behind');
    assert.equal(await slow.ask('PID'), String(current.pid));
  });

  test('a half line goes on in the successor, and what the client sends meanwhile waits', async () => {
    const client = await open();
    await client.ask('NAME ada');
    client.write('ECHO one half');
    await new Promise((resolve) => setTimeout(resolve, 20));
    const updating = luod.update(current, 'line-service');
    const writing = setInterval(() => client.write('.'), 3);
    current = await updating;
    clearInterval(writing);
    client.write('\n');
    assert.match(await client.line(), /^one half\.+$/);
    assert.equal(await client.ask('WHO'), 'ada', 'the state of the connection came along');
  });

  test('a connection that the old one had ended gets the rest and then the end, and no more', async () => {
    const bytes = 9_000_000;
    const client = await open();
    client.socket.pause();
    client.write(`BYE ${bytes}\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    current = await luod.update(current, 'line-service', { HELLO: '1' });
    client.socket.resume();
    assert.ok((await client.read(bytes)).equals(pattern(bytes)));
    await client.closed();
    assert.equal(client.buffered, 0);
  });

  test('a new client in the blackout waits in the backlog and is answered by the successor', async () => {
    const next = await luod.startSuccessor('line-service');
    const prepared = await luod.prepare(current, next);
    const frozen = await luod.freeze(current, { successor: next });
    const waiting = await LineClient.open(port);
    clients.push(waiting);
    waiting.write('PID\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(waiting.buffered, 0);
    await luod.commit(current, next, { prepared, frozen });
    assert.equal(await waiting.line(), String(next.pid));
    current = next;
  });

  test('connections that came or went between prepare and freeze are neither lost nor kept', async () => {
    const staying = await open();
    const leaving = await open();
    await leaving.ask('ECHO x');
    const next = await luod.startSuccessor('line-service');
    const prepared = await luod.prepare(current, next);
    leaving.close();
    const coming = await open();
    await coming.ask('NAME late');
    const frozen = await luod.freeze(current, { successor: next });
    await luod.commit(current, next, { prepared, frozen });
    current = next;
    assert.equal(await coming.ask('WHO'), 'late');
    assert.equal(await staying.ask('PID'), String(next.pid));
  });

  for (const asking of [3, 300]) {
    test(`of 400 connections ${asking} ask in the blackout, the others rest: all go on, with what they were at freeze`, async () => {
      const crowd: LineClient[] = [];
      for (let index = 0; index < 400; index += 1) crowd.push(await open());
      await Promise.all(crowd.map((client, index) => client.ask(`NAME early${index}`)));
      const next = await luod.startSuccessor('line-service');
      const prepared = await luod.prepare(current, next);
      // Between prepare and freeze: a new name, half a line, an answer that says nothing new, a name that is taken back.
      await crowd[0]!.ask('NAME changed');
      crowd[1]!.write('ECHO two ');
      await crowd[2]!.ask('ECHO same');
      await crowd[3]!.ask('UNNAME');
      await new Promise((resolve) => setTimeout(resolve, 30));
      const frozen = await luod.freeze(current, { successor: next });
      for (const client of crowd.slice(100, 100 + asking)) client.write('PID\n');
      await luod.commit(current, next, { prepared, frozen });
      current = next;
      crowd[1]!.write('halves\n');
      assert.equal(await crowd[1]!.line(), 'two halves');
      for (const client of crowd.slice(100, 100 + asking)) assert.equal(await client.line(), String(next.pid));
      const names = await Promise.all(crowd.map((client) => client.ask('WHO')));
      const expected = crowd.map((_, index) => `early${index}`);
      assert.deepEqual(names, expected.with(0, 'changed').with(3, '-'));
      // Once, while the old process served, and again where it was something else at the freeze.
      const told = await Promise.all(crowd.map((client) => client.ask('TOLD')));
      assert.deepEqual(told, expected.with(0, 'early0,changed').with(3, '-'));
      for (const client of crowd) client.close();
    });
  }

  test('connections that come and go while a crowd is prepared, and half lines of it, are neither lost nor mixed up', async () => {
    const crowd: LineClient[] = [];
    for (let index = 0; index < 400; index += 1) crowd.push(await open());
    await Promise.all(crowd.map((client, index) => client.ask(`NAME n${index}`)));
    const next = await luod.startSuccessor('line-service');
    const preparing = luod.prepare(current, next);
    // A number that a closed connection had is the next one's at once.
    const fresh: LineClient[] = [];
    for (let index = 0; index < 400; index += 2) {
      crowd[index]!.close();
      crowd[index + 1]!.write('WHO\nECHO ha');
      if (index % 20 === 0) fresh.push(await open());
    }
    const prepared = await preparing;
    const frozen = await luod.freeze(current, { successor: next });
    await luod.commit(current, next, { prepared, frozen });
    current = next;
    for (let index = 1; index < 400; index += 2) {
      const client = crowd[index]!;
      client.write('lf\n');
      assert.deepEqual([await client.line(), await client.line()], [`n${index}`, 'half']);
      client.close();
    }
    for (const client of fresh) {
      assert.deepEqual([await client.ask('WHO'), await client.ask('PID')], ['-', String(next.pid)]);
      client.close();
    }
  });

  test('a connection that the server closes after prepare ends for its client although others hold it', async () => {
    const client = await open();
    await client.ask('ECHO x');
    const next = await luod.startSuccessor('line-service');
    const prepared = await luod.prepare(current, next);
    client.write('BYE 8\n');
    assert.ok((await client.read(8)).equals(pattern(8)));
    await client.closed();
    await current.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    const died = next.heard('closed');
    await next.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    await died;
    closeAll(prepared.fds);
  });

  test('a thaw goes on with every byte: half lines, unsent output, new connections', async () => {
    const counters: Counter[] = [];
    for (let index = 0; index < 12; index += 1)
      counters.push(new Counter(await open(), 100 + index, STYLES[index % 3]!));
    const slow = await open();
    slow.socket.pause();
    slow.write('BIG 10000000\nECHO behind\n');
    const half = await open();
    half.write('ECHO ha');
    await new Promise((resolve) => setTimeout(resolve, 60));
    for (let round = 0; round < 3; round += 1) {
      const next = await luod.startSuccessor('line-service');
      const prepared = await luod.prepare(current, next);
      const frozen = await luod.freeze(current, { successor: next });
      await luod.restore(next, 'frozen', [frozen]);
      await next.heard('ready');
      assert.equal(luod.decide('aborted'), 'aborted');
      await current.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
      const died = next.heard('closed');
      await next.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
      await died;
      closeAll([...prepared.fds, ...frozen.fds]);
      const fresh = await open();
      assert.equal(await fresh.ask('PID'), String(current.pid));
    }
    half.write('lf\n');
    assert.equal(await half.line(), 'half');
    slow.socket.resume();
    assert.ok((await slow.read(10_000_000)).equals(pattern(10_000_000)));
    assert.equal(await slow.line(), 'behind');
    for (const counter of counters) await counter.stop();
  });

  test('a freeze whose callback fails is answered with its error, and the program serves on at once', async () => {
    current = await luod.update(current, 'line-service', { FREEZE_FAILS: '1' });
    const client = await open();
    luod.attempt += 1;
    const prepared = await luod.prepare(current);
    await assert.rejects(luod.freeze(current), /cannot stop now/);
    assert.equal(await client.ask('PID'), String(current.pid));
    await current.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    assert.equal(await (await open()).ask('PID'), String(current.pid));
    closeAll(prepared.fds);
  });
});

describe('handover of a server at a unix path', () => {
  test('connections and the path stay', async () => {
    const luod = await FakeLuod.start();
    const path = join(luod.dir, 'service.sock');
    const first = await luod.startFirst('line-service', { SOCKET_PATH: path, HELLO: '1' });
    const client = await LineClient.open(path);
    assert.equal(await client.line(), 'hello');
    assert.equal(await client.ask('INCR 1'), ':1');
    client.write('ECHO a');
    const next = await luod.update(first, 'line-service', { SOCKET_PATH: path, HELLO: '1' });
    client.write('b\n');
    assert.equal(await client.line(), 'ab', 'a connection that was handed over is not greeted again');
    assert.equal(await client.ask('INCR 1'), ':2');
    const fresh = await LineClient.open(path);
    assert.equal(await fresh.line(), 'hello');
    assert.equal(await fresh.ask('PID'), String(next.pid));
    for (const one of [client, fresh]) one.close();
    await luod.stop();
  });
});

test('a retired process ends by itself with status 0 and without exit handlers', async () => {
  const luod = await FakeLuod.start();
  const first = await luod.startFirst('line-service');
  const [child] = luod.children;
  const exited = once(child!, 'exit');
  await luod.update(first, 'line-service');
  assert.deepEqual(await exited, [0, null]);
  await luod.stop();
});
