/** What the crash tests look up in /proc about processes that they were told of, and end. Never here: ending one by its name. */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestLuod } from '../../src/testing/index.js';

/** The state letter and the parent; undefined: there is no such process. @source proc(5), /proc/PID/stat */
function stat(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent = ''] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

/** A zombie is not alive. */
export function isAlive(pid: number): boolean {
  const found = stat(pid);
  return found !== undefined && found.state !== 'Z' && found.state !== 'X';
}

export function isStopped(pid: number): boolean {
  return stat(pid)?.state === 'T';
}

export function parentOf(pid: number): number | undefined {
  return stat(pid)?.parent;
}

/** What the open fds of a process are, sorted: `socket`, `anon_inode:[eventpoll]`, `/memfd:luo:counters (deleted)`. */
export function fdsOf(pid: number): string[] {
  const kinds: string[] = [];
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      kinds.push(readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, ''));
    } catch {
      // Closed meanwhile.
    }
  }
  return kinds.sort();
}

/** Which entries of `after` are more than in `before`, each as often as it is. */
export function surplus(before: readonly string[], after: readonly string[]): string[] {
  const rest = [...before];
  return after.filter((kind) => {
    const at = rest.indexOf(kind);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

/** To a process that may be gone already. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export function pidsOf(luod: TestLuod): [daemon: number, keeper: number] {
  const read = (file: string): number => Number(readFileSync(join(luod.dir, file), 'utf8'));
  return [read('luod.pid'), read('keeper.pid')];
}

/** Both at once: luod, standing still, sees nothing of the keeper's end. */
export async function killBoth(luod: TestLuod): Promise<void> {
  const [daemon, keeper] = pidsOf(luod);
  process.kill(daemon, 'SIGSTOP');
  while (!isStopped(daemon)) await sleep(1);
  process.kill(keeper, 'SIGKILL');
  while (isAlive(keeper)) await sleep(1);
  process.kill(daemon, 'SIGKILL');
  while (isAlive(daemon)) await sleep(1);
}
