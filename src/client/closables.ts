/**
 * Connections of a server that cannot be handed over, since what they are lies in this process: the keys of TLS, the sessions of HTTP/2.
 * At freeze each is asked to end in good order, and its client comes back through the backlog.
 */
import { Server as HttpsServer } from 'node:https';
import type { Server, Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { LuoError } from '../base/errors.js';

/** Something that ends its connection when asked to in good order. */
interface Closable {
  close(): void;
  destroy(): void;
  readonly isBusy: boolean;
}

/** Why the connections of this server cannot be handed over; undefined when they can. */
export function handoverObstacle(server: Server, name: string): LuoError | undefined {
  if (server instanceof TlsServer) {
    return new LuoError(
      'CLIENT_TLS',
      `connections of '${name}' are encrypted by this process and cannot be handed over; they are ended at an update`,
      {
        handle: name,
        remedy: 'let something that stays end TLS in front of this service, or accept that clients reconnect',
      },
    );
  }
  if (!isHttp2(server)) return undefined;
  return new LuoError(
    'UNSUPPORTED',
    `connections of '${name}' are HTTP/2 sessions, whose state Node does not give out; they are ended at an update`,
    { handle: name, remedy: 'use HTTP/1.1 behind a proxy, or accept that clients reconnect' },
  );
}

/** All such connections of one server. */
export class Closables {
  readonly #connections = new Map<Socket, Closable>();
  readonly #onEnd: () => void;

  /** @param onEnd one of them has ended */
  constructor(server: Server, onEnd: () => void) {
    this.#onEnd = onEnd;
    if (server instanceof HttpsServer) this.#trackHttps(server);
    else if (server instanceof TlsServer && !isHttp2(server)) {
      server.on('secureConnection', (socket) =>
        this.#add(socket, { close: () => socket.end(), destroy: () => socket.destroy(), isBusy: false }),
      );
    } else {
      server.on('session', (session: { close(): void; destroy(): void; socket: Socket }) =>
        this.#add(session.socket, { close: () => session.close(), destroy: () => session.destroy(), isBusy: false }),
      );
    }
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Ask all of them to end when they have answered. */
  close(): void {
    for (const closable of this.#connections.values()) closable.close();
  }

  /** End those that only wait for their client to close. */
  destroyIdle(): void {
    for (const closable of this.#connections.values()) if (!closable.isBusy) closable.destroy();
  }

  #trackHttps(server: HttpsServer): void {
    let stopping = false;
    const active = new Map<Socket, number>();
    server.on('secureConnection', (socket) =>
      this.#add(socket, {
        close: () => {
          stopping = true;
          server.closeIdleConnections();
        },
        destroy: () => socket.destroy(),
        get isBusy() {
          return (active.get(socket) ?? 0) > 0;
        },
      }),
    );
    server.prependListener('request', (request, response) => {
      active.set(request.socket, (active.get(request.socket) ?? 0) + 1);
      response.once('close', () => {
        active.set(request.socket, (active.get(request.socket) ?? 1) - 1);
        // Once the response is out Node counts the connection as idle, a turn later.
        if (stopping) setImmediate(() => server.closeIdleConnections());
      });
    });
    server.on('listening', () => (stopping = false));
  }

  #add(socket: Socket, closable: Closable): void {
    this.#connections.set(socket, closable);
    socket.once('close', () => {
      this.#connections.delete(socket);
      this.#onEnd();
    });
  }
}

function isHttp2(server: Server): boolean {
  return server.constructor.name === 'Http2Server' || server.constructor.name === 'Http2SecureServer';
}
