/**
 * A bare RESP client over one connection, for measuring: no queue of its own, no reconnecting, no retries, so that
 * whatever goes wrong is seen. Every request gets its reply or the error that the connection ended with.
 */
import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import type { ReplyError } from './reply-parser.js';
import { type Reply, ReplyParser } from './reply-parser.js';

export interface Endpoint {
  readonly port: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
}

/** Told the reply, or the error that ended the connection. */
export type ReplyListener = (reply: Reply | Error) => void;

/** One request as it goes over the wire. */
export function encode(...args: readonly (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = typeof arg === 'string' ? Buffer.from(arg) : arg;
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

export class RespClient {
  readonly #socket: Socket;
  readonly #parser = new ReplyParser();
  #listeners: ReplyListener[] = [];
  #next = 0;
  #closed: Error | undefined;
  #isClosing = false;
  /** Replies that nobody had asked for. */
  extraReplies = 0;
  /** Called once when the connection ends without `close` having been called. */
  onDisconnect: ((error: Error) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      try {
        this.#parser.push(chunk, (reply) => this.#deliver(reply));
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    let cause: Error | undefined;
    socket.on('error', (error) => (cause = error));
    socket.on('close', () => this.#end(cause ?? new Error('the server closed the connection')));
  }

  /** @throws Error the connection cannot be made */
  static async connect({ port, host = '127.0.0.1' }: Endpoint): Promise<RespClient> {
    const socket = connect(port, host);
    await once(socket, 'connect');
    return new RespClient(socket);
  }

  /** Requests without a reply yet. */
  get outstanding(): number {
    return this.#listeners.length - this.#next;
  }

  /**
   * Send bytes that are one or several requests.
   * @param replies how many replies they will have
   * @returns false when the caller should wait with more (see `drained`)
   */
  send(requests: Buffer, replies: number, listener: ReplyListener): boolean {
    if (this.#closed) {
      for (let i = 0; i < replies; i += 1) listener(this.#closed);
      return true;
    }
    for (let i = 0; i < replies; i += 1) this.#listeners.push(listener);
    return this.#socket.write(requests);
  }

  /** One request. @throws ReplyError refused; Error the connection ended */
  request(...args: readonly (string | Buffer)[]): Promise<Exclude<Reply, ReplyError>> {
    return new Promise((resolve, reject) => {
      this.send(encode(...args), 1, (reply) => (reply instanceof Error ? reject(reply) : resolve(reply)));
    });
  }

  /** End the connection; what is outstanding fails. */
  close(): void {
    this.#isClosing = true;
    this.#socket.destroy();
  }

  #deliver(reply: Reply): void {
    const listener = this.#listeners[this.#next];
    if (listener === undefined) {
      this.extraReplies += 1;
      return;
    }
    this.#next += 1;
    if (this.#next === this.#listeners.length || this.#next > 4096) {
      this.#listeners = this.#listeners.slice(this.#next);
      this.#next = 0;
    }
    listener(reply);
  }

  #end(error: Error): void {
    this.#closed = error;
    const waiting = this.#listeners.slice(this.#next);
    this.#listeners = [];
    this.#next = 0;
    for (const listener of waiting) listener(error);
    if (!this.#isClosing) this.onDisconnect?.(error);
  }
}
