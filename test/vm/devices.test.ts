// Goal: devices of a real tree cross a kexec as far as a device can: their owner is called from leaf to root, and what it said comes
// back; what nobody claims loses its DMA and is reset. Method: QEMU's edu device behind a bridge behind a root port; and another one that
// shares its bridge with a network card, which the kernel drives.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eduBehindBridge } from './bed/hardware.js';
import { kernels } from './bed/kernels.js';
import { Vm, type LuodStatus } from './bed/vm.js';
import type { DevicesFound, Place } from './guest/devices.js';

const { from, to } = kernels();
const MODULE = 'test/vm/guest/devices.js';
const EDU = ['0x1234', '0x11e8'] as const;
const CARD = ['0x8086', '0x100e'] as const;
let vm: Vm;
let failed = true;
let edu: Place;
let crowded: Place;
let card: Place;
let spare: Place;

const found = async (name: string): Promise<DevicesFound> =>
  JSON.parse(await vm.read(`/run/p/${name}.json`)) as DevicesFound;
const find = async ([vendor, product]: readonly [string, string], ...butFor: readonly Place[]): Promise<Place> => {
  const names = (await vm.must(['ls', '/sys/bus/pci/devices'])).trim().split(/\s+/);
  const all = names.filter((name) => !butFor.some(({ address }) => address === name));
  return vm.run(MODULE, 'place', [vendor, product, all]);
};
const start = (name: string, options: object): Promise<string> => {
  const program = ['node', `/luo/dist/${MODULE}`, name, JSON.stringify(options)];
  return vm.must(['luoctl', '--dir', '/run/luo', 'run', '--name', name, '--', ...program], { timeoutMs: 600_000 });
};
/** Root to leaf. */
const tree = (): string[] => [...edu.ancestors.filter((name) => name.includes('.')).reverse(), edu.address];

before(async () => {
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    files: { '/boot/to': to.path },
    pci: [
      eduBehindBridge(),
      {
        device: 'pcie-root-port',
        children: [{ device: 'pcie-pci-bridge', children: [{ device: 'edu' }, { device: 'e1000' }] }],
      },
      eduBehindBridge(),
    ],
  });
  await vm.untilState('normal');
  edu = await find(EDU);
  crowded = await find(EDU, edu);
  spare = await find(EDU, edu, crowded);
  card = await find(CARD);
});
after(() => vm.stop(failed));

test('a device has its bridge, its root port and the root of the bus above it', () => {
  assert.equal(edu.ancestors.length, 3);
  assert.equal(edu.ancestors[2], 'pci0000:00');
  assert.deepEqual(card.ancestors, crowded.ancestors);
  assert.notDeepEqual(card.ancestors, edu.ancestors);
});

test('what becomes of it over a kexec is said from what sysfs says of it', () => {
  assert.equal(edu.driver, null);
  assert.ok(edu.resetMethods.length > 0);
  assert.match(edu.kexecReason, new RegExp(`may be reset .*\\(${edu.resetMethods.join(', ')}\\)`));
  assert.equal(card.driver, 'e1000');
  assert.match(card.kexecReason, /driver 'e1000' .* starts it anew/);
  for (const { kexecReason } of [edu, card]) assert.match(kexecReason, /bus mastering is switched off/);
});

test('the plan goes from the memory over the devices, leaf to root, to the global that they need', async () => {
  await start('tree', { devices: tree() });
  await start('lost', { devices: [card.address, spare.address], neverClaims: true });
  const { steps } = await vm.luoctlJson<{ steps: { handles: string[] }[] }>(['plan', '--gap', 'kexec']);
  const order = steps.flatMap((step) => step.handles).filter((handle) => handle.startsWith('0:tree/'));
  assert.deepEqual(
    order.map((handle) => handle.slice('0:tree/'.length)),
    [
      'fd:tree',
      ...tree()
        .map((name) => `device:${name}`)
        .reverse(),
      'global:numbers',
    ],
  );
});

test('what the kernel drives, and what others hang on, is not reset; what nobody drives is, with its DMA off', async () => {
  assert.deepEqual(await vm.run(MODULE, 'reset', [card.address]), { code: 'HANDLE_BUSY' });
  assert.equal(await vm.run(MODULE, 'busMaster', [card.address]), true, 'it was not touched');
  assert.deepEqual(await vm.run(MODULE, 'reset', [edu.ancestors[0]]), { code: 'HANDLE_BUSY' });
  await vm.run(MODULE, 'busMaster', [edu.address, true]);
  await vm.run(MODULE, 'mark', [edu.address]);
  assert.equal(await vm.run(MODULE, 'isMarked', [edu.address]), true);
  assert.deepEqual(edu.resetMethods, ['bus']);
  assert.deepEqual(await vm.run(MODULE, 'reset', [edu.address]), { method: 'bus', busMasterOff: true });
  assert.equal(await vm.run(MODULE, 'busMaster', [edu.address]), false);
  assert.equal(await vm.run(MODULE, 'isMarked', [edu.address]), false, 'what it held is gone');
});

test('one that can be reset only with its bus, and shares it, is an error; its DMA is off all the same', async () => {
  assert.deepEqual(crowded.resetMethods, ['bus'], 'sysfs does not know that it is not alone');
  await vm.run(MODULE, 'busMaster', [crowded.address, true]);
  assert.deepEqual(await vm.run(MODULE, 'reset', [crowded.address]), { code: 'SYS' });
  assert.equal(await vm.run(MODULE, 'busMaster', [crowded.address]), false);
});

test('one whose reset methods are emptied has only its DMA switched off, and the answer says so', async () => {
  await vm.run(MODULE, 'busMaster', [edu.address, true]);
  await vm.run(MODULE, 'mark', [edu.address]);
  await vm.run(MODULE, 'emptyResetMethods', [edu.address]);
  assert.deepEqual(await vm.run(MODULE, 'reset', [edu.address]), { method: 'none', busMasterOff: true });
  assert.equal(await vm.run(MODULE, 'busMaster', [edu.address]), false);
  assert.equal(await vm.run(MODULE, 'isMarked', [edu.address]), true);
  // For the next kernel to undo.
  await vm.run(MODULE, 'busMaster', [edu.address, true]);
});

test('after the jump the owner has what each device said, called from leaf to root', async () => {
  await vm.kexec('/boot/to', { args: ['--claim-max', '60s'] });
  await vm.until('the owner', async () => (await found('tree')).restored.length > 0 || undefined, 600_000);
  const { role, restored } = await found('tree');
  assert.equal(role, 'restart');
  for (const { saved } of restored) assert.equal(saved.kernel, from.version);
  const inOrder = (call: 'prepare' | 'freeze'): string[] =>
    restored
      .filter(({ saved }) => saved.call === call)
      .sort((a, b) => a.saved.number - b.saved.number)
      .map(({ name }) => name);
  for (const call of ['prepare', 'freeze'] as const)
    assert.deepEqual(inOrder(call), [...tree().reverse(), 'numbers'], call);
});

test('the device has lost its bus mastering with its kernel, and has its ways to be reset back', async () => {
  assert.equal(await vm.run(MODULE, 'busMaster', [edu.address]), false);
  assert.deepEqual((await find(EDU)).resetMethods, edu.resetMethods);
});

test('a device whose owner came back and did not claim it waits, by name', async () => {
  const { waiting } = await vm.until('the other owner', () => found('lost'));
  assert.ok(waiting.includes(`device:${card.address}`));
  const { handles } = await vm.luoctlJson<LuodStatus>(['status']);
  const handle = handles.find((one) => one.owner === '0:lost' && one.name === card.address);
  assert.deepEqual([handle?.kind, handle?.claimed], ['device', false]);
});

test('at finish what nobody claimed is reset, as the device itself shows; what is claimed, or driven by the kernel, is not', async () => {
  for (const { address } of [edu, spare]) {
    await vm.run(MODULE, 'busMaster', [address, true]);
    await vm.run(MODULE, 'mark', [address]);
  }
  const { kexec } = await vm.status();
  for (const { handle } of kexec.unclaimed) await vm.must(['luoctl', '--dir', '/run/luo', 'discard', handle]);
  await vm.untilState('normal');
  // With each goes what it hangs on, which the kernel drives.
  const names = [card, spare].flatMap(({ address, ancestors }) => [
    address,
    ...ancestors.filter((name) => name.includes('.')),
  ]);
  const resets = await vm.until('all of them', async () => {
    const { resets: done = [] } = (await vm.status()).kexec;
    return done.length >= names.length ? done : undefined;
  });
  assert.deepEqual(
    resets.map(({ handle, method, busMasterOff, error }) => [handle, method, busMasterOff, error?.code]).sort(),
    names
      .map((name) => [
        `0:lost/device:${name}`,
        ...(name === spare.address ? ['bus', true, undefined] : [null, false, 'HANDLE_BUSY']),
      ])
      .sort(),
  );
  const stateOf = async ({ address }: Place): Promise<unknown[]> =>
    Promise.all(['busMaster', 'isMarked'].map((what) => vm.run<boolean>(MODULE, what, [address])));
  assert.deepEqual(await stateOf(spare), [false, false]);
  assert.deepEqual(await stateOf(edu), [true, true]);
  failed = false;
});
