/**
 * Another process of a case, or the one that holds what is to cross: src/backends/kernel/conformance/child.ts with fds of
 * this one. It does one thing, says the outcome, and lives until its standard input ends.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { OwnedFd } from '../../../sys/index.js';

const PROGRAM = fileURLToPath(new URL('./child.js', import.meta.url));

export class Child {
  readonly #process: ChildProcess;
  readonly #said: Promise<string>;
  readonly #ended: Promise<void>;

  /** @param fds borrowed: they become 3, 4, ... of it */
  constructor(words: readonly string[], fds: readonly OwnedFd[]) {
    this.#process = spawn(process.execPath, [PROGRAM, ...words], {
      stdio: ['pipe', 'pipe', 'inherit', ...fds.map(({ fd }) => fd)],
    });
    const { stdout } = this.#process;
    let text = '';
    this.#said = new Promise((resolve, reject) => {
      stdout!.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
      });
      this.#process.on('error', reject);
      this.#process.on('exit', (code, signal) => reject(new Error(`the child ended (${signal ?? code}): ${text}`)));
    });
    this.#said.catch(() => undefined);
    this.#ended = new Promise((resolve) => {
      this.#process.on('error', () => resolve());
      this.#process.on('exit', () => resolve());
    });
    this.#process.stdin!.on('error', () => undefined);
  }

  /** The outcome of what it did. */
  said(): Promise<string> {
    return this.#said;
  }

  /** Let it end by itself. */
  async end(): Promise<void> {
    this.#process.stdin!.end();
    await this.#ended;
  }

  /** End it in the middle. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}

/** A process that holds `fds` (borrowed) after this one has ended, until it is killed or the kernel is replaced. @returns its pid */
export async function startHolder(fds: readonly OwnedFd[]): Promise<number> {
  const child = spawn(process.execPath, [PROGRAM, 'hold'], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore', ...fds.map(({ fd }) => fd)],
  });
  const pid = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('spawn', () => resolve(child.pid!));
  });
  child.unref();
  return pid;
}
