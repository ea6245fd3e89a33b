// Goal: an unclaimed device loses its DMA and is reset by what the kernel offers, and what is in use is not touched. Method: a sysfs of our
// own; where a reset must fail, the function that writes an attribute is ours.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, beforeEach, suite, test } from 'node:test';
import type { LuoError } from '../../src/base/errors.js';
import { createDeviceResetter, type DeviceResetterOptions } from '../../src/handles/device/index.js';

const root = mkdtempSync(join(tmpdir(), 'luo-reset-'));
after(() => rmSync(root, { recursive: true }));
const PORT = 'devices/pci0000:00/0000:00:02.0';
const CARD = `${PORT}/0000:01:00.0`;
const COMMAND = 4;
const MEMORY_AND_MASTER = 0x0006;

function device(path: string, files: Record<string, string | Buffer> = {}): void {
  mkdirSync(join(root, path), { recursive: true });
  for (const [name, text] of Object.entries({ uevent: '', ...files })) writeFileSync(join(root, path, name), text);
}
function link(from: string, to: string): void {
  mkdirSync(dirname(join(root, from)), { recursive: true });
  mkdirSync(join(root, to), { recursive: true });
  symlinkSync(join(root, to), join(root, from));
}
function pci(path: string, methods: string | undefined, command = MEMORY_AND_MASTER): void {
  const config = Buffer.alloc(64);
  config.writeUInt16LE(command, COMMAND);
  device(path, { config, ...(methods === undefined ? {} : { reset_method: `${methods}\n`, reset: '' }) });
  link(`${path}/subsystem`, 'bus/pci');
}
const commandOf = (path: string): number => readFileSync(join(root, path, 'config')).readUInt16LE(COMMAND);

beforeEach(() => {
  rmSync(join(root, 'devices'), { recursive: true, force: true });
  rmSync(join(root, 'bus'), { recursive: true, force: true });
});

/** A resetter whose `reset` fails as long as `fails` says so of the list of methods; and what it wrote. */
function failing(fails: (methods: string) => string | undefined): { options: DeviceResetterOptions; wrote: string[] } {
  const wrote: string[] = [];
  let methods = 'flr pm bus';
  const write = (path: string, text: string): Promise<void> => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    wrote.push(`${name} ${text}`);
    if (name === 'reset_method') {
      methods = text;
      return Promise.resolve();
    }
    const code = fails(methods);
    return code === undefined
      ? Promise.resolve()
      : Promise.reject(Object.assign(new Error(`${code}: reset`), { code }));
  };
  return { options: { sysRoot: root, write }, wrote };
}

suite('a device that nobody claimed', () => {
  const { reset } = createDeviceResetter({ sysRoot: root });

  test('loses bus mastering, keeps the rest of its command register, and is reset by the first method', async () => {
    pci(CARD, 'flr bus');
    assert.deepEqual(await reset(`/sys/${CARD}`), { method: 'flr', busMasterOff: true });
    assert.equal(commandOf(CARD), MEMORY_AND_MASTER & ~4);
    assert.equal(readFileSync(join(root, CARD, 'reset'), 'utf8'), '1');
    assert.equal(readFileSync(join(root, CARD, 'reset_method'), 'utf8'), 'flr bus\n');
  });

  test('is found by any path that leads to it', async () => {
    pci(CARD, 'pm');
    link('bus/pci/devices/0000:01:00.0', CARD);
    for (const path of ['/sys/bus/pci/devices/0000:01:00.0', '/bus/pci/devices/0000:01:00.0', `/${CARD}`])
      assert.equal((await reset(path)).method, 'pm', path);
  });

  test('that does no DMA is only reset', async () => {
    pci(CARD, 'flr', 0x0002);
    assert.deepEqual(await reset(`/sys/${CARD}`), { method: 'flr', busMasterOff: false });
    assert.equal(commandOf(CARD), 0x0002);
  });

  test('without a method, or with an emptied list of them, is left with its DMA off, and the answer says so', async () => {
    for (const methods of [undefined, '']) {
      pci(CARD, methods);
      assert.deepEqual(await reset(`/sys/${CARD}`), { method: 'none', busMasterOff: true });
      assert.equal(commandOf(CARD), 0x0002);
      if (methods !== undefined) assert.equal(readFileSync(join(root, CARD, 'reset'), 'utf8'), '');
      rmSync(join(root, CARD), { recursive: true });
    }
  });

  test('that is no PCI device has no bus mastering to lose', async () => {
    device('devices/platform/clock');
    assert.deepEqual(await reset('/sys/devices/platform/clock'), { method: 'none', busMasterOff: false });
  });

  test('may be one that user space was to drive', async () => {
    pci(CARD, 'flr');
    link(`${CARD}/driver`, 'bus/pci/drivers/vfio-pci');
    assert.equal((await reset(`/sys/${CARD}`)).method, 'flr');
  });
});

suite('when a method fails', () => {
  test('the others are tried one by one, and the list is put back', async () => {
    pci(CARD, 'flr pm bus');
    const { options, wrote } = failing((methods) => (methods === 'bus' ? undefined : 'ETIMEDOUT'));
    assert.deepEqual(await createDeviceResetter(options).reset(`/sys/${CARD}`), { method: 'bus', busMasterOff: true });
    const each = ['reset_method pm', 'reset 1', 'reset_method bus', 'reset 1'];
    assert.deepEqual(wrote, ['reset 1', ...each, 'reset_method flr pm bus']);
  });

  test('and the others too, the errno of the last and all that was tried are said', async () => {
    pci(CARD, 'flr pm');
    const { options, wrote } = failing((methods) => (methods === 'pm' ? 'EIO' : 'ENOTTY'));
    await assert.rejects(createDeviceResetter(options).reset(`/sys/${CARD}`), (error: LuoError) => {
      assert.deepEqual([error.code, error.errno], ['SYS', 'EIO']);
      assert.deepEqual(error.data, { path: `/sys/${CARD}`, tried: ['flr', 'pm'], busMasterOff: true });
      return true;
    });
    assert.equal(wrote.at(-1), 'reset_method flr pm');
    assert.equal(commandOf(CARD), 0x0002);
  });

  test('and it was the only one, its errno is said', async () => {
    pci(CARD, 'bus');
    const { options } = failing(() => 'ENOTTY');
    await assert.rejects(createDeviceResetter(options).reset(`/sys/${CARD}`), { code: 'SYS', errno: 'ENOTTY' });
  });

  test('and the kernel never answers, the wait ends at its deadline', async () => {
    pci(CARD, 'flr');
    const options = { sysRoot: root, deadlineMs: 30, write: () => new Promise<void>(() => undefined) };
    await assert.rejects(createDeviceResetter(options).reset(`/sys/${CARD}`), { code: 'CALL_TIMEOUT' });
  });

  test('and its configuration cannot be read, that is said before anything is reset', async () => {
    pci(CARD, 'flr');
    rmSync(join(root, CARD, 'config'));
    const { options, wrote } = failing(() => undefined);
    await assert.rejects(createDeviceResetter(options).reset(`/sys/${CARD}`), { code: 'SYS', errno: 'ENOENT' });
    assert.deepEqual(wrote, []);
  });
});

suite('what is not touched', () => {
  const { reset } = createDeviceResetter({ sysRoot: root });

  test('a device that a driver of the kernel has', async () => {
    pci(CARD, 'flr');
    link(`${CARD}/driver`, 'bus/pci/drivers/nvme');
    await assert.rejects(reset(`/sys/${CARD}`), { code: 'HANDLE_BUSY' });
    assert.equal(commandOf(CARD), MEMORY_AND_MASTER);
    assert.equal(readFileSync(join(root, CARD, 'reset'), 'utf8'), '');
  });

  test('a bridge with devices behind it; one without is reset like any other', async () => {
    pci(PORT, 'pm');
    pci(CARD, 'flr');
    await assert.rejects(reset(`/sys/${PORT}`), (error: LuoError) => {
      assert.equal(error.code, 'HANDLE_BUSY');
      assert.deepEqual(error.data?.['behind'], ['0000:01:00.0']);
      return true;
    });
    assert.equal(commandOf(PORT), MEMORY_AND_MASTER);
    rmSync(join(root, CARD), { recursive: true });
    assert.equal((await reset(`/sys/${PORT}`)).method, 'pm');
  });

  test('what is not there, or is no device', async () => {
    pci(CARD, 'flr');
    await assert.rejects(reset('/sys/devices/none'), { code: 'HANDLE_UNKNOWN' });
    await assert.rejects(reset('/sys/bus/pci'), { code: 'PROTO_INVALID' });
    await assert.rejects(reset('/etc/passwd'), { code: 'PROTO_INVALID' });
    assert.equal(readFileSync(join(root, CARD, 'reset'), 'utf8'), '');
  });
});
