// Goal: the measuring programs measure: what they fill can be checked, and whatever goes wrong with a server (a wrong
// value, a lost key, a stall, an end of connections, an answer too many) shows in their results.
// Method: against a real cache in this process, and against servers that misbehave on purpose.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { LoadProcess, ProbeChild } from '../../bench/load/child.js';
import { Dataset } from '../../bench/load/dataset.js';
import { check, fill, serverDigest } from '../../bench/load/fill.js';
import { Latencies } from '../../bench/load/latencies.js';
import { Load } from '../../bench/load/load-core.js';
import { Probe } from '../../bench/load/probe-core.js';
import { type Reply, ReplyError, ReplyParser } from '../../bench/load/reply-parser.js';
import { RespClient } from '../../bench/load/resp-client.js';
import { startCache } from './harness.js';

/** A server that answers every chunk as it likes. */
async function startFake(t: TestContext, onData: (socket: Socket, chunk: string) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('data', (chunk: Buffer) => onData(socket, chunk.toString()));
    socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

test('a filled dataset is found whole, by keys and by digest', async (t) => {
  const { port } = await startCache(t);
  const dataset = new Dataset({ totalBytes: 2_000_000, valueBytes: 1000 });
  const progress: number[] = [];
  const { keys } = await fill({ port }, dataset, (set) => progress.push(set));
  assert.equal(keys, dataset.count);
  assert.equal(progress.at(-1), keys);
  assert.deepEqual(await check({ port }, dataset), { keys, missing: 0, wrong: 0 });
  assert.deepEqual(await serverDigest({ port }, dataset.prefix), dataset.digest());
});

test('a changed, a missing and a foreign key are told apart', async (t) => {
  const { port } = await startCache(t);
  const dataset = new Dataset({ totalBytes: 200_000, valueBytes: 500 });
  await fill({ port }, dataset);
  const client = await RespClient.connect({ port });
  t.after(() => client.close());
  const value = dataset.value(7);
  value[499]! ^= 1;
  await client.request('SET', dataset.key(7), value);
  await client.request('DEL', dataset.key(8));
  await client.request('SET', 'other', 'x');
  assert.deepEqual(await check({ port }, dataset), { keys: dataset.count, missing: 1, wrong: 1 });
  const digest = await serverDigest({ port }, dataset.prefix);
  assert.equal(digest.count, dataset.count - 1);
  assert.notEqual(digest.hex, dataset.digest().hex);
});

test('a fill that does not fit says so', async (t) => {
  const { port } = await startCache(t, 256 * 1024);
  await assert.rejects(fill({ port }, new Dataset({ totalBytes: 2_000_000 })), /OOM/);
});

test('replies in any pieces are the replies that were sent', () => {
  const stream = Buffer.from(
    '+OK\r\n-ERR no\r\n:42\r\n$-1\r\n$5\r\na\r\nbc\r\n*3\r\n:1\r\n$0\r\n\r\n*1\r\n+x\r\n*-1\r\n',
  );
  const plain = (reply: Reply): unknown =>
    reply instanceof Buffer
      ? reply.toString()
      : reply instanceof ReplyError
        ? `!${reply.message}`
        : Array.isArray(reply)
          ? reply.map(plain)
          : reply;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: stream.length })), (cuts) => {
      const points = [0, ...cuts, stream.length].sort((a, b) => a - b);
      const parser = new ReplyParser();
      const found: unknown[] = [];
      for (const [i, end] of points.slice(1).entries()) {
        if (end > points[i]!) parser.push(stream.subarray(points[i]!, end), (reply) => found.push(plain(reply)));
      }
      assert.deepEqual(found, ['OK', '!ERR no', 42, null, 'a\r\nbc', [1, '', ['x']], null]);
    }),
  );
  assert.throws(() => new ReplyParser().push(Buffer.from('?what\r\n'), () => undefined), /no RESP/);
  assert.throws(() => new ReplyParser().push(Buffer.from(':x\r\n'), () => undefined), /no RESP/);
});

test('the probe in its own process sees nothing wrong with a good server', async (t) => {
  const { port, cache } = await startCache(t);
  const probe = await ProbeChild.start('--port', String(port), '--connections', '2');
  t.after(() => probe.kill());
  await sleep(200);
  const before = await probe.window('middle');
  await sleep(200);
  assert.ok(before.answered > 10);
  assert.ok(before.latency.p50Ms > 0);
  const { windows, ...result } = await probe.finish();
  assert.deepEqual(
    windows.map(({ name }) => name),
    ['start', 'middle'],
  );
  assert.ok(result.sent > 50);
  assert.deepEqual(
    { ...result, sent: 0, answered: 0 },
    { sent: 0, answered: 0, wrong: 0, failed: 0, lost: 0, extra: 0, disconnects: 0 },
  );
  assert.equal(result.answered, result.sent);
  assert.equal(cache.acceptedCount, 2);
});

test('a stall of the server is the longest gap of its window, and loses nothing', async (t) => {
  const { port, sockets } = await startCache(t);
  const probe = await ProbeChild.start('--port', String(port));
  t.after(() => probe.kill());
  await sleep(100);
  await probe.window('stall');
  for (const socket of sockets) socket.pause();
  await sleep(150);
  for (const socket of sockets) socket.resume();
  await sleep(50);
  const stall = await probe.window('after');
  assert.ok(stall.gapMsMax >= 140, `the gap was ${stall.gapMsMax} ms`);
  const result = await probe.finish();
  assert.equal(result.answered, result.sent);
  assert.equal(result.wrong + result.failed + result.lost, 0);
});

test('the probe counts an end of its connection, and every request behind it as failed', async (t) => {
  const { port, sockets } = await startCache(t);
  const probe = await Probe.start({ port });
  await sleep(50);
  for (const socket of sockets) socket.destroy();
  await sleep(50);
  const result = await probe.finish();
  assert.equal(result.disconnects, 1);
  assert.ok(result.failed > 0);
});

test('the probe counts wrong answers, and answers that nobody asked for', async (t) => {
  let answered = 0;
  const port = await startFake(t, (socket, chunk) => {
    for (const _ of chunk.matchAll(/SET\r\n/g)) socket.write('+OK\r\n');
    for (const match of chunk.matchAll(/GET\r\n\$\d+\r\nprobe:(\d+)/g)) {
      answered += 1;
      const value = `value:${answered === 5 ? 'x' : match[1]}`;
      socket.write(`$${value.length}\r\n${value}\r\n`);
    }
  });
  const probe = await Probe.start({ port });
  await sleep(100);
  const result = await probe.finish();
  assert.equal(result.wrong, 1);
  assert.equal(result.lost, 0);

  const chatty = await startFake(t, (socket) => socket.write('+OK\r\n+OK\r\n'));
  const client = await RespClient.connect({ port: chatty });
  await client.request('PING');
  await sleep(20);
  assert.equal(client.extraReplies, 1);
  client.close();
});

for (const kind of ['raw', 'redis'] as const) {
  test(`the load with ${kind} connections checks every answer of a good server`, async (t) => {
    const { port, cache } = await startCache(t);
    const load = await LoadProcess.start('--port', String(port), '--connections', '10', '--client', kind);
    t.after(() => load.kill());
    await sleep(200);
    assert.equal((await load.status()).connected, 10);
    const result = await load.finish();
    assert.ok(result.requests > 100);
    assert.deepEqual(
      [result.failed, result.wrong, result.disconnects, result.connected, cache.acceptedCount],
      [0, 0, 0, 10, 10],
    );
  });
}

test('the load notices a counter that somebody else moved, and a connection that ended', async (t) => {
  const { port, sockets } = await startCache(t);
  const load = await Load.start({ port, connections: 3, thinkMs: 1 });
  await sleep(30);
  const client = await RespClient.connect({ port });
  await client.request('INCR', 'load:1:n0');
  client.close();
  await sleep(30);
  [...sockets][0]!.destroy();
  await sleep(30);
  const result = await load.finish();
  assert.ok(result.wrong > 0);
  assert.equal(result.disconnects, 1);
  assert.equal(result.failed, 1);
  assert.equal(result.connected, 2);
});

test('a load process that cannot connect says so by its end', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  await assert.rejects(Load.start({ port, connections: 1 }), /ECONNREFUSED/);
});

test('percentiles of latencies, and the largest whatever is left out', () => {
  const latencies = new Latencies();
  assert.deepEqual(latencies.summary(), { count: 0, p50Ms: 0, p99Ms: 0, maxMs: 0 });
  for (let i = 0; i < 1_200_000; i += 1) latencies.add(i % 1000);
  latencies.add(5000);
  const { count, p50Ms, p99Ms, maxMs } = latencies.summary();
  assert.equal(count, 1_200_001);
  assert.ok(Math.abs(p50Ms - 500) < 5, `${p50Ms}`);
  assert.ok(Math.abs(p99Ms - 990) < 5, `${p99Ms}`);
  assert.equal(maxMs, 5000);
});
