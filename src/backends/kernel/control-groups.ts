/**
 * What the memory controller would do to a process that takes memory out of a session: whoever retrieves is charged for all of
 * it, and one whose limit does not suffice is killed inside the call, with the data lost.
 * @source Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current)
 */
import { dirname, join } from 'node:path';
import { readText } from './read-text.js';

export interface Roots {
  readonly procRoot: string;
  readonly sysRoot: string;
}

/** Null: `pid` may be charged `sizeBytes` more. Else why not, one sentence. */
export function chargeProblem(sizeBytes: number, pid: number, { procRoot, sysRoot }: Roots): string | null {
  for (const group of groupsOf(pid, procRoot)) {
    const folder = join(sysRoot, 'fs/cgroup', group);
    const max = numberIn(join(folder, 'memory.max'));
    const current = numberIn(join(folder, 'memory.current'));
    if (max === undefined || current === undefined || max - current >= sizeBytes) continue;
    return `memory.max of control group '${group}' is ${max} bytes with ${current} in use, and ${sizeBytes} more are needed`;
  }
  return null;
}

/** Its control group and those above it, the nearest first. */
function groupsOf(pid: number, procRoot: string): string[] {
  const own = /^0::(.*)$/m.exec(readText(join(procRoot, String(pid), 'cgroup')) ?? '')?.[1];
  if (own === undefined) return [];
  const groups: string[] = [];
  for (let group = own; ; group = dirname(group)) {
    groups.push(group);
    if (group === '/' || group === '.') return groups;
  }
}

/** Undefined: there is no such file, or no limit. */
function numberIn(path: string): number | undefined {
  const text = readText(path);
  return text === undefined || text === 'max' ? undefined : Number(text);
}
