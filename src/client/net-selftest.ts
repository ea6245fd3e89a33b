/**
 * Is this Node as net-internals.ts knows it? Tried on real sockets of the loopback interface, once per process, when the
 * program listens by luo for the first time: long before a freeze, where a surprise would cost connections. What fails is
 * CLIENT_INTERNALS and says what is different. Leaves nothing behind.
 */
import { createServer, connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { LuoError } from '../base/errors.js';
import { dupFd, tcpListen } from '../sys/index.js';
import {
  adoptIntoServer,
  attachSocket,
  closeHandle,
  closeListening,
  internalsError,
  openListening,
  queuedChunks,
  sealReadable,
  socketFd,
  startReading,
  stopReading,
  unsealReadable,
  unwrittenBytes,
} from './net-internals.js';
import { OutputGate } from './output-gate.js';

/** How long one step may take before the step itself counts as what changed, ms. */
const STEP_MS = 5_000;
/** More than any socket buffer of a default system takes in. */
const FLOOD_BYTES = 16 * 1024 * 1024;

let tested: Promise<void> | undefined;

/** @throws LuoError CLIENT_INTERNALS */
export function testInternals(): Promise<void> {
  tested ??= run();
  return tested;
}

async function run(): Promise<void> {
  const open: Socket[] = [];
  const listening = tcpListen({ port: 0, address: '127.0.0.1' });
  const server = createServer();
  try {
    openListening(server, dupFd(listening.fd).take(), { backlog: 16, quiet: false });
    await within(once(server, 'listening'), 'a server does not listen on a descriptor');
    const pair = async (): Promise<{ client: Socket; socket: Socket }> => {
      const accepted = once(server, 'connection') as Promise<[Socket]>;
      const client = connect((server.address() as { port: number }).port, '127.0.0.1');
      client.on('error', () => {});
      const [socket] = await within(accepted, 'a server on a descriptor accepts no connections');
      socket.on('error', () => {});
      open.push(client, socket);
      return { client, socket };
    };
    await testReading(server, await pair(), open);
    await testWriting(await pair(), open);
    await testListening(server, listening.fd);
  } finally {
    for (const socket of open) socket.destroy();
    closeListening(server);
    listening.close();
  }
}

async function testReading(
  server: Server,
  { client, socket }: { client: Socket; socket: Socket },
  open: Socket[],
): Promise<void> {
  let early = 0;
  socket.on('data', (bytes: Buffer) => (early += bytes.length));
  stopReading(socket);
  await written(client, 'kernel');
  await turns(3);
  expect(early === 0, 'readStop() of a socket does not stop it from reading');
  const fd = socketFd(socket);
  expect(fd !== undefined, 'an open socket does not say its descriptor');

  const before = await connections(server);
  const attached = attachSocket(dupFd(fd!).take(), { allowHalfOpen: false });
  open.push(attached);
  adoptIntoServer(server, attached);
  expect((await connections(server)) === before + 1, 'a connection cannot be added to the count of a server');
  let got = '';
  attached.on('data', (bytes: Buffer) => (got += bytes.toString()));
  await turns(3);
  expect(got === '', 'a socket made with pauseOnCreate reads before it is told to');
  const data = once(attached, 'data');
  startReading(attached);
  await within(data, 'a socket made from a descriptor does not read when it is told to');
  expect(got === 'kernel', 'a socket made from a descriptor loses bytes');

  attached.pause();
  await written(client, 'stream');
  await within(
    until(() => attached.readableLength === 6),
    'a paused socket does not keep what it read in its stream',
  );
  expect(sealReadable(attached)?.toString() === 'stream', 'what a stream has read cannot be copied out of it');
  attached.resume();
  await turns(3);
  expect(got === 'kernel', 'a sealed stream gives bytes to the program');
  unsealReadable(attached);
  await within(
    until(() => got === 'kernelstream'),
    'a stream does not go on after it was sealed',
  );
  const closed = once(attached, 'close');
  attached.destroy();
  await closed;
  expect((await connections(server)) === before, 'the end of a connection is not taken off the count of its server');
}

async function testWriting({ client, socket }: { client: Socket; socket: Socket }, open: Socket[]): Promise<void> {
  client.pause();
  const gate = new OutputGate(socket, { held: false });
  const flood = Buffer.alloc(FLOOD_BYTES, 'f');
  socket.write(flood);
  socket.write('queued');
  await turns(2);
  expect(unwrittenBytes(socket) > 0, 'a socket does not say how many bytes libuv has not written');
  expect(
    Buffer.concat(queuedChunks(socket)).toString() === 'queued',
    'a stream does not say what waits behind a write',
  );
  gate.hold();
  const taken = gate.takeUnsent();
  expect(taken !== undefined, 'an open socket has no descriptor');
  const unsent = Buffer.concat(taken!.chunks);
  expect(unsent.subarray(-6).toString() === 'queued', 'unsent bytes are not in order');
  let received = 0;
  let tail = '';
  client.on('data', (bytes: Buffer) => {
    received += bytes.length;
    tail = (tail + bytes.subarray(-6).toString()).slice(-6);
  });
  client.resume();
  await within(
    until(() => received === FLOOD_BYTES + 6 - unsent.length),
    'libuv goes on writing after its handle was closed, or counts unwritten bytes in another way',
  );
  gate.release();
  await within(
    until(() => received === FLOOD_BYTES + 6),
    'a socket does not go on writing with another handle',
  );
  expect(tail === 'queued', 'a socket with another handle writes something else');
  startReading(socket);
  const echo = once(socket, 'data') as Promise<[Buffer]>;
  client.write('again');
  const [bytes] = await within(echo, 'a socket does not go on reading with another handle');
  expect(bytes.toString() === 'again', 'a socket with another handle reads something else');
  // The last descriptor goes with the handle: the client sees the end.
  const end = once(client, 'close');
  closeHandle(socket);
  await within(end, 'closing a handle does not close its descriptor');
  open.splice(open.indexOf(socket), 1);
}

async function testListening(server: Server, fd: number): Promise<void> {
  closeListening(server);
  expect(!server.listening, 'a server still listens after its handle was closed');
  let heard = 0;
  server.on('listening', () => (heard += 1));
  server.on('close', () => (heard += 1));
  openListening(server, dupFd(fd).take(), { backlog: 16, quiet: true });
  await turns(3);
  expect(server.listening, 'a server does not listen again');
  expect(heard === 0, 'a server that listens again is heard doing so');
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw internalsError(what);
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(internalsError(what) satisfies LuoError), STEP_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Turns of the event loop, each with its chance for sockets to read. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function until(done: () => boolean): Promise<void> {
  const end = performance.now() + STEP_MS;
  while (!done() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 1));
  if (!done()) await new Promise(() => {});
}

function written(socket: Socket, text: string): Promise<void> {
  return new Promise((resolve, reject) => socket.write(text, (error) => (error ? reject(error) : resolve())));
}

function connections(server: Server): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );
}
