/** Names of sessions: 1 to 63 bytes and a zero, compared by their bytes, one name once. */
import { O } from '../../../../abi/linux.js';
import { NAME_ARGUMENT, SESSION_NAME_BYTES, decodeName } from '../../../../abi/liveupdate.js';
import { nameArgument } from '../argument.js';
import { fdinfoOf } from '../bench.js';
import { GET_NAME } from '../calls.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

const LONGEST = SESSION_NAME_BYTES - 1;

function comesBack(what: string, name: (base: string) => Buffer): Case {
  return {
    name: `${what} is a name, and comes back`,
    run(bench) {
      const bytes = name(bench.name(''));
      const { outcome, session } = bench.tryCreate(bytes);
      expect('CREATE_SESSION', outcome, 'ok');
      const { reply } = bench.ask(session!.fd, GET_NAME.command, nameArgument());
      const field = reply.subarray(NAME_ARGUMENT.name, NAME_ARGUMENT.name + bytes.length + 1);
      expect('GET_NAME', field.toString('hex'), Buffer.concat([bytes, Buffer.alloc(1)]).toString('hex'));
    },
  };
}

function refused(what: string, name: Uint8Array): readonly Case[] {
  return [
    {
      name: `CREATE_SESSION with ${what} is EINVAL`,
      run: (bench) => expect('CREATE_SESSION', bench.tryCreate(name).outcome, 'EINVAL'),
    },
    {
      name: `RETRIEVE_SESSION with ${what} is ENOENT`,
      run: (bench) => expect('RETRIEVE_SESSION', bench.tryRetrieve(name).outcome, 'ENOENT'),
    },
  ];
}

function distinct(what: string, one: string, other: string): Case {
  return {
    name: `names that differ ${what} are two names`,
    run(bench) {
      const [a, b] = [bench.create(one), bench.create(other)];
      expect('the first', bench.nameOf(a), bench.name(one));
      expect('the second', bench.nameOf(b), bench.name(other));
    },
  };
}

export const NAMES: readonly Case[] = cases([
  ...refused('an empty name', Buffer.alloc(0)),
  ...refused('64 bytes and no zero', Buffer.alloc(SESSION_NAME_BYTES, 'X')),
  comesBack('63 bytes', (base) => Buffer.from(base.padEnd(LONGEST, 'A'))),
  comesBack('one byte', () => Buffer.from('~')),
  comesBack('what has slashes, blanks and a newline in it', (base) => Buffer.from(`${base}/../ a\n\tb`)),
  comesBack('what is no UTF-8', (base) =>
    Buffer.concat([Buffer.from(base), Buffer.from([0xff, 0xc0, 0x80, 0x01, 0x7f])]),
  ),
  distinct('in case', 'name', 'Name'),
  distinct('in normalisation', 'caf\u00e9', 'cafe\u0301'),
  distinct('in that one begins with the other', 'name', 'name2'),
  {
    name: 'a name ends at its first zero, whatever follows',
    run(bench) {
      const short = bench.name('x');
      const { outcome, session } = bench.tryCreate(Buffer.from(`${short}\0rest`));
      expect('CREATE_SESSION', outcome, 'ok');
      expect('GET_NAME', bench.nameOf(session!), short);
      expect('the same without the rest', bench.tryCreate(short).outcome, 'EEXIST');
    },
  },
  {
    name: 'an outgoing name exists once, and is free after the close',
    run(bench) {
      const session = bench.create('once');
      expect('a second one', bench.tryCreate(bench.name('once')).outcome, 'EEXIST');
      expect('a third one', bench.tryCreate(bench.name('once')).outcome, 'EEXIST');
      session.close();
      expect('after the close', bench.tryCreate(bench.name('once')).outcome, 'ok');
    },
  },
  {
    name: 'EEXIST leaves the session of that name as it is',
    run(bench) {
      const session = bench.create('kept');
      expect('PRESERVE_FD', bench.preserve(session, bench.memfd('content'), 1n), 'ok');
      expect('a second one', bench.tryCreate(bench.name('kept')).outcome, 'EEXIST');
      expect('the token is still used', bench.preserve(session, bench.memfd('other'), 1n), 'EEXIST');
    },
  },
  {
    name: 'an outgoing session cannot be retrieved: ENOENT',
    run(bench) {
      bench.create('outgoing');
      expect('RETRIEVE_SESSION', bench.tryRetrieve(bench.name('outgoing')).outcome, 'ENOENT');
    },
  },
  {
    name: 'a session that never was is ENOENT',
    run: (bench) => expect('RETRIEVE_SESSION', bench.tryRetrieve(bench.name('nowhere')).outcome, 'ENOENT'),
  },
  {
    name: 'a session’s fd is the lowest that is free, opened for reading and writing, and close-on-exec',
    run(bench) {
      void bench.device;
      // Two, since the question's own memory takes the first.
      const free = [bench.memfd(''), bench.memfd('')] as const;
      const expected = free[1].fd;
      free.forEach((fd) => fd.close());
      const session = bench.create('fd');
      expect('number', session.fd, expected);
      expect('flags', fdinfoOf(session, 'flags') & (O.CLOEXEC | 3), O.CLOEXEC | O.RDWR);
    },
  },
  {
    name: 'GET_NAME with a reserved field that is not zero is EINVAL',
    run: (bench) =>
      expect('GET_NAME', bench.ask(bench.create('reserved').fd, GET_NAME.command, nameArgument(1)).outcome, 'EINVAL'),
  },
  {
    name: 'GET_NAME ignores the name in its question',
    run(bench) {
      const question = nameArgument();
      question.write('something else', NAME_ARGUMENT.name);
      const { outcome, reply } = bench.ask(bench.create('own').fd, GET_NAME.command, question);
      expect('GET_NAME', outcome, 'ok');
      expect('the name', decodeName(reply), bench.name('own'));
    },
  },
  {
    name: 'GET_NAME of a struct that is longer writes no more than its own 72 bytes',
    run(bench) {
      const question = nameArgument(0, NAME_ARGUMENT.sizeBytes + 8);
      const { outcome, reply } = bench.ask(bench.create('longer').fd, GET_NAME.command, question);
      expect('GET_NAME', outcome, 'ok');
      expect('size', reply.readUInt32LE(NAME_ARGUMENT.size), NAME_ARGUMENT.sizeBytes + 8);
      expect('behind', reply.subarray(NAME_ARGUMENT.sizeBytes).toString('hex'), '0'.repeat(16));
    },
  },
]);
