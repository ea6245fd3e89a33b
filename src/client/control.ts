/**
 * A connection to luod for tools: `luoctl`, tests, monitors. It does not join; it asks and watches. Where luod's socket
 * is follows one rule for everybody: what was asked for, else LUO_DIR, else `/run/luo` for root and
 * `$XDG_RUNTIME_DIR/luo` for others.
 *
 * Nobody there is LUOD_UNREACHABLE, with the path that was tried; a connection that breaks ends its open requests with
 * PROTO_CLOSED. It never reconnects by itself: whether a request may be repeated is for the caller to know.
 */
import { join, resolve } from 'node:path';
import { SOCKET_NAME, luodDirectory } from '../base/directory.js';
import { LuoError } from '../base/errors.js';
import {
  LUOD_EVENTS,
  LUOD_METHODS,
  PROTOCOL_VERSION,
  type LuodMethod,
  type LuodParams,
  type LuodResult,
} from '../protocol/spec.js';
import { closeAll, type OwnedFd } from '../sys/index.js';
import { connectPeer, type Peer } from '../transport/index.js';

export interface ConnectLuodOptions {
  /** luod's directory; its socket is `luod.sock` in it. */
  readonly dir?: string;
  /** luod's socket itself; goes before `dir`. */
  readonly socket?: string;
  /** Program and version, for luod's log; default `luo-control`. */
  readonly client?: string;
  /** How long connecting and hello may take, ms; default 10,000. */
  readonly deadlineMs?: number;
  readonly env?: NodeJS.ProcessEnv;
}

export interface RequestOptions {
  readonly onProgress?: (data: unknown) => void;
  readonly signal?: AbortSignal;
  /** ms; by default a request takes as long as it takes. */
  readonly deadlineMs?: number;
  /** Borrowed: they stay yours. */
  readonly fds?: readonly number[];
}

export interface LuodConnection {
  readonly socketPath: string;
  /** What luod said of itself and of us. */
  readonly hello: LuodResult<'hello'>;
  /**
   * Ask luod. The fds of the reply are yours to close.
   * @throws LuoError luod's refusal, with its code; PROTO_CLOSED when the connection breaks; PROTO_TIMEOUT
   */
  request<M extends LuodMethod>(
    method: M,
    params: LuodParams<M>,
    options?: RequestOptions,
  ): Promise<{ result: LuodResult<M>; fds: OwnedFd[] }>;
  /** Events of `watch`. The last listener wins. */
  onEvent(listener: (event: string, data: unknown) => void): void;
  /** Called once, when the connection ends; `undefined` after `close()`. */
  onClose(listener: (error: LuoError | undefined) => void): void;
  close(): void;
}

/**
 * Where luod's socket is.
 * @throws LuoError LUOD_UNREACHABLE when not root and neither an option, LUO_DIR nor XDG_RUNTIME_DIR says where
 */
export function luodSocketPath(options: Pick<ConnectLuodOptions, 'dir' | 'socket' | 'env'> = {}): string {
  if (options.socket) return resolve(options.socket);
  const env = options.env ?? process.env;
  return join(resolve(luodDirectory({ dir: options.dir, env, uid: process.getuid?.() })), SOCKET_NAME);
}

/**
 * Connect to luod and say hello.
 * @throws LuoError LUOD_UNREACHABLE nobody answers at the path; AUTH_DENIED; PROTO_VERSION
 */
export async function connectLuod(options: ConnectLuodOptions = {}): Promise<LuodConnection> {
  const socketPath = luodSocketPath(options);
  const deadlineMs = options.deadlineMs ?? 10_000;
  const peer = await connectPeer(socketPath, { calls: LUOD_METHODS, events: LUOD_EVENTS }).catch((error: unknown) => {
    throw withRemedy(error, socketPath);
  });
  let hello: LuodResult<'hello'>;
  try {
    const answer = await peer.request<LuodResult<'hello'>>(
      'hello',
      { protocol: [PROTOCOL_VERSION], client: options.client ?? 'luo-control', join: false },
      { deadlineMs },
    );
    hello = answer.result;
  } catch (error) {
    peer.close();
    throw unreachable(error, socketPath);
  }
  return new ControlConnection(socketPath, hello, peer);
}

/** Nobody listens: say where, and what to do. */
function withRemedy(error: unknown, socketPath: string): LuoError {
  const known = LuoError.from(error, 'SYS');
  if (known.code !== 'LUOD_UNREACHABLE') return known;
  return new LuoError('LUOD_UNREACHABLE', `no luod answers at '${socketPath}'`, {
    cause: error,
    remedy: 'start luod, or name its directory with --dir or LUO_DIR; if luod and keeper died, luoctl recover',
  });
}

/** A hello that was never answered says the same to a person as a socket that nobody listens on. */
function unreachable(error: unknown, socketPath: string): LuoError {
  const known = LuoError.from(error);
  if (known.code !== 'PROTO_TIMEOUT' && known.code !== 'PROTO_CLOSED') return known;
  return new LuoError('LUOD_UNREACHABLE', `luod at '${socketPath}' did not answer: ${known.message}`, {
    cause: error,
    remedy: 'see luod’s log; `luoctl status` tells when it is back',
  });
}

class ControlConnection implements LuodConnection {
  readonly socketPath: string;
  readonly hello: LuodResult<'hello'>;
  readonly #peer: Peer;

  constructor(socketPath: string, hello: LuodResult<'hello'>, peer: Peer) {
    this.socketPath = socketPath;
    this.hello = hello;
    this.#peer = peer;
  }

  async request<M extends LuodMethod>(
    method: M,
    params: LuodParams<M>,
    options: RequestOptions = {},
  ): Promise<{ result: LuodResult<M>; fds: OwnedFd[] }> {
    return this.#peer.request<LuodResult<M>>(method, params, options);
  }

  onEvent(listener: (event: string, data: unknown) => void): void {
    this.#peer.onEvent((event, data, fds) => {
      closeAll(fds);
      listener(event, data);
    });
  }

  onClose(listener: (error: LuoError | undefined) => void): void {
    void this.#peer.closed.then(listener);
  }

  close(): void {
    this.#peer.close();
  }
}
