/** PRESERVE_FD: what it takes, what it refuses, and which refusal comes first. @source kernel/liveupdate/luo_file.c */
import { LIVEUPDATE_SESSION } from '../../../../abi/liveupdate.js';
import { MFD, O, SEAL, SOCK } from '../../../../abi/linux.js';
import {
  addSeals,
  epollCreate,
  eventfd,
  pipe,
  socketpair,
  timerfdCreate,
  type OwnedFd,
} from '../../../../sys/index.js';
import { fdArgument } from '../argument.js';
import type { Bench } from '../bench.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

const LARGEST = 2n ** 64n - 1n;
const NO_FD = 100_000;

function noHandler(what: string, make: (bench: Bench) => OwnedFd): Case {
  return {
    name: `${what} has no handler: ENOENT`,
    run(bench) {
      const session = bench.create('kinds');
      expect('PRESERVE_FD', bench.preserve(session, make(bench), 1n), 'ENOENT');
      expect('the token is free afterwards', bench.preserve(session, bench.memfd('content'), 1n), 'ok');
    },
  };
}

/** The same memory under another number is the same file. */
function busy(what: string, again: (bench: Bench, file: OwnedFd) => OwnedFd): readonly Case[] {
  return (['its own', 'another'] as const).map((whose) => ({
    name: `${what} is EBUSY in ${whose} session`,
    run(bench: Bench) {
      const session = bench.create('first');
      const file = bench.memfd('content');
      expect('the first time', bench.preserve(session, file, 1n), 'ok');
      const second = whose === 'another' ? bench.create('second') : session;
      expect('the second time', bench.preserve(second, again(bench, file), 2n), 'EBUSY');
    },
  }));
}

export const PRESERVE: readonly Case[] = cases([
  noHandler('a character device', (bench) => bench.open('/dev/null')),
  noHandler('a stream socket', (bench) => socketpair().map((end) => bench.own(end))[0]!),
  noHandler('a datagram socket', (bench) => socketpair(SOCK.DGRAM).map((end) => bench.own(end))[0]!),
  noHandler('a pipe', (bench) => pipe().map((end) => bench.own(end))[0]!),
  noHandler('an eventfd', (bench) => bench.own(eventfd())),
  noHandler('a timerfd', (bench) => bench.own(timerfdCreate())),
  noHandler('an epoll', (bench) => bench.own(epollCreate())),
  noHandler('a folder', (bench) => bench.open('/', O.RDONLY)),
  noHandler('a file of /proc', (bench) => bench.open('/proc/self/status', O.RDONLY)),
  noHandler('a program', (bench) => bench.open(process.execPath, O.RDONLY)),
  noHandler('a session', (bench) => bench.create('itself')),
  noHandler('the device', (bench) => {
    void bench.device;
    bench.closeDevice();
    return bench.openDevice();
  }),
  ...busy('the same fd again', (_bench, file) => file),
  ...busy('a duplicate', (bench, file) => bench.own(file.dup())),
  ...busy('the same memfd opened again', (bench, file) => bench.open(`/proc/self/fd/${file.fd}`)),
  ...busy('the same memfd opened read-only', (bench, file) => bench.open(`/proc/self/fd/${file.fd}`, O.RDONLY)),
  {
    name: 'tokens are any number of 64 bits',
    run(bench) {
      const session = bench.create('tokens');
      for (const token of [0n, 1n, 0x1234n, 2n ** 32n, 2n ** 63n, LARGEST - 1n, LARGEST]) {
        expect(`token ${token}`, bench.preserve(session, bench.memfd('content'), token), 'ok');
      }
      expect('token 0 again', bench.preserve(session, bench.memfd('content'), 0n), 'EEXIST');
      expect('the largest again', bench.preserve(session, bench.memfd('content'), LARGEST), 'EEXIST');
    },
  },
  {
    name: 'a token is used once in a session, and freely in another',
    run(bench) {
      const [one, other] = [bench.create('one'), bench.create('other')];
      expect('the first', bench.preserve(one, bench.memfd('a'), 7n), 'ok');
      expect('again', bench.preserve(one, bench.memfd('b'), 7n), 'EEXIST');
      expect('elsewhere', bench.preserve(other, bench.memfd('c'), 7n), 'ok');
    },
  },
  {
    name: 'EEXIST of the token comes before EBADF, ENOENT and EBUSY of the fd',
    run(bench) {
      const session = bench.create('order');
      const file = bench.memfd('content');
      expect('the first', bench.preserve(session, file, 1n), 'ok');
      expect('no fd', bench.preserve(session, NO_FD, 1n), 'EEXIST');
      expect('no handler', bench.preserve(session, bench.open('/dev/null'), 1n), 'EEXIST');
      expect('the same file', bench.preserve(session, file, 1n), 'EEXIST');
    },
  },
  {
    name: 'a number that is no open fd is EBADF, and leaves the token free',
    run(bench) {
      const session = bench.create('bad');
      const closed = bench.memfd('content');
      const number = closed.fd;
      // The question's own memory takes the number that is closed last.
      const above = bench.memfd('above');
      const numberAbove = above.fd;
      closed.close();
      above.close();
      expect('closed', bench.preserve(session, Math.max(number, numberAbove), 1n), 'EBADF');
      for (const fd of [-1, -100, NO_FD, 2 ** 31 - 1]) expect(`fd ${fd}`, bench.preserve(session, fd, 1n), 'EBADF');
      expect('the token', bench.preserve(session, bench.memfd('content'), 1n), 'ok');
    },
  },
  {
    name: 'an fd opened with O_PATH is EBADF',
    run(bench) {
      const path = bench.open(`/proc/self/fd/${bench.memfd('content').fd}`, O.PATH);
      expect('PRESERVE_FD', bench.preserve(bench.create('path'), path, 1n), 'EBADF');
    },
  },
  {
    name: 'EBUSY leaves the token free, and the file where it is',
    run(bench) {
      const [one, other] = [bench.create('one'), bench.create('other')];
      const file = bench.memfd('content');
      expect('the first', bench.preserve(one, file, 1n), 'ok');
      expect('elsewhere', bench.preserve(other, file, 1n), 'EBUSY');
      expect('the token', bench.preserve(other, bench.memfd('other'), 1n), 'ok');
      one.close();
      expect('after the close', bench.preserve(other, file, 2n), 'ok');
    },
  },
  {
    name: 'the answer is the question',
    run(bench) {
      const given = fdArgument(bench.memfd('content').fd, 0x1234n);
      const { outcome, reply } = bench.ask(bench.create('answer').fd, LIVEUPDATE_SESSION.PRESERVE_FD, given);
      expect('PRESERVE_FD', outcome, 'ok');
      expect('the struct', reply.toString('hex'), given.toString('hex'));
    },
  },
  {
    name: 'a memfd of no bytes is taken',
    run: (bench) => expect('PRESERVE_FD', bench.preserve(bench.create('empty'), bench.memfd(''), 1n), 'ok'),
  },
  {
    name: 'a memfd that is open for reading alone is taken',
    run(bench) {
      const file = bench.open(`/proc/self/fd/${bench.memfd('content').fd}`, O.RDONLY);
      expect('PRESERVE_FD', bench.preserve(bench.create('read'), file, 1n), 'ok');
    },
  },
  {
    name: 'a memfd with every seal is taken',
    run(bench) {
      const file = bench.memfd('content');
      addSeals(file.fd, SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.FUTURE_WRITE | SEAL.SEAL);
      expect('PRESERVE_FD', bench.preserve(bench.create('sealed'), file, 1n), 'ok');
    },
  },
  {
    name: 'a memfd that cannot be sealed is taken',
    run: (bench) =>
      expect('PRESERVE_FD', bench.preserve(bench.create('plain'), bench.memfd('content', MFD.CLOEXEC), 1n), 'ok'),
  },
  {
    name: 'an answer that cannot be written is EFAULT, and the file is preserved all the same',
    run(bench) {
      const [one, other] = [bench.create('one'), bench.create('other')];
      const file = bench.memfd('content');
      const { outcome } = bench.ask(one.fd, LIVEUPDATE_SESSION.PRESERVE_FD, fdArgument(file.fd, 1n), 'read-only');
      expect('PRESERVE_FD', outcome, 'EFAULT');
      expect('the token', bench.preserve(one, bench.memfd('other'), 1n), 'EEXIST');
      expect('the file', bench.preserve(other, file, 1n), 'EBUSY');
      one.close();
      expect('after the close', bench.preserve(other, file, 1n), 'ok');
    },
  },
]);
