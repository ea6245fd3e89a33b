/**
 * The story that `npm start` tells, with real processes: a cache full of data, clients under load, one update that works,
 * two broken versions that are rolled back, and one update during which luod itself is killed. It is told through the
 * built programs `luod` and `luoctl`, as an operator would; the clients are the npm `redis` client and a probe that sends
 * a request each millisecond, each in a process of its own.
 */
import { fileURLToPath } from 'node:url';
import { freePort, startLuod, type TestLuod } from 'luo/testing';
import { LoadProcess, ProbeChild } from '../../bench/load/child.js';
import { Dataset } from '../../bench/load/dataset.js';
import { check, fill } from '../../bench/load/fill.js';
import { RespClient } from '../../bench/load/resp-client.js';
import { Step, bytes, ms } from './screen.js';

export interface StoryOptions {
  readonly sizeBytes: number;
  readonly connections: number;
}

/** One update as it was seen from outside. */
export interface Attempt {
  readonly what: string;
  readonly outcome: 'committed' | 'aborted';
  readonly versionAfter: string;
  /** Freeze to go, as luod measured it; null: nothing was frozen. */
  readonly blackoutMs: number | null;
  /** The longest time in which the probe got no answer. */
  readonly clientGapMs: number;
  readonly error: string | undefined;
}

export interface StoryResult {
  readonly keysBefore: number;
  readonly keysAfter: number;
  readonly keysWrong: number;
  readonly connectionsBefore: number;
  readonly connectionsAfter: number;
  readonly requests: number;
  readonly requestsFailed: number;
  readonly rollbacks: number;
  readonly luodKills: number;
  readonly stateBytes: number;
  readonly versionBefore: string;
  readonly versionAfter: string;
  readonly attempts: readonly Attempt[];
  readonly timeline: Timeline;
  /** Processes that had to be ended by force afterwards. */
  readonly leftProcesses: number;
}

export interface Timeline {
  readonly startNs: number;
  readonly events: readonly { readonly ns: number; readonly what: string; readonly participant?: string }[];
}

interface UpdateOutput {
  readonly outcome: 'committed' | 'aborted';
  readonly attempt: number;
  readonly blackoutMs: number | null;
  readonly error?: { readonly code: string; readonly message: string };
}

/** Room for the store's own structures and for what the load writes. */
const MEMORY_FACTOR = 1.5;
const MEMORY_EXTRA = 32 * 2 ** 20;
const SETTLE_MS = 400;
const RECOVERY_MS = 30_000;
/** A version that hangs is given so long before it is rolled back. */
const HANG_BLACKOUT_MS = 1_000;
const HANG_STANDBY_MS = 15_000;

const cacheProgram = fileURLToPath(new URL('../cache/main.js', import.meta.url));

export class Story {
  readonly #options: StoryOptions;
  readonly #attempts: Attempt[] = [];
  #luod!: TestLuod;
  #port = 0;
  #load: LoadProcess | undefined;
  #probe: ProbeChild | undefined;

  constructor(options: StoryOptions) {
    this.#options = options;
  }

  /** Tell it. Whatever happens, every process is ended and every file removed. */
  async tell(): Promise<StoryResult> {
    const starting = new Step('a private luod');
    this.#luod = await startLuod();
    try {
      starting.done(`pid ${this.#luod.pid}, no root needed`);
      const result = await this.#run();
      const { forced } = await this.#luod.stop();
      return { ...result, leftProcesses: forced.length };
    } finally {
      await this.#load?.kill();
      await this.#probe?.kill();
      await this.#luod.stop();
    }
  }

  async #run(): Promise<Omit<StoryResult, 'leftProcesses'>> {
    const { sizeBytes, connections } = this.#options;
    this.#port = await freePort();
    const endpoint = { port: this.#port };
    const dataset = new Dataset({ totalBytes: sizeBytes });
    await this.#start();
    await this.#fill(dataset);
    const before = await check(endpoint, dataset);
    const versionBefore = await this.#version();

    const clients = new Step('clients');
    this.#load = await LoadProcess.start(
      ...['--port', String(this.#port), '--connections', String(connections), '--client', 'redis', '--think-ms', '2'],
    );
    this.#probe = await ProbeChild.start('--port', String(this.#port));
    await sleep(SETTLE_MS);
    const connectionsBefore = (await this.#load.status()).connected;
    clients.done(`${connectionsBefore} connections of the npm redis client under load, and a probe each millisecond`);

    await this.#update('v2, a good one', 'v2', []);
    const timeline = await this.#timeline();
    const middle = await this.#verify(dataset);
    await this.#update('v3, which crashes after its claims', 'v3', ['--fail', 'crash-after-claims']);
    await this.#update('v4, which hangs before it is ready', 'v4', ['--fail', 'hang-before-ready']);
    await this.#updateThroughKill('v5');
    const versionAfter = await this.#version();
    const after = await this.#verify(dataset);

    const status = await this.#load.status();
    const load = await this.#load.finish();
    const probe = await this.#probe.finish();
    const luodKills = await this.#luodDeaths();
    const wrong = [before, middle, after].reduce((sum, one) => sum + one.missing + one.wrong, 0);
    return {
      keysBefore: before.keys - before.missing,
      keysAfter: after.keys - after.missing,
      keysWrong: wrong,
      connectionsBefore,
      connectionsAfter: status.connected,
      requests: load.requests + probe.sent,
      requestsFailed:
        load.failed +
        load.wrong +
        load.disconnects +
        probe.failed +
        probe.wrong +
        probe.lost +
        probe.extra +
        probe.disconnects,
      rollbacks: this.#attempts.filter((attempt) => attempt.outcome === 'aborted').length,
      luodKills,
      stateBytes: sizeBytes,
      versionBefore,
      versionAfter,
      attempts: this.#attempts,
      timeline,
    };
  }

  async #start(): Promise<void> {
    const step = new Step('luoctl run --name cache');
    const memory = Math.ceil(this.#options.sizeBytes * MEMORY_FACTOR) + MEMORY_EXTRA;
    await this.#luoctl(['run', '--name', 'cache', '--', ...this.#command('v1', ['--memory', String(memory)])]);
    step.done(`version ${await this.#version()} serves port ${this.#port}`);
  }

  async #fill(dataset: Dataset): Promise<void> {
    const step = new Step('fill the cache');
    await fill({ port: this.#port }, dataset, (done) => step.update(`${Math.round((100 * done) / dataset.count)} %`));
    step.done(`${dataset.count} keys, ${bytes(this.#options.sizeBytes)}`);
  }

  async #verify(dataset: Dataset): Promise<Awaited<ReturnType<typeof check>>> {
    const step = new Step('compare every key');
    const result = await check({ port: this.#port }, dataset);
    if (result.missing + result.wrong === 0) step.done(`${result.keys} keys, all as they were`);
    else step.failed(`${result.missing} missing, ${result.wrong} wrong`);
    return result;
  }

  /** One `luoctl update` under load. */
  async #update(what: string, label: string, more: readonly string[]): Promise<void> {
    const step = new Step(`luoctl update cache: ${what}`);
    await this.#probe!.window(`before ${label}`);
    const limits = more.includes('hang-before-ready')
      ? ['--blackout-max', String(HANG_BLACKOUT_MS), '--standby-max', String(HANG_STANDBY_MS)]
      : [];
    const args = ['update', 'cache', '--json', ...limits, '--', ...this.#command(label, more)];
    const ran = await this.#luod.luoctl(args);
    const output = lastJson<UpdateOutput>(ran.stdout);
    if (!output) throw new Error(`luoctl ${args.join(' ')} ended with ${ran.code}:\n${ran.stderr}`);
    await sleep(SETTLE_MS);
    await this.#seen(step, what, output);
  }

  /** luod is killed between the decision and its word to the successor; the update goes through all the same. */
  async #updateThroughKill(label: string): Promise<void> {
    const what = `${label}, while luod is killed (SIGKILL) between decision and go`;
    const step = new Step(`luoctl update cache: ${what}`);
    await this.#probe!.window(`before ${label}`);
    this.#luod.arm('luod.decide.after', 'kill');
    await this.#luod.luoctl(['update', 'cache', '--json', '--', ...this.#command(label, [])]);
    const until = Date.now() + RECOVERY_MS;
    for (;;) {
      const state = lastJson<{ state: string; phase: string | null }>(
        (await this.#luod.luoctl(['status', '--json'])).stdout,
      );
      if (state?.state === 'normal' && state.phase === null && (await this.#version()) === label) break;
      if (Date.now() > until) throw new Error(`the update to ${label} did not come to its end after luod was killed`);
      await sleep(100);
    }
    await sleep(SETTLE_MS);
    const output = lastJson<UpdateOutput>((await this.#luoctl(['timeline', '--format', 'json'])).stdout)!;
    await this.#seen(step, what, output);
  }

  async #seen(step: Step, what: string, output: Omit<UpdateOutput, 'attempt'>): Promise<void> {
    const window = await this.#probe!.window(what);
    const versionAfter = await this.#version();
    const attempt: Attempt = {
      what,
      outcome: output.outcome,
      versionAfter,
      blackoutMs: output.blackoutMs,
      clientGapMs: window.gapMsMax,
      error: output.error?.message,
    };
    this.#attempts.push(attempt);
    const gap = `longest gap for a client ${ms(attempt.clientGapMs)}`;
    if (attempt.outcome === 'committed')
      step.done(`${versionAfter} serves; blackout ${ms(attempt.blackoutMs)}, ${gap}`);
    else step.done(`rolled back, ${versionAfter} goes on; ${gap}`);
  }

  async #timeline(): Promise<Timeline> {
    const { stdout } = await this.#luoctl(['timeline', '--format', 'json']);
    return lastJson<Timeline>(stdout)!;
  }

  async #luodDeaths(): Promise<number> {
    const { stdout } = await this.#luoctl(['status', '--json']);
    return lastJson<{ luod: { restarts: number } }>(stdout)!.luod.restarts;
  }

  /** The version that answers, as it says itself. */
  async #version(): Promise<string> {
    const client = await RespClient.connect({ port: this.#port });
    try {
      const reply = (await client.request('LUO.VERSION')) as unknown[];
      return String(reply[1]);
    } finally {
      client.close();
    }
  }

  #command(label: string, more: readonly string[]): string[] {
    return [process.execPath, cacheProgram, '--port', String(this.#port), '--version-label', label, ...more];
  }

  /** @throws Error with what luoctl said */
  async #luoctl(args: readonly string[]): Promise<{ stdout: string }> {
    const ran = await this.#luod.luoctl(args);
    if (ran.code !== 0) throw new Error(`luoctl ${args.join(' ')} ended with ${ran.code}:\n${ran.stderr}`);
    return ran;
  }
}

/** The last line of `text` that is a JSON object. */
function lastJson<T>(text: string): T | undefined {
  const start = text.trimEnd().split('\n').at(-1);
  try {
    return JSON.parse(start ?? '') as T;
  } catch {
    try {
      return JSON.parse(text) as T;
    } catch {
      return undefined;
    }
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
