/**
 * The part of the backend contract that is about kinds of file: one after the other is preserved, its own fd closed, the
 * gap crossed, and what comes back has to do its work. A backend for memfds alone has to refuse each with ENOENT.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EPOLL, IN, O } from '../../abi/linux.js';
import * as sys from '../../sys/index.js';
import type { OwnedFd } from '../../sys/index.js';
import { refuses, type ContractRun, type Run } from './run.js';

/** A file of some kind, and the proof that what came back is that file. */
interface Sample {
  readonly file: OwnedFd;
  readonly works: (fd: number) => Promise<void> | void;
}

const KINDS: Readonly<Record<string, (run: ContractRun) => Promise<Sample> | Sample>> = {
  'the reading end of a pipe with bytes in it': (run) => {
    const [reader, writer] = pipe(run);
    sys.write(writer.fd, Buffer.from('in flight'));
    return { file: reader, works: (fd) => assert.equal(readText(fd), 'in flight') };
  },
  'the writing end of a pipe': (run) => {
    const [reader, writer] = pipe(run);
    return {
      file: writer,
      works: (fd) => {
        sys.write(fd, Buffer.from('after the gap'));
        assert.equal(readText(reader.fd), 'after the gap');
      },
    };
  },
  'a connected socket with unread bytes': (run) => {
    const [one, other] = sys.socketpair().map((each) => run.own(each)) as [OwnedFd, OwnedFd];
    sys.write(other.fd, Buffer.from('unread'));
    return {
      file: one,
      works: (fd) => {
        assert.equal(readText(fd), 'unread');
        sys.write(fd, Buffer.from('answer'));
        assert.equal(readText(other.fd), 'answer');
      },
    };
  },
  'a listening TCP socket with a connection that waits': async (run) => {
    const file = run.own(sys.tcpListen({ port: 0, address: '127.0.0.1' }));
    const name = sys.getsockname(file.fd);
    assert.ok(name.family === 'ipv4');
    const client = connect(name.port, name.address);
    run.own({ close: () => client.destroy() });
    await once(client, 'connect');
    return {
      file,
      works: async (fd) => {
        assert.deepEqual(sys.getsockname(fd), name);
        const accepted = run.own(await until(() => sys.accept(fd)));
        client.write('hello');
        assert.equal(await until(() => readIfAny(accepted.fd)), 'hello');
      },
    };
  },
  'a listening unix socket': async (run) => {
    const path = join(run.directory, 'socket');
    const file = run.own(sys.unixListen(path));
    return {
      file,
      works: async (fd) => {
        run.own(sys.unixConnect(path));
        run.own(await until(() => sys.accept(fd)));
      },
    };
  },
  'an eventfd with its count': (run) => {
    const file = run.own(sys.eventfd(7));
    return {
      file,
      works: (fd) => {
        const count = Buffer.alloc(8);
        sys.read(fd, count);
        assert.equal(count.readBigUInt64LE(), 7n);
      },
    };
  },
  'a timerfd that runs': (run) => {
    const file = run.own(sys.timerfdCreate());
    sys.timerfdSet(file.fd, 1);
    return {
      file,
      works: async (fd) => {
        const expirations = await until(() => readIfAny(fd));
        assert.equal(Buffer.from(expirations, 'latin1').readBigUInt64LE(), 1n);
      },
    };
  },
  'an epoll instance with its list': (run) => {
    const watched = run.own(sys.eventfd(1));
    const file = run.own(sys.epollCreate());
    sys.epollCtl(file.fd, EPOLL.CTL_ADD, watched.fd, EPOLL.IN, 42);
    return {
      file,
      works: (fd) => {
        const events = new sys.EpollEvents(1);
        assert.equal(events.wait(fd, 0), 1);
        assert.equal(events.tag(0), 42);
      },
    };
  },
  'an inotify instance with an event in it': (run) => {
    const file = run.own(sys.inotifyInit());
    sys.inotifyAddWatch(file.fd, run.directory, IN.CREATE);
    writeFileSync(join(run.directory, 'made'), '');
    return {
      file,
      works: (fd) =>
        assert.deepEqual(
          sys.inotifyRead(fd).map((event) => event.name),
          ['made'],
        ),
    };
  },
  'a pidfd': async (run) => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    run.own({ close: () => child.kill('SIGKILL') });
    await once(child, 'spawn');
    const exited = once(child, 'exit');
    return {
      file: run.own(sys.pidfdOpen(child.pid!)),
      works: async (fd) => {
        sys.pidfdSendSignal(fd, 'SIGTERM');
        assert.deepEqual(await exited, [null, 'SIGTERM']);
      },
    };
  },
  'a file with its position': (run) => {
    const path = join(run.directory, 'file');
    writeFileSync(path, '0123456789');
    const file = run.own(sys.openFile(path, O.RDWR));
    sys.read(file.fd, Buffer.alloc(4));
    return { file, works: (fd) => assert.equal(readText(fd), '456789') };
  },
  'a device node': (run) => ({
    file: run.own(sys.openFile('/dev/null', O.RDWR)),
    works: (fd) => assert.equal(readText(fd), ''),
  }),
};

export function kindCases(run: Run): void {
  for (const [what, make] of Object.entries(KINDS)) {
    test(`${what} crosses, or is refused with ENOENT`, async () => {
      const { file, works } = await make(run());
      const session = await run().backend.create('kinds');
      if (run().backend.capabilities.files === 'memfd') {
        await refuses(session.preserve(file.fd, 1n), 'ENOENT');
        return;
      }
      await session.preserve(file.fd, 1n);
      file.close();
      const fd = await run().retrieve(await (await run().cross()).retrieve('kinds'), 1n);
      await works(fd);
    });
  }

  test('two files of one anonymous inode are two files, and a dup of one is EBUSY', async () => {
    if (run().backend.capabilities.files === 'memfd') return;
    const session = await run().backend.create('kinds');
    const files = Array.from({ length: 20 }, (_, index) => run().own(sys.eventfd(index + 1)));
    for (const [index, file] of files.entries()) await session.preserve(file.fd, BigInt(index));
    for (const file of files) await refuses(session.preserve(run().own(file.dup()).fd, 100n), 'EBUSY');
    const incoming = await (await run().cross()).retrieve('kinds');
    for (const index of files.keys()) {
      const count = Buffer.alloc(8);
      sys.read(await run().retrieve(incoming, BigInt(index)), count);
      assert.equal(count.readBigUInt64LE(), BigInt(index + 1));
    }
  });

  test('two opens of one path are two files', async () => {
    if (run().backend.capabilities.files === 'memfd') return;
    const path = join(run().directory, 'twice');
    writeFileSync(path, 'x');
    const session = await run().backend.create('kinds');
    await session.preserve(run().own(sys.openFile(path, 0)).fd, 1n);
    await session.preserve(run().own(sys.openFile(path, 0)).fd, 2n);
  });
}

/** Node has no pipe(2): a FIFO that has lost its name is one in all but its link text. */
function pipe(run: ContractRun): [OwnedFd, OwnedFd] {
  const path = join(run.directory, 'fifo');
  execFileSync('mkfifo', [path]);
  const reader = run.own(sys.openFile(path, O.RDONLY | O.NONBLOCK));
  const writer = run.own(sys.openFile(path, O.WRONLY | O.NONBLOCK));
  rmSync(path);
  return [reader, writer];
}

function readText(fd: number): string {
  const buffer = Buffer.alloc(256);
  return buffer.subarray(0, sys.read(fd, buffer)).toString();
}

/** As bytes, one character each; undefined when there is nothing to read yet. */
function readIfAny(fd: number): string | undefined {
  try {
    const buffer = Buffer.alloc(256);
    return buffer.subarray(0, sys.read(fd, buffer)).toString('latin1');
  } catch (error) {
    if (sys.isSysError(error, 'EAGAIN')) return undefined;
    throw error;
  }
}

async function until<T>(get: () => T | undefined): Promise<T> {
  for (;;) {
    const value = get();
    if (value !== undefined) return value;
    await sleep(5);
  }
}
