/** What a call leaves behind whose answer cannot be written (EFAULT), or has no fd to be had (EMFILE). */
import { LIVEUPDATE_IOCTL } from '../../../../abi/liveupdate.js';
import { isOpen } from '../../../../sys/index.js';
import { nameArgument, sessionArgument } from '../argument.js';
import { GET_NAME } from '../calls.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

export const ANSWERS: readonly Case[] = cases([
  {
    name: 'CREATE_SESSION: an answer that cannot be written is EFAULT, and there is no session',
    run(bench) {
      const free = bench.memfd('');
      const number = free.fd;
      free.close();
      const argument = sessionArgument(bench.name('unwritten'));
      void bench.device;
      const { outcome } = bench.ask(bench.device, LIVEUPDATE_IOCTL.CREATE_SESSION, argument, 'read-only');
      expect('CREATE_SESSION', outcome, 'EFAULT');
      expect('its fd is open', isOpen(number + 1), false);
      expect('the name is free', bench.tryCreate(bench.name('unwritten')).outcome, 'ok');
    },
  },
  {
    name: 'GET_NAME: an answer that cannot be written is EFAULT, and the session goes on',
    run(bench) {
      const session = bench.create('named');
      expect('GET_NAME', bench.ask(session.fd, GET_NAME.command, nameArgument(), 'read-only').outcome, 'EFAULT');
      expect('again', bench.nameOf(session), bench.name('named'));
    },
  },
  {
    name: 'CREATE_SESSION without a free fd is EMFILE, and there is no session',
    run(bench) {
      const name = bench.name('no fd');
      expect('CREATE_SESSION', bench.askWithoutFds(LIVEUPDATE_IOCTL.CREATE_SESSION, sessionArgument(name)), 'EMFILE');
      expect('the name is free', bench.tryCreate(name).outcome, 'ok');
    },
  },
  {
    name: 'CREATE_SESSION: EMFILE comes before EINVAL of the name and EEXIST',
    run(bench) {
      bench.create('taken');
      for (const name of ['', bench.name('taken')]) {
        expect('CREATE_SESSION', bench.askWithoutFds(LIVEUPDATE_IOCTL.CREATE_SESSION, sessionArgument(name)), 'EMFILE');
      }
    },
  },
  {
    name: 'RETRIEVE_SESSION: EMFILE comes before ENOENT',
    run(bench) {
      const argument = sessionArgument(bench.name('nowhere'));
      expect('RETRIEVE_SESSION', bench.askWithoutFds(LIVEUPDATE_IOCTL.RETRIEVE_SESSION, argument), 'EMFILE');
    },
  },
  {
    name: 'CREATE_SESSION: EINVAL of the size comes before EMFILE',
    run(bench) {
      const argument = sessionArgument(bench.name('short'), 71);
      expect('CREATE_SESSION', bench.askWithoutFds(LIVEUPDATE_IOCTL.CREATE_SESSION, argument), 'EINVAL');
    },
  },
  {
    name: 'a session goes on working in a process that has no free fd',
    run(bench) {
      const session = bench.create('full');
      expect('GET_NAME', bench.askWithoutFds(GET_NAME.command, nameArgument(), session), 'ok');
    },
  },
]);
