// Goal: topology of devices as sysfs shows it. Method: a sysfs of our own with a bridge, two functions of one card in one
// IOMMU group, a class directory between device and interface, and links as the kernel makes them.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, suite, test } from 'node:test';
import { createDeviceDescriber, describeGlobal, GLOBAL_HOOKS } from '../../src/handles/index.js';

const root = mkdtempSync(join(tmpdir(), 'luo-sysfs-'));
after(() => rmSync(root, { recursive: true }));

function device(path: string, files: Record<string, string> = {}): void {
  mkdirSync(join(root, path), { recursive: true });
  for (const [name, text] of Object.entries({ uevent: '', ...files })) writeFileSync(join(root, path, name), text);
}
function link(from: string, to: string): void {
  mkdirSync(dirname(join(root, from)), { recursive: true });
  mkdirSync(join(root, to), { recursive: true });
  symlinkSync(relative(dirname(join(root, from)), join(root, to)), join(root, from));
}

const BUS = 'devices/pci0000:00';
const BRIDGE = `${BUS}/0000:00:02.0`;
const NIC = `${BRIDGE}/0000:03:00.0`;
const NIC_2 = `${BRIDGE}/0000:03:00.1`;

device(BUS);
device(BRIDGE);
device(NIC, { reset_method: 'flr bus\n' });
device(NIC_2);
device(`${NIC}/net/eth0`);
link(`${NIC}/driver`, 'bus/pci/drivers/mlx5_core');
link(`${NIC}/subsystem`, 'bus/pci');
link('bus/pci/devices/0000:03:00.0', NIC);
for (const path of [NIC, NIC_2]) {
  link(`${path}/iommu_group`, 'kernel/iommu_groups/17');
  link(`kernel/iommu_groups/17/devices/${path.split('/').at(-1)!}`, path);
}
link('devices/elsewhere', 'kernel/debug');
mkdirSync(join(root, 'devices/system/node'), { recursive: true });

const { describe } = createDeviceDescriber({ sysRoot: root });

suite('a device', () => {
  test('has its ancestors, nearest first, up to the root of its bus', () => {
    assert.deepEqual(describe(`/sys/${NIC}`).ancestors, [`/sys/${BRIDGE}`, `/sys/${BUS}`]);
    assert.deepEqual(describe(`/sys/${BUS}`).ancestors, []);
  });

  test('has driver, bus, reset methods and the others of its IOMMU group', () => {
    const { driver, subsystem, resetMethods, iommuGroup, iommuPeers } = describe(`/sys/${NIC}`);
    assert.deepEqual(
      { driver, subsystem, resetMethods, iommuGroup, iommuPeers },
      {
        driver: 'mlx5_core',
        subsystem: 'pci',
        resetMethods: ['flr', 'bus'],
        iommuGroup: '17',
        iommuPeers: [`/sys/${NIC_2}`],
      },
    );
  });

  test('may have none of these', () => {
    const { driver, subsystem, resetMethods, iommuGroup, iommuPeers } = describe(`/sys/${BRIDGE}`);
    assert.deepEqual([driver, subsystem, resetMethods, iommuGroup, iommuPeers], [null, null, [], null, []]);
  });

  test('is named by its place in the tree, whichever link leads to it', () => {
    assert.deepEqual(describe('/sys/bus/pci/devices/0000:03:00.0'), describe(`/sys/${NIC}`));
    assert.equal(describe(`/sys/${BUS}/../pci0000:00/0000:00:02.0/`).path, `/sys/${BRIDGE}`);
  });

  test('directories of a class between two devices are no ancestors', () => {
    assert.deepEqual(describe(`/sys/${NIC}/net/eth0`).ancestors, [`/sys/${NIC}`, `/sys/${BRIDGE}`, `/sys/${BUS}`]);
  });

  test('is named by its place in the tree also where the path begins below /sys', () => {
    for (const path of [`/${NIC}`, '/bus/pci/devices/0000:03:00.0']) assert.equal(describe(path).path, `/sys/${NIC}`);
  });

  test('crosses a handover as it is; over a kexec only its owner takes part, and the reason says what becomes of it', () => {
    const { viable } = describe(`/sys/${NIC}`);
    assert.deepEqual(viable.handover, { ok: true, reason: '' });
    assert.equal(viable.kexec.ok, true);
    for (const said of [/preserves nothing/, /bus mastering is switched off/, /driver 'mlx5_core' .* starts it anew/])
      assert.match(viable.kexec.reason, said);
  });

  test('that user space drives may be reset by the next kernel, if there is a way to', () => {
    for (const [driver, methods, said] of [
      ['vfio-pci', 'flr bus\n', /may be reset when it is opened or not claimed \(flr, bus\)/],
      ['vfio-pci', '\n', /nothing resets it/],
      ['uio_pci_generic', '', /nothing resets it/],
      [null, 'pm\n', /may be reset .* \(pm\)/],
    ] as const) {
      rmSync(join(root, 'devices/card'), { recursive: true, force: true });
      device('devices/card', { reset_method: methods });
      if (driver !== null) link('devices/card/driver', `bus/pci/drivers/${driver}`);
      const { ok, reason } = describe('/sys/devices/card').viable.kexec;
      assert.equal(ok, true);
      assert.match(reason, said);
      assert.doesNotMatch(reason, /bus mastering/, 'it is no PCI device');
    }
  });

  test('none of a tree stands in the way of a plan: every ancestor is viable over kexec', () => {
    const { ancestors } = describe(`/sys/${NIC}`);
    for (const path of ancestors) assert.equal(describe(path).viable.kexec.ok, true, path);
  });
});

suite('what is no device', () => {
  test('a path that does not exist is unknown', () => {
    assert.throws(() => describe('/sys/devices/none'), { code: 'HANDLE_UNKNOWN' });
    assert.throws(() => describe('/sys/bus/pci/devices/0000:99:00.0'), { code: 'HANDLE_UNKNOWN' });
  });

  test('a path outside of /sys is refused, also with .. in it', () => {
    for (const path of ['/etc/passwd', '/sys/../etc/passwd', 'sys/devices', '', '/sys'])
      assert.throws(() => describe(path), { code: 'PROTO_INVALID' }, path);
  });

  test('a link that leads out of the devices is refused', () => {
    assert.throws(() => describe('/sys/devices/elsewhere'), { code: 'PROTO_INVALID' });
  });

  test('a directory without uevent, a driver and the root of all devices are refused', () => {
    for (const path of [`/sys/${NIC}/net`, '/sys/bus/pci/drivers/mlx5_core', '/sys/devices/system', '/sys/devices'])
      assert.throws(() => describe(path), { code: 'PROTO_INVALID' }, path);
  });
});

suite('global handles', () => {
  test('are a name and the calls of their participant', () => {
    const description = describeGlobal('clock-offset');
    assert.equal(description.name, 'clock-offset');
    assert.deepEqual(description.hooks, GLOBAL_HOOKS);
    assert.ok(GLOBAL_HOOKS.indexOf('prepare') < GLOBAL_HOOKS.indexOf('freeze'));
    assert.deepEqual([description.viable.handover.ok, description.viable.kexec.ok], [true, true]);
  });

  test('with a name that no file could carry are refused', () => {
    for (const name of ['', 'a/b', '.hidden', 'a b', 'ü', 'x'.repeat(201), 'a\n'])
      assert.throws(() => describeGlobal(name), { code: 'PROTO_INVALID' }, JSON.stringify(name));
  });
});
