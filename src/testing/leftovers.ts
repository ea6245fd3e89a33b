/**
 * What a luod under test has left: processes by the random id in their environment, files below its directory.
 * Never here: a process found or ended by its name.
 */
import { readFileSync, readdirSync } from 'node:fs';

export interface LeftoverProcess {
  readonly pid: number;
  readonly command: string;
}
export interface Leftovers {
  readonly processes: readonly LeftoverProcess[];
  /** Paths relative to the directory of luod. */
  readonly files: readonly string[];
}

/** The processes whose environment carries the test's id, this process left out; zombies are nobody's environment. */
export function processesOf(id: string): LeftoverProcess[] {
  const found: LeftoverProcess[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    // luoctl keeps LUO_* variables out of a service's environment, so the id travels in a second one as well; it is part
    // of every path that luod gives its services too.
    if (!readText(`/proc/${name}/environ`).includes(id)) continue;
    found.push({ pid: Number(name), command: readText(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim() });
  }
  return found;
}

/** To one process; an ended one is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Every path below `dir`, sorted; none when it is not there. */
export function filesBelow(dir: string): string[] {
  try {
    return (readdirSync(dir, { recursive: true }) as string[]).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Empty for what is not there, is not ours to read, or has just ended. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
