// Goal: a manifest that is damaged, or newer than luod, loses nothing: what can be read is used, what cannot is held, nothing is
// finished, luod says what it found, and a luod that can read it takes it over. Method: the cases of manifest-cases.ts, each with a
// jump into the other of two kernels.
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';
import { testManifests, type Found, type Ground } from './manifest-cases.js';

const { from, to } = kernels();
const MODULE = 'test/vm/guest/manifest.js';
const FAULTS = '/run/faults';
const POINT = 'luod.manifest.frozen';
const BLOB = /^luo-blob\./;

testManifests(async () => {
  const vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    append: 'bed.arm=nothing:delay',
    files: { '/boot/from': from.path, '/boot/to': to.path },
  });
  try {
    await vm.untilState('normal');
    const argv = ['node', '/luo/dist/test/vm/guest/participant.js', 'part', '65536', '{"stateBytes":100}'];
    await vm.run('test/vm/guest/luod.js', 'runAll', ['/run/luo', [{ name: 'part', argv }], 1]);
    const ground = groundOf(vm);
    await ground.until('the participant', () => ground.found());
    return ground;
  } catch (error) {
    await vm.stop(true);
    throw error;
  }
});

function groundOf(vm: Vm): Ground {
  let isInFrom = true;
  const load = async (): Promise<void> => {
    await vm.ask('load', { kernel: isInFrom ? '/boot/to' : '/boot/from' });
  };
  const kexecParams = { limits: { blackoutMs: 120_000 } };
  return {
    status: () => vm.status(),
    ask: (method, params = {}) => vm.ask(method, params),
    luoctl: async (args) => (await vm.luoctl(args)).stdout,
    until: (what, check) => vm.until(what, check),
    found: async () => JSON.parse(await vm.read('/run/p/part.json')) as Found,
    alter: (pid, side, what) => vm.run(MODULE, 'alter', [pid, side, what]),
    kill: (pid, signal) => vm.kill(pid, signal),
    armStop: () => vm.write(`${FAULTS}/${POINT}`, 'stop'),
    stopped: async () => {
      const hit = new RegExp(`^${POINT} (\\d+)$`, 'm').exec(await vm.read(`${FAULTS}/hits`));
      return hit ? Number(hit[1]) : undefined;
    },
    load,
    kexecParams,
    async jump() {
      await load();
      const earlier = vm.hello;
      const jumped = vm.jumped(earlier);
      jumped.catch(() => undefined);
      const back = vm.ask('kexec', kexecParams, 600_000).then(
        (result) => Promise.reject(new Error(`there was no jump: ${JSON.stringify(result)}`)),
        // Whoever asked is gone with its kernel, or was refused.
        (error: Error) => (vm.hello === earlier ? Promise.reject(error) : jumped),
      );
      await Promise.race([jumped, back]);
      isInFrom = !isInFrom;
    },
    async heldSessions() {
      const { keeper } = await vm.status();
      return (await vm.run<string[]>(MODULE, 'sessionsOf', [keeper.pid])).filter((name) => !BLOB.test(name));
    },
    close: (failed) => vm.stop(failed),
  };
}
