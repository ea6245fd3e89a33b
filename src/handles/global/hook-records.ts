/**
 * What hooks were asked to begin, and have not been told the end of: one small file for each, beside luod's socket, so that the next
 * process that runs hooks undoes what a killed one left half done. Files of an earlier boot, and damaged ones, say nothing.
 *
 * The file is the operator's handle too: a hook that cannot restore leaves its state there, and removing the file gives it up.
 * @source proc(5): /proc/PID/stat, field 22 (starttime), by which a pid that was used again is told from the process that had it
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** `restore`: that failed, and is to be tried again. */
export type OpenCall = 'prepare' | 'freeze' | 'restore';

export interface HookRecord {
  readonly call: OpenCall;
  /** What goes to its stdin next. */
  readonly state: Uint8Array;
  /** A process of it that was running when this was written. */
  readonly process: { readonly pid: number; readonly startTicks: number } | null;
}

interface Written {
  readonly bootId: string;
  readonly call: OpenCall;
  /** base64. */
  readonly state: string;
  readonly process: HookRecord['process'];
}

const SUFFIX = '.json';
const START_TICKS_FIELD = 22;

export class HookRecords {
  readonly #folder: string;
  readonly #bootId: string;

  constructor(folder: string, bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) {
    this.#folder = folder;
    this.#bootId = bootId;
  }

  path(name: string): string {
    return join(this.#folder, `${name}${SUFFIX}`);
  }

  /** Names of this boot's records. */
  names(): string[] {
    try {
      return readdirSync(this.#folder)
        .filter((file) => file.endsWith(SUFFIX))
        .map((file) => file.slice(0, -SUFFIX.length))
        .filter((name) => this.read(name) !== undefined)
        .sort();
    } catch {
      return [];
    }
  }

  read(name: string): HookRecord | undefined {
    try {
      const written = JSON.parse(readFileSync(this.path(name), 'utf8')) as Written;
      if (written.bootId !== this.#bootId) return undefined;
      return { call: written.call, state: Buffer.from(written.state, 'base64'), process: written.process };
    } catch {
      return undefined;
    }
  }

  write(name: string, { call, state, process: running }: HookRecord): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const base64 = Buffer.from(state).toString('base64');
    const written: Written = { bootId: this.#bootId, call, state: base64, process: running };
    const beside = `${this.path(name)}.new`;
    writeFileSync(beside, `${JSON.stringify(written)}\n`, { mode: 0o600 });
    renameSync(beside, this.path(name));
  }

  remove(name: string): void {
    rmSync(this.path(name), { force: true });
    try {
      rmdirSync(this.#folder);
    } catch {
      // There are others.
    }
  }
}

/** What a record needs to find a process again; null: it is gone already. */
export function processRecord(pid: number): HookRecord['process'] {
  const startTicks = startTicksOf(pid);
  return startTicks === undefined ? null : { pid, startTicks };
}

/** End what a killed runner left running, with its group. */
export function endLeftProcess(left: HookRecord['process']): void {
  if (left === null || startTicksOf(left.pid) !== left.startTicks) return;
  try {
    process.kill(-left.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

function startTicksOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may have spaces and parentheses in it.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TICKS_FIELD - 3]);
  } catch {
    return undefined;
  }
}
