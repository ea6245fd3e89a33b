/** Clients of programs/line-service.ts. They never reconnect: a connection that ends is a failure of the test. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export class LineClient {
  readonly socket: Socket;
  ended = false;
  #bytes: Buffer[] = [];
  #length = 0;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes) => {
      this.#bytes.push(bytes);
      this.#length += bytes.length;
      this.#wake?.();
    });
    socket.on('error', () => (this.ended = true));
    socket.on('close', () => {
      this.ended = true;
      this.#wake?.();
    });
  }

  static async open(target: number | string): Promise<LineClient> {
    const socket = typeof target === 'number' ? connect(target, '127.0.0.1') : connect(target);
    await once(socket, 'connect');
    socket.setNoDelay(true);
    return new LineClient(socket);
  }

  /** Exactly `count` bytes. */
  async read(count: number): Promise<Buffer> {
    while (this.#length < count) {
      assert(!this.ended, `the connection ended with ${this.#length} of ${count} bytes`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const all = Buffer.concat(this.#bytes);
    this.#bytes = [all.subarray(count)];
    this.#length = all.length - count;
    return all.subarray(0, count);
  }

  async line(): Promise<string> {
    for (;;) {
      const all = Buffer.concat(this.#bytes);
      const end = all.indexOf(10);
      if (end >= 0) {
        this.#bytes = [all.subarray(end + 1)];
        this.#length = all.length - end - 1;
        return all.toString('latin1', 0, end);
      }
      assert(!this.ended, 'the connection ended');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  write(text: string): void {
    this.socket.write(text);
  }

  async ask(text: string): Promise<string> {
    this.write(`${text}\n`);
    return this.line();
  }

  /** Bytes that are here and were not read. */
  get buffered(): number {
    return this.#length;
  }

  async closed(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  close(): void {
    this.socket.destroy();
  }
}

/** A client that counts on a counter of its own, in pieces, until told to stop; every answer must be the next number. */
export class Counter {
  readonly client: LineClient;
  readonly index: number;
  asked = 0;
  answered = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(client: LineClient, index: number, style: 'single' | 'pipelined' | 'pieces') {
    this.client = client;
    this.index = index;
    this.#running = this.#run(style);
    this.#running.catch(() => {});
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    assert.equal(this.answered, this.asked);
  }

  async #run(style: 'single' | 'pipelined' | 'pieces'): Promise<void> {
    const request = `INCR ${this.index}\n`;
    while (!this.#stopped) {
      const count = style === 'pipelined' ? 16 : 1;
      this.asked += count;
      if (style === 'pieces') {
        for (const byte of request) {
          this.client.write(byte);
          await new Promise((resolve) => setImmediate(resolve));
        }
      } else this.client.write(request.repeat(count));
      for (let one = 0; one < count; one += 1) {
        this.answered += 1;
        assert.equal(await this.client.line(), `:${this.answered}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
