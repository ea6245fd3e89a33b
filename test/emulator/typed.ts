/** `luoctl emulate` as a user types it: bin/luoctl, by the node that runs the tests, with everything that it writes. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { root } from '../docs/pages.js';

export const LUOCTL = join(root, 'bin/luoctl');
/** Of one command; the machine may be slow. */
const DEADLINE_MS = 240_000;

export interface Typed {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

/** A command line, run to its end. Over its deadline it is killed, and the tests fail by what it says. */
export function typed(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Typed> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, LUOCTL, ...env },
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
    });
    const text = { out: '', err: '' };
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text.out += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text.err += chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...text }));
  });
}

/** `program` under an emulated kernel. @param options of luoctl emulate */
export function emulate(
  program: readonly string[],
  options: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Typed> {
  return typed([LUOCTL, 'emulate', ...options, '--', ...program], env);
}

/** A shell command that makes the jump, from inside; it does not come back. */
export const JUMP = '"$LUOCTL" emulate kexec';
