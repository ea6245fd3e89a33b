// Goal: what of a device survives the replacement of the kernel when nobody resets it, and what the kernel undoes, exactly. Method:
// `examples/vfio-noiommu` under luod: QEMU's edu device, behind a bridge behind a root port, under VFIO without an IOMMU, does DMA into a
// page of a preserved memfd under one kernel and under the next.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Before, Report } from '../../examples/vfio-noiommu/main.js';
import { eduBehindBridge } from './bed/hardware.js';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';

const { from, to } = kernels();
const FACTORIAL_OF_7 = 5040;
const IDENTITY = 0x010000ed;
const REPORT = '/run/vfio.json';
let vm: Vm;
let failed = true;
let first: Before;
let report: Report;

const reported = async (): Promise<unknown> => JSON.parse(await vm.read(REPORT));

before(async () => {
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    files: { '/boot/to': to.path },
    // Wide enough for every page of the machine; by itself it reaches 256 MiB.
    pci: [eduBehindBridge({ dma_mask: '0xffffffffffffffff' })],
  });
  await vm.untilState('normal');
  const program = ['node', '/luo/dist/examples/vfio-noiommu/main.js', '--report', REPORT];
  await vm.must(['luoctl', '--dir', '/run/luo', 'run', '--name', 'dma', '--', ...program], { timeoutMs: 600_000 });
  first = await vm.until('the first report', async () => (await reported()) as Before);
});
after(() => vm.stop(failed));

test('before the jump the device is driven from user space, with DMA and interrupts', () => {
  assert.equal(first.kernel, from.version);
  const { driver, busMaster, memoryDecoding, msiEnabled, resetMethods } = first.facts;
  assert.deepEqual(
    { driver, busMaster, memoryDecoding, msiEnabled, resetMethods },
    {
      ...{ driver: 'vfio-pci', busMaster: true, memoryDecoding: true, msiEnabled: true, resetMethods: [] },
    },
  );
  assert.deepEqual([first.factorial, first.interrupts], [FACTORIAL_OF_7, 1]);
});

test('the plan pulls its bridge and its root port, leaf before root, after the memory', async () => {
  const { steps } = await vm.luoctlJson<{ steps: { handles: string[] }[] }>(['plan', '--gap', 'kexec']);
  const order = steps.flatMap((step) => step.handles).filter((handle) => handle.startsWith('0:dma/'));
  assert.equal(order.length, 4);
  assert.equal(order[0], '0:dma/fd:dma');
  assert.match(order[1]!, /device:0000:02:0[0-9]\.0$/);
  assert.match(order[2]!, /device:0000:01:00\.0$/);
  assert.match(order[3]!, /device:0000:00:[0-9a-f]{2}\.0$/);
});

test('after the jump the program is back with its memory', async (t) => {
  await vm.kexec('/boot/to');
  await vm.untilState('normal');
  report = await vm.until('the second report', async () => {
    const found = (await reported()) as Report;
    return found.kernel === to.version ? found : undefined;
  });
  t.diagnostic(JSON.stringify(report));
  assert.equal(report.before.kernel, from.version);
});

test('the pages are where they were in the machine', () => {
  assert.deepEqual(report.pages, report.before.pages);
});

test('memory written by the device under the last kernel is there, like that written by the processor', () => {
  assert.equal(report.texts.byProcessor, first.text);
  assert.equal(report.texts.byDevice, first.text);
});

test('the device itself was not reset: it knows what it computed, what it copied, and has its buffer', () => {
  assert.deepEqual(report.kept, {
    identity: IDENTITY,
    factorial: FACTORIAL_OF_7,
    lastDma: report.before.lastDma,
  });
  assert.equal(report.texts.masterOn, first.text);
});

test('the kernel had undone its driver, its bus mastering and its interrupts, and had the ways to reset it back', () => {
  const { driver, busMaster, msiEnabled, resetMethods } = report.found;
  assert.deepEqual([driver, busMaster, msiEnabled], [null, false, false]);
  assert.ok(resetMethods.length > 0);
});

test('the kernel had kept its address and that it answers there', () => {
  assert.equal(report.found.bar0, report.before.facts.bar0);
  assert.equal(report.found.memoryDecoding, true);
  const MASTER = 4;
  assert.equal(report.found.command | MASTER, report.before.facts.command | MASTER);
});

test('opening it by VFIO, its reset methods emptied, left all that alone', () => {
  assert.equal(report.opened.bar0, report.before.facts.bar0);
  assert.deepEqual(report.opened.resetMethods, []);
});

test('without bus mastering its DMA reaches nothing; with it, the same page as before the jump', () => {
  assert.equal(report.texts.masterOff, '');
  assert.equal(report.texts.samePage, report.texts.newText);
  assert.notEqual(report.texts.samePage, first.text);
});

test('its interrupts come again when they were set up again, and not before', () => {
  assert.deepEqual(report.interrupts, { beforeSetUp: 0, afterSetUp: 1 });
  failed = false;
});
