/**
 * Programs inside of the machine: run one to its end, start one that goes on, list those that there are. A program that is
 * over its deadline or says too much is killed with everything in its process group; whoever left the group is not waited for.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly uid?: number;
}

export interface RunOptions extends ProgramOptions {
  readonly stdin?: Uint8Array;
  /** Then it gets SIGKILL. Positive. */
  readonly timeoutMs: number;
  /** Told of what it writes as it comes. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', text: string) => void;
}

export interface ProgramResult {
  /** null: a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The deadline killed it. */
  readonly late: boolean;
  /** It wrote more than OUTPUT_BYTES_MAX, and was killed for it. */
  readonly tooMuch: boolean;
}

export interface Process {
  readonly pid: number;
  readonly ppid: number;
  /** R, S, D, Z: as in /proc. */
  readonly state: string;
  readonly uid: number;
  readonly name: string;
  /** Empty: a thread of the kernel, or a zombie. */
  readonly argv: readonly string[];
}

/** What a program may write to both streams together. */
export const OUTPUT_BYTES_MAX = 4 * 2 ** 20;
/** How long the pipes of a killed program may stay open in other hands, ms. */
const DRAIN_MS = 200;

/** @throws Error there is no such program, or it may not be run */
export function runProgram(argv: readonly string[], options: RunOptions): Promise<ProgramResult> {
  const { env, cwd = '/', uid, stdin, timeoutMs, onOutput } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const said: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    let bytes = 0;
    let late = false;
    let tooMuch = false;
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, DRAIN_MS);
    };
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, timeoutMs);
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > OUTPUT_BYTES_MAX) {
          if (!tooMuch) kill();
          tooMuch = true;
          return;
        }
        said[stream].push(chunk);
        onOutput?.(stream, chunk.toString());
      });
    }
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const text = (stream: 'stdout' | 'stderr'): string => Buffer.concat(said[stream]).toString();
      resolve({ code, signal, late, tooMuch, stdout: text('stdout'), stderr: text('stderr') });
    });
    // It need not read what it is given.
    child.stdin.on('error', () => undefined);
    child.stdin.end(stdin ?? '');
  });
}

/** @param output file that what it writes is added to. @returns its pid. @throws Error there is no such program */
export function startProgram(argv: readonly string[], output: string, options: ProgramOptions): Promise<number> {
  const { env, cwd = '/', uid } = options;
  return new Promise((resolve, reject) => {
    const log = openSync(output, 'a');
    const child = spawn(argv[0]!, argv.slice(1), {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
      detached: true,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    closeSync(log);
    child.on('error', reject);
    child.on('spawn', () => resolve(child.pid!));
    child.unref();
  });
}

/** Everything in /proc, threads of the kernel left out, zombies not. */
export function listProcesses(): Process[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8');
      const field = (key: string): string => new RegExp(`^${key}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
      const state = field('State');
      const argv = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').slice(0, -1);
      if (argv.length === 0 && state !== 'Z' && isKernelThread(name)) return [];
      const process = { pid: Number(name), ppid: Number(field('PPid')), uid: Number(field('Uid')) };
      return [{ ...process, state, name: field('Name'), argv }];
    } catch {
      // It ended while it was looked at.
      return [];
    }
  });
}

function isKernelThread(pid: string): boolean {
  try {
    readlinkSync(`/proc/${pid}/exe`);
    return false;
  } catch {
    return true;
  }
}
