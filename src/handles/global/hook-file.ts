/**
 * Which files of a folder are hooks, and which must not be run: they run as root, so nobody but root may decide what they say.
 * Looks at files and runs none.
 *
 * A hook is an executable file whose name a global handle can have. It, and the folder in which it is (where a link leads, that
 * one too), must belong to root or to the user of this process, and be writable for nobody else.
 */
import { readdirSync, realpathSync, statSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { LuoError } from '../../base/errors.js';
import { describeGlobal } from './global.js';

export interface HookFile {
  readonly name: string;
  readonly path: string;
}
export interface FoundHooks {
  /** In order of their names. */
  readonly hooks: readonly HookFile[];
  /** What lies there as well, and why it is not run. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

const OTHERS_WRITE = 0o022;
const ANY_EXECUTE = 0o111;

/** No folder: no hooks. @param uid user of this process, who may own hooks besides root */
export function findHooks(folder: string, uid: number): FoundHooks {
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch (error) {
    const { errno } = LuoError.from(error);
    if (errno === 'ENOENT') return { hooks: [], refused: [] };
    return { hooks: [], refused: [{ name: folder, reason: `it cannot be read (${errno})` }] };
  }
  const hooks: HookFile[] = [];
  const refused: { name: string; reason: string }[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const reason = checkHook(path, uid);
    if (reason === null) hooks.push({ name, path });
    else refused.push({ name, reason });
  }
  return { hooks, refused };
}

/** Why this file must not be run, in words; null: it may. */
export function checkHook(path: string, uid: number): string | null {
  let real: string;
  let file: Stats;
  try {
    real = realpathSync(path);
    file = statSync(real);
  } catch (error) {
    return `it cannot be looked at (${LuoError.from(error).errno})`;
  }
  if (!file.isFile()) return 'it is no file';
  if ((file.mode & ANY_EXECUTE) === 0) return 'it is not executable';
  try {
    describeGlobal(path.slice(dirname(path).length + 1));
  } catch (error) {
    return (error as Error).message;
  }
  const own = foreign(file, uid);
  if (own !== null) return `it ${own}`;
  for (const folder of new Set([dirname(path), dirname(real)])) {
    const problem = foreign(statSync(folder), uid);
    if (problem !== null) return `its folder '${folder}' ${problem}`;
  }
  return null;
}

/** Who else could change it. */
function foreign(of: Stats, uid: number): string | null {
  if (of.uid !== 0 && of.uid !== uid) return `belongs to user ${of.uid}`;
  if ((of.mode & OTHERS_WRITE) !== 0)
    return `can be written by others than its owner (mode ${(of.mode & 0o777).toString(8)})`;
  return null;
}
