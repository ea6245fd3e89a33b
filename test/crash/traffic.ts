/**
 * The clients of the crash matrix: some connections, each with one INCR of its own counter under way, each checking
 * every answer. A connection that ends is made anew; of the request that was under way then, the old or the new value
 * is right, and nothing else.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface TrafficOptions {
  readonly port: number;
  readonly connections: number;
  /** Pause between an answer and the next request, ms. */
  readonly thinkMs: number;
}

/** One connection that asks in lines. */
export class LineClient {
  readonly #socket: Socket;
  #text = '';
  #waiting: { resolve: (line: string) => void; reject: (error: Error) => void } | undefined;
  #error: Error | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#error = new Error('the connection was closed');
      this.#waiting?.reject(this.#error);
    });
    socket.on('data', (bytes) => {
      this.#text += bytes.toString('latin1');
      const end = this.#text.indexOf('\r\n');
      if (end < 0) return;
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting === undefined) socket.destroy(new Error('an answer that nobody asked for'));
      else waiting.resolve(line);
    });
  }

  static async connect(port: number): Promise<LineClient> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new LineClient(socket);
  }

  ask(line: string): Promise<string> {
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(`${line}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

export class Traffic {
  readonly #options: TrafficOptions;
  /** The last value that was acknowledged, by counter. */
  readonly #acknowledged: number[];
  readonly #answers: number[];
  readonly #loops: Promise<void>[];
  readonly #clients = new Set<LineClient>();
  readonly #wrong: string[] = [];
  #disconnects = 0;
  #isStopping = false;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#acknowledged = new Array<number>(options.connections).fill(0);
    this.#answers = new Array<number>(options.connections).fill(0);
    this.#loops = this.#answers.map((_, index) => this.#run(index));
  }

  /** Connections that have ended so far. */
  get disconnects(): number {
    return this.#disconnects;
  }

  /** Answers that were not what they must be, in words. */
  get wrong(): readonly string[] {
    return this.#wrong;
  }

  /** Resolves with true when every connection has had `count` more answers; false when that takes longer than `ms`. */
  async flows(ms: number, count = 2): Promise<boolean> {
    const goals = this.#answers.map((answers) => answers + count);
    for (const until = performance.now() + ms; performance.now() < until; await sleep(5)) {
      if (this.#answers.every((answers, index) => answers >= goals[index]!)) return true;
    }
    return false;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const client of this.#clients) client.close();
    await Promise.all(this.#loops);
  }

  async #run(index: number): Promise<void> {
    // True: the last request may have been done, nobody knows.
    let isOpen = false;
    while (!this.#isStopping) {
      let client: LineClient;
      try {
        client = await LineClient.connect(this.#options.port);
      } catch {
        await sleep(20);
        continue;
      }
      this.#clients.add(client);
      try {
        while (!this.#isStopping) {
          const last = this.#acknowledged[index]!;
          const value = await client.ask(`INCR ${index}`);
          if (value !== `:${last + 1}` && !(isOpen && value === `:${last + 2}`)) {
            this.#wrong.push(`counter ${index} was ${last}${isOpen ? ' or one more' : ''}, and INCR answered ${value}`);
          }
          this.#acknowledged[index] = Number(value.slice(1)) || last;
          isOpen = false;
          this.#answers[index] = this.#answers[index]! + 1;
          await sleep(this.#options.thinkMs);
        }
      } catch {
        isOpen = true;
        if (!this.#isStopping) this.#disconnects += 1;
      } finally {
        client.close();
        this.#clients.delete(client);
      }
    }
  }
}
