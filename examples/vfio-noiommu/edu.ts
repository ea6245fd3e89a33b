/**
 * QEMU's device for teaching: it computes factorials, raises interrupts, and copies between the machine's memory and a buffer of its
 * own. Registers by VFIO; bus mastering as a driver would switch it.
 * @source QEMU, docs/specs/edu.rst
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { COMMAND, CONFIG } from './pci.js';
import { REGION, type VfioDevice } from './vfio.js';

export const EDU_VENDOR = 0x1234;
export const EDU_DEVICE = 0x11e8;
/** The buffer of the device, as it addresses it. */
const BUFFER = 0x40000;
/** Half of it: QEMU 7.2 takes a copy that ends where the buffer does for one beyond it, and ends itself. */
export const EDU_COPY_BYTES = 2048;

const AT = {
  IDENTITY: 0x00,
  LIVENESS: 0x04,
  FACTORIAL: 0x08,
  STATUS: 0x20,
  RAISE: 0x60,
  ACKNOWLEDGE: 0x64,
  DMA_FROM: 0x80,
  DMA_TO: 0x88,
  DMA_COUNT: 0x90,
  DMA_COMMAND: 0x98,
} as const;
const IS_COMPUTING = 1;
const DMA_RUN = 1;
const DMA_TO_MEMORY = 2;
const POLL_MS = 10;
const DEADLINE_MS = 20_000;

export class Edu {
  readonly #device: VfioDevice;

  constructor(device: VfioDevice) {
    this.#device = device;
  }

  /** 0x010000ed: version 1.0. */
  get identity(): number {
    return this.#get(AT.IDENTITY);
  }

  /** It answers with the complement of what it is told. */
  isAlive(): boolean {
    this.#set(AT.LIVENESS, 0x12345678);
    return this.#get(AT.LIVENESS) === ~0x12345678 >>> 0;
  }

  async factorial(of: number): Promise<number> {
    this.#set(AT.FACTORIAL, of);
    await until('the factorial', () => (this.#get(AT.STATUS) & IS_COMPUTING) === 0);
    return this.lastFactorial;
  }

  /** What it computed last: a register that nothing but a reset changes. */
  get lastFactorial(): number {
    return this.#get(AT.FACTORIAL);
  }

  /** What it was last told to copy, from where, to where. */
  get lastDma(): { readonly from: number; readonly to: number; readonly bytes: number } {
    return { from: this.#get(AT.DMA_FROM), to: this.#get(AT.DMA_TO), bytes: this.#get(AT.DMA_COUNT) };
  }

  raise(bits: number): void {
    this.#set(AT.RAISE, bits);
  }

  acknowledge(bits: number): void {
    this.#set(AT.ACKNOWLEDGE, bits);
  }

  /** Copy from the machine's memory into its buffer. @param physical below 4 GiB */
  fromMemory(physical: bigint, bytes: number): Promise<void> {
    return this.#copy(Number(physical), BUFFER, bytes, 0);
  }

  /** Copy its buffer into the machine's memory. Without bus mastering it ends as if it had been done. */
  toMemory(physical: bigint, bytes: number): Promise<void> {
    return this.#copy(BUFFER, Number(physical), bytes, DMA_TO_MEMORY);
  }

  set busMaster(on: boolean) {
    const command = this.#device.read(REGION.CONFIG, CONFIG.COMMAND, 2).readUInt16LE();
    const changed = Buffer.alloc(2);
    changed.writeUInt16LE(on ? command | COMMAND.MASTER : command & ~COMMAND.MASTER);
    this.#device.write(REGION.CONFIG, CONFIG.COMMAND, changed);
  }

  async #copy(from: number, to: number, bytes: number, direction: number): Promise<void> {
    this.#set(AT.DMA_FROM, from);
    this.#set(AT.DMA_TO, to);
    this.#set(AT.DMA_COUNT, bytes);
    this.#set(AT.DMA_COMMAND, DMA_RUN | direction);
    await until('the end of a copy', () => (this.#get(AT.DMA_COMMAND) & DMA_RUN) === 0);
  }

  #get(at: number): number {
    return this.#device.read(REGION.BAR0, at, 4).readUInt32LE();
  }

  #set(at: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.#device.write(REGION.BAR0, at, bytes);
  }
}

async function until(what: string, isDone: () => boolean): Promise<void> {
  for (const end = performance.now() + DEADLINE_MS; !isDone();) {
    if (performance.now() > end) throw new Error(`${what} does not come`);
    await sleep(POLL_MS);
  }
}
