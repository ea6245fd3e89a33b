/**
 * Where a device hangs, read from sysfs: its ancestors up to the root, its driver, how it can be reset, and with which
 * others it shares an IOMMU group. Reads only; writes nothing to sysfs and opens no device.
 *
 * A directory is a device when it has a `uevent` file: the directories of classes and groups between two devices have none.
 *
 * Viable over kexec says that its owner takes part: it is called in the order of the tree, and what it returns travels. The kernel
 * preserves nothing of a device, and the reason says what becomes of it. So no device stands in the way of a plan by itself.
 * @source Documentation/ABI/testing/sysfs-devices, sysfs-bus-pci (reset_method), sysfs-kernel-iommu_groups;
 *   drivers/pci/pci-driver.c (pci_device_shutdown: bus mastering ends with a kexec)
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, normalize } from 'node:path';
import { LuoError } from '../../base/errors.js';
import type { DeviceDescriber, DeviceDescription, ViabilityByGap } from '../../ports/index.js';

export interface DeviceDescriberOptions {
  /** Where sysfs is; another one in tests. Paths in the answers always begin with /sys. */
  readonly sysRoot?: string;
}

/** Folders of sysfs in which devices, or links to them, are. */
const BELOW_SYS = /^\/(devices|bus|class)\//;

export function createDeviceDescriber(options: DeviceDescriberOptions = {}): DeviceDescriber {
  const root = options.sysRoot ?? '/sys';
  return { describe: (path) => describeDevice(root, path) };
}

function describeDevice(root: string, sysfsPath: string): DeviceDescription {
  const directory = resolveDevice(root, sysfsPath);
  const realRoot = realpathSync(root);
  const shown = (path: string): string => `/sys${path.slice(realRoot.length)}`;
  const resetMethods = words(join(directory, 'reset_method'));
  const driver = linkName(join(directory, 'driver'));
  const subsystem = linkName(join(directory, 'subsystem'));
  const group = linkName(join(directory, 'iommu_group'));
  return {
    path: shown(directory),
    ancestors: ancestorsOf(directory, join(realRoot, 'devices')).map(shown),
    driver,
    subsystem,
    resetMethods,
    iommuGroup: group,
    iommuPeers: group === null ? [] : peersOf(directory).map(shown),
    viable: viability(driver, subsystem, resetMethods),
  };
}

/**
 * The real directory of the device. The path may begin with /sys or, as the kernel itself names devices, below it.
 * @throws LuoError HANDLE_UNKNOWN, PROTO_INVALID
 */
export function resolveDevice(root: string, sysfsPath: string): string {
  const asked = normalize(sysfsPath);
  const clean = BELOW_SYS.test(asked) ? `/sys${asked}` : asked;
  if (!isAbsolute(clean) || !clean.startsWith('/sys/'))
    throw new LuoError('PROTO_INVALID', `'${sysfsPath}' is no path below /sys`, { data: { path: sysfsPath } });
  let directory: string;
  try {
    directory = realpathSync(join(root, clean.slice('/sys/'.length)));
  } catch (error) {
    throw new LuoError('HANDLE_UNKNOWN', `no device '${sysfsPath}'`, { cause: error, data: { path: sysfsPath } });
  }
  // A link may lead anywhere: what counts is where it ends.
  if (!directory.startsWith(`${join(realpathSync(root), 'devices')}/`) || !isDevice(directory))
    throw new LuoError('PROTO_INVALID', `'${sysfsPath}' is not a device`, { data: { path: sysfsPath } });
  return directory;
}

/** Nearest first. */
function ancestorsOf(directory: string, devicesRoot: string): string[] {
  const found: string[] = [];
  for (let path = dirname(directory); path.startsWith(`${devicesRoot}/`); path = dirname(path))
    if (isDevice(path)) found.push(path);
  return found;
}

function peersOf(directory: string): string[] {
  const devices = join(directory, 'iommu_group', 'devices');
  if (!existsSync(devices)) return [];
  return readdirSync(devices)
    .map((name) => realpathSync(join(devices, name)))
    .filter((path) => path !== directory)
    .sort();
}

function viability(driver: string | null, subsystem: string | null, resetMethods: readonly string[]): ViabilityByGap {
  const master = subsystem === 'pci' ? ', bus mastering is switched off' : '';
  return {
    // The kernel and its drivers stay; only the program that uses the device is replaced.
    handover: { ok: true, reason: '' },
    kexec: {
      ok: true,
      reason: `the kernel preserves nothing of it: only what its owner returns travels${master}, ${fate(driver, resetMethods)}`,
    },
  };
}

/** What the next kernel does with it. */
function fate(driver: string | null, resetMethods: readonly string[]): string {
  if (driver !== null && !isPassedThrough(driver)) return `the driver '${driver}' of the next kernel starts it anew`;
  if (resetMethods.length === 0) return 'and nothing resets it: its own registers and memory stay as they are';
  return `and it may be reset when it is opened or not claimed (${resetMethods.join(', ')})`;
}

/** Is this the driver of a device that user space drives? */
export function isPassedThrough(driver: string): boolean {
  return driver.startsWith('vfio') || driver.startsWith('uio') || driver === 'pci-stub';
}

export function isDevice(path: string): boolean {
  return existsSync(join(path, 'uevent'));
}

/** Last part of what a link points to; null without the link. */
export function linkName(path: string): string | null {
  try {
    return basename(readlinkSync(path));
  } catch {
    return null;
  }
}

/** The words of a file; none without it, or where it cannot be read. */
export function words(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split(/\s+/)
      .filter((word) => word !== '');
  } catch {
    return [];
  }
}
