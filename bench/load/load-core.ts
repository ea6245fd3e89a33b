/**
 * The closed-loop load: many connections, each with one request under way, each checking every answer. A connection
 * owns its keys, so that it knows exactly what must come: every INCR one more than the last, every GET what it set last.
 */
import { createClient } from 'redis';
import { Latencies, type LatencySummary } from './latencies.js';
import { type Endpoint, RespClient } from './resp-client.js';

export interface LoadOptions extends Endpoint {
  readonly connections: number;
  /** Pause of a connection between answer and next request, ms. Default: 0. */
  readonly thinkMs?: number;
  /** `redis` is the npm client, without its reconnecting; default: a bare connection. */
  readonly client?: 'redis' | 'raw';
  /** Default: `load:`. */
  readonly prefix?: string;
}

export interface LoadResult {
  readonly connections: number;
  readonly requests: number;
  /** Requests that got an error instead of an answer. */
  readonly failed: number;
  /** Answers that were not what they must be. */
  readonly wrong: number;
  /** Connections that ended before the load did. */
  readonly disconnects: number;
  /** Connections that are open at the end. */
  readonly connected: number;
  /** Longest time in which no connection got an answer, ms. */
  readonly gapMsMax: number;
  readonly latency: LatencySummary;
}

/** What a connection can do; both clients fit. */
interface Asker {
  ask(...args: string[]): Promise<unknown>;
  close(): void;
}

const COUNTERS = 4;

export class Load {
  readonly #options: LoadOptions;
  readonly #askers: Asker[] = [];
  readonly #loops: Promise<void>[] = [];
  readonly #latencies = new Latencies();
  #isStopping = false;
  #requests = 0;
  #failed = 0;
  #wrong = 0;
  #disconnects = 0;
  #gapMsMax = 0;
  #lastAnswerMs = 0;

  private constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Connect all and begin. @throws Error a connection cannot be made */
  static async start(options: LoadOptions): Promise<Load> {
    const load = new Load(options);
    for (let i = 0; i < options.connections; i += 1) load.#askers.push(await load.#connect());
    load.#lastAnswerMs = performance.now();
    for (const [index, asker] of load.#askers.entries()) load.#loops.push(load.#run(asker, index));
    return load;
  }

  /** What was seen until now. */
  status(): LoadResult {
    return {
      connections: this.#options.connections,
      requests: this.#requests,
      failed: this.#failed,
      wrong: this.#wrong,
      disconnects: this.#disconnects,
      connected: this.#askers.length - this.#disconnects,
      gapMsMax: this.#gapMsMax,
      latency: this.#latencies.summary(),
    };
  }

  /** Let every connection complete its request, then close. */
  async finish(): Promise<LoadResult> {
    this.#isStopping = true;
    await Promise.all(this.#loops);
    const result = this.status();
    for (const asker of this.#askers) asker.close();
    return result;
  }

  async #connect(): Promise<Asker> {
    const { port, host = '127.0.0.1' } = this.#options;
    const onEnd = (): void => {
      if (!this.#isStopping) this.#disconnects += 1;
    };
    if (this.#options.client === 'redis') {
      const client = createClient({ socket: { host, port, reconnectStrategy: false } });
      let hasEnded = false;
      client.on('error', () => {
        if (!hasEnded) onEnd();
        hasEnded = true;
      });
      await client.connect();
      return { ask: (...args) => client.sendCommand(args), close: () => client.destroy() };
    }
    const client = await RespClient.connect({ port, host });
    client.onDisconnect = onEnd;
    return {
      ask: async (...args) => {
        const reply = await client.request(...args);
        return reply instanceof Buffer ? reply.toString() : reply;
      },
      close: () => client.close(),
    };
  }

  /** One connection: INCR, SET and GET in turn. It ends with its first failure, since nothing is known then. */
  async #run(asker: Asker, index: number): Promise<void> {
    const prefix = `${this.#options.prefix ?? 'load:'}${index}`;
    const counts: number[] = [];
    try {
      for (let i = 0; i < COUNTERS; i += 1) counts.push(Number((await asker.ask('GET', `${prefix}:n${i}`)) ?? 0));
      let last: string | null = null;
      for (let round = 0; !this.#isStopping; round += 1) {
        const counter = round % COUNTERS;
        counts[counter]! += 1;
        await this.#ask(asker, counts[counter]!, 'INCR', `${prefix}:n${counter}`);
        if (counter === 1) {
          last = `${round}:${'x'.repeat(round % 200)}`;
          await this.#ask(asker, 'OK', 'SET', `${prefix}:v`, last);
        } else if (counter === 3) {
          await this.#ask(asker, last, 'GET', `${prefix}:v`);
        }
      }
    } catch {
      this.#failed += 1;
    }
  }

  async #ask(asker: Asker, expected: unknown, ...args: string[]): Promise<void> {
    const sentMs = performance.now();
    this.#requests += 1;
    const answer = await asker.ask(...args);
    const nowMs = performance.now();
    if (answer !== expected) this.#wrong += 1;
    this.#latencies.add(nowMs - sentMs);
    this.#gapMsMax = Math.max(this.#gapMsMax, nowMs - this.#lastAnswerMs);
    this.#lastAnswerMs = nowMs;
    const { thinkMs = 0 } = this.#options;
    if (thinkMs > 0) await new Promise((done) => setTimeout(done, thinkMs));
  }
}
