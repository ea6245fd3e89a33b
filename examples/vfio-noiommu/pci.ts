/** A PCI device as sysfs shows it: found by its ids, looked at without touching it, given to vfio-pci. */
import { existsSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const DEVICES = '/sys/bus/pci/devices';
const VFIO_DRIVER = '/sys/bus/pci/drivers/vfio-pci';
const NOIOMMU = '/sys/module/vfio/parameters/enable_unsafe_noiommu_mode';

/** Bits of the command register. @source include/uapi/linux/pci_regs.h */
export const COMMAND = { MEMORY: 0x2, MASTER: 0x4, INTX_DISABLE: 0x400 } as const;
/** Places in the configuration space. */
export const CONFIG = { COMMAND: 4, STATUS: 6, BAR0: 0x10, CAPABILITIES: 0x34 } as const;
const STATUS_HAS_CAPABILITIES = 0x10;
const CAPABILITY_MSI = 0x05;
const MSI_FLAGS = 2;
const MSI_ENABLE = 1;
const IO_BAR_FLAG = 1;

/** What the kernel has made of a device, in words that can be compared over a jump. */
export interface PciFacts {
  readonly driver: string | null;
  readonly resetMethods: readonly string[];
  readonly command: number;
  readonly busMaster: boolean;
  readonly memoryDecoding: boolean;
  readonly msiEnabled: boolean;
  /** What its first BAR holds: the address at which its registers are. */
  readonly bar0: string;
}

/** @throws Error there is none */
export function findPci(vendor: number, device: number): string {
  const found = readdirSync(DEVICES).find(
    (address) => idOf(address, 'vendor') === vendor && idOf(address, 'device') === device,
  );
  if (found === undefined) throw new Error(`there is no PCI device ${vendor.toString(16)}:${device.toString(16)}`);
  return found;
}

function idOf(address: string, file: 'vendor' | 'device'): number {
  return Number(readFileSync(join(DEVICES, address, file), 'utf8'));
}

export function pciPath(address: string): string {
  return join(DEVICES, address);
}

export function pciFacts(address: string): PciFacts {
  const folder = join(DEVICES, address);
  const config = readFileSync(join(folder, 'config'));
  const command = config.readUInt16LE(CONFIG.COMMAND);
  const bar0 = config.readUInt32LE(CONFIG.BAR0);
  const list = join(folder, 'reset_method');
  return {
    driver: existsSync(join(folder, 'driver')) ? basename(readlinkSync(join(folder, 'driver'))) : null,
    resetMethods: existsSync(list) ? readFileSync(list, 'utf8').split(/\s+/).filter(Boolean) : [],
    command,
    busMaster: (command & COMMAND.MASTER) !== 0,
    memoryDecoding: (command & COMMAND.MEMORY) !== 0,
    msiEnabled: msiFlags(config) !== undefined && (msiFlags(config)! & MSI_ENABLE) !== 0,
    bar0: `0x${(bar0 & IO_BAR_FLAG ? bar0 : (bar0 & ~0xf) >>> 0).toString(16)}`,
  };
}

/** Undefined: it has no message-signalled interrupts. */
function msiFlags(config: Buffer): number | undefined {
  if ((config.readUInt16LE(CONFIG.STATUS) & STATUS_HAS_CAPABILITIES) === 0) return undefined;
  for (let at = config[CONFIG.CAPABILITIES]! & 0xfc; at !== 0; at = config[at + 1]! & 0xfc) {
    if (config[at] === CAPABILITY_MSI) return config.readUInt16LE(at + MSI_FLAGS);
  }
  return undefined;
}

/** From now on the kernel has no way to reset it, whoever asks: opening it by VFIO would be one. */
export function forbidReset(address: string): void {
  const list = join(DEVICES, address, 'reset_method');
  if (existsSync(list)) writeFileSync(list, '\n');
}

/** Give it to vfio-pci, without an IOMMU. @returns the name of its group below /dev/vfio */
export function bindToVfio(address: string): string {
  const folder = join(DEVICES, address);
  writeFileSync(NOIOMMU, 'Y');
  writeFileSync(join(folder, 'driver_override'), 'vfio-pci');
  if (existsSync(join(folder, 'driver'))) writeFileSync(join(folder, 'driver/unbind'), address);
  writeFileSync(join(VFIO_DRIVER, 'bind'), address);
  return `noiommu-${basename(readlinkSync(join(folder, 'iommu_group')))}`;
}
