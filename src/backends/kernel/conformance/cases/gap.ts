/** What comes over a jump: sessions by their names, files by their tokens, and what a memfd keeps and loses. */
import { MFD, O, SEAL } from '../../../../abi/linux.js';
import {
  addSeals,
  fstat,
  ftruncate,
  getSeals,
  pread,
  pwrite,
  read,
  setStatusFlags,
  write,
  type OwnedFd,
} from '../../../../sys/index.js';
import { contentOf, fdinfoOf, outcomeOf, type Bench } from '../bench.js';
import { NO_TOKEN } from '../calls.js';
import { type GapCase, gapCases } from '../case.js';
import { Mismatch, expect } from '../verdict.js';

const SPARSE_BYTES = 8 * 2 ** 20;
const MANY = 100;
const LARGEST = 2n ** 64n - 1n;

/** A session that stays open until the jump. */
function left(bench: Bench, label = 'session'): OwnedFd {
  return bench.keep(bench.create(label));
}

function preserved(bench: Bench, session: OwnedFd, file: OwnedFd, token = 1n): void {
  expect(`PRESERVE_FD under ${token}`, bench.preserve(session, file, token), 'ok');
}

/** One memfd in a session of its own, and how it comes back. */
function memfdCase(
  name: string,
  make: (bench: Bench) => OwnedFd,
  look: (file: OwnedFd, bench: Bench) => void,
): GapCase {
  return {
    name,
    before: (bench) => preserved(bench, left(bench), make(bench)),
    after: (bench) => look(bench.take(bench.retrieve('session'), 1n), bench),
  };
}

export const GAP: readonly GapCase[] = gapCases([
  memfdCase(
    'content and size come over',
    (bench) => bench.memfd('hello kexec world'),
    (file) => {
      expect('content', contentOf(file), 'hello kexec world');
      expect('size', fstat(file.fd).sizeBytes, 17);
    },
  ),
  memfdCase(
    'a memfd of no bytes comes over',
    (bench) => bench.memfd(''),
    (file) => expect('size', fstat(file.fd).sizeBytes, 0),
  ),
  memfdCase(
    'holes come over as zeros',
    (bench) => {
      const file = bench.memfd('');
      ftruncate(file.fd, SPARSE_BYTES);
      pwrite(file.fd, Buffer.from('end'), SPARSE_BYTES - 3);
      return file;
    },
    (file) => {
      expect('size', fstat(file.fd).sizeBytes, SPARSE_BYTES);
      const bytes = Buffer.alloc(1 << 20, 1);
      for (let offset = 0; offset < SPARSE_BYTES - bytes.length; offset += bytes.length) {
        pread(file.fd, bytes, offset);
        if (bytes.some((byte) => byte !== 0)) throw new Mismatch('a hole', 'zeros', `others, near ${offset}`);
      }
      pread(file.fd, bytes, SPARSE_BYTES - 3);
      expect('the end', bytes.toString('utf8', 0, 3), 'end');
    },
  ),
  {
    name: 'what is written in place after PRESERVE_FD comes over',
    before(bench) {
      const file = bench.memfd('hello world');
      preserved(bench, left(bench), file);
      pwrite(file.fd, Buffer.from('HELLO'), 0);
    },
    after: (bench) => expect('content', contentOf(bench.take(bench.retrieve('session'), 1n)), 'HELLO world'),
  },
  {
    name: 'the position is that of the jump, of the open file that was preserved',
    before(bench) {
      const file = bench.memfd('0123456789');
      const other = bench.open(`/proc/self/fd/${file.fd}`);
      preserved(bench, left(bench), other);
      read(other.fd, Buffer.alloc(4));
    },
    after(bench) {
      const file = bench.take(bench.retrieve('session'), 1n);
      expect('position', fdinfoOf(file, 'pos'), 4);
      const bytes = Buffer.alloc(3);
      expect('read from there', [read(file.fd, bytes), bytes.toString()], [3, '456']);
    },
  },
  memfdCase(
    'what was open for reading alone comes back writable',
    (bench) => {
      const file = bench.memfd('read only');
      return bench.open(`/proc/self/fd/${file.fd}`, O.RDONLY);
    },
    (file) => {
      expect('access', fdinfoOf(file, 'flags') & 3, O.RDWR);
      expect('write', pwrite(file.fd, Buffer.from('R'), 0), 1);
      expect('content', contentOf(file), 'Read only');
    },
  ),
  memfdCase(
    'O_APPEND and O_NONBLOCK are lost',
    (bench) => {
      const file = bench.memfd('content');
      setStatusFlags(file.fd, O.NONBLOCK | 0o2000 /* O_APPEND */);
      return file;
    },
    (file) => expect('flags', fdinfoOf(file, 'flags') & (O.NONBLOCK | 0o2000), 0),
  ),
  memfdCase(
    'it comes back close-on-exec',
    (bench) => bench.memfd('content', MFD.ALLOW_SEALING | MFD.EXEC),
    (file) => expect('flags', fdinfoOf(file, 'flags') & O.CLOEXEC, O.CLOEXEC),
  ),
  memfdCase(
    'it comes back without a name, with mode 0777',
    (bench) => bench.memfd('content'),
    (file) => {
      expect('mode', (fstat(file.fd).mode & 0o7777).toString(8), '777');
      expect('names', fstat(file.fd).nlink, 0);
    },
  ),
  memfdCase(
    'it comes back changeable: written, grown, cut, sealed',
    (bench) => bench.memfd('content'),
    (file) => {
      expect('beyond its end', pwrite(file.fd, Buffer.from('!'), 7), 1);
      ftruncate(file.fd, 100);
      ftruncate(file.fd, 3);
      expect('content', contentOf(file), 'con');
      addSeals(file.fd, SEAL.WRITE | SEAL.SHRINK);
      expect('seals', getSeals(file.fd), SEAL.WRITE | SEAL.SHRINK);
    },
  ),
  memfdCase(
    'a memfd that could not be sealed comes back with that seal',
    (bench) => bench.memfd('content', MFD.CLOEXEC),
    (file) => expect('seals', getSeals(file.fd) & SEAL.SEAL, SEAL.SEAL),
  ),
  memfdCase(
    'seals that it had at PRESERVE_FD come over',
    (bench) => {
      const file = bench.memfd('sealed');
      addSeals(file.fd, SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.SEAL);
      return file;
    },
    (file) => {
      expect('seals', getSeals(file.fd), SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.SEAL);
      expect(
        'write',
        outcomeOf(() => pwrite(file.fd, Buffer.from('S'), 0)),
        'EPERM',
      );
      expect('content', contentOf(file), 'sealed');
    },
  ),
  {
    name: 'seals that were added after PRESERVE_FD are lost',
    before(bench) {
      const file = bench.memfd('late seals');
      preserved(bench, left(bench), file);
      addSeals(file.fd, SEAL.SHRINK | SEAL.GROW);
    },
    after(bench) {
      const file = bench.take(bench.retrieve('session'), 1n);
      expect('seals', getSeals(file.fd), 0);
      ftruncate(file.fd, 100);
    },
  },
  memfdCase(
    'a memfd that is sealed against execution comes back sealed against every change',
    (bench) => bench.memfd('noexec', MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL),
    (file) => {
      const all = SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.FUTURE_WRITE | SEAL.EXEC;
      expect('seals', getSeals(file.fd), all);
      expect('content', contentOf(file), 'noexec');
      expect(
        'write',
        outcomeOf(() => write(file.fd, Buffer.from('x'))),
        'EPERM',
      );
    },
  ),
  {
    name: 'files of one session come back in any order, each under its token',
    before(bench) {
      const session = left(bench);
      for (const token of [0n, 1n, 0x1234n, 2n ** 63n, LARGEST]) {
        preserved(bench, session, bench.memfd(`token ${token}`), token);
      }
    },
    after(bench) {
      const session = bench.retrieve('session');
      for (const token of [LARGEST, 0n, 2n ** 63n, 1n, 0x1234n]) {
        expect(`token ${token}`, contentOf(bench.take(session, token)), `token ${token}`);
      }
      expect('no token', bench.tryTake(session, NO_TOKEN).outcome, 'ENOENT');
    },
  },
  {
    name: 'many files of one session come back, each with its own content',
    before(bench) {
      const session = left(bench);
      for (let index = 0; index < MANY; index += 1) {
        const file = bench.memfd(`file-data-${index}`);
        preserved(bench, session, file, BigInt(index));
        // The session has it.
        file.close();
      }
    },
    after(bench) {
      const session = bench.retrieve('session');
      for (let index = 0; index < MANY; index += 1) {
        const file = bench.take(session, BigInt(index));
        expect(`file ${index}`, contentOf(file), `file-data-${index}`);
        file.close();
      }
    },
  },
  {
    name: 'the same token in two sessions is two files',
    before(bench) {
      preserved(bench, left(bench, 'one'), bench.memfd('of one'));
      preserved(bench, left(bench, 'other'), bench.memfd('of the other'));
    },
    after(bench) {
      expect('the other', contentOf(bench.take(bench.retrieve('other'), 1n)), 'of the other');
      expect('the one', contentOf(bench.take(bench.retrieve('one'), 1n)), 'of one');
    },
  },
  {
    name: 'a session without files comes over',
    before: (bench) => void left(bench, 'empty'),
    after(bench) {
      const session = bench.retrieve('empty');
      expect('GET_NAME', bench.nameOf(session), bench.name('empty'));
      expect('RETRIEVE_FD', bench.tryTake(session, 0n).outcome, 'ENOENT');
      expect('FINISH', bench.finish(session), 'ok');
    },
  },
  {
    name: 'a session that was closed before the jump does not come over',
    before(bench) {
      const session = bench.create('closed');
      preserved(bench, session, bench.memfd('content'));
      session.close();
    },
    after: (bench) => expect('RETRIEVE_SESSION', bench.tryRetrieve(bench.name('closed')).outcome, 'ENOENT'),
  },
  {
    name: 'a name of 63 bytes comes over, and so does one that is no UTF-8',
    before(bench) {
      for (const name of oddNames(bench)) {
        const { outcome, session } = bench.tryCreate(name);
        expect('CREATE_SESSION', outcome, 'ok');
        bench.keep(session!);
      }
    },
    after(bench) {
      for (const name of oddNames(bench)) expect('RETRIEVE_SESSION', bench.tryRetrieve(name).outcome, 'ok');
    },
  },
  {
    name: 'a name is looked for by its bytes: another case, a part of it and a longer one are ENOENT',
    before: (bench) => void left(bench, 'Name'),
    after(bench) {
      for (const label of ['name', 'Nam', 'Name2']) {
        expect(label, bench.tryRetrieve(bench.name(label)).outcome, 'ENOENT');
      }
      expect('itself', bench.tryRetrieve(bench.name('Name')).outcome, 'ok');
    },
  },
  {
    name: 'a session without a process that holds it does not come over, whoever had its files open',
    before(bench) {
      const session = bench.create('dropped');
      const file = bench.memfd('content');
      preserved(bench, session, file);
      session.close();
      bench.keep(bench.open(`/proc/self/fd/${file.fd}`));
    },
    after: (bench) => expect('RETRIEVE_SESSION', bench.tryRetrieve(bench.name('dropped')).outcome, 'ENOENT'),
  },
]);

function oddNames(bench: Bench): readonly Buffer[] {
  const base = bench.name('');
  return [Buffer.from(base.padEnd(63, 'A')), Buffer.concat([Buffer.from(base), Buffer.from([0xff, 0x0a, 0xc0])])];
}
