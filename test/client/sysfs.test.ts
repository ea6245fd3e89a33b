// Goal: a device and the devices above it are found; what is no device is refused. Method: a made-up tree of the kernel's.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findDevice } from '../../src/client/sysfs.js';

describe('the place of a device', () => {
  let sysfs: string;
  before(() => {
    sysfs = mkdtempSync(join(tmpdir(), 'luo-sysfs-'));
    const bridge = join(sysfs, 'devices/pci0000:00/0000:00:1c.0');
    mkdirSync(join(bridge, '0000:03:00.0/net/eth0'), { recursive: true });
    mkdirSync(join(sysfs, 'bus/pci/devices'), { recursive: true });
    mkdirSync(join(sysfs, 'class/net'), { recursive: true });
    for (const device of [bridge, join(bridge, '0000:03:00.0')]) symlinkSync('/', join(device, 'subsystem'));
    symlinkSync('/', join(bridge, '0000:03:00.0/net/eth0/subsystem'));
    symlinkSync('../../../devices/pci0000:00/0000:00:1c.0/0000:03:00.0', join(sysfs, 'bus/pci/devices/0000:03:00.0'));
    writeFileSync(join(sysfs, 'devices/plain'), '');
  });
  after(() => rmSync(sysfs, { recursive: true }));

  test('a device is named by its folder, with the devices above it, nearest first', () => {
    const place = findDevice('/bus/pci/devices/0000:03:00.0', sysfs);
    assert.deepEqual(place, {
      name: '0000:03:00.0',
      path: '/devices/pci0000:00/0000:00:1c.0/0000:03:00.0',
      ancestors: [{ name: '0000:00:1c.0', path: '/devices/pci0000:00/0000:00:1c.0' }],
    });
  });

  test('folders that only group are nobody’s ancestors', () => {
    const { ancestors } = findDevice('/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eth0', sysfs);
    assert.deepEqual(
      ancestors.map(({ name }) => name),
      ['0000:03:00.0', '0000:00:1c.0'],
    );
  });

  test('the whole path, beginning with /sys, is the same device', () => {
    assert.equal(findDevice(`${sysfs}/bus/pci/devices/0000:03:00.0`, sysfs).name, '0000:03:00.0');
  });

  test('a path that is not there is unknown', () => {
    assert.throws(() => findDevice('/bus/pci/devices/0000:99:00.0', sysfs), { code: 'HANDLE_UNKNOWN' });
  });

  for (const path of ['/devices', '/devices/pci0000:00', '/devices/plain', '/class/net', '/../..', '/']) {
    test(`'${path}' is no device`, () => {
      assert.throws(() => findDevice(path, sysfs), { code: 'HANDLE_UNVIABLE' });
    });
  }
});
