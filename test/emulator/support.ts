/** C programs for tests of the emulator, and luoctl emulate as a process. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
export const luoctl = join(root, 'bin/luoctl');

/** For `skip`: false where C programs can be built. */
export const withoutCompiler: string | false =
  spawnSync('cc', ['--version']).status === 0 ? false : 'needs a C compiler';

/** A folder of this test file, with its C programs; removed at the end of the process. */
export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), 'luo-emulator-'));

  constructor() {
    process.once('exit', () => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** Build test/emulator/programs/NAME.c; its path. */
  build(name: string, options: readonly string[] = []): string {
    const program = join(this.folder, name);
    const source = join(root, 'test/emulator/programs', `${name}.c`);
    const { status, stderr } = spawnSync(
      'cc',
      ['-Wall', '-Werror', '-O1', '-pthread', '-o', program, source, ...options],
      {
        encoding: 'utf8',
      },
    );
    if (status !== 0) throw new Error(`cc ${name}: ${stderr}`);
    return program;
  }
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

export interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  /** What has come on standard output so far. */
  out(): string;
  err(): string;
  /** Resolves as soon as standard output holds `text`. */
  outHas(text: string): Promise<void>;
  readonly ended: Promise<Ended>;
}

/** Start a command with its output gathered. It is killed after `limitMs`. */
export function start(
  command: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; limitMs?: number } = {},
): Started {
  const child = spawn(command[0]!, command.slice(1), {
    cwd: options.cwd ?? root,
    env: options.env ?? process.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  const pieces = { out: '', err: '' };
  const waiting = new Set<() => void>();
  child.stdout.on('data', (piece: Buffer) => {
    pieces.out += piece.toString();
    for (const look of waiting) look();
  });
  child.stderr.on('data', (piece: Buffer) => (pieces.err += piece.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), options.limitMs ?? 120_000);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...pieces });
    });
  });
  return {
    child,
    pid: child.pid!,
    out: () => pieces.out,
    err: () => pieces.err,
    outHas: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!pieces.out.includes(text)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
        void ended.then(
          (end) => reject(new Error(`it ended without saying '${text}': ${JSON.stringify(end)}`)),
          reject,
        );
      }),
    ended,
  };
}

/** Run a command to its end, with nothing on standard input. */
export function run(command: readonly string[], options: Parameters<typeof start>[1] = {}): Promise<Ended> {
  const started = start(command, options);
  started.child.stdin!.end();
  return started.ended;
}

/** Processes whose command line holds `text`, by pid: for what a test has left. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => readQuietly(`/proc/${name}/cmdline`).includes(text))
    .map(Number);
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
