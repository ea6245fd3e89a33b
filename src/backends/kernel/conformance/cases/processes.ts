/** Sessions and the device among several processes: a copy is a copy, whoever has it, and dies with who had the last. */
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

export const PROCESSES: readonly Case[] = cases([
  {
    name: 'another process cannot open the device while this one has it',
    async run(bench) {
      void bench.device;
      const refused = bench.child(['open', bench.path], []);
      expect('its open', await refused.said(), 'EBUSY');
      await refused.end();
      bench.closeDevice();
      const child = bench.child(['open', bench.path], []);
      expect('its open after the close', await child.said(), 'ok');
      expect('ours meanwhile', bench.reopen(), 'EBUSY');
      await child.end();
      expect('ours after its end', bench.reopen(), 'ok');
    },
  },
  {
    name: 'a child that was given the device holds it after its parent has closed it',
    async run(bench) {
      const device = bench.openDevice();
      const child = bench.child(['wait'], [device]);
      await child.said();
      device.close();
      expect('while the child lives', bench.reopen(), 'EBUSY');
      await child.end();
      expect('after its end', bench.reopen(), 'ok');
    },
  },
  {
    name: 'a device that dies with its process by SIGKILL is free at once',
    async run(bench) {
      const child = bench.child(['open', bench.path], []);
      expect('its open', await child.said(), 'ok');
      expect('while it lives', bench.reopen(), 'EBUSY');
      await child.kill();
      expect('after its end', bench.reopen(), 'ok');
    },
  },
  {
    name: 'a child asks a session that it was given, by its own number',
    async run(bench) {
      const session = bench.create('given');
      const child = bench.child(['name'], [session]);
      expect('its name in the child', await child.said(), bench.name('given'));
      await child.end();
      expect('its name here', bench.nameOf(session), bench.name('given'));
    },
  },
  {
    name: 'a child preserves a file of its own numbers in a session that it was given',
    async run(bench) {
      const session = bench.create('given');
      const file = bench.memfd('content');
      const child = bench.child(['preserve', '7'], [session, file]);
      expect('PRESERVE_FD in the child', await child.said(), 'ok');
      await child.end();
      expect('its token here', bench.preserve(session, bench.memfd('other'), 7n), 'EEXIST');
      expect('its file here', bench.preserve(session, file, 8n), 'EBUSY');
    },
  },
  {
    name: 'a session lives on in a child after its creator has closed it, and ends with the child',
    async run(bench) {
      const session = bench.create('inherited');
      const file = bench.memfd('content');
      expect('PRESERVE_FD', bench.preserve(session, file, 1n), 'ok');
      const child = bench.child(['wait'], [session]);
      await child.said();
      session.close();
      expect('its name while the child lives', bench.tryCreate(bench.name('inherited')).outcome, 'EEXIST');
      await child.end();
      expect('its name after the child', bench.tryCreate(bench.name('inherited')).outcome, 'ok');
      expect('its file after the child', bench.preserve(bench.create('other'), file, 1n), 'ok');
    },
  },
  {
    name: 'a session that a child created ends with it, also by SIGKILL',
    async run(bench) {
      for (const way of ['end', 'kill'] as const) {
        const device = bench.openDevice();
        const child = bench.child(['create', bench.name('of the child')], [device]);
        expect('CREATE_SESSION in the child', await child.said(), 'ok');
        await child[way]();
        device.close();
        const { outcome, session } = bench.tryCreate(bench.name('of the child'));
        expect('its name after the child', outcome, 'ok');
        session?.close();
        bench.closeDevice();
      }
    },
  },
  {
    name: 'what two processes create on one open of the device has one space of names',
    async run(bench) {
      const device = bench.openDevice();
      const child = bench.child(['create', bench.name('shared')], [device]);
      expect('CREATE_SESSION in the child', await child.said(), 'ok');
      const second = bench.child(['create', bench.name('shared')], [device]);
      expect('the same in another', await second.said(), 'EEXIST');
    },
  },
]);
