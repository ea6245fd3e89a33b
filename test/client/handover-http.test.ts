// Goal: an http server with keep-alive clients is handed over without a failed request.
// Method: real processes under a scripted luod; keep-alive agents under load, and raw sockets that stop in the middle.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { closeAll } from '../../src/sys/index.js';
import { FakeLuod, type FakeMember } from './fake-luod.js';
import { LineClient } from './line-client.js';
import { pattern } from './pattern.js';
import { listeningPort } from './ports.js';

describe('handover of an http server', () => {
  let luod: FakeLuod;
  let current: FakeMember;
  let port: number;
  const raw: LineClient[] = [];
  const open = async (): Promise<LineClient> => {
    const client = await LineClient.open(port);
    raw.push(client);
    return client;
  };

  before(async () => {
    luod = await FakeLuod.start();
    current = await luod.startFirst('http-service');
    port = listeningPort(luod, 'http');
  });
  after(async () => {
    for (const client of raw) client.close();
    await luod.stop();
  });

  test('40 keep-alive clients under load see no failed request and keep their connections', async () => {
    const agents = Array.from({ length: 40 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
    const sockets = new Set<object>();
    let stopped = false;
    let answered = 0;
    const loops = agents.map(async (agent, index) => {
      while (!stopped) {
        const path = index % 4 === 0 ? '/slow?15' : '/pid';
        const body = await fetchText(port, path, agent, (socket) => sockets.add(socket));
        assert.match(body, /^(slow )?\d+$/);
        answered += 1;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    });
    for (let round = 0; round < 3; round += 1) {
      const before = answered;
      current = await luod.update(current, 'http-service');
      while (answered < before + 400) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(await fetchText(port, '/pid', agents[0]!), String(current.pid));
    stopped = true;
    await Promise.all(loops);
    assert.equal(sockets.size, agents.length, 'no client had to connect again');
    for (const agent of agents) agent.destroy();
  });

  test('a half request head is read again by the successor', async () => {
    const client = await open();
    client.write('GET /pid HTTP/1.1\r\nhost: x\r\nx-long: 0123');
    await new Promise((resolve) => setTimeout(resolve, 30));
    current = await luod.update(current, 'http-service');
    client.write('456789\r\n\r\n');
    assert.equal(await body(client), String(current.pid));
  });

  test('a request whose body is half sent is answered by the old process, the next by the new one', async () => {
    const client = await open();
    client.write('POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n01234');
    await new Promise((resolve) => setTimeout(resolve, 30));
    const old = current.pid;
    const next = await luod.startSuccessor('http-service');
    const prepared = await luod.prepare(current, next);
    const freezing = luod.freeze(current, { successor: next });
    await new Promise((resolve) => setTimeout(resolve, 50));
    client.write('56789GET /pid HTTP/1.1\r\nho');
    const frozen = await freezing;
    await luod.commit(current, next, { prepared, frozen });
    current = next;
    assert.equal(await body(client), `10 ${old}`);
    client.write('st: x\r\n\r\n');
    assert.equal(await body(client), String(next.pid));
  });

  test('a slow reader of a finished response gets it whole, and its connection goes on', async () => {
    const bytes = 12_000_000;
    const client = await open();
    client.socket.pause();
    client.write(`GET /big?${bytes} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    current = await luod.update(current, 'http-service');
    client.socket.resume();
    assert.equal((await head(client)).length, bytes);
    assert.ok((await client.read(bytes)).equals(pattern(bytes)));
    client.write('GET /pid HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.equal(await body(client), String(current.pid));
  });

  test('pipelined requests are all answered in order, by whichever process', async () => {
    const client = await open();
    const updating = luod.update(current, 'http-service');
    let asked = 0;
    let done = false;
    const asking = (async () => {
      while (!done) {
        client.write('GET /slow?3 HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(4));
        asked += 4;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    current = await updating;
    done = true;
    await asking;
    for (let index = 0; index < asked; index += 1) assert.match(await body(client), /^slow \d+$/);
  });

  test('a thaw leaves every connection as it was, half heads and responses too', async () => {
    const half = await open();
    half.write('GET /pid HTTP/1.1\r\nho');
    const idle = await open();
    idle.write('GET /pid HTTP/1.1\r\nhost: x\r\n\r\n');
    await body(idle);
    const next = await luod.startSuccessor('http-service');
    const prepared = await luod.prepare(current, next);
    const frozen = await luod.freeze(current, { successor: next });
    half.write('st: x\r\n\r\n');
    luod.decide('aborted');
    await current.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    const died = next.heard('closed');
    await next.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    await died;
    closeAll([...prepared.fds, ...frozen.fds]);
    assert.equal(await body(half), String(current.pid));
    idle.write('GET /pid HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.equal(await body(idle), String(current.pid));
  });

  test('a request that does not end in time fails the freeze, and is answered all the same', async () => {
    const client = await open();
    client.write('GET /slow?1500 HTTP/1.1\r\nhost: x\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 30));
    luod.attempt += 1;
    const prepared = await luod.prepare(current);
    await assert.rejects(luod.freeze(current, { deadlineMs: 300 }), { code: 'CALL_FAILED' });
    await current.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    assert.equal(await body(client), `slow ${current.pid}`);
    closeAll(prepared.fds);
  });

  test('a tunnel is not handed over: it ends with its process, and others do not', async () => {
    current = await luod.update(current, 'http-service', { UPGRADE: '1' });
    const tunnel = await open();
    tunnel.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
    assert.match(await tunnel.line(), /101/);
    while ((await tunnel.line()) !== '\r') continue;
    assert.equal(await tunnel.ask('hello'), 'hello');
    const other = await open();
    other.write('GET /pid HTTP/1.1\r\nhost: x\r\n\r\n');
    await body(other);
    current = await luod.update(current, 'http-service');
    await tunnel.closed();
    other.write('GET /pid HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.equal(await body(other), String(current.pid));
  });
});

async function fetchText(
  port: number,
  path: string,
  agent: Agent,
  onSocket?: (socket: object) => void,
): Promise<string> {
  const sent = request({ port, host: '127.0.0.1', path, agent });
  if (onSocket !== undefined) sent.once('socket', onSocket);
  sent.end();
  const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
  assert.equal(response.statusCode, 200);
  let text = '';
  for await (const bytes of response) text += String(bytes);
  return text;
}

async function head(client: LineClient): Promise<{ length: number }> {
  let length = 0;
  assert.match(await client.line(), /^HTTP\/1\.1 200/);
  for (let line = await client.line(); line !== '\r'; line = await client.line()) {
    const found = /^content-length: (\d+)/i.exec(line);
    if (found) length = Number(found[1]);
  }
  return { length };
}

async function body(client: LineClient): Promise<string> {
  const { length } = await head(client);
  return (await client.read(length)).toString();
}
