/**
 * Where a device hangs, read from sysfs: its ancestors up to the root, its driver, how it can be reset, and with which
 * others it shares an IOMMU group. Reads only; writes nothing to sysfs and opens no device.
 *
 * A directory is a device when it has a `uevent` file: the directories of classes and groups between two devices have none.
 * @source Documentation/ABI/testing/sysfs-devices, sysfs-bus-pci (reset_method), sysfs-kernel-iommu_groups
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, normalize } from 'node:path';
import { LuoError } from '../../base/errors.js';
import type { DeviceDescriber, DeviceDescription, ViabilityByGap } from '../../ports/index.js';

export interface DeviceDescriberOptions {
  /** Where sysfs is; another one in tests. Paths in the answers always begin with /sys. */
  readonly sysRoot?: string;
}

export function createDeviceDescriber(options: DeviceDescriberOptions = {}): DeviceDescriber {
  const root = options.sysRoot ?? '/sys';
  return { describe: (path) => describeDevice(root, path) };
}

function describeDevice(root: string, sysfsPath: string): DeviceDescription {
  const directory = resolveDevice(root, sysfsPath);
  const realRoot = realpathSync(root);
  const shown = (path: string): string => `/sys${path.slice(realRoot.length)}`;
  const resetMethods = words(join(directory, 'reset_method'));
  const group = linkName(join(directory, 'iommu_group'));
  return {
    path: shown(directory),
    ancestors: ancestorsOf(directory, join(realRoot, 'devices')).map(shown),
    driver: linkName(join(directory, 'driver')),
    subsystem: linkName(join(directory, 'subsystem')),
    resetMethods,
    iommuGroup: group,
    iommuPeers: group === null ? [] : peersOf(directory).map(shown),
    viable: viability(resetMethods),
  };
}

/** The real directory of the device. @throws LuoError HANDLE_UNKNOWN, PROTO_INVALID */
function resolveDevice(root: string, sysfsPath: string): string {
  const clean = normalize(sysfsPath);
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

function viability(resetMethods: readonly string[]): ViabilityByGap {
  const fate =
    resetMethods.length === 0
      ? 'the next kernel cannot reset it either'
      : `the next kernel may reset it (${resetMethods.join(', ')})`;
  return {
    // The kernel and its drivers stay; only the program that uses the device is replaced.
    handover: { ok: true, reason: '' },
    kexec: { ok: false, reason: `no kernel handler preserves devices; ${fate}` },
  };
}

function isDevice(path: string): boolean {
  return existsSync(join(path, 'uevent'));
}

/** Last part of what a link points to; null without the link. */
function linkName(path: string): string | null {
  try {
    return basename(readlinkSync(path));
  } catch {
    return null;
  }
}

/** The words of a file; none without it, or where it cannot be read. */
function words(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split(/\s+/)
      .filter((word) => word !== '');
  } catch {
    return [];
  }
}
