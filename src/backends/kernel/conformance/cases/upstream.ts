/**
 * The fifteen facts of upstream's own selftest, under its names, for who has no compiler on the machine.
 * @source tools/testing/selftests/liveupdate/liveupdate.c (Linux 7.3)
 */
import { getFileLimit, isSysError, memfdCreate, setFileLimit, type OwnedFd } from '../../../../sys/index.js';
import { contentOf, type Bench } from '../bench.js';
import { type Case } from '../case.js';
import { expect } from '../verdict.js';

const MANY_SESSIONS = 2000;
const MANY_FILES = 500;
/** As upstream has it: what the program itself has open. */
const OWN_FDS = 32;

/** As many open files as `needed` more; put back at the end. */
function needFds(bench: Bench, needed: number): void {
  const limit = getFileLimit();
  const soft = needed + OWN_FDS;
  if (limit.soft >= soft) return;
  try {
    setFileLimit({ soft, hard: Math.max(soft, limit.hard) });
  } catch (error) {
    if (!isSysError(error, 'EPERM')) throw error;
    bench.skip(`the limit of open files is ${limit.hard}, and this needs ${soft}`);
  }
  bench.atEnd(() => setFileLimit(limit));
}

function preserved(bench: Bench, session: OwnedFd, text: string, token: bigint): OwnedFd {
  const file = bench.memfd(text);
  expect(`PRESERVE_FD under ${token}`, bench.preserve(session, file, token), 'ok');
  return file;
}

const CASES: Readonly<Record<string, Case['run']>> = {
  basic_open_close: (bench) => expect('open', bench.reopen(), 'ok'),
  exclusive_open(bench) {
    void bench.device;
    expect('the second open', bench.reopen(), 'EBUSY');
  },
  create_duplicate_session(bench) {
    bench.create('duplicate-session-test');
    expect('the second', bench.tryCreate(bench.name('duplicate-session-test')).outcome, 'EEXIST');
  },
  create_distinct_sessions(bench) {
    bench.create('distinct-session-1');
    bench.create('distinct-session-2');
  },
  preserve_memfd(bench) {
    const session = bench.create('preserve-memfd-test');
    const file = preserved(bench, session, 'hello liveupdate', 0x1234n);
    session.close();
    expect('content', contentOf(file), 'hello liveupdate');
  },
  preserve_multiple_memfds(bench) {
    const session = bench.create('preserve-multi-memfd-test');
    const one = preserved(bench, session, 'data for memfd one', 0xaaaan);
    const two = preserved(bench, session, 'data for memfd two', 0xbbbbn);
    expect('the first', contentOf(one), 'data for memfd one');
    expect('the second', contentOf(two), 'data for memfd two');
  },
  preserve_complex_scenario(bench) {
    const [one, two] = [bench.create('complex-session-1'), bench.create('complex-session-2')];
    const data = [
      preserved(bench, one, 'data for session 1', 0x1111n),
      preserved(bench, two, 'data for session 2', 0x3333n),
    ];
    const empty = [preserved(bench, one, '', 0x2222n), preserved(bench, two, '', 0x4444n)];
    expect('data', data.map(contentOf), ['data for session 1', 'data for session 2']);
    expect('empty files', empty.map(contentOf), ['', '']);
  },
  preserve_unsupported_fd(bench) {
    const session = bench.create('unsupported-fd-test');
    expect('/dev/null', bench.preserve(session, bench.open('/dev/null'), 0xdeadn), 'ENOENT');
  },
  prevent_double_preservation(bench) {
    const [one, two] = [bench.create('double-preserve-session-1'), bench.create('double-preserve-session-2')];
    const file = preserved(bench, one, 'content', 0x1111n);
    expect('in another session', bench.preserve(two, file, 0x2222n), 'EBUSY');
    expect('in the same session', bench.preserve(one, file, 0x3333n), 'EBUSY');
  },
  create_session_no_null_termination: (bench) =>
    expect('CREATE_SESSION', bench.tryCreate(Buffer.alloc(64, 'X')).outcome, 'EINVAL'),
  create_session_empty_name: (bench) => expect('CREATE_SESSION', bench.tryCreate('').outcome, 'EINVAL'),
  get_session_name: (bench) =>
    expect('GET_NAME', bench.nameOf(bench.create('get-name-test')), bench.name('get-name-test')),
  get_session_name_max_length(bench) {
    const { outcome, session } = bench.tryCreate('A'.repeat(63));
    expect('CREATE_SESSION', outcome, 'ok');
    expect('GET_NAME', bench.nameOf(session!), 'A'.repeat(63));
  },
  preserve_many_sessions(bench) {
    needFds(bench, MANY_SESSIONS);
    for (let index = 0; index < MANY_SESSIONS; index += 1) bench.create(`many-session-${index}`);
  },
  preserve_many_files(bench) {
    needFds(bench, MANY_FILES);
    const session = bench.create('many-files-test');
    for (let index = 0; index < MANY_FILES; index += 1) {
      const file = bench.own(memfdCreate('conformance', 0));
      expect(`PRESERVE_FD of file ${index}`, bench.preserve(session, file, BigInt(index)), 'ok');
    }
  },
};

export const UPSTREAM: readonly Case[] = Object.entries(CASES).map(([name, run]) => ({ name, run }));
