/**
 * The kernels that the suite runs on: files `bzImage-VERSION-luo` in the folder that LUO_VM_KERNELS names, else in
 * .cache/vm-kernels, where `tools/vm-kernel` builds them. With one alone everything runs but the change of version.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './root.js';

export interface Kernel {
  /** `7.3.4`. */
  readonly version: string;
  readonly path: string;
}

export interface Kernels {
  /** The older one, from which the jump goes. */
  readonly from: Kernel;
  readonly to: Kernel;
  /** There is one alone: a jump leads from it into itself. */
  readonly sameVersion: boolean;
}

/** @throws Error there is none, with what to do */
export function kernels(folder: string = process.env['LUO_VM_KERNELS'] || join(root, '.cache/vm-kernels')): Kernels {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const found = names
    .flatMap((name) => {
      const version = /^bzImage-(\d+(?:\.\d+)+)-luo$/.exec(name)?.[1];
      return version === undefined ? [] : [{ version, path: join(folder, name) }];
    })
    .sort((a, b) => a.version.localeCompare(b.version, undefined, { numeric: true }));
  const [from, to = from] = [found[0], found.at(-1)];
  if (from && to) return { from, to, sameVersion: from.version === to.version };
  throw new Error(
    `no kernel in '${folder}': set LUO_VM_KERNELS to a folder with files bzImage-VERSION-luo, or run tools/vm-kernel, which builds one`,
  );
}
