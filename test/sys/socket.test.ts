/** Goal: sockets, fds over them, credentials and addresses, with their errors. Method: real sockets, one process. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { SHUT, SO, SOCK, SOL } from '../../src/abi/index.js';
import {
  MessageReceiver,
  MessageSender,
  OwnedFd,
  WOULD_BLOCK,
  accept,
  closeAll,
  fstat,
  getFileLimit,
  getPeerCredentials,
  getSocketOption,
  getsockname,
  isOpen,
  memfdCreate,
  sendBytes,
  setFileLimit,
  setSendBuffer,
  shutdown,
  socketpair,
  tcpListen,
  unixConnect,
  unixListen,
} from '../../src/sys/index.js';
import { leakCheck, limitWithFree, throwsErrno, until, withFolder } from './support.js';

leakCheck();

const sender = new MessageSender(1024);
const receiver = new MessageReceiver(1024);

function sendText(socket: OwnedFd, text: string, fds: readonly number[] = []): number {
  return sender.send(socket.fd, sender.buffer.write(text), fds);
}

function received(): OwnedFd[] {
  return receiver.fds.map((fd) => new OwnedFd(fd));
}

for (const [name, type] of [
  ['stream', SOCK.STREAM],
  ['seqpacket', SOCK.SEQPACKET],
] as const) {
  test(`${name}: bytes and fds arrive together, close-on-exec, as the same file`, () => {
    const [a, b] = socketpair(type);
    const memfd = memfdCreate('x');
    assert.equal(sendText(a, 'hello', [memfd.fd, memfd.fd]), 5);
    assert.equal(receiver.receive(b.fd), 5);
    const got = received();
    assert.equal(got.length, 2);
    assert.equal(receiver.truncated, false);
    for (const fd of got) assert.equal(fstat(fd.fd).ino, fstat(memfd.fd).ino);
    closeAll([...got, a, b, memfd]);
  });

  test(`${name}: 253 fds go in one message, 254 do not`, () => {
    const [a, b] = socketpair(type);
    const memfd = memfdCreate('x');
    assert.equal(sendText(a, 'x', new Array<number>(253).fill(memfd.fd)), 1);
    assert.equal(receiver.receive(b.fd), 1);
    const got = received();
    assert.equal(got.length, 253);
    throwsErrno(() => sendText(a, 'x', new Array<number>(254).fill(memfd.fd)), 'EINVAL');
    closeAll([...got, a, b, memfd]);
  });

  test(`${name}: an empty socket would block, a closed one is at its end`, () => {
    const [a, b] = socketpair(type);
    assert.equal(receiver.receive(b.fd), WOULD_BLOCK);
    a.close();
    assert.equal(receiver.receive(b.fd), 0);
    throwsErrno(() => sendText(b, 'x'), 'EPIPE');
    throwsErrno(() => sendBytes(b.fd, Buffer.from('x')), 'EPIPE');
    b.close();
  });
}

test('fds come no later than the first byte of their message, and bytes sent before may come with them', () => {
  const [a, b] = socketpair();
  const memfd = memfdCreate('x');
  sendText(a, 'before ');
  sendText(a, 'with', [memfd.fd]);
  sendText(a, ' after');
  assert.equal(receiver.receive(b.fd), 'before with'.length);
  const got = received();
  assert.equal(got.length, 1);
  assert.equal(receiver.receive(b.fd), ' after'.length);
  assert.equal(receiver.fds.length, 0);
  closeAll([...got, a, b, memfd]);
});

test('a bad fd is EBADF and nothing is sent', () => {
  const [a, b] = socketpair();
  throwsErrno(() => sendText(a, 'x', [1_000_000]), 'EBADF');
  assert.equal(receiver.receive(b.fd), WOULD_BLOCK);
  closeAll([a, b]);
});

test('a full socket would block, and a larger send buffer holds more', () => {
  const fill = (bytes: number | undefined): number => {
    const [a, b] = socketpair();
    if (bytes !== undefined) setSendBuffer(a.fd, bytes);
    let total = 0;
    for (;;) {
      const sent = sendBytes(a.fd, Buffer.alloc(1024));
      if (sent === WOULD_BLOCK) break;
      total += sent;
    }
    closeAll([a, b]);
    return total;
  };
  assert.ok(fill(undefined) > fill(4096));
});

test('what this process has no descriptor for is lost, and said to be', () => {
  const [a, b] = socketpair();
  const memfd = memfdCreate('x');
  sendText(a, 'x', new Array<number>(10).fill(memfd.fd));
  const limits = getFileLimit();
  setFileLimit({ soft: limitWithFree(3), hard: limits.hard });
  let count: number;
  try {
    count = receiver.receive(b.fd);
  } finally {
    setFileLimit(limits);
  }
  assert.equal(count, 1);
  const got = received();
  assert.ok(got.length <= 4, `${got.length} fds`);
  assert.equal(receiver.truncated, true);
  closeAll([...got, a, b, memfd]);
});

test('the other end is known by the kernel, not by what it says', () => {
  const [a, b] = socketpair();
  assert.deepEqual(getPeerCredentials(a.fd), {
    pid: process.pid,
    uid: process.getuid!(),
    gid: process.getgid!(),
  });
  const memfd = memfdCreate('x');
  throwsErrno(() => getPeerCredentials(memfd.fd), 'ENOTSOCK');
  closeAll([a, b, memfd]);
});

test('shutdown ends one direction for every holder', () => {
  const [a, b] = socketpair();
  const copy = a.dup();
  shutdown(copy.fd, SHUT.WR);
  throwsErrno(() => sendBytes(a.fd, Buffer.from('x')), 'EPIPE');
  assert.equal(receiver.receive(b.fd), 0);
  assert.equal(sendBytes(b.fd, Buffer.from('x')), 1);
  closeAll([a, b, copy]);
});

test('a unix listener accepts those who connect, and none else', () =>
  withFolder((folder) => {
    const path = join(folder, 's');
    const listening = unixListen(path);
    assert.equal(accept(listening.fd), undefined);
    const client = unixConnect(path);
    const server = accept(listening.fd);
    assert.ok(server);
    assert.equal(getPeerCredentials(server.fd).pid, process.pid);
    assert.equal(getSocketOption(listening.fd, SOL.SOCKET, SO.ACCEPTCONN), 1);
    assert.deepEqual(getsockname(listening.fd), { family: 'unix', path });
    throwsErrno(() => unixListen(path), 'EADDRINUSE');
    throwsErrno(() => unixConnect(path, SOCK.SEQPACKET), 'EPROTOTYPE');
    closeAll([listening, client, server]);
    throwsErrno(() => unixConnect(path), 'ECONNREFUSED');
    throwsErrno(() => unixConnect(join(folder, 'none')), 'ENOENT');
    throwsErrno(() => unixListen(join(folder, 'none', 's')), 'ENOENT');
    writeFileSync(join(folder, 'file'), '');
    throwsErrno(() => unixConnect(join(folder, 'file')), 'ECONNREFUSED');
  }));

test('a path longer than a socket address works through its folder', () =>
  withFolder((folder) => {
    const deep = join(folder, 'd'.repeat(80), 'e'.repeat(80));
    mkdirSync(deep, { recursive: true });
    const path = join(deep, 'luod.sock');
    const listening = unixListen(path);
    const client = unixConnect(path);
    const server = accept(listening.fd);
    assert.ok(server);
    closeAll([listening, client, server]);
    throwsErrno(() => unixListen(join(folder, 'n'.repeat(200))), 'ENAMETOOLONG');
  }));

for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
  test(`tcp: a listener on ${address} has a port and is reached`, async (context) => {
    let listening: OwnedFd;
    try {
      listening = tcpListen({ address, port: 0 });
    } catch (error) {
      if ((error as { errnoName?: string }).errnoName === 'EADDRNOTAVAIL') return context.skip('needs IPv6');
      throw error;
    }
    const name = getsockname(listening.fd);
    assert.ok(name.family === 'ipv4' || name.family === 'ipv6');
    assert.ok(name.port > 0);
    assert.equal(new URL(`http://[::]/`).hostname, '[::]');
    const client = connect(name.port, address);
    await new Promise((resolve) => client.once('connect', resolve));
    let server: OwnedFd | undefined;
    await until(() => (server = accept(listening.fd)) !== undefined, 'the connection');
    throwsErrno(() => tcpListen({ address, port: name.port }), 'EADDRINUSE');
    client.destroy();
    await new Promise((resolve) => client.once('close', resolve));
    closeAll([listening, server!]);
  });
}

test('tcp: a name is no address', () => throwsErrno(() => tcpListen({ address: 'localhost', port: 0 }), 'EINVAL'));

test('an unnamed socket has an empty path', () => {
  const [a, b] = socketpair();
  assert.deepEqual(getsockname(a.fd), { family: 'unix', path: '' });
  const number = a.fd;
  closeAll([a, b]);
  assert.equal(isOpen(number), false);
  throwsErrno(() => getsockname(number), 'EBADF');
});
