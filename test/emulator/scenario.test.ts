// Goal: the scenarios of the VM suite hold over a simulated kexec too, with luod, its keeper and the kernel's backend as they are; a
// side that fails is the error of the run. Method: the same modules, before and after the gap, inside of an emulated machine.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { startEmulator } from '../../src/testing/emulator.js';
import { EmulatedMachine } from './bed/machine.js';

const INSIDE = 'test/vm/bed/scenario-inside.js';
const LOOKS = 'test/emulator/bed/looks.js';
/** As a luod of the system; others do not take part in live updates of the kernel. */
const needsRoot = { skip: process.getuid?.() === 0 ? false : 'luod crosses the kexec gap as root only' };

interface Run {
  readonly luod: boolean;
  /** Default: luoctl load and luoctl kexec. */
  readonly leave?: (machine: EmulatedMachine) => Promise<unknown>;
}

async function leaveByItself(machine: EmulatedMachine): Promise<void> {
  await machine.run('test/vm/guest/load.js', 'load', [machine.image]);
  assert.equal(await machine.run(LOOKS, 'isLoaded', []), true);
  await machine.run('test/vm/guest/memfds.js', 'jump', []);
}

/** Run both sides of a scenario; what is loaded and the boot are another kernel's afterwards. */
async function runScenario(module: string, { luod, leave }: Run): Promise<void> {
  const machine = await EmulatedMachine.start({ luod });
  try {
    if (luod) await machine.until('luod', async () => (await machine.status()).state === 'normal' || undefined);
    const before = await machine.bootId();
    const carried = await machine.run(INSIDE, 'runBefore', [module, machine.luodFolder]);
    if (leave) await machine.leaveBy(() => leave(machine));
    else await machine.kexec();
    assert.equal(machine.gap, 1);
    assert.notEqual(await machine.bootId(), before);
    assert.equal(await machine.run(LOOKS, 'isLoaded', []), false);
    await machine.run(INSIDE, 'runAfter', [module, machine.luodFolder, carried]);
  } finally {
    await machine.close();
  }
}

test('memory that the kernel preserved is there after the gap', () =>
  runScenario('test/vm/scenarios/raw-memfd.js', { luod: false, leave: leaveByItself }));

test('a service of luod has its memory again after the gap, and a process that is another one', needsRoot, () =>
  runScenario('test/vm/scenarios/service-memory.js', { luod: true }),
);

test('a blob crosses without any update around it, and no file does', needsRoot, () =>
  runScenario('test/vm/scenarios/blob.js', { luod: true, leave: leaveByItself }),
);

test('a side that fails ends the run with its words and what it had logged', async () => {
  await assert.rejects(runScenario('test/vm/scenarios/failing.js', { luod: false }), (error: Error) => {
    assert.match(error.message, /before the gap/);
    assert.match(error.message, /the first side is not as it must be/);
    assert.match(error.message, /it went well until here/);
    return true;
  });
});

test('a gap that nobody jumps over is the error of who tried', async () => {
  const leave = (machine: EmulatedMachine): Promise<unknown> =>
    machine.run('test/vm/guest/load.js', 'load', ['/nowhere']);
  await assert.rejects(
    runScenario('test/vm/scenarios/raw-memfd.js', { luod: false, leave }),
    /'\/nowhere' cannot be opened/,
  );
});

test('without strict mode those files are the real machine’s', async () => {
  await using emulator = await startEmulator();
  const path = '/proc/sys/kernel/random/boot_id';
  const { code, out } = await emulator.run(['cat', path]);
  assert.deepEqual([code, out], [0, readFileSync(path, 'utf8')]);
});

test('in strict mode they are the emulated machine’s to any program, for reading only, and each open is one of its own', async () => {
  await using emulator = await startEmulator({ strict: true });
  const path = '/proc/sys/kernel/random/boot_id';
  const script = `cat ${path} ${path}; exec 3< ${path}; cat <&3; echo x 2> /dev/null >&3 || echo refused; cat /sys/kernel/kexec_loaded`;
  const { out } = await emulator.run(['sh', '-c', script]);
  const [first, second, third, ...rest] = out.trim().split('\n');
  assert.match(first!, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.deepEqual([second, third, rest], [first, first, ['refused', '0']]);
  assert.notEqual(`${first!}\n`, readFileSync(path, 'utf8'));
});
