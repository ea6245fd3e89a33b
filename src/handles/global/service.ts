/** How the program that runs the hooks is to be started: as a supervised service like any other, by luod itself (src/daemon/globals.ts). */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { LuodParams } from '../../protocol/spec.js';

/** Its name: what depends on a hook depends on `UID:luo-globals/global:NAME`. */
export const GLOBALS_SERVICE = 'luo-globals';
export const GLOBALS_FOLDER = '/etc/luo/globals.d';

/**
 * What `run` takes to start it. Undefined: there is nothing executable in the folder.
 * @param program path of the built program `globals`
 */
export function globalsService(options: {
  readonly program: string;
  readonly folder?: string;
}): LuodParams<'run'> | undefined {
  const folder = options.folder ?? GLOBALS_FOLDER;
  if (!hasExecutable(folder)) return undefined;
  const { PATH = '/usr/sbin:/usr/bin:/sbin:/bin' } = process.env;
  return {
    name: GLOBALS_SERVICE,
    argv: [process.execPath, options.program, '--folder', folder],
    cwd: '/',
    env: { PATH },
    restart: 'on-failure',
  };
}

function hasExecutable(folder: string): boolean {
  try {
    return readdirSync(folder).some((name) => {
      const file = statSync(join(folder, name), { throwIfNoEntry: false });
      return file?.isFile() === true && (file.mode & 0o111) !== 0;
    });
  } catch {
    return false;
  }
}
