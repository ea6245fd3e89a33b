/**
 * One established connection of a server that listens by luo: its output gate, what of its input is not handled, and for
 * http, where it stands between requests.
 *
 * An http connection can be handed over when no request of it is being handled: idle, or with half a request head (whose
 * bytes are kept and read again by the successor), or with a finished response that only has to be sent. A request that
 * is being handled drains first. A connection that became a tunnel (upgrade, CONNECT) belongs to the program, and ends
 * with it.
 */
import type { Server as HttpServer, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { RequestFraming } from './http-framing.js';
import { responseIsQueued, sealReadable, startReading, stopReading, unsealReadable } from './net-internals.js';
import { OutputGate } from './output-gate.js';

const NOTHING = Buffer.alloc(0);

export class Connection {
  readonly id: number;
  readonly socket: Socket;
  readonly gate: OutputGate;
  /** It came from the old process, rather than from the backlog. */
  readonly handedOver: boolean;
  readonly http: HttpConnection | undefined;
  /** Bytes that the program gave back at freeze. */
  givenBack: Buffer | undefined;
  /** Bytes that the old process read and did not handle, until go. */
  #input: Buffer | undefined;
  #sealed = false;
  /** How much had come and gone when it was noticed that nothing waits. */
  #noticed: { readonly bytesRead: number; readonly writes: number } | undefined;

  constructor(options: { id: number; socket: Socket; handedOver: boolean; http: HttpServer | undefined }) {
    this.id = options.id;
    this.socket = options.socket;
    this.handedOver = options.handedOver;
    this.gate = new OutputGate(options.socket, { held: options.handedOver });
    this.gate.shared = options.handedOver;
    this.http = options.http === undefined ? undefined : new HttpConnection(this, options.http);
  }

  /** False: it ends with this process. */
  get canBeHandedOver(): boolean {
    return !this.socket.destroyed && this.http?.tunnel !== true;
  }

  /** Remember that nothing waits on it in either direction, if that is so. @param unhandled bytes that the program has not handled */
  notice(unhandled: Uint8Array | undefined): void {
    const isEmpty = (unhandled?.byteLength ?? 0) === 0 && this.hasNothing;
    this.#noticed = isEmpty ? { bytesRead: this.socket.bytesRead, writes: this.gate.writes } : undefined;
  }

  /** Nothing was waiting at {@link notice}, and nothing has come or gone since: the program has nothing of it either. */
  get isAsNoticed(): boolean {
    const noticed = this.#noticed;
    return noticed !== undefined && noticed.bytesRead === this.socket.bytesRead && noticed.writes === this.gate.writes;
  }

  /** No byte of it waits here, in either direction, beside what the program itself holds. */
  get hasNothing(): boolean {
    const { socket, gate } = this;
    if (this.http !== undefined || socket.destroyed || this.givenBack !== undefined) return false;
    // With an encoding, bytes of half a character may wait in the decoder.
    if (socket.readableEncoding !== null) return false;
    return socket.readableLength === 0 && gate.unsentBytes === 0 && !gate.ending;
  }

  /** Nothing of it is being handled. */
  get isQuiet(): boolean {
    return this.http === undefined || this.http.isQuiet || !this.canBeHandedOver;
  }

  /** At freeze: read no more; an http request whose body is coming in is read to its end first. */
  stop(): void {
    if (this.http === undefined) stopReading(this.socket);
    else this.http.stop();
  }

  /** Bytes that came in and were not handled. From here on the program gets none. */
  takeInput(unhandled: Uint8Array | undefined): Buffer {
    const inStream = sealReadable(this.socket);
    this.#sealed = true;
    const before = this.http === undefined ? (this.givenBack ?? unhandled) : this.http.framing.pending;
    // In a freeze nearly every connection has nothing: no array and no buffer is made for those.
    if (before === undefined || before.byteLength === 0) return inStream ?? NOTHING;
    return Buffer.concat(inStream === undefined ? [before] : [before, inStream]);
  }

  /** Bytes from the old process, to be read first. */
  putInput(bytes: Buffer): void {
    if (bytes.length > 0) this.#input = bytes;
  }

  /** At go, and at thaw: everything flows (again). */
  release(): void {
    this.givenBack = undefined;
    this.gate.release();
    if (this.#sealed) {
      this.#sealed = false;
      unsealReadable(this.socket);
    }
    const input = this.#input;
    this.#input = undefined;
    this.http?.released(input === undefined);
    if (input === undefined) {
      startReading(this.socket);
      return;
    }
    // In a turn of its own, so that an exception of the program is the program's, as with every other data event.
    process.nextTick(() => {
      if (this.socket.destroyed) return;
      this.socket.unshift(input);
      startReading(this.socket);
    });
  }
}

/** What is known of the requests of one http connection. */
export class HttpConnection {
  readonly framing = new RequestFraming();
  tunnel = false;
  /** Called when a response ended, or a request body did. */
  onProgress: (() => void) | undefined;
  readonly #connection: Connection;
  readonly #server: HttpServer;
  readonly #active = new Set<ServerResponse>();
  #stopping = false;
  #idleTimeout = false;

  constructor(connection: Connection, server: HttpServer) {
    this.#connection = connection;
    this.#server = server;
  }

  /**
   * Listen to what comes in. Call it when Node's http code has set the socket up: the listener also makes Node read
   * through the stream, where a parser fed by libuv directly would show nothing.
   */
  tap(): void {
    this.#connection.socket.on('data', (bytes: Buffer) => {
      if (this.#idleTimeout) {
        this.#idleTimeout = false;
        this.#connection.socket.setTimeout(this.#server.timeout);
      }
      if (this.tunnel) return;
      this.framing.push(bytes);
      if (this.#stopping) this.#stopWhenWhole();
    });
  }

  /** A request began to be handled. */
  begin(response: ServerResponse): void {
    this.#active.add(response);
    response.once('close', () => {
      this.#active.delete(response);
      this.onProgress?.();
    });
  }

  get isQuiet(): boolean {
    if (this.framing.lost || !this.framing.betweenRequests) return false;
    if (this.#active.size === 0) return true;
    const [only] = this.#active;
    return this.#active.size === 1 && responseIsQueued(this.#connection.socket, only!);
  }

  stop(): void {
    this.#stopping = true;
    this.#stopWhenWhole();
  }

  /** @param idle no byte of a request is waiting */
  released(idle: boolean): void {
    this.#stopping = false;
    if (!this.#connection.handedOver || !idle || this.#server.keepAliveTimeout <= 0 || this.framing.requests > 0)
      return;
    // An idle connection ends by the server's keep-alive timeout, which Node begins after a response that this process
    // never sent.
    this.#idleTimeout = true;
    this.#connection.socket.setTimeout(this.#server.keepAliveTimeout);
  }

  #stopWhenWhole(): void {
    if (!this.framing.betweenRequests) return;
    stopReading(this.#connection.socket);
    this.onProgress?.();
  }
}
