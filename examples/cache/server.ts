/**
 * Serves RESP connections from a store: it is given sockets and never listens itself, so that the listening socket and
 * the connections can belong to whoever preserves them.
 *
 * Happy path: bytes come, commands are cut from them and run at once, the replies of all of them are written together.
 * Unhappy paths: a peer that does not read is not read from until it does (its commands wait, its output stays bounded);
 * bytes that are no RESP get an error and the end. `unhandled`, `save` and `restore` hand a connection over to the next
 * program, half-read command included.
 */
import type { Socket } from 'node:net';
import { runOne } from './commands.js';
import type { CommandContext, ServerView, Session } from './command.js';
import { CommandParser, ProtocolError } from './resp-parser.js';
import { ReplyWriter } from './resp-writer.js';
import type { Store } from './store.js';

/** Output that may wait on a connection before no more of its commands are run. Bytes. */
const OUTPUT_BYTES_MAX = 1024 * 1024;
/** How often expired keys are looked for, and in how many buckets at least. */
const SWEEP_MS = 100;
const SWEEP_BUCKETS = 200;

export interface CacheServerOptions {
  readonly store: Store;
  readonly versionLabel: string;
  readonly generation?: number;
}

/** What the next program must know of a connection. */
export interface SavedConnection {
  readonly id: number;
  readonly protocol: 2 | 3;
  readonly name: string;
  readonly libraryName: string;
  readonly libraryVersion: string;
  readonly connectedAtMs: number;
}

/** See {@link CacheServer.counters}. */
export interface Counters {
  readonly acceptedCount: number;
  readonly commandCount: number;
}

class Connection implements Session {
  readonly socket: Socket;
  readonly parser = new CommandParser();
  id: number;
  protocol: 2 | 3 = 2;
  name = '';
  libraryName = '';
  libraryVersion = '';
  connectedAtMs = Date.now();
  lastCommand = '';
  closing = false;
  /** Commands wait for the peer to read its replies. */
  isHeld = false;

  constructor(socket: Socket, id: number) {
    this.socket = socket;
    this.id = id;
  }
  get address(): string {
    return `${this.socket.remoteAddress ?? '?'}:${this.socket.remotePort ?? 0}`;
  }
  get localAddress(): string {
    return `${this.socket.localAddress ?? '?'}:${this.socket.localPort ?? 0}`;
  }
}

export class CacheServer implements ServerView {
  readonly store: Store;
  readonly startedAtMs = Date.now();
  readonly versionLabel: string;
  generation: number;
  commandCount = 0;
  acceptedCount = 0;
  readonly #connections = new Map<Socket, Connection>();
  readonly #out = new ReplyWriter();
  #nextId = 1;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: CacheServerOptions) {
    this.store = options.store;
    this.versionLabel = options.versionLabel;
    this.generation = options.generation ?? 0;
  }

  get maxMemoryBytes(): number {
    return this.store.memory.totalBytes;
  }
  sessions(): Iterable<Session> {
    return this.#connections.values();
  }

  /** Begin to take out expired keys. The store is active. */
  start(): void {
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** From now on nothing is written by itself: no timer, no expiry. Connections are not touched. */
  stop(): void {
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  /**
   * Serve a connection until it ends. For a listener of `connection` events.
   * @param isHandedOver it was accepted by an earlier program, and counted there
   */
  accept(socket: Socket, isHandedOver: boolean): void {
    const connection = new Connection(socket, this.#nextId);
    this.#nextId += 1;
    if (!isHandedOver) this.acceptedCount += 1;
    this.#connections.set(socket, connection);
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      if (connection.closing) return;
      connection.parser.push(chunk);
      // A thaw resumes every socket, this one too.
      if (connection.isHeld) socket.pause();
      this.#run(connection);
    });
    socket.on('drain', () => {
      if (!connection.isHeld) return;
      connection.isHeld = false;
      socket.resume();
      this.#run(connection);
    });
    // A peer that resets ends its own connection and nothing else; `close` follows.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#connections.delete(socket));
  }

  /** Bytes of a connection that were read and are not handled: half a command, or commands that wait. */
  unhandled(socket: Socket): Buffer | undefined {
    const parser = this.#connections.get(socket)?.parser;
    return parser && parser.pendingBytes > 0 ? parser.rest() : undefined;
  }

  /** What the next program must know of a connection. */
  save(socket: Socket): SavedConnection | undefined {
    const connection = this.#connections.get(socket);
    if (!connection) return undefined;
    const { id, protocol, name, libraryName, libraryVersion, connectedAtMs } = connection;
    return { id, protocol, name, libraryName, libraryVersion, connectedAtMs };
  }

  /** Give a connection, accepted here already, what the program before saved of it. */
  restore(socket: Socket, saved: SavedConnection): void {
    const connection = this.#connections.get(socket);
    if (!connection) return;
    Object.assign(connection, saved);
    this.#nextId = Math.max(this.#nextId, saved.id + 1);
  }

  /** Counters that go on in the next program. */
  get counters(): Counters {
    return { acceptedCount: this.acceptedCount, commandCount: this.commandCount };
  }
  set counters(counters: Counters) {
    this.acceptedCount = counters.acceptedCount;
    this.commandCount = counters.commandCount;
  }

  #run(connection: Connection): void {
    const { parser, socket } = connection;
    const out = this.#out;
    const context: CommandContext = { args: parser, out, store: this.store, session: connection, server: this };
    out.protocol = connection.protocol;
    try {
      while (!connection.closing && !connection.isHeld && parser.next()) {
        this.commandCount += 1;
        runOne(context);
        // One read may hold thousands of commands with large replies: what is collected counts as well.
        if (out.pendingBytes > OUTPUT_BYTES_MAX) this.#send(connection);
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      out.error(`ERR ${error.message}`);
      connection.closing = true;
    }
    this.#send(connection);
    if (connection.closing) socket.end();
  }

  #send(connection: Connection): void {
    const { socket } = connection;
    const pieces = this.#out.take();
    if (pieces.length > 1) socket.cork();
    for (const piece of pieces) socket.write(piece);
    if (pieces.length > 1) socket.uncork();
    if (socket.writableLength > OUTPUT_BYTES_MAX && !connection.isHeld && !connection.closing) {
      connection.isHeld = true;
      socket.pause();
    }
  }

  /** Looks on as long as much of what it meets has expired, but never long enough to be felt. */
  #sweep(): void {
    const until = Date.now() + 2;
    while (this.store.sweep(SWEEP_BUCKETS) > SWEEP_BUCKETS / 4 && Date.now() < until);
  }
}
