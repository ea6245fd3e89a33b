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

/**
 * The number may be another process's by now: its name tells. A process that has ended keeps both until its parent has asked
 * for its status, and not every container's first process does.
 * @source proc(5), /proc/PID/stat: pid (comm) state
 */
export function isKeeperAlive(dir: string): boolean {
  const pid = Number(read(join(dir, 'keeper.pid')));
  if (!Number.isInteger(pid) || pid <= 0) return false;
  const [, name, state] = /^\d+ \((.*)\) (\S)/s.exec(read(`/proc/${pid}/stat`)) ?? [];
  return name === KEEPER_PROCESS && state !== 'Z' && state !== 'X';
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
