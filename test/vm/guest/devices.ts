/**
 * Runs inside of the machine. As a program, a participant with devices: `devices.js NAME [options as JSON]` registers each with
 * callbacks, a global that they need, and memory that needs the first. Each callback returns how many came before it; what was
 * restored is in /run/p/NAME.json, in the order in which it came.
 *
 * As a module, what a test does to a device from outside.
 */
import { mkdirSync, openSync, readFileSync, readSync, closeSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { release } from 'node:os';
import { basename, join as joinPath } from 'node:path';
import { pathToFileURL } from 'node:url';
import { join, type Json } from 'luo';
import { createDeviceDescriber, resetDevice } from '../../../src/handles/device/index.js';
import { LuoError } from '../../../src/base/errors.js';

export interface DevicesFound {
  readonly role: string;
  readonly waiting: readonly string[];
  readonly restored: readonly { readonly name: string; readonly saved: Saved }[];
}
interface Saved {
  readonly call: 'prepare' | 'freeze';
  readonly number: number;
  readonly kernel: string;
}
interface Options {
  /** Names below /sys/bus/pci/devices, in the order of their registration. */
  readonly devices: readonly string[];
  /** Comes back, and claims nothing. */
  readonly neverClaims?: boolean;
}

const DEVICES = '/sys/bus/pci/devices';
const COMMAND_AT = 4;
const MASTER = 4;
const CAPABILITIES_AT = 0x34;
const MSI = 5;
const MARK = 0x5ca1ab10;

async function participate(name: string, { devices, neverClaims }: Options): Promise<void> {
  const luo = await join();
  const restored: DevicesFound['restored'][number][] = [];
  const tell = (): void => {
    mkdirSync('/run/p', { recursive: true });
    const waiting = luo.waiting.map((one) => `${one.kind}:${one.name}`);
    writeFileSync(`/run/p/${name}.new`, JSON.stringify({ role: luo.role, waiting, restored }));
    renameSync(`/run/p/${name}.new`, `/run/p/${name}.json`);
  };
  setInterval(() => undefined, 1 << 30);
  if (neverClaims === true && luo.waiting.length > 0) return tell();
  let number = 0;
  const say = (call: Saved['call']): Json => {
    number += 1;
    return { call, number, kernel: release() };
  };
  const callbacks = (of: string) => ({
    prepare: () => say('prepare'),
    freeze: () => say('freeze'),
    restore: (_context: unknown, saved: unknown) => restored.push({ name: of, saved: saved as Saved }),
  });
  await luo.global('numbers', callbacks('numbers'));
  for (const device of devices) {
    const needs = { dependencies: [{ kind: 'global' as const, name: 'numbers' }] };
    await luo.device(joinPath(DEVICES, device), callbacks(device), needs);
  }
  await luo.memory(name, {
    ...(luo.waiting.some((one) => one.name === name) ? {} : { sizeBytes: 4096 }),
    dependencies: [{ kind: 'device', name: devices.at(-1)! }],
  });
  await luo.ready();
  tell();
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [name, options = '{"devices":[]}'] = process.argv.slice(2) as [string, string?];
  await participate(name, JSON.parse(options) as Options);
}

// ------------------------------------------------------------------------------------------ from outside

export interface Place {
  readonly address: string;
  /** Nearest first. */
  readonly ancestors: readonly string[];
  readonly driver: string | null;
  readonly resetMethods: readonly string[];
  readonly kexecReason: string;
}

/** The device with this vendor and product, and what it hangs on. */
export function place(vendor: string, product: string, among: readonly string[]): Place {
  const text = (device: string, file: string): string => readFileSync(joinPath(DEVICES, device, file), 'utf8').trim();
  const address = among.find((one) => text(one, 'vendor') === vendor && text(one, 'device') === product);
  if (address === undefined) throw new Error(`there is no device ${vendor}:${product}`);
  const found = createDeviceDescriber().describe(joinPath(DEVICES, address));
  return {
    address,
    ancestors: found.ancestors.map((path) => basename(path)),
    driver: found.driver,
    resetMethods: found.resetMethods,
    kexecReason: found.viable.kexec.reason,
  };
}

export function busMaster(address: string, on?: boolean): boolean {
  return inConfig(address, (read, write) => {
    const value = read(COMMAND_AT, 2);
    if (on === undefined) return (value & MASTER) !== 0;
    write(COMMAND_AT, 2, on ? value | MASTER : value & ~MASTER);
    return on;
  });
}

/**
 * Leave something in the device that only a reset takes away: the address of its messages, while it sends none. The kernel, which
 * puts most of the configuration back after a reset, does not know of it.
 * @source include/uapi/linux/pci_regs.h: PCI_CAPABILITY_LIST, PCI_CAP_ID_MSI, PCI_MSI_ADDRESS_LO
 */
export function mark(address: string): void {
  inConfig(address, (read, write) => write(messageAddressAt(read), 4, MARK));
}

/** Is it still there? */
export function isMarked(address: string): boolean {
  return inConfig(address, (read) => read(messageAddressAt(read), 4) === MARK);
}

function messageAddressAt(read: ConfigRead): number {
  for (let at = read(CAPABILITIES_AT, 1); at !== 0; at = read(at + 1, 1)) if (read(at, 1) === MSI) return at + 4;
  throw new Error('the device sends no messages');
}

type ConfigRead = (offset: number, sizeBytes: number) => number;
type ConfigWrite = (offset: number, sizeBytes: number, value: number) => void;

function inConfig<T>(address: string, work: (read: ConfigRead, write: ConfigWrite) => T): T {
  const fd = openSync(joinPath(DEVICES, address, 'config'), 'r+');
  try {
    const read: ConfigRead = (offset, sizeBytes) => {
      const bytes = Buffer.alloc(sizeBytes);
      readSync(fd, bytes, 0, sizeBytes, offset);
      return bytes.readUIntLE(0, sizeBytes);
    };
    return work(read, (offset, sizeBytes, value) => {
      const bytes = Buffer.alloc(sizeBytes);
      bytes.writeUIntLE(value, 0, sizeBytes);
      writeSync(fd, bytes, 0, sizeBytes, offset);
    });
  } finally {
    closeSync(fd);
  }
}

export function emptyResetMethods(address: string): void {
  writeFileSync(joinPath(DEVICES, address, 'reset_method'), '\n');
}

/** As luod would; the code of the error, if it was one. */
export async function reset(address: string): Promise<{ method?: string; busMasterOff?: boolean; code?: string }> {
  try {
    return await resetDevice(joinPath(DEVICES, address));
  } catch (error) {
    return { code: LuoError.from(error).code };
  }
}
