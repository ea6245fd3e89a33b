/** A session that came over: who gets it, what it gives, how it ends. @source kernel/liveupdate/luo_session.c, luo_file.c */
import { LIVEUPDATE_IOCTL, LIVEUPDATE_SESSION, decodeFd } from '../../../../abi/liveupdate.js';
import { OwnedFd, isOpen, pwrite, read } from '../../../../sys/index.js';
import { fdArgument, finishArgument, sessionArgument } from '../argument.js';
import { argumentCases, directionCases, type ArgumentCase } from '../argument-cases.js';
import { contentOf, fdinfoOf, type Bench } from '../bench.js';
import { FINISH, GET_NAME, PRESERVE_FD, RETRIEVE_FD } from '../calls.js';
import { type GapCase, gapCases } from '../case.js';
import { expect } from '../verdict.js';

/** A session with `text` under token 1 comes over, and `after` meets it. */
function arrived(name: string, after: (bench: Bench) => void | Promise<void>): GapCase {
  return {
    name,
    before(bench) {
      const session = bench.keep(bench.create('session'));
      expect('PRESERVE_FD', bench.preserve(session, bench.memfd('hello world'), 1n), 'ok');
    },
    after,
  };
}

function onIncoming(cases: readonly ArgumentCase[]): readonly GapCase[] {
  return cases.map(({ name, run }) => ({
    name: `incoming session: ${name}`,
    before: (bench) => void bench.keep(bench.create('empty')),
    after: (bench) => run(bench, bench.retrieve('empty').fd),
  }));
}

export const INCOMING: readonly GapCase[] = gapCases([
  arrived('it is retrieved once: EINVAL while somebody has it', (bench) => {
    bench.retrieve('session');
    expect('again', bench.tryRetrieve(bench.name('session')).outcome, 'EINVAL');
    expect('once more', bench.tryRetrieve(bench.name('session')).outcome, 'EINVAL');
  }),
  arrived('it outlives the close of the device, and cannot be retrieved by the next open either', (bench) => {
    const session = bench.retrieve('session');
    bench.closeDevice();
    expect('content', contentOf(bench.take(session, 1n)), 'hello world');
    expect('the next open', bench.tryRetrieve(bench.name('session')).outcome, 'EINVAL');
  }),
  arrived('its fd is close-on-exec', (bench) => {
    expect('flags', fdinfoOf(bench.retrieve('session'), 'flags') & 0x80000, 0x80000);
  }),
  arrived('GET_NAME gives its name', (bench) => {
    expect('GET_NAME', bench.nameOf(bench.retrieve('session')), bench.name('session'));
  }),
  arrived('nothing can be preserved in it: EINVAL', (bench) => {
    expect('PRESERVE_FD', bench.preserve(bench.retrieve('session'), bench.memfd('x'), 2n), 'EINVAL');
  }),
  arrived('an fd that is retrieved twice is one open file: the position is shared', (bench) => {
    const session = bench.retrieve('session');
    const [one, other] = [bench.take(session, 1n), bench.take(session, 1n)];
    expect('two numbers', one.fd !== other.fd, true);
    pwrite(one.fd, Buffer.from('HELLO'), 0);
    expect('content', contentOf(other), 'HELLO world');
    const before = fdinfoOf(one, 'pos');
    read(other.fd, Buffer.alloc(4));
    expect('position', fdinfoOf(one, 'pos'), fdinfoOf(other, 'pos'));
    expect('at the end already', before, 11);
  }),
  arrived('an fd that was closed can be retrieved again before FINISH, as it was left', (bench) => {
    const session = bench.retrieve('session');
    const file = bench.take(session, 1n);
    pwrite(file.fd, Buffer.from('HELLO'), 0);
    file.close();
    expect('content', contentOf(bench.take(session, 1n)), 'HELLO world');
  }),
  arrived('a session of the same name can be created while it waits, and is another one', (bench) => {
    const created = bench.create('session');
    expect('PRESERVE_FD', bench.preserve(created, bench.memfd('new'), 1n), 'ok');
    const session = bench.retrieve('session');
    expect('content', contentOf(bench.take(session, 1n)), 'hello world');
    expect('the new one is taken', bench.tryCreate(bench.name('session')).outcome, 'EEXIST');
    expect('the new one is outgoing', bench.tryTake(created, 1n).outcome, 'EINVAL');
  }),
  arrived('what came out of it can be preserved again only after FINISH: EBUSY', (bench) => {
    const session = bench.retrieve('session');
    const file = bench.take(session, 1n);
    const next = bench.create('next');
    expect('before', bench.preserve(next, file, 1n), 'EBUSY');
    expect('a duplicate before', bench.preserve(next, bench.own(file.dup()), 1n), 'EBUSY');
    expect('FINISH', bench.finish(session), 'ok');
    expect('after', bench.preserve(next, file, 1n), 'ok');
  }),
  arrived('what came out of it can be preserved again after its close', (bench) => {
    const session = bench.retrieve('session');
    const file = bench.take(session, 1n);
    session.close();
    expect('PRESERVE_FD', bench.preserve(bench.create('next'), file, 1n), 'ok');
  }),
  arrived('FINISH ends its tokens, can be said again, and takes nothing from who has a file', (bench) => {
    const session = bench.retrieve('session');
    const file = bench.take(session, 1n);
    expect('FINISH', bench.finish(session), 'ok');
    expect('RETRIEVE_FD', bench.tryTake(session, 1n).outcome, 'ENOENT');
    expect('FINISH again', bench.finish(session), 'ok');
    expect('content', contentOf(file), 'hello world');
    expect('GET_NAME', bench.nameOf(session), bench.name('session'));
    expect('PRESERVE_FD', bench.preserve(session, bench.memfd('x'), 2n), 'EINVAL');
  }),
  arrived('FINISH without a retrieve is the end of what was in it', (bench) => {
    const session = bench.retrieve('session');
    expect('FINISH', bench.finish(session), 'ok');
    expect('RETRIEVE_FD', bench.tryTake(session, 1n).outcome, 'ENOENT');
  }),
  arrived('after FINISH its name is EINVAL while its fd is open, and ENOENT then', (bench) => {
    const session = bench.retrieve('session');
    expect('FINISH', bench.finish(session), 'ok');
    expect('while it is open', bench.tryRetrieve(bench.name('session')).outcome, 'EINVAL');
    session.close();
    expect('after its close', bench.tryRetrieve(bench.name('session')).outcome, 'ENOENT');
  }),
  arrived('FINISH with a reserved field that is not zero is EINVAL, and finishes nothing', (bench) => {
    const session = bench.retrieve('session');
    const { outcome } = bench.ask(session.fd, LIVEUPDATE_SESSION.FINISH, finishArgument(1));
    expect('FINISH', outcome, 'EINVAL');
    expect('content', contentOf(bench.take(session, 1n)), 'hello world');
  }),
  arrived('its last close is a FINISH: there is no second chance', (bench) => {
    const session = bench.retrieve('session');
    const copy = bench.own(session.dup());
    session.close();
    expect('through the duplicate', contentOf(bench.take(copy, 1n)), 'hello world');
    copy.close();
    expect('RETRIEVE_SESSION', bench.tryRetrieve(bench.name('session')).outcome, 'ENOENT');
  }),
  arrived('it ends with the process that had the last copy', async (bench) => {
    const session = bench.retrieve('session');
    const child = bench.child(['name'], [session]);
    expect('GET_NAME in the child', await child.said(), bench.name('session'));
    session.close();
    expect('while the child lives', bench.tryRetrieve(bench.name('session')).outcome, 'EINVAL');
    await child.kill();
    expect('after it', bench.tryRetrieve(bench.name('session')).outcome, 'ENOENT');
  }),
  arrived(
    'RETRIEVE_SESSION: an answer that cannot be written is EFAULT, and the session and all in it is gone',
    (bench) => {
      const argument = sessionArgument(bench.name('session'));
      const { outcome } = bench.ask(bench.device, LIVEUPDATE_IOCTL.RETRIEVE_SESSION, argument, 'read-only');
      expect('RETRIEVE_SESSION', outcome, 'EFAULT');
      expect('again', bench.tryRetrieve(bench.name('session')).outcome, 'ENOENT');
    },
  ),
  arrived('RETRIEVE_FD: an answer that cannot be written is EFAULT, and it may be tried again', (bench) => {
    const session = bench.retrieve('session');
    const { outcome } = bench.ask(session.fd, LIVEUPDATE_SESSION.RETRIEVE_FD, fdArgument(-1, 1n), 'read-only');
    expect('RETRIEVE_FD', outcome, 'EFAULT');
    expect('again', contentOf(bench.take(session, 1n)), 'hello world');
  }),
  arrived('FINISH: an answer that cannot be written is EFAULT, and it has happened', (bench) => {
    const session = bench.retrieve('session');
    expect('FINISH', bench.ask(session.fd, LIVEUPDATE_SESSION.FINISH, finishArgument(), 'read-only').outcome, 'EFAULT');
    expect('RETRIEVE_FD', bench.tryTake(session, 1n).outcome, 'ENOENT');
  }),
  arrived('RETRIEVE_SESSION without a free fd is EMFILE, and may be tried again', (bench) => {
    const argument = sessionArgument(bench.name('session'));
    expect('RETRIEVE_SESSION', bench.askWithoutFds(LIVEUPDATE_IOCTL.RETRIEVE_SESSION, argument), 'EMFILE');
    expect('again', contentOf(bench.take(bench.retrieve('session'), 1n)), 'hello world');
  }),
  arrived('RETRIEVE_FD without a free fd is EMFILE before ENOENT, and may be tried again', (bench) => {
    const session = bench.retrieve('session');
    for (const token of [1n, 2n]) {
      const argument = fdArgument(-1, token);
      expect('RETRIEVE_FD', bench.askWithoutFds(LIVEUPDATE_SESSION.RETRIEVE_FD, argument, session), 'EMFILE');
    }
    expect('again', contentOf(bench.take(session, 1n)), 'hello world');
  }),
  arrived('RETRIEVE_FD: the answer has the fd in it, and is otherwise the question', (bench) => {
    const session = bench.retrieve('session');
    const given = fdArgument(-77, 1n);
    const { outcome, reply } = bench.ask(session.fd, LIVEUPDATE_SESSION.RETRIEVE_FD, given);
    expect('RETRIEVE_FD', outcome, 'ok');
    bench.own(new OwnedFd(decodeFd(reply)));
    expect('it is open', isOpen(decodeFd(reply)), true);
    given.writeInt32LE(decodeFd(reply), 4);
    expect('the struct', reply.toString('hex'), given.toString('hex'));
  }),
  ...onIncoming(argumentCases(RETRIEVE_FD)),
  ...onIncoming(argumentCases(FINISH)),
  ...onIncoming(argumentCases(GET_NAME)),
  ...onIncoming(directionCases(PRESERVE_FD)),
]);
