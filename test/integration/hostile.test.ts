// Goal: a hostile client harms nobody but itself: after each round luod holds exactly what it held before, its heap does not
// grow, and a good client beside is served all the time. Method: ten rounds of every attack against one built luod, over bare
// sockets; descriptors from /proc, counts from status, the heap after a collection in luod itself.
import assert from 'node:assert/strict';
import { createConnection, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LuoError } from '../../src/base/errors.js';
import { LIMITS } from '../../src/base/limits.js';
import { MessageSender, memfdCreate, unixConnect, type OwnedFd } from '../../src/sys/index.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import { ask, assertNothingLeft, connect, fdCount, operator, read, refused, run, status, until } from './harness.js';

const ROUNDS = 10;
const CROWD = 1000;
let luod: TestLuod;
before(async () => {
  luod = await startLuod({ env: { LUO_TEST_HEAP: '1' } });
});
after(async () => {
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, []);
  assertNothingLeft(stopped.files.filter((path) => path !== 'heap'));
});

/** One line that says hello; `more` goes into its parameters. */
function hello(more: object = {}): string {
  return line({ id: 1, method: 'hello', params: { protocol: [1], client: 'hostile', join: false, ...more } });
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** A bare socket; what luod says is collected, and nothing is expected of it. */
async function bare(): Promise<{ socket: Socket; text: () => string; closed: Promise<unknown> }> {
  const socket = createConnection(luod.socket);
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await once(socket, 'connect');
  return { socket, text: () => text, closed };
}

/** Send `data`; luod must close the connection, and say one of `codes` before. */
async function isDropped(data: string | Buffer, ...codes: string[]): Promise<void> {
  const { socket, text, closed } = await bare();
  socket.write(data);
  await closed;
  assert.ok(
    codes.some((code) => text().includes(`"${code}"`)),
    `${codes.join(' or ')} for ${data.toString('latin1').slice(0, 60)}: ${text().slice(0, 300)}`,
  );
}

/** Send `data`; luod must answer each of `ids` with one of `codes`, and go on. */
async function isRefused(data: string, ids: readonly number[], ...codes: string[]): Promise<void> {
  const { socket, text, closed } = await bare();
  socket.write(data);
  await until('the answers', () => ids.every((id) => text().includes(`"re":${id},`)));
  for (const id of ids) {
    const answer = text()
      .split('\n')
      .find((one) => one.includes(`"re":${id},`))!;
    assert.ok(
      codes.some((code) => answer.includes(`"${code}"`)),
      answer,
    );
  }
  socket.destroy();
  await closed;
}

const sender = new MessageSender(64 * 1024);

/** Send bytes with fds over a socket of our own. */
function sendFds(socket: OwnedFd, text: string, fds: readonly number[]): void {
  const size = sender.buffer.write(text);
  sender.send(socket.fd, size, fds);
}

const GARBAGE: readonly [string, string | Buffer, ...string[]][] = [
  ['no JSON', 'what is this\n', 'PROTO_MALFORMED'],
  ['JSON without an envelope', '[]\n', 'PROTO_INVALID', 'PROTO_MALFORMED'],
  ['a number', '42\n', 'PROTO_INVALID', 'PROTO_MALFORMED'],
  ['an envelope of no kind', '{"hm":1}\n', 'PROTO_INVALID'],
  ['an id that is no number', '{"id":"x","method":"hello","params":{}}\n', 'PROTO_INVALID'],
  ['invalid UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d, 0x0a]), 'PROTO_MALFORMED'],
  ['null bytes', Buffer.concat([Buffer.alloc(100), Buffer.from('\n')]), 'PROTO_MALFORMED'],
  ['an answer that nobody asked for', line({ re: 7, result: {} }), 'PROTO_INVALID'],
  ['a request before hello', line({ id: 1, method: 'status', params: {} }), 'PROTO_NO_HELLO'],
  ['garbage after a good line', `${hello()}garbage\n`, 'PROTO_MALFORMED'],
  [
    'pipelined requests with garbage between',
    `${hello()}${line({ id: 2, method: 'status', params: {} })}{"id":\n`,
    'PROTO_MALFORMED',
  ],
  [
    'deep JSON',
    `{"id":1,"method":"hello","params":${'['.repeat(200_000)}${']'.repeat(200_000)}}\n`,
    'PROTO_INVALID',
    'PROTO_MALFORMED',
  ],
];

async function garbage(): Promise<number> {
  for (const [, data, ...codes] of GARBAGE) {
    if (data.toString().includes('[[[')) await survives(data);
    else await isDropped(data, ...codes);
  }
  return GARBAGE.length;
}

/** However luod takes it: the connection gets an answer or its end. */
async function survives(data: string | Buffer): Promise<void> {
  const { socket, text, closed } = await bare();
  socket.write(data);
  await Promise.race([closed, until('an answer', () => text().includes('\n')).catch(() => undefined)]);
  socket.destroy();
  await closed;
}

async function truncated(): Promise<number> {
  const whole = hello();
  let count = 0;
  for (const at of [1, 10, whole.length - 1]) {
    const { socket, closed } = await bare();
    socket.end(whole.slice(0, at));
    await closed;
    const cut = await bare();
    cut.socket.write(whole.slice(0, at));
    await sleep(1);
    cut.socket.destroy();
    await cut.closed;
    count += 2;
  }
  return count;
}

async function oversized(): Promise<number> {
  await isDropped(`{"id":1,"method":"${'x'.repeat(LIMITS.lineBytesMax)}`, 'PROTO_TOO_LONG');
  await isDropped(`${hello()}${'y'.repeat(LIMITS.lineBytesMax + 10)}\n`, 'PROTO_TOO_LONG');
  return 2;
}

async function wrongRequests(): Promise<number> {
  const big = 'n'.repeat(100_000);
  await isRefused(
    `${hello()}${line({ id: 2, method: 'noSuchMethod', params: {} })}${line({ id: 3, method: '__proto__', params: {} })}`,
    [2, 3],
    'PROTO_UNKNOWN_METHOD',
  );
  await isRefused(
    `${hello()}${line({ id: 2, method: 'stop', params: { name: big } })}${line({ id: 3, method: 'run', params: [] })}${line({ id: 4, method: 'hello', params: { protocol: [1], client: 'again', join: false } })}`,
    [2, 3, 4],
    'PROTO_INVALID',
  );
  await isRefused(hello({ protocol: [99] }), [1], 'PROTO_VERSION');
  await isRefused(hello({ join: true }), [1], 'PROTO_INVALID');
  await isRefused(hello({ join: true, service: big }), [1], 'PROTO_INVALID');
  await isRefused(hello({ join: true, service: 'x\ud800' }), [1], 'PROTO_INVALID');
  await isRefused(hello({ join: true, service: 'good', secret: 'f'.repeat(32) }), [1], 'AUTH_SECRET');
  await isRefused(hello({ join: true, secret: 'none' }), [1], 'AUTH_SECRET');
  await isRefused(hello({ join: true, service: 'good' }), [1], 'AUTH_SECRET');
  for (const method of ['claim', 'register', 'ready', 'standby'])
    await isRefused(
      `${hello()}${line({ id: 2, method, params: { kind: 'fd', name: 'x', handles: [{ kind: 'fd', name: 'x', compatible: 'x' }] } })}`,
      [2],
      'AUTH_DENIED',
    );
  await isDropped(
    `${hello()}${line({ id: 2, method: 'watch', params: {} })}${line({ id: 2, method: 'watch', params: {} })}x\n`,
    'PROTO_MALFORMED',
  );
  return 14;
}

/** Another owner's handle, and things that one's own role does not allow. */
async function wrongOwner(): Promise<number> {
  const peer = await connect(luod);
  await ask(peer, 'hello', { protocol: [1], client: 'hostile', join: true, service: 'thief' });
  await refused(ask(peer, 'claim', { kind: 'fd', name: 'treasure' }), 'CLAIM_FOREIGN');
  await refused(ask(peer, 'claim', { kind: 'fd', name: 'nothing' }), 'HANDLE_UNKNOWN');
  await refused(ask(peer, 'release', { kind: 'fd', name: 'treasure' }), 'CLAIM_FOREIGN');
  await refused(ask(peer, 'unregister', { kind: 'fd', name: 'treasure' }), 'HANDLE_UNKNOWN');
  await refused(
    ask(peer, 'register', {
      handles: [
        { kind: 'fd', name: 'x', compatible: 'x', dependencies: [{ kind: 'global', name: 'g' }] },
        { kind: 'fd', name: 'x', compatible: 'x' },
      ],
    }),
    'HANDLE_EXISTS',
  );
  const rival = await connect(luod);
  await refused(ask(rival, 'hello', { protocol: [1], client: 'hostile', join: true, service: 'thief' }), 'STATE_BUSY');
  rival.close();
  peer.close();
  return 2;
}

async function wrongFds(): Promise<number> {
  const memfd = memfdCreate('bomb');
  const fds = Array.from({ length: 253 }, () => memfd.fd);
  const status = line({ id: 2, method: 'status', params: {} });
  const put = (declared: number): string =>
    line({ id: 2, method: 'put', params: { box: 'b', name: 'n' }, ...(declared > 0 ? { fds: declared } : {}) });
  const attacks: [string, readonly number[]][] = [
    [status, fds],
    [put(0), [memfd.fd]],
    [put(5), [memfd.fd]],
    [put(2), [memfd.fd, memfd.fd]],
    [put(1_000_000), [memfd.fd]],
    [line({ id: 2, method: 'nothing', params: {}, fds: 253 }), fds],
    ['{"id":2,', fds],
    ['\n', fds],
  ];
  for (const [text, sent] of attacks) {
    const socket = unixConnect(luod.socket);
    sendFds(socket, hello(), []);
    sendFds(socket, text, sent);
    await sleep(5);
    socket.close();
  }
  // A flood of fds without an end of the line: dropped at the limit, or with the connection.
  const flood = unixConnect(luod.socket);
  sendFds(flood, hello(), []);
  try {
    for (let n = 0; n < 20; n += 1) sendFds(flood, ' ', fds);
  } catch (error) {
    // It was dropped already, or too many of ours are on their way: both end the flood.
    assert.match(String(error), /EPIPE|ECONNRESET|ETOOMANYREFS|EAGAIN/);
  }
  await sleep(5);
  flood.close();
  memfd.close();
  return attacks.length + 1;
}

/** Registers and is gone before the answer, in several shapes. */
async function hitAndRun(): Promise<number> {
  const memfd = memfdCreate('left');
  for (let n = 0; n < 10; n += 1) {
    const socket = unixConnect(luod.socket);
    sendFds(socket, hello({ join: true, service: `run-${n}` }), []);
    const handles = [
      { kind: 'fd', name: 'a', compatible: 'x', fds: 1 },
      { kind: 'fd', name: 'b', compatible: 'x', fds: 1 },
    ];
    const register = line({ id: 2, method: 'register', params: { handles }, fds: 2 });
    sendFds(socket, register, [memfd.fd, memfd.fd]);
    sendFds(socket, register.replace('"id":2', '"id":3'), [memfd.fd, memfd.fd]);
    if (n % 2 === 0)
      sendFds(
        socket,
        line({ id: 4, method: 'ready', params: {} })
          .repeat(5)
          .replace(/"id":4/g, () => `"id":${(ids += 1)}`),
        [],
      );
    if (n % 3 === 0) await sleep(3);
    socket.close();
  }
  memfd.close();
  return 10;
}
let ids = 10;

/** Asks and asks, and never reads an answer. */
async function neverReading(): Promise<number> {
  const socket = unixConnect(luod.socket);
  try {
    sendFds(socket, hello(), []);
    let id = 1;
    for (let n = 0; n < 400; n += 1) {
      const text = Array.from({ length: 40 }, () => line({ id: (id += 1), method: 'status', params: {} })).join('');
      try {
        sendFds(socket, text, []);
      } catch (error) {
        if (!/EAGAIN/.test(String(error))) break;
        await sleep(2);
      }
    }
  } finally {
    socket.close();
  }
  return 1;
}

/** Many at once: silent ones, half a hello, a whole one, garbage. */
async function crowd(): Promise<number> {
  const sockets: OwnedFd[] = [];
  for (let n = 0; n < CROWD; n += 1) {
    sockets.push(await connected());
    if (n % 100 === 99) await sleep(1);
  }
  sockets.forEach((socket, n) => {
    if (n % 4 === 1) sendFds(socket, hello().slice(0, 20), []);
    if (n % 4 === 2) sendFds(socket, hello(), []);
    if (n % 4 === 3) sendFds(socket, 'x\n', []);
  });
  await until('the crowd', async () => (await status(luod)).counts.connections > CROWD / 2);
  for (const socket of sockets) socket.close();
  return CROWD;
}

async function connected(): Promise<OwnedFd> {
  for (;;) {
    try {
      return unixConnect(luod.socket);
    } catch (error) {
      // The backlog is full: luod has not come to it yet.
      if (!/EAGAIN/.test(String(error))) throw error;
      await sleep(2);
    }
  }
}

/** Asks all the time; every answer must come. */
function goodClient(): { stop: () => Promise<number> } {
  let stopping = false;
  const work = (async () => {
    const peer = await operator(luod);
    let answered = 0;
    while (!stopping) {
      const { state } = await ask(peer, 'status', {});
      assert.equal(state, 'normal');
      answered += 1;
      await sleep(2);
    }
    peer.close();
    return answered;
  })();
  return {
    stop: () => {
      stopping = true;
      return work;
    },
  };
}

async function heapBytes(pid: number): Promise<number> {
  const lines = (): string[] => read(join(luod.dir, 'heap')).split('\n').filter(Boolean);
  const before = lines().length;
  process.kill(pid, 'SIGUSR2');
  await until('the heap', () => lines().length > before);
  return Number(lines().at(-1));
}

test('ten rounds of every attack leave luod with what it had, and a good client without a missed answer', async () => {
  await run(luod, 'good', 'exec sleep 1000');
  const owner = await connect(luod);
  await ask(owner, 'hello', { protocol: [1], client: 'good', join: true, service: 'owner' });
  const memfd = memfdCreate('treasure');
  await ask(owner, 'register', { handles: [{ kind: 'fd', name: 'treasure', compatible: 'x/1', fds: 1 }] }, [memfd.fd]);
  memfd.close();
  const start = await status(luod);
  const { pid } = start.luod;
  const facts = async (): Promise<string> => {
    const { counts, participants, handles, keeper, boxes, services } = await status(luod);
    return JSON.stringify({
      fds: fdCount(pid),
      keeperFds: fdCount(keeper.pid),
      counts,
      entries: keeper.entries,
      participants: participants.map((one) => one.id),
      handles: handles.map((one) => `${one.name} ${one.claimed}`),
      boxes: boxes.length,
      services: services.map((one) => `${one.pid} ${one.run}`),
    });
  };
  await garbage();
  await until('rest', async () => (await status(luod)).counts.connections === 2);
  const before = await facts();
  const heaps: number[] = [];
  let attacks = 0;
  let answered = 0;
  for (let round = 1; round <= ROUNDS; round += 1) {
    const good = goodClient();
    for (const attack of [
      garbage,
      truncated,
      oversized,
      wrongRequests,
      wrongOwner,
      wrongFds,
      hitAndRun,
      neverReading,
      crowd,
    ])
      attacks += await attack();
    answered += await good.stop();
    await until(
      `what was there before round ${round}: ${before}`,
      async () => (await facts()) === before,
      15_000,
    ).catch(async (error: unknown) => {
      console.error(`before ${before}\nnow    ${await facts()}`);
      throw error;
    });
    heaps.push(await heapBytes(pid));
  }
  const now = await status(luod);
  assert.equal(now.luod.pid, pid, 'it is the same luod');
  assert.equal(now.luod.restarts, start.luod.restarts);
  assert.deepEqual(now.stuck, []);
  const growth = heaps[ROUNDS - 1]! / heaps[1]! - 1;
  console.log(
    `# ${ROUNDS} rounds, ${attacks} hostile connections; the good client had ${answered} answers; heap ${heaps.map((one) => (one / 1e6).toFixed(2)).join(' ')} MB, round 10 to round 2: ${(growth * 100).toFixed(1)} %`,
  );
  assert.ok(growth <= 0.05, `the heap grew by ${(growth * 100).toFixed(1)} %`);
  owner.close();
});

test('who says no hello is closed in time, and told why; others are not hurried', async () => {
  const silent = await bare();
  const half = await bare();
  half.socket.write(hello().slice(0, 10));
  const good = await operator(luod);
  await Promise.all([silent.closed, half.closed]);
  assert.match(silent.text(), /PROTO_NO_HELLO/);
  assert.match(half.text(), /PROTO_NO_HELLO|PROTO_TIMEOUT/);
  assert.equal((await ask(good, 'status', {})).state, 'normal');
  good.close();
});

test('more open requests than allowed are refused one by one, by name', async () => {
  const peer = await operator(luod);
  const asked = await Promise.allSettled(
    Array.from({ length: LIMITS.requestsMax * 2 }, () => ask(peer, 'stop', { name: 'good', timeoutMs: 5000 })),
  );
  const refusals = asked.filter((one) => one.status === 'rejected').map((one) => one.reason as LuoError);
  assert.ok(refusals.length > 0);
  for (const error of refusals) assert.equal(error.data?.['limit'], 'requestsMax', error.message);
  peer.close();
});
