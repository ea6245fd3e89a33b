/**
 * The raw loop beside which the keeper is measured: the same calls (sendmsg, recvmsg with SCM_RIGHTS, one epoll), the same
 * window of requests under way, but no protocol. A request is 64 bytes, an answer one byte; fds that are stored are kept in
 * an array until a request begins with 1, fds that are claimed are sent from it. What is stored is answered after as many
 * fds as the keeper lets wait. Letting go is outside of what is measured. As a program it is the other process: fd 3 is its socket, its
 * arguments are `store` or `claim` and the count of fds in a message.
 */
import { pathToFileURL } from 'node:url';
import {
  MessageReceiver,
  MessageSender,
  OwnedFd,
  WOULD_BLOCK,
  closeAll,
  eventLoop,
  memfdCreate,
  sendBytes,
} from '../../src/sys/index.js';
import { FDS_PER_FLUSH } from '../../src/transport/line-connection.js';

export type RawKind = 'store' | 'claim';
const requestBytes = 64;
const noFds: number[] = [];
const ones = Buffer.alloc(4096, 1);

/** Ask `messages` times, `window` at once; returns seconds. */
export function runRaw(
  socket: OwnedFd,
  kind: RawKind,
  fdsPerMessage: number,
  messages: number,
  window: number,
): Promise<number> {
  const sender = new MessageSender(requestBytes);
  const receiver = new MessageReceiver(64 * 1024);
  const memfd = memfdCreate('bench');
  const sent: number[] = kind === 'store' ? new Array<number>(fdsPerMessage).fill(memfd.fd) : noFds;
  const claimed: OwnedFd[] = [];
  let asked = 0;
  let answered = 0;
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const ask = (): void => {
      while (asked < messages && asked - answered < window) {
        if (sender.send(socket.fd, requestBytes, sent) === WOULD_BLOCK) return;
        asked += 1;
      }
    };
    const watch = eventLoop().watch(socket.fd, { readable: true, writable: false }, () => {
      for (;;) {
        const count = receiver.receive(socket.fd);
        if (count === WOULD_BLOCK) break;
        if (count === 0) return reject(new Error('the raw process went away'));
        for (const fd of receiver.fds) claimed.push(new OwnedFd(fd));
        answered += count;
      }
      if (answered < messages) return ask();
      const seconds = (performance.now() - start) / 1000;
      watch.close();
      memfd.close();
      if (kind === 'claim' && claimed.length !== messages * fdsPerMessage) reject(new Error('fds were lost'));
      closeAll(claimed);
      resolve(seconds);
    });
    ask();
  });
}

/** Let go of what was stored. */
export async function releaseRaw(socket: OwnedFd): Promise<void> {
  const receiver = new MessageReceiver(16);
  sendBytes(socket.fd, Buffer.alloc(requestBytes, 1));
  await new Promise<void>((resolve) => {
    const watch = eventLoop().watch(socket.fd, { readable: true, writable: false }, () => {
      if (receiver.receive(socket.fd) === WOULD_BLOCK) return;
      watch.close();
      resolve();
    });
  });
}

function serve(kind: RawKind, fdsPerMessage: number): void {
  const socket = new OwnedFd(3);
  const receiver = new MessageReceiver(64 * 1024);
  const sender = new MessageSender(1);
  const memfd = memfdCreate('bench');
  const given = new Array<number>(fdsPerMessage).fill(memfd.fd);
  let kept: OwnedFd[] = [];
  let bytes = 0;
  const watch = eventLoop().watch(socket.fd, { readable: true, writable: false }, () => {
    let answers = 0;
    for (;;) {
      const count = receiver.receive(socket.fd);
      if (count === WOULD_BLOCK) break;
      if (count === 0) {
        watch.close();
        return process.exit(0);
      }
      for (const fd of receiver.fds) kept.push(new OwnedFd(fd));
      if (receiver.buffer[0] === 1) {
        closeAll(kept);
        kept = [];
        sendBytes(socket.fd, ones, 1);
        continue;
      }
      bytes += count;
      for (; bytes >= requestBytes; bytes -= requestBytes) {
        if (kind === 'store') answers += 1;
        else if (sender.send(socket.fd, 1, given) !== 1) throw new Error('the window is larger than the socket');
      }
      // As the keeper does: the other end goes on while the rest is received.
      if (answers * fdsPerMessage >= FDS_PER_FLUSH) {
        sendBytes(socket.fd, ones, answers);
        answers = 0;
      }
    }
    if (answers > 0) sendBytes(socket.fd, ones, answers);
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  serve(process.argv[2] as RawKind, Number(process.argv[3]));
}
