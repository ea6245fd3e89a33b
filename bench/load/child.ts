/** The other end of child-protocol.ts: starts the probe or the load as a process, asks it, and takes its result. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LoadResult } from './load-core.js';
import type { ProbeResult, ProbeWindow } from './probe-core.js';

/** One such process. Whoever starts it calls `finish` or `kill`. */
class LoadChild<Result> {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  protected constructor(program: string, args: readonly string[]) {
    this.#child = spawn(process.execPath, [fileURLToPath(new URL(program, import.meta.url)), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    // A child that died early is noticed by the end of its output.
    this.#child.stdin!.on('error', () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Resolves when it has begun. @throws Error it ended instead */
  async ready(): Promise<this> {
    await this.#answer('ready');
    return this;
  }

  protected ask(command: string, field: string): Promise<unknown> {
    this.#child.stdin!.write(`${command}\n`);
    return this.#answer(field);
  }

  /** End it and take its result. */
  async finish(): Promise<Result> {
    this.#child.stdin!.end();
    const result = (await this.#answer('result')) as Result;
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    return result;
  }

  /** End it without a result. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #answer(field: string): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the process ended before it gave '${field}'`);
    const answer = JSON.parse(value) as Record<string, unknown>;
    if (!(field in answer)) throw new Error(`expected '${field}', got ${value}`);
    return answer[field];
  }
}

/** The probe; see probe.ts for its options. */
export class ProbeChild extends LoadChild<ProbeResult> {
  static start(...args: readonly string[]): Promise<ProbeChild> {
    return new ProbeChild('probe.js', args).ready();
  }
  /** End the open window and begin another. */
  async window(name: string): Promise<ProbeWindow> {
    return (await this.ask(`window ${name}`, 'window')) as ProbeWindow;
  }
}

/** The load; see load.ts for its options. */
export class LoadProcess extends LoadChild<LoadResult> {
  static start(...args: readonly string[]): Promise<LoadProcess> {
    return new LoadProcess('load.js', args).ready();
  }
  async status(): Promise<LoadResult> {
    return (await this.ask('status', 'status')) as LoadResult;
  }
}
