// Goal: the parts of the bed that need no machine: which kernels are taken, what QEMU is told, when an image is made anew.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { diskArguments, eduBehindBridge, pciArguments } from './bed/hardware.js';
import { hostClock } from './bed/host-clock.js';
import { layers, type Files } from './bed/image.js';
import { kernels } from './bed/kernels.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'luo-bed-parts-'));
});
after(() => rmSync(folder, { recursive: true }));

describe('kernels', () => {
  const make = (...names: string[]): string => {
    const place = mkdtempSync(join(folder, 'kernels-'));
    for (const name of names) writeFileSync(join(place, name), '');
    return place;
  };

  test('the jump goes from the oldest to the newest, by number and not by letter', () => {
    const found = kernels(make('bzImage-7.10.1-luo', 'bzImage-7.9-luo', 'bzImage-7.9.2-luo'));
    assert.deepEqual([found.from.version, found.to.version, found.sameVersion], ['7.9', '7.10.1', false]);
  });

  test('one kernel alone is both', () => {
    const found = kernels(make('bzImage-7.3.4-luo'));
    assert.deepEqual([found.from, found.sameVersion], [found.to, true]);
  });

  test('files with other names are none', () => {
    const place = make('bzImage-7.3.4', 'bzImage-x-luo', 'bzImage-7.3.4-luo.new', 'vmlinux', 'bzImage-7-luo');
    assert.throws(() => kernels(place), /LUO_VM_KERNELS.*tools\/vm-kernel/);
  });

  test('a folder that is not there is said with what to do', () => {
    assert.throws(() => kernels(join(folder, 'nowhere')), /no kernel in '.*nowhere'.*tools\/vm-kernel/);
  });
});

describe('hardware', () => {
  test('a device stands on the bus of what it is behind', () => {
    assert.deepEqual(pciArguments([eduBehindBridge({ dma_mask: '0xffff' })]), [
      '-device',
      'pcie-root-port,id=bed1,chassis=1,slot=1',
      '-device',
      'pcie-pci-bridge,id=bed2,bus=bed1',
      '-device',
      'edu,id=bed3,bus=bed2,dma_mask=0xffff',
    ]);
  });

  test('each root port has a chassis and a slot of its own', () => {
    const words = pciArguments([eduBehindBridge(), { device: 'pcie-root-port' }]).join(' ');
    assert.match(words, /pcie-root-port,id=bed1,chassis=1,slot=1 .* pcie-root-port,id=bed4,chassis=4,slot=4/);
  });

  test('options are written as QEMU reads them, zero and no too, and a comma in one ends nothing', () => {
    const options = { id: 'mine', zero: 0, yes: true, no: false, text: 'a,b' };
    assert.deepEqual(pciArguments([{ device: 'x', options, children: [{ device: 'y' }] }]), [
      '-device',
      'x,id=mine,zero=0,yes=on,no=off,text=a,,b',
      '-device',
      'y,id=bed2,bus=mine',
    ]);
  });

  test('nothing is asked for: nothing is said', () => {
    assert.deepEqual([...pciArguments([]), ...diskArguments([])], []);
  });

  test('a disk is read-only unless it is said to be writable', () => {
    const words = diskArguments([
      { serial: 'a', path: '/x' },
      { serial: 'b', path: '/y,z', writable: true },
    ]);
    assert.equal(words[1], 'file=/x,format=raw,if=none,id=disk0,readonly=on');
    assert.equal(words[3], 'virtio-blk-pci,drive=disk0,serial=a');
    assert.equal(words[5], 'file=/y,,z,format=raw,if=none,id=disk1,readonly=off');
  });

  test('a serial that the machine would see cut or changed is refused', () => {
    for (const serial of ['', 'a,b', 'x'.repeat(21)]) {
      assert.throws(() => diskArguments([{ serial, path: '/x' }]), RangeError);
    }
  });
});

describe('the images', () => {
  const pathOf = (files: Files): string => layers(files).at(-1)!.path;
  const made: string[] = [];
  after(() => {
    for (const image of made) rmSync(image, { force: true });
  });

  test('the base comes first, the files of the test last, and without files there are two', () => {
    const serials = layers({ '/etc/bed-parts': { text: 'x' } }).map(({ serial }) => serial);
    assert.deepEqual(serials, ['bed-base', 'bed-package', 'bed-files']);
    made.push(pathOf({ '/etc/bed-parts': { text: 'x' } }));
    assert.equal(layers({}).length, 2);
  });

  test('what has not changed is made once', () => {
    const files = { '/etc/bed-parts': { text: 'the same' } };
    const first = layers(files).map(({ path }) => `${path} ${statSync(path).ino}`);
    made.push(pathOf(files));
    assert.deepEqual(
      layers(files).map(({ path }) => `${path} ${statSync(path).ino}`),
      first,
    );
  });

  test('another text, another mode, another path and a touched file make another one', () => {
    const file = join(folder, 'file');
    writeFileSync(file, 'content');
    const images = [
      pathOf({ '/etc/bed-parts': { text: 'a' } }),
      pathOf({ '/etc/bed-parts': { text: 'a', mode: 0o600 } }),
      pathOf({ '/etc/bed-parts-2': { text: 'a' } }),
      pathOf({ '/etc/bed-parts': file }),
    ];
    utimesSync(file, 1, 1);
    images.push(pathOf({ '/etc/bed-parts': file }));
    made.push(...images);
    assert.equal(new Set(images).size, images.length);
  });

  test('a file that is not here makes none', () => {
    assert.throws(() => layers({ '/etc/bed-parts': join(folder, 'nowhere') }), /ENOENT/);
  });
});

test('there is no host to ask outside of a machine', async () => {
  await assert.rejects(hostClock(), /no host to ask/);
});
