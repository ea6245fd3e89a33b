/**
 * An experiment: a device does DMA into memory that outlives the kernel, before the jump and after it, and is never reset in between.
 * Linux 7.3 preserves no VFIO device; what survives does so because nobody touched it, and what the kernel undid is in the report.
 *
 *   vfio-noiommu --report FILE       as a service of luod, as root, in a machine with QEMU's `edu` device (dma_mask wide enough)
 *
 * First start: edu gets a text by DMA, computes, and signals. At freeze, when the memory is pinned, it copies the text into page
 * `BY_DEVICE` of the memory. After the jump the program looks what is left, gives the device to VFIO again, and lets it copy what it has
 * held since the last kernel, with bus mastering off and on; then a new text takes the same way into the same page.
 *
 * Over a handover it does nothing that is worth keeping: the next process could not open the group while this one has it. Never here:
 * how a real program should drive a device; see docs/kexec.md for what the kernel does to it.
 */
import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { join, type Json, type Memory } from 'luo';
import { Edu, EDU_COPY_BYTES, EDU_DEVICE, EDU_VENDOR } from './edu.js';
import { PAGE_BYTES, physicalAddress } from './pagemap.js';
import { bindToVfio, findPci, forbidReset, pciFacts, pciPath, type PciFacts } from './pci.js';
import { Interrupts, VfioDevice } from './vfio.js';

/** What was so before the jump, as the device's own state. */
export interface Before {
  readonly kernel: string;
  readonly facts: PciFacts;
  /** Where each page of the memory is in the machine. */
  readonly pages: readonly string[];
  readonly factorial: number;
  readonly lastDma: Edu['lastDma'];
  readonly interrupts: number;
  readonly text: string;
}

/** What was found after it. */
export interface Report {
  readonly kernel: string;
  readonly before: Before;
  /** In the next kernel, before anybody touched it. */
  readonly found: PciFacts;
  /** When VFIO had opened it. */
  readonly opened: PciFacts;
  /** What the device itself still knew. */
  readonly kept: { readonly identity: number; readonly factorial: number; readonly lastDma: Edu['lastDma'] };
  readonly pages: readonly string[];
  readonly texts: {
    /** Written by the processor under the last kernel. */
    readonly byProcessor: string;
    /** Written by the device under the last kernel. */
    readonly byDevice: string;
    /** After a copy by the device with bus mastering off. */
    readonly masterOff: string;
    /** After the same copy with bus mastering on: what its buffer held over the jump. */
    readonly masterOn: string;
    /** The same page as `byDevice`, after a new text went the same way. */
    readonly samePage: string;
    readonly newText: string;
  };
  readonly interrupts: { readonly beforeSetUp: number; readonly afterSetUp: number };
}

/** Pages of the memory. */
const BY_PROCESSOR = 0;
const BY_DEVICE = 1;
const AFTER_JUMP = 2;
const NEW_TEXT = 3;
const PAGES = 4;
const MEMORY = 'dma';
const FACTORIAL_OF = 7;
const INTERRUPT = 1;
const INTERRUPT_MS = 300;

const { values } = parseArgs({ options: { report: { type: 'string' } } });
const luo = await join();
if (luo.role === 'successor') {
  process.stderr.write('this program cannot take the device over from one that runs\n');
  process.exit(1);
}
const address = findPci(EDU_VENDOR, EDU_DEVICE);
let before: Before | undefined;
let edu: Edu | undefined;
let interruptsSeen = 0;

await luo.device(
  pciPath(address),
  {
    freeze: () => look(memory, edu!) as unknown as Json,
    restore: (_context, saved) => (before = saved as unknown as Before),
  },
  { compatible: 'edu/1', wants: { handover: 'leave', kexec: 'keep' } },
);
const memory = await luo.memory(MEMORY, {
  compatible: 'edu-dma/1',
  dependencies: [{ kind: 'device', name: address }],
  ...(luo.waiting.some((one) => one.name === MEMORY) ? {} : { sizeBytes: PAGES * PAGE_BYTES }),
});

// The memory is pinned by now, and still to be written: the device's last copy, then it is quiet.
luo.on('freeze', async () => {
  await edu!.toMemory(physicalAddress(addressOf(memory, BY_DEVICE)), EDU_COPY_BYTES);
});
await luo.ready();
if (before === undefined) await begin();
else tell(await goOn(before));
setInterval(() => undefined, 0x7fffffff);

// ---------------------------------------------------------------------------------------------- before the jump

async function begin(): Promise<void> {
  const { device } = open();
  edu = new Edu(device);
  if (!edu.isAlive()) throw new Error('the device does not answer');
  edu.busMaster = true;
  write(memory, BY_PROCESSOR, textOf());
  await edu.fromMemory(physicalAddress(addressOf(memory, BY_PROCESSOR)), EDU_COPY_BYTES);
  await edu.factorial(FACTORIAL_OF);
  const interrupts = new Interrupts();
  device.setMsi(interrupts);
  interruptsSeen = await signal(edu, interrupts);
  tell(look(memory, edu));
}

function look(of: Memory, device: Edu): Before {
  return {
    kernel: release(),
    facts: pciFacts(address),
    pages: pagesOf(of),
    factorial: device.lastFactorial,
    lastDma: device.lastDma,
    interrupts: interruptsSeen,
    text: read(of, BY_PROCESSOR),
  };
}

// ---------------------------------------------------------------------------------------------- after it

async function goOn(last: Before): Promise<Report> {
  const found = pciFacts(address);
  const byProcessor = read(memory, BY_PROCESSOR);
  const byDevice = read(memory, BY_DEVICE);
  const { device } = open();
  edu = new Edu(device);
  const opened = pciFacts(address);
  const kept = { identity: edu.identity, factorial: edu.lastFactorial, lastDma: edu.lastDma };

  edu.busMaster = false;
  await edu.toMemory(physicalAddress(addressOf(memory, AFTER_JUMP)), EDU_COPY_BYTES);
  const masterOff = read(memory, AFTER_JUMP);
  edu.busMaster = true;
  await edu.toMemory(physicalAddress(addressOf(memory, AFTER_JUMP)), EDU_COPY_BYTES);
  const masterOn = read(memory, AFTER_JUMP);

  const newText = textOf();
  write(memory, NEW_TEXT, newText);
  await edu.fromMemory(physicalAddress(addressOf(memory, NEW_TEXT)), EDU_COPY_BYTES);
  await edu.toMemory(physicalAddress(addressOf(memory, BY_DEVICE)), EDU_COPY_BYTES);

  const interrupts = new Interrupts();
  const beforeSetUp = await signal(edu, interrupts);
  device.setMsi(interrupts);
  const afterSetUp = await signal(edu, interrupts);
  return {
    kernel: release(),
    before: last,
    found,
    opened,
    kept,
    pages: pagesOf(memory),
    texts: { byProcessor, byDevice, masterOff, masterOn, samePage: read(memory, BY_DEVICE), newText },
    interrupts: { beforeSetUp, afterSetUp },
  };
}

// ---------------------------------------------------------------------------------------------- both

/** Opening by VFIO resets a device that can be: this one must not be. */
function open(): { device: VfioDevice } {
  forbidReset(address);
  return { device: new VfioDevice(bindToVfio(address), address) };
}

/** Let it raise an interrupt. @returns how many came */
async function signal(device: Edu, to: Interrupts): Promise<number> {
  device.raise(INTERRUPT);
  await sleep(INTERRUPT_MS);
  device.acknowledge(INTERRUPT);
  return to.take();
}

function textOf(): string {
  return `written under ${release()} by process ${process.pid}, as it is in its memory`;
}

function addressOf(of: Memory, page: number): bigint {
  return of.address + BigInt(page * PAGE_BYTES);
}

function pagesOf(of: Memory): string[] {
  return Array.from({ length: PAGES }, (_, page) => {
    // A page that nobody has touched is nowhere.
    read(of, page);
    return `0x${physicalAddress(addressOf(of, page)).toString(16)}`;
  });
}

function write(to: Memory, page: number, text: string): void {
  const bytes = Buffer.from(to.buffer, page * PAGE_BYTES, PAGE_BYTES);
  bytes.fill(0);
  bytes.write(text);
}

function read(from: Memory, page: number): string {
  return Buffer.from(from.buffer, page * PAGE_BYTES, PAGE_BYTES)
    .toString('latin1')
    .replace(/\0+$/, '');
}

function tell(what: Before | Report): void {
  const text = `${JSON.stringify(what)}\n`;
  process.stdout.write(text);
  if (values.report !== undefined) writeFileSync(values.report, text);
}
