/** Goal: descriptors wake their watchers inside Node's loop, and never anybody else. Method: real descriptors. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { IN, O } from '../../src/abi/index.js';
import {
  EventLoop,
  closeAll,
  epollCreate,
  epollCtl,
  eventLoop,
  eventfd,
  inotifyAddWatch,
  inotifyInit,
  inotifyRead,
  inotifyRemoveWatch,
  openFile,
  pipe,
  read,
  sendBytes,
  socketpair,
  timerfdCreate,
  timerfdSet,
  write,
  type OwnedFd,
} from '../../src/sys/index.js';
import { leakCheck, throwsErrno, until, withFolder } from './support.js';

leakCheck();

const one = Buffer.alloc(8);
one.writeBigUInt64LE(1n);

function drain(fd: OwnedFd): void {
  read(fd.fd, Buffer.alloc(8));
}

test('an eventfd wakes its watch once for each write, and promises run afterwards', async () => {
  const counter = eventfd();
  let wakes = 0;
  let resumed = 0;
  const watch = eventLoop().watch(counter.fd, { readable: true, writable: false }, (readable) => {
    assert.equal(readable, true);
    wakes += 1;
    drain(counter);
    void Promise.resolve().then(() => (resumed += 1));
  });
  for (let count = 1; count <= 5; count += 1) {
    write(counter.fd, one);
    await until(() => resumed === count, 'the promise behind the wake');
  }
  assert.equal(wakes, 5);
  watch.close();
  counter.close();
});

test('a timerfd and an inotify queue wake', () =>
  withFolder(async (folder) => {
    const timer = timerfdCreate();
    const queue = inotifyInit();
    const watchNumber = inotifyAddWatch(queue.fd, folder, IN.CREATE | IN.DELETE_SELF);
    let ticks = 0;
    const names: string[] = [];
    const watches = [
      eventLoop().watch(timer.fd, { readable: true, writable: false }, () => {
        ticks += 1;
        drain(timer);
      }),
      eventLoop().watch(queue.fd, { readable: true, writable: false }, () => {
        for (const event of inotifyRead(queue.fd)) names.push(event.name);
      }),
    ];
    timerfdSet(timer.fd, 1, 1);
    await until(() => ticks >= 3, 'three ticks');
    timerfdSet(timer.fd, 0);
    writeFileSync(join(folder, 'new'), '');
    await until(() => names.includes('new'), 'the name');
    assert.deepEqual(inotifyRead(queue.fd), []);
    inotifyRemoveWatch(queue.fd, watchNumber);
    throwsErrno(() => inotifyRemoveWatch(queue.fd, watchNumber), 'EINVAL');
    throwsErrno(() => inotifyAddWatch(queue.fd, join(folder, 'none'), IN.CREATE), 'ENOENT');
    for (const watch of watches) watch.close();
    closeAll([timer, queue]);
  }));

test('a watch that is closed in the same turn is not called any more, nor the one that took its number', async () => {
  const fds = [eventfd(), eventfd()] as const;
  const called: number[] = [];
  const watches = fds.map((fd, index) =>
    eventLoop().watch(fd.fd, { readable: true, writable: false }, () => {
      called.push(index);
      watches[0]!.close();
      watches[1]!.close();
    }),
  );
  for (const fd of fds) write(fd.fd, one);
  await until(() => called.length > 0, 'a wake');
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(called.length, 1);
  closeAll(fds);
});

test('interest changes with set, and a hang-up is told without any', async () => {
  const [a, b] = socketpair();
  let last = '';
  const watch = eventLoop().watch(a.fd, { readable: false, writable: false }, (readable, writable, hangup) => {
    last = `${readable} ${writable} ${hangup}`;
    watch.set({ readable: false, writable: false });
    if (hangup) watch.close();
  });
  sendBytes(b.fd, Buffer.from('x'));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(last, '');
  watch.set({ readable: true, writable: false });
  await until(() => last === 'true false false', 'readable');
  watch.set({ readable: false, writable: true });
  await until(() => last === 'false true false', 'writable');
  b.close();
  await until(() => last.endsWith('true'), 'the hang-up');
  watch.set({ readable: true, writable: true });
  watch.close();
  a.close();
});

test('what epoll cannot wait for is an error, never the end of the process', () => {
  const file = openFile('/proc/self/status', O.RDONLY | O.CLOEXEC);
  const interest = { readable: true, writable: false };
  throwsErrno(() => eventLoop().watch(file.fd, interest, () => {}), 'EPERM');
  const number = file.fd;
  file.close();
  throwsErrno(() => eventLoop().watch(number, interest, () => {}), 'EBADF');
  const counter = eventfd();
  const watch = eventLoop().watch(counter.fd, interest, () => {});
  throwsErrno(() => eventLoop().watch(counter.fd, interest, () => {}), 'EEXIST');
  watch.close();
  watch.close();
  counter.close();
  throwsErrno(() => openFile('/none/such', O.RDONLY), 'ENOENT');
});

test('deferred work runs after all callbacks of the turn, or as a microtask outside of one', async () => {
  const order: string[] = [];
  const fds = [eventfd(), eventfd()];
  const watches = fds.map((fd) =>
    eventLoop().watch(fd.fd, { readable: true, writable: false }, () => {
      drain(fd);
      order.push('callback');
      eventLoop().defer(() => order.push('deferred'));
    }),
  );
  for (const fd of fds) write(fd.fd, one);
  await until(() => order.length === 4, 'both');
  assert.deepEqual(order, ['callback', 'callback', 'deferred', 'deferred']);
  eventLoop().defer(() => order.push('microtask'));
  await Promise.resolve();
  assert.equal(order.at(-1), 'microtask');
  for (const watch of watches) watch.close();
  closeAll(fds);
});

test('a loop of its own ends with close, and an epoll descriptor can be watched by another', async () => {
  const inner = epollCreate();
  const counter = eventfd();
  epollCtl(inner.fd, 1, counter.fd, 1);
  const loop = new EventLoop();
  let woke = false;
  const watch = loop.watch(inner.fd, { readable: true, writable: false }, () => {
    woke = true;
    watch.close();
  });
  write(counter.fd, one);
  await until(() => woke, 'the inner epoll');
  loop.close();
  loop.close();
  closeAll([inner, counter]);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
});

test('a pipe carries bytes one way and wakes its reader at the end', async () => {
  const [reading, writing] = pipe();
  write(writing.fd, one);
  throwsErrno(() => write(reading.fd, one), 'EBADF');
  let ended = false;
  const watch = eventLoop().watch(reading.fd, { readable: true, writable: false }, () => {
    if (read(reading.fd, Buffer.alloc(16)) !== 0) return writing.close();
    ended = true;
    watch.close();
  });
  await until(() => ended, 'the end of the pipe');
  throwsErrno(() => read(reading.fd === 0 ? -1 : 1_000_000, Buffer.alloc(1)), 'EBADF');
  reading.close();
});

test('a referenced watch keeps the process alive, an unreferenced one does not', () => {
  const path = fileURLToPath(new URL('../../src/sys/index.js', import.meta.url));
  const run = (code: string): { status: number | null; stdout: string } => {
    const script = `import * as sys from ${JSON.stringify(path)};
      const fd = sys.timerfdCreate();
      const watch = sys.eventLoop().watch(fd.fd, { readable: true, writable: false }, () => {
        console.log('woken'); watch.close();
      });
      ${code}`;
    return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', timeout: 60_000 });
  };
  assert.deepEqual(pick(run('sys.timerfdSet(fd.fd, 30);')), [0, 'woken\n']);
  assert.deepEqual(pick(run('watch.unref();')), [0, '']);
  assert.deepEqual(pick(run('watch.unref(); watch.ref(); watch.ref(); sys.timerfdSet(fd.fd, 30);')), [0, 'woken\n']);
});

function pick(result: { status: number | null; stdout: string }): [number | null, string] {
  return [result.status, result.stdout];
}
