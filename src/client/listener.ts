/**
 * A server whose listening socket and connections outlive the program. The listening descriptor is made here and kept;
 * the server accepts on a duplicate. A freeze closes the duplicate, so that new connections wait in the kernel's backlog
 * for whoever goes on; it stops reading on every connection in one turn, drains what must be drained, and then takes
 * what is left: bytes in, bytes out. Connections are given to the successor before the freeze, which attaches them
 * without reading, so that only what changed since travels in the blackout.
 *
 * A server whose connections hold secrets of the process (TLS, HTTP/2 sessions) cannot hand them over: its connections
 * end in good order at freeze, and its clients come back through the backlog.
 */
import { once } from 'node:events';
import { Server as HttpServer, type ServerResponse } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { IncomingMessage } from 'node:http';
import type { LuoError } from '../base/errors.js';
import { closeAll, dupFd, getsockname, type OwnedFd } from '../sys/index.js';
import { Closables, handoverObstacle } from './closables.js';
import { Connection } from './connection.js';
import { Lingering } from './lingering.js';
import {
  adoptIntoServer,
  attachSocket,
  beginHttpAccount,
  closeListening,
  openListening,
  socketFd,
} from './net-internals.js';
import type { BlobReader, BlobWriter, FrozenConnection, FrozenListener, Packed, PreparedListener } from './parcel.js';
import { ReadableNow } from './readable-now.js';
import { SavedSnapshot } from './saved-snapshot.js';
import type { ConnectionCallbacks, Listener, Saved } from './types.js';

export interface ListenerOptions {
  readonly name: string;
  readonly server: Server;
  /** The listening descriptor. */
  readonly takenFd: OwnedFd;
  readonly backlog: number;
  readonly connections: ConnectionCallbacks;
  readonly pendingOutputBytesMax: number;
}

/** Connections that are let go, or looked at, together; between two such groups others are served. */
const TOGETHER = 32;
/** Between two such groups for which another process waits, ms. */
const PAUSE_MS = 1;
/** So many connections are a crowd, which a freeze is rehearsed for. */
const CROWD = 100;
/** How often a connection is looked at in a rehearsal of the freeze. */
const REHEARSAL_LOOKS = 3000;
/** So many looks together. */
const REHEARSAL_TOGETHER = 128;
/** At most so long in all, ms: what the program saves of a connection may be a lot. */
const REHEARSAL_MS = 15;

export class LuoListener implements Listener {
  readonly name: string;
  readonly address: AddressInfo | string;
  readonly reason: LuoError | undefined;
  readonly #options: ListenerOptions;
  readonly #server: Server;
  readonly #http: HttpServer | undefined;
  readonly #fd: OwnedFd;
  readonly #connections = new Map<number, Connection>();
  readonly #bySocket = new WeakMap<Socket, Connection>();
  readonly #closables: Closables | undefined;
  /** Connections by the number that the old process gave them. */
  #incoming = new Map<number, Connection>();
  /** Of those: with bytes of the old process, or new since prepare. They are let go first. */
  readonly #changed = new Set<number>();
  /** The connections that were looked at for prepare, with what was saved of each. */
  readonly #noticed = new Map<number, SavedSnapshot | undefined>();
  #lingering: Lingering[] = [];
  /** Which of the attached connections has something to read. */
  #readable: ReadableNow | undefined;
  /** At rest at go, and not let go yet; by the number that the old process gave them. */
  #resting = new Map<number, Connection>();
  /** What was given at prepare. */
  #prepared: Set<number> | undefined;
  #nextId = 1;
  #everListened = false;
  #onProgress: (() => void) | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.name = options.name;
    this.#server = options.server;
    this.#fd = options.takenFd;
    this.reason = handoverObstacle(options.server, options.name);
    this.#http = this.reason === undefined && options.server instanceof HttpServer ? options.server : undefined;
    this.address = addressOf(this.#fd.fd);
    if (this.handsOver) this.#track();
    else this.#closables = new Closables(options.server, () => this.#onProgress?.());
  }

  get handsOver(): boolean {
    return this.reason === undefined;
  }

  get isHttp(): boolean {
    return this.#http !== undefined;
  }

  get connections(): number {
    return this.#connections.size + (this.#closables?.size ?? 0);
  }

  /** The listening descriptor, borrowed. */
  get fd(): number {
    return this.#fd.fd;
  }

  connectionOf(socket: Socket): Connection | undefined {
    return this.#bySocket.get(socket);
  }

  // -------------------------------------------------------------------------------------------- the old side

  /**
   * Ask the program what there is to say of each connection, of some at a time: clients are served in between.
   * @throws the reason of `signal`
   */
  async notice(signal: AbortSignal): Promise<void> {
    const { save, unhandled } = this.#options.connections;
    this.#noticed.clear();
    let together = 0;
    for (const connection of this.#connections.values()) {
      if (together === TOGETHER) {
        together = 0;
        await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
      }
      together += 1;
      const value = save?.(connection.socket);
      this.#noticed.set(connection.id, value === undefined ? undefined : new SavedSnapshot(value));
      connection.notice(unhandled?.(connection.socket));
    }
  }

  /** The connections that were noticed, with their descriptors of this moment (borrowed) in the same order. */
  prepare(fds: number[], blob: BlobWriter): PreparedListener {
    const ids: number[] = [];
    const saved: (Packed | null)[] = [];
    let isAnySaved = false;
    for (const connection of this.#connections.values()) {
      if (!this.#noticed.has(connection.id)) continue;
      const fd = connection.canBeHandedOver ? socketFd(connection.socket) : undefined;
      if (fd === undefined) continue;
      connection.gate.shared = true;
      ids.push(connection.id);
      fds.push(fd);
      const snapshot = this.#noticed.get(connection.id);
      saved.push(snapshot === undefined ? null : blob.pack(snapshot.value));
      isAnySaved ||= snapshot !== undefined;
    }
    this.#prepared = new Set(ids);
    // What the program throws in a rehearsal it throws in the freeze, which has somebody to tell.
    if (ids.length >= CROWD) this.#rehearseFreeze([...this.#connections.values()]).catch(() => {});
    return { name: this.name, connections: ids, ...(isAnySaved ? { saved } : {}) };
  }

  /**
   * Look at a crowd of connections as a freeze will, some at a time, until the engine has compiled what does it: in the freeze itself
   * each of them would cost several times as much.
   */
  async #rehearseFreeze(crowd: readonly Connection[]): Promise<void> {
    let spentMs = 0;
    for (let looks = 0; looks < REHEARSAL_LOOKS && spentMs < REHEARSAL_MS; looks += REHEARSAL_TOGETHER) {
      await sleep(PAUSE_MS, undefined, { ref: false });
      if (this.#prepared === undefined) return;
      const begin = performance.now();
      for (let index = looks; index < looks + REHEARSAL_TOGETHER; index += 1) {
        const connection = crowd[index % crowd.length]!;
        this.#isWithinBound(connection);
        this.#isUnchanged(connection);
      }
      spentMs += performance.now() - begin;
    }
  }

  /** Nothing of it has changed since prepare, so that nothing of it has to travel. */
  #isUnchanged(connection: Connection): boolean {
    if (!connection.hasNothing || this.#prepared?.has(connection.id) !== true) return false;
    const { save, unhandled } = this.#options.connections;
    if (!connection.isAsNoticed && isSome(unhandled?.(connection.socket))) return false;
    return this.#isSavedAsNoticed(connection, save?.(connection.socket));
  }

  /** What a connection is seldom changes in the moment between prepare and freeze. */
  #isSavedAsNoticed({ id }: Connection, value: Saved | undefined): boolean {
    const before = this.#noticed.get(id);
    return before === undefined || value === undefined ? before === value : before.isSameAs(value);
  }

  /** The prepare is off. */
  cancel(): void {
    this.#prepared = undefined;
  }

  /** Accept no more and read no more, all in this turn. */
  stop(): void {
    closeListening(this.#server);
    this.#releaseResting(Infinity);
    for (const connection of this.#connections.values()) connection.stop();
    this.#closables?.close();
  }

  /** Wait until no request is being handled. False: the time was not enough. */
  async drainRequests(endMs: number): Promise<boolean> {
    const quiet = await this.#until(endMs, () => {
      if ((this.#closables?.size ?? 0) > 0) return false;
      if (this.#http === undefined) return true;
      for (const connection of this.#connections.values()) if (!connection.isQuiet) return false;
      return true;
    });
    if (quiet) return true;
    // What only waits for its client to close has had its time; what is being answered has not.
    this.#closables?.destroyIdle();
    return this.busy === 0;
  }

  /** How many connections hold up a freeze. */
  get busy(): number {
    return [...this.#connections.values()].filter((one) => !one.isQuiet).length + (this.#closables?.size ?? 0);
  }

  /** Wait until no connection has more unsent output than is allowed; what is more after the time travels all the same. */
  async drainOutput(endMs: number): Promise<void> {
    await this.#until(endMs, () => {
      for (const connection of this.#connections.values()) if (!this.#isWithinBound(connection)) return false;
      return true;
    });
  }

  #isWithinBound(connection: Connection): boolean {
    return connection.gate.unsentBytes <= this.#options.pendingOutputBytesMax;
  }

  /** Take what is left, in one turn. Nothing is sent or read from here on. `fds` are borrowed. */
  freeze(blob: BlobWriter, fds: number[]): FrozenListener {
    const prepared = this.#prepared ?? new Set();
    const known: number[] = [];
    const connections: FrozenConnection[] = [];
    for (const connection of this.#connections.values()) {
      connection.gate.hold();
      if (this.#isUnchanged(connection)) {
        known.push(connection.id);
        continue;
      }
      const taken = connection.canBeHandedOver ? connection.gate.takeUnsent() : undefined;
      if (taken === undefined) continue;
      const isKnown = prepared.has(connection.id);
      if (isKnown) known.push(connection.id);
      else fds.push(taken.fd);
      const entry = this.#freezeOne(connection, taken.chunks, isKnown, blob);
      if (entry !== undefined) connections.push(entry);
    }
    return { name: this.name, gone: without(prepared, known), connections };
  }

  #freezeOne(
    connection: Connection,
    output: readonly Buffer[],
    isKnown: boolean,
    blob: BlobWriter,
  ): FrozenConnection | undefined {
    const { unhandled, save } = this.#options.connections;
    connection.gate.shared = true;
    const input = blob.add(connection.takeInput(unhandled?.(connection.socket)));
    const outputBytes = blob.add(...output);
    const value = save?.(connection.socket);
    const isSame = isKnown && this.#isSavedAsNoticed(connection, value);
    const saved = isSame ? undefined : value;
    const unsaved = isKnown && !isSame && value === undefined;
    const ending = connection.gate.ending;
    if (isKnown && input === 0 && outputBytes === 0 && saved === undefined && !unsaved && !ending) return undefined;
    return {
      id: connection.id,
      ...(isKnown ? {} : { isNew: true as const }),
      ...(input === 0 ? {} : { input }),
      ...(outputBytes === 0 ? {} : { output: outputBytes }),
      ...(ending ? { ending: true as const } : {}),
      ...(saved === undefined ? {} : { saved: blob.pack(saved) }),
      ...(unsaved ? { unsaved: true as const } : {}),
    };
  }

  /** The freeze is off: everything goes on here, with the same socket objects. */
  thaw(): void {
    this.#prepared = undefined;
    for (const connection of this.#connections.values()) {
      if (!connection.socket.destroyed) connection.release();
    }
    this.#listen();
  }

  // -------------------------------------------------------------------------------------------- the new side

  /**
   * Attach connections that the old process still serves, some at a time: it needs the processor too. Takes `fds`, as many as
   * there are connections.
   * @param saved what the program saved of each
   * @throws the reason of `signal`; what the program's `restore` throws
   */
  async attachPrepared(
    prepared: PreparedListener,
    takenFds: OwnedFd[],
    saved: readonly (Saved | undefined)[],
    signal: AbortSignal,
  ): Promise<void> {
    const fds = new Set(takenFds);
    try {
      if (!this.handsOver) return;
      if (this.#http !== undefined) beginHttpAccount(this.#http);
      for (const [index, id] of prepared.connections.entries()) {
        if (index > 0 && index % TOGETHER === 0) {
          await sleep(PAUSE_MS);
          signal.throwIfAborted();
        }
        const fd = takenFds[index]!;
        fds.delete(fd);
        this.#attach(id, fd);
        // In the blackout only what has changed since is told again.
        this.#restore(id, saved[index]);
      }
    } finally {
      closeAll(fds);
    }
  }

  /** Just before the blackout: which of the connections became readable until now, and are no more, is old news. */
  settle(): void {
    this.#readable?.forget();
  }

  /** Take what the old process left. Nothing is read, sent or accepted before {@link go}. */
  attachFrozen(frozen: FrozenListener, blob: BlobReader, nextFd: () => OwnedFd): void {
    for (const id of frozen.gone) this.#dropIncoming(id);
    for (const entry of frozen.connections) {
      const fd = entry.isNew === true ? nextFd() : undefined;
      const input = blob.take(entry.input ?? 0);
      const output = blob.take(entry.output ?? 0);
      const saved = entry.saved === undefined ? undefined : blob.unpack(entry.saved);
      if (!this.handsOver) {
        fd?.close();
        continue;
      }
      if (entry.ending === true) {
        this.#linger(entry.id, fd, output);
        continue;
      }
      if (fd !== undefined) this.#attach(entry.id, fd);
      if (entry.unsaved === true) this.#attachAnew(entry.id);
      const connection = this.#incoming.get(entry.id);
      if (connection === undefined) continue;
      this.#changed.add(entry.id);
      connection.putInput(input);
      connection.gate.putFirst(output);
      this.#restore(entry.id, saved);
    }
  }

  /**
   * Serve: what was handed over first, then what waits in the backlog. Of what was handed over, first that on which a client waits;
   * those at rest follow in groups, so that the first answers need not wait for all of them.
   */
  go(): void {
    const readable = this.#readable?.take();
    this.#resting = this.#incoming;
    this.#incoming = new Map();
    // Where no first ones can be told, or each has a parser to be set up, there is one group.
    if (readable === undefined || this.#http !== undefined) this.#releaseResting(Infinity);
    else {
      for (const id of this.#changed) this.#releaseOne(id);
      for (const id of readable) this.#releaseOne(id);
    }
    this.#changed.clear();
    for (const lingering of this.#lingering) lingering.go();
    this.#lingering = [];
    this.#listen();
    // The turn of the loop between serves those who wait.
    setImmediate(() => this.#releaseLater());
  }

  #releaseLater(): void {
    if (this.#resting.size === 0) {
      this.#readable?.close();
      this.#readable = undefined;
      return;
    }
    setImmediate(() => {
      this.#releaseResting(TOGETHER);
      this.#releaseLater();
    });
  }

  #releaseResting(count: number): void {
    let left = count;
    for (const id of this.#resting.keys()) {
      if (left <= 0) return;
      left -= 1;
      this.#releaseOne(id);
    }
  }

  #releaseOne(id: number): void {
    const connection = this.#resting.get(id);
    this.#resting.delete(id);
    if (connection?.socket.destroyed === false) connection.release();
  }

  /** Accept no more, for good; the connections stay. */
  close(): void {
    closeListening(this.#server);
    this.#fd.close();
  }

  /** Close all of it, also what is held: descriptors of other processes are not touched. Waits for the sockets' end. */
  async end(): Promise<void> {
    this.close();
    this.#readable?.close();
    this.#readable = undefined;
    this.#resting.clear();
    for (const lingering of this.#lingering) lingering.close();
    this.#lingering = [];
    await Promise.all(
      [...this.#connections.values()].map(async ({ socket }) => {
        const closed = once(socket, 'close');
        socket.destroy();
        await closed;
      }),
    );
  }

  #attach(id: number, takenFd: OwnedFd): void {
    (this.#readable ??= new ReadableNow()).add(takenFd.fd, id);
    const socket = attachSocket(takenFd.take(), { allowHalfOpen: halfOpen(this.#server) });
    this.#incoming.set(id, this.#add(socket, true));
    adoptIntoServer(this.#server, socket);
    this.#server.emit('connection', socket);
  }

  #restore(id: number, saved: Saved | undefined): void {
    if (saved !== undefined) this.#options.connections.restore?.(this.#incoming.get(id)!.socket, saved);
  }

  /** What was saved of it at prepare holds no more: the program sees another socket, of which it was told nothing. */
  #attachAnew(id: number): void {
    const attached = this.#incoming.get(id);
    const number = attached === undefined ? undefined : socketFd(attached.socket);
    if (number === undefined) return;
    const fd = dupFd(number);
    this.#dropIncoming(id);
    this.#attach(id, fd);
  }

  #dropIncoming(id: number): Connection | undefined {
    const connection = this.#incoming.get(id);
    this.#incoming.delete(id);
    connection?.socket.destroy();
    return connection;
  }

  /** The old program had ended this connection; only what is left is sent. The new program has no part in it. */
  #linger(id: number, takenFd: OwnedFd | undefined, output: Buffer): void {
    let fd = takenFd;
    const attached = this.#incoming.get(id);
    if (fd === undefined && attached !== undefined) {
      const number = socketFd(attached.socket);
      if (number !== undefined) fd = dupFd(number);
    }
    this.#dropIncoming(id);
    if (fd !== undefined) this.#lingering.push(new Lingering(fd, output));
  }

  // -------------------------------------------------------------------------------------------- both

  #listen(): void {
    if (this.#server.listening) return;
    const quiet = this.#everListened;
    this.#everListened = true;
    openListening(this.#server, dupFd(this.#fd.fd).take(), { backlog: this.#options.backlog, quiet });
    if (!quiet && this.#http !== undefined) this.#trackTunnels(this.#http);
  }

  #track(): void {
    const server = this.#server;
    // Before the program's own listener, so that its first write already passes through the gate ...
    server.prependListener('connection', (socket: Socket) => {
      if (!this.#bySocket.has(socket)) this.#add(socket, false);
    });
    if (this.#http === undefined) return;
    // ... and, for http, behind Node's, which sets the parser up.
    server.on('connection', (socket: Socket) => this.#bySocket.get(socket)?.http?.tap());
    const begin = (request: IncomingMessage, response: ServerResponse): void =>
      this.#bySocket.get(request.socket)?.http?.begin(response);
    server.prependListener('request', begin);
    // Listening for these changes what Node does with them, so that only a program that does so is joined in it.
    for (const event of ['checkContinue', 'checkExpectation']) {
      if (server.listenerCount(event) > 0) server.prependListener(event, begin);
    }
  }

  #trackTunnels(server: HttpServer): void {
    for (const event of ['upgrade', 'connect']) {
      if (server.listenerCount(event) === 0) continue;
      server.prependListener(event, (request: IncomingMessage) => {
        const http = this.#bySocket.get(request.socket)?.http;
        if (http === undefined) return;
        http.tunnel = true;
        this.#onProgress?.();
      });
    }
  }

  #add(socket: Socket, handedOver: boolean): Connection {
    const connection = new Connection({ id: this.#nextId++, socket, handedOver, http: this.#http });
    if (connection.http !== undefined) connection.http.onProgress = () => this.#onProgress?.();
    this.#connections.set(connection.id, connection);
    this.#bySocket.set(socket, connection);
    socket.once('close', () => {
      this.#connections.delete(connection.id);
      this.#onProgress?.();
    });
    return connection;
  }

  async #until(endMs: number, done: () => boolean): Promise<boolean> {
    while (!done()) {
      if (performance.now() >= endMs) return false;
      // Most of what is waited for says so; that libuv sent something does not.
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 2);
        this.#onProgress = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#onProgress = undefined;
    }
    return true;
  }
}

function isSome(bytes: Uint8Array | undefined): boolean {
  return bytes !== undefined && bytes.byteLength > 0;
}

/** The numbers of `all` that are not in `some`, which has no others. */
function without(all: ReadonlySet<number>, some: readonly number[]): number[] {
  if (some.length === all.size) return [];
  const rest = new Set(all);
  for (const one of some) rest.delete(one);
  return [...rest];
}

function halfOpen(server: Server): boolean {
  return (server as unknown as { allowHalfOpen?: boolean }).allowHalfOpen === true;
}

function addressOf(fd: number): AddressInfo | string {
  const name = getsockname(fd);
  if (name.family === 'unix') return name.path;
  if (name.family === 'other') return '';
  return { address: name.address, port: name.port, family: name.family === 'ipv4' ? 'IPv4' : 'IPv6' };
}
