/**
 * A directory in which keeper and luod died together: nobody answers there, and the journal of the dead luod lies there.
 * Only looks; `luoctl recover` starts the luod that takes it up.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** As the keeper names itself. */
const KEEPER_PROCESS = 'luo-keeper';

/** Are keeper and luod of this directory dead, and left something? */
export function isLeftBehind(dir: string): boolean {
  return existsSync(join(dir, 'journal')) && !isKeeperAlive(dir);
}

/** The number may be another process's by now: its name tells. */
export function isKeeperAlive(dir: string): boolean {
  const pid = Number(read(join(dir, 'keeper.pid')));
  return Number.isInteger(pid) && pid > 0 && read(`/proc/${pid}/comm`).trim() === KEEPER_PROCESS;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
