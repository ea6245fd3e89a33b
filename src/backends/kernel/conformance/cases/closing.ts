/** The last close of an outgoing session unpreserves all of it. A session's fds are told apart by nothing but who has them. */
import { MessageSender, socketpair } from '../../../../sys/index.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

export const CLOSING: readonly Case[] = cases([
  {
    name: 'closing a session frees its name, its tokens and its files',
    run(bench) {
      const session = bench.create('closed');
      const files = [bench.memfd('a'), bench.memfd('b'), bench.memfd('')];
      files.forEach((file, index) => expect('PRESERVE_FD', bench.preserve(session, file, BigInt(index)), 'ok'));
      session.close();
      const again = bench.create('closed');
      files.forEach((file, index) => expect('again', bench.preserve(again, file, BigInt(index)), 'ok'));
    },
  },
  {
    name: 'a duplicate of a session keeps it, and does what the first did',
    run(bench) {
      const session = bench.create('duplicate');
      const file = bench.memfd('content');
      const copy = bench.own(session.dup());
      expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
      session.close();
      expect('GET_NAME of the duplicate', bench.nameOf(copy), bench.name('duplicate'));
      expect('its token', bench.preserve(copy, bench.memfd('b'), 1n), 'EEXIST');
      expect('its file', bench.preserve(bench.create('other'), file, 1n), 'EBUSY');
      expect('its name', bench.tryCreate(bench.name('duplicate')).outcome, 'EEXIST');
      copy.close();
      expect('its name after the last close', bench.tryCreate(bench.name('duplicate')).outcome, 'ok');
      expect('its file after the last close', bench.preserve(bench.create('another'), file, 1n), 'ok');
    },
  },
  {
    name: 'a session on its way through a socket is kept',
    run(bench) {
      const session = bench.create('travels');
      const file = bench.memfd('content');
      expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
      const [here, there] = socketpair();
      bench.own(here);
      bench.own(there);
      new MessageSender(1).send(here.fd, 1, [session.fd]);
      session.close();
      expect('its name', bench.tryCreate(bench.name('travels')).outcome, 'EEXIST');
      here.close();
      there.close();
      expect('its name after the socket is gone', bench.tryCreate(bench.name('travels')).outcome, 'ok');
      expect('its file', bench.preserve(bench.create('other'), file, 1n), 'ok');
    },
  },
  {
    name: 'sessions are closed in any order, each by itself',
    run(bench) {
      const [a, b, c] = [bench.create('a'), bench.create('b'), bench.create('c')];
      const file = bench.memfd('content');
      expect('PRESERVE_FD', bench.preserve(b, file, 1n), 'ok');
      c.close();
      a.close();
      expect('the name of one that lives', bench.tryCreate(bench.name('b')).outcome, 'EEXIST');
      expect('the name of one that was closed', bench.tryCreate(bench.name('a')).outcome, 'ok');
      expect('a file of one that lives', bench.preserve(bench.create('d'), file, 1n), 'EBUSY');
      b.close();
      expect('the name of the last', bench.tryCreate(bench.name('b')).outcome, 'ok');
    },
  },
  {
    name: 'a fd number that was a session’s is nothing of it afterwards',
    run(bench) {
      const session = bench.create('number');
      const number = session.fd;
      session.close();
      const others = [bench.memfd('a'), bench.memfd('b')];
      const same = others.find(({ fd }) => fd === number);
      expect('the number is used again', same !== undefined, true);
      expect('GET_NAME', bench.nameOf(same!), 'ENOTTY');
    },
  },
]);
