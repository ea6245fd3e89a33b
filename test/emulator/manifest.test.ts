// Goal: a manifest that is damaged, or newer than luod, loses nothing: what can be read is used, what cannot is held, nothing is
// finished, luod says what it found, and a luod that can read it takes it over. Method: the cases of the VM suite
// (test/vm/manifest.test.ts), each with a simulated kexec.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'node:test';
import { root } from '../vm/bed/root.js';
import { ask } from '../vm/guest/luod.js';
import { alter } from '../vm/guest/manifest.js';
import { testManifests, type Found, type Ground } from '../vm/manifest-cases.js';
import { EmulatedMachine, FORCED } from './bed/machine.js';

const POINT = 'luod.manifest.frozen';
const BLOB = /^luo-blob\./;

suite(
  'manifests after a simulated kexec',
  { skip: process.getuid?.() === 0 ? false : 'luod crosses the kexec gap as root only' },
  () =>
    testManifests(async () => {
      const machine = await EmulatedMachine.start({ luod: true });
      try {
        await machine.until('luod', async () => (await machine.status()).state === 'normal' || undefined);
        const options = { stateBytes: 100, folder: join(machine.runFolder, 'p') };
        const argv = [process.execPath, join(root, 'dist/test/vm/guest/participant.js'), 'part', '65536'];
        const { PATH = '/usr/bin:/bin' } = process.env;
        await ask(machine.luodFolder, 'run', {
          name: 'part',
          argv: [...argv, JSON.stringify(options)],
          cwd: '/',
          env: { PATH },
          readyMs: 120_000,
        });
        const ground = groundOf(machine);
        await ground.until('the participant', () => ground.found());
        return ground;
      } catch (error) {
        await machine.close();
        throw error;
      }
    }),
);

function groundOf(machine: EmulatedMachine): Ground {
  return {
    status: () => machine.status(),
    ask: (method, params = {}) => ask(machine.luodFolder, method, params) as Promise<never>,
    luoctl: async (args) => (await machine.luoctl(args)).out,
    until: (what, check) => machine.until(what, check),
    found: async () => JSON.parse(await readFile(join(machine.runFolder, 'p/part.json'), 'utf8')) as Found,
    alter: (...args) => Promise.resolve(alter(...args)),
    kill: (pid, signal) => Promise.resolve(void process.kill(pid, signal)),
    armStop: () => Promise.resolve(machine.arm({ [POINT]: 'stop' })),
    stopped: () => Promise.resolve(machine.hits().find(({ point }) => point === POINT)?.pid),
    load: () => machine.load(),
    kexecParams: { direct: true, force: [...FORCED] },
    jump: () => machine.kexec().then(() => undefined),
    heldSessions: () =>
      Promise.resolve(
        machine.emulator
          .inspect()
          .sessions.filter(({ direction, held, name }) => direction === 'incoming' && held && !BLOB.test(name))
          .map(({ name }) => name),
      ),
    close: () => machine.close(),
  };
}
