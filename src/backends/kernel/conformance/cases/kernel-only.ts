/**
 * Facts about the device as a file and about preserved memory that belong to the file systems around the ABI: the kernel
 * has them, and whoever stands for it outside of the kernel cannot, or not all. Not run unless asked for.
 */
import { readlinkSync, rmSync } from 'node:fs';
import { decodeFd } from '../../../../abi/liveupdate.js';
import { EPOLL, MFD, O, SEAL } from '../../../../abi/linux.js';
import {
  OwnedFd,
  addSeals,
  epollCreate,
  epollCtl,
  fstat,
  ftruncate,
  getSeals,
  isSysError,
  openFile,
  pwrite,
  read,
  write,
} from '../../../../sys/index.js';
import { sessionArgument } from '../argument.js';
import { MEMFD_FLAGS, outcomeOf, type Bench } from '../bench.js';
import { CREATE_SESSION, GET_NAME } from '../calls.js';
import { type Case, type GapCase, cases, gapCases } from '../case.js';
import { expect } from '../verdict.js';

const KIND = 0o170000;
const CHARACTER_DEVICE = 0o020000;
/** O_DIRECTORY is part of it. */
const O_TMPFILE = 0o20200000;
/** The page cache writes as much as this at once. */
const CHUNK_BYTES = 2 * 2 ** 20;

function preservedFile(bench: Bench, text = 'hello world'): { file: OwnedFd; session: OwnedFd } {
  const file = bench.memfd(text);
  const session = bench.create('preserved');
  expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
  return { file, session };
}

function openedWith(name: string, flags: number): Case {
  return {
    name: `the device opened with ${name} does all that one opened with O_RDWR does, and is as exclusive`,
    run(bench) {
      const device = bench.open(bench.path, flags);
      expect('another open', bench.reopen(), 'EBUSY');
      const { outcome, reply } = bench.ask(device.fd, CREATE_SESSION.command, sessionArgument(bench.name('x')));
      expect('CREATE_SESSION', outcome, 'ok');
      bench.own(new OwnedFd(decodeFd(reply)));
    },
  };
}

export const KERNEL_ONLY: readonly Case[] = cases([
  openedWith('O_RDONLY', O.RDONLY),
  openedWith('O_WRONLY', O.WRONLY),
  {
    name: 'the device opened with O_PATH is open beside its holder, and can do nothing: EBADF',
    run(bench) {
      void bench.device;
      const path = bench.open(bench.path, O.PATH);
      expect('CREATE_SESSION', bench.ask(path.fd, CREATE_SESSION.command, sessionArgument('x')).outcome, 'EBADF');
      bench.closeDevice();
      expect('an open beside it', bench.reopen(), 'ok');
    },
  },
  {
    name: 'the device is a character device',
    run: (bench) => expect('kind', fstat(bench.device).mode & KIND, CHARACTER_DEVICE),
  },
  {
    name: 'the device and a session cannot be read, written or waited for',
    run(bench) {
      for (const fd of [bench.device, bench.create('waited for').fd]) {
        expect(
          'read',
          outcomeOf(() => read(fd, Buffer.alloc(1))),
          'EINVAL',
        );
        expect(
          'write',
          outcomeOf(() => write(fd, Buffer.alloc(1))),
          'EINVAL',
        );
        const epoll = bench.own(epollCreate());
        expect(
          'epoll_ctl',
          outcomeOf(() => epollCtl(epoll.fd, EPOLL.CTL_ADD, fd, EPOLL.IN)),
          'EPERM',
        );
      }
    },
  },
  {
    name: 'the text of a session’s link has its name in it',
    run(bench) {
      const session = bench.create('link');
      const text = readlinkSync(`/proc/self/fd/${session.fd}`);
      expect('link', text, `anon_inode:[luo_session] ${bench.name('link')}`);
    },
  },
  {
    name: 'an unknown number is EINVAL under a foreign type too',
    run(bench) {
      expect('device', bench.ask(bench.device, 0x5402, sessionArgument('x')).outcome, 'EINVAL');
      expect('session', bench.ask(bench.create('foreign').fd, 0x5401, sessionArgument('x')).outcome, 'EINVAL');
      expect('of a session', bench.ask(bench.device, GET_NAME.command, sessionArgument('x')).outcome, 'EINVAL');
    },
  },
  {
    name: 'a write beyond the end of a preserved memfd is EPERM, and writes nothing',
    run(bench) {
      const { file } = preservedFile(bench);
      expect(
        'append',
        outcomeOf(() => pwrite(file.fd, Buffer.from('!'), 11)),
        'EPERM',
      );
      expect(
        'over the end',
        outcomeOf(() => pwrite(file.fd, Buffer.from('WORLD!'), 6)),
        'EPERM',
      );
      expect('size', fstat(file.fd).sizeBytes, 11);
    },
  },
  {
    name: 'a write over the end of a large preserved memfd is cut short at a chunk of the page cache',
    run(bench) {
      const file = bench.memfd('');
      ftruncate(file.fd, CHUNK_BYTES);
      expect('PRESERVE_FD', bench.preserve(bench.create('large'), file, 1n), 'ok');
      const written = pwrite(file.fd, Buffer.alloc(CHUNK_BYTES + 4096, 1), 0);
      expect('cut at a page, before its end', written > 0 && written <= CHUNK_BYTES && written % 4096 === 0, true);
      expect('size', fstat(file.fd).sizeBytes, CHUNK_BYTES);
    },
  },
  {
    name: 'a preserved memfd cannot be sealed against writing: EBUSY, until its session is closed',
    run(bench) {
      const { file, session } = preservedFile(bench);
      expect(
        'sealed',
        outcomeOf(() => addSeals(file.fd, SEAL.WRITE)),
        'EBUSY',
      );
      session.close();
      expect(
        'afterwards',
        outcomeOf(() => addSeals(file.fd, SEAL.WRITE)),
        'ok',
      );
      expect('seals', getSeals(file.fd), SEAL.WRITE);
    },
  },
  {
    name: 'a file of a tmpfs is taken when it has no name there, and has no handler while it has one',
    run(bench) {
      let file: OwnedFd;
      try {
        file = bench.own(openFile('/dev/shm', O.RDWR | O_TMPFILE, 0o600));
      } catch (error) {
        if (isSysError(error, 'ENOENT') || isSysError(error, 'EOPNOTSUPP')) bench.skip('/dev/shm is no tmpfs here');
        throw error;
      }
      expect('without a name', bench.preserve(bench.create('unnamed'), file, 1n), 'ok');
      const path = `/dev/shm/luo-conformance-${process.pid}`;
      const named = bench.open(path, O.RDWR | 0o100 /* O_CREAT */);
      bench.atEnd(() => rmSync(path));
      expect('with one', bench.preserve(bench.create('named'), named, 1n), 'ENOENT');
    },
  },
  {
    name: 'a memfd of huge pages has no handler: ENOENT',
    run(bench) {
      let file: OwnedFd;
      try {
        file = bench.memfd('', MFD.CLOEXEC | MFD.HUGETLB);
      } catch (error) {
        if (isSysError(error, 'ENOMEM') || isSysError(error, 'ENOSYS') || isSysError(error, 'ENODEV'))
          bench.skip('this kernel has no huge pages');
        throw error;
      }
      expect('PRESERVE_FD', bench.preserve(bench.create('huge'), file, 1n), 'ENOENT');
    },
  },
]);

export const KERNEL_ONLY_GAP: readonly GapCase[] = gapCases([
  {
    name: 'a memfd comes back without its name, and its link says so',
    before(bench) {
      const session = bench.keep(bench.create('unnamed'));
      expect('PRESERVE_FD', bench.preserve(session, bench.memfd('content', MEMFD_FLAGS), 1n), 'ok');
    },
    after(bench) {
      const file = bench.take(bench.retrieve('unnamed'), 1n);
      expect('link', readlinkSync(`/proc/self/fd/${file.fd}`), '/ (deleted)');
    },
  },
]);
