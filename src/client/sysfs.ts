/**
 * Where a device hangs in the tree that the kernel shows below /sys: the devices above it, which it needs to work.
 * A folder is a device if the kernel says to which subsystem it belongs (its link `subsystem`); plain grouping folders,
 * as `pci0000:00` and `virtual`, are not handles of anybody.
 */
import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { LuoError } from '../base/errors.js';

export interface DevicePlace {
  /** Unique name of the device: its folder's. */
  readonly name: string;
  /** Below /sys, beginning with `/devices`. */
  readonly path: string;
  /** The devices above it, nearest first. */
  readonly ancestors: readonly { readonly name: string; readonly path: string }[];
}

/**
 * Find the device at `path` (below `sysfs`, or a link to it, as those in `/sys/bus/pci/devices`).
 * @throws LuoError HANDLE_UNKNOWN there is no such device; HANDLE_UNVIABLE what is there is no device
 */
export function findDevice(path: string, sysfs = '/sys'): DevicePlace {
  const root = realpathSync(sysfs);
  const asked = path.startsWith(`${sysfs}/`) ? path.slice(sysfs.length) : path;
  let folder: string;
  try {
    folder = realpathSync(join(root, asked));
  } catch (error) {
    throw new LuoError('HANDLE_UNKNOWN', `there is no device at '${path}'`, { handle: path, cause: error });
  }
  if (!folder.startsWith(`${root}/devices/`) || !statSync(folder).isDirectory() || !isDevice(folder)) {
    throw new LuoError('HANDLE_UNVIABLE', `'${path}' is no device of the kernel's device tree`, { handle: path });
  }
  const ancestors: { name: string; path: string }[] = [];
  for (let above = dirname(folder); above.startsWith(`${root}/devices/`); above = dirname(above)) {
    if (isDevice(above)) ancestors.push(placeOf(root, above));
  }
  return { ...placeOf(root, folder), ancestors };
}

function isDevice(folder: string): boolean {
  return existsSync(join(folder, 'subsystem'));
}

function placeOf(root: string, folder: string): { name: string; path: string } {
  return { name: basename(folder), path: `/${relative(root, folder)}` };
}
