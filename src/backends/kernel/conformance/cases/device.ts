/** The device: one open file of it at a time, whoever has a copy. */
import { MessageSender, socketpair } from '../../../../sys/index.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

export const DEVICE: readonly Case[] = cases([
  {
    name: 'a second open is EBUSY while the first lives, and succeeds after it',
    run(bench) {
      void bench.device;
      expect('while it is open', bench.reopen(), 'EBUSY');
      expect('once more', bench.reopen(), 'EBUSY');
      bench.closeDevice();
      expect('after the close', bench.reopen(), 'ok');
      expect('again', bench.reopen(), 'ok');
    },
  },
  {
    name: 'a refused open takes nothing from who has the device',
    run(bench) {
      void bench.device;
      expect('the refused open', bench.reopen(), 'EBUSY');
      bench.create('after a refused open');
    },
  },
  {
    name: 'a duplicate holds the device after the first fd is closed',
    run(bench) {
      const first = bench.openDevice();
      const second = bench.own(first.dup());
      first.close();
      expect('while the duplicate lives', bench.reopen(), 'EBUSY');
      second.close();
      expect('after the last close', bench.reopen(), 'ok');
    },
  },
  {
    name: 'an fd of the device on its way through a socket holds it',
    run(bench) {
      const device = bench.openDevice();
      const [here, there] = socketpair().map((end) => bench.own(end)) as [typeof device, typeof device];
      const sender = new MessageSender(1);
      sender.send(here.fd, 1, [device.fd]);
      device.close();
      expect('while it travels', bench.reopen(), 'EBUSY');
      here.close();
      there.close();
      expect('after both ends are closed', bench.reopen(), 'ok');
    },
  },
  {
    name: 'closing the device ends no session, and leaves it all its calls',
    run(bench) {
      const session = bench.create('without a device');
      bench.closeDevice();
      expect('GET_NAME', bench.nameOf(session), bench.name('without a device'));
      expect('PRESERVE_FD', bench.preserve(session, bench.memfd('content'), 1n), 'ok');
      expect('the name is still taken', bench.tryCreate(bench.name('without a device')).outcome, 'EEXIST');
    },
  },
  {
    name: 'what one open of the device created, the next one sees',
    run(bench) {
      const session = bench.create('of the first');
      bench.closeDevice();
      expect('the next', bench.tryCreate(bench.name('of the first')).outcome, 'EEXIST');
      session.close();
      expect('after its close', bench.tryCreate(bench.name('of the first')).outcome, 'ok');
    },
  },
]);
