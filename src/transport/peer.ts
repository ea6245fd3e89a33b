/**
 * Requests and replies in both directions over one connection. Either end may ask; replies may come in any order.
 * - A request ends exactly once: with its reply, its deadline (PROTO_TIMEOUT), its signal, or the connection's end
 *   (PROTO_CLOSED). A reply that comes later is dropped and its fds are closed.
 * - What is asked of us is checked against the spec before the handler sees it; what it answers is not trusted less than
 *   our own code. Answers to us are checked too.
 * - More than `requestsMax` open requests of the other end are refused by name, each with its own reply.
 */
import { assert } from '../base/assert.js';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import {
  encodeError,
  encodeEvent,
  encodeProgress,
  encodeReply,
  encodeRequest,
  type Envelope,
} from '../protocol/envelope.js';
import { methodSpec, parseEvent, parseValue, type EventTable, type MethodTable } from '../protocol/validate.js';
import { closeAll, type Credentials, type OwnedFd } from '../sys/index.js';
import { deadlines, type Deadline } from './deadlines.js';
import { LineConnection, type ConnectionOptions } from './line-connection.js';

export interface RequestOptions {
  /** Borrowed: they may be closed as soon as `request` returned its promise. */
  readonly fds?: readonly number[];
  /** Without one the request waits for as long as the connection lives. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (data: unknown) => void;
  /** It leaves now, and not with whatever else is sent in this turn of the loop: somebody waits for it. */
  readonly urgent?: boolean;
}

/** A good answer. Its fds are the asker's to close. */
export interface Answer<R = unknown> {
  readonly result: R;
  readonly fds: OwnedFd[];
}

/** How a handler answers: exactly one of `result` and `error`, once; later ones do nothing. */
export interface Responder {
  readonly id: number;
  readonly method: string;
  /** True once it is answered, or the connection is gone. */
  readonly isDone: boolean;
  /** @param fds borrowed */
  result(value: unknown, fds?: readonly number[]): void;
  error(error: unknown): void;
  progress(data: unknown): void;
}

/**
 * `params` have been checked if the peer has a table of what it serves. `fds` are the handler's to close; if it throws,
 * or its promise is rejected, they are closed and the error is the reply.
 */
export type RequestHandler = (
  method: string,
  params: unknown,
  fds: OwnedFd[],
  reply: Responder,
) => void | Promise<void>;

export interface PeerOptions extends ConnectionOptions {
  /** What the other end may ask; without a table everything reaches the handler unchecked. */
  readonly serves?: MethodTable;
  /** What we ask; results are checked against it. */
  readonly calls?: MethodTable;
  /** Events that the other end tells; others are passed on unchecked. */
  readonly events?: EventTable;
  readonly requestsMax?: number;
  readonly onRequest?: RequestHandler;
  readonly onEvent?: (name: string, data: unknown, fds: OwnedFd[]) => void;
  readonly onClose?: (error: LuoError | undefined) => void;
}

class Pending {
  readonly method: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  readonly onProgress: ((data: unknown) => void) | undefined;
  deadline: Deadline | undefined;
  unlisten: (() => void) | undefined;

  constructor(
    method: string,
    resolve: (answer: Answer) => void,
    reject: (error: unknown) => void,
    onProgress: ((data: unknown) => void) | undefined,
  ) {
    this.method = method;
    this.resolve = resolve;
    this.reject = reject;
    this.onProgress = onProgress;
  }

  release(): void {
    this.deadline?.cancel();
    this.unlisten?.();
  }
}

class OpenRequest implements Responder {
  readonly id: number;
  readonly method: string;
  readonly #peer: PeerCore;
  #done = false;

  constructor(peer: PeerCore, id: number, method: string) {
    this.#peer = peer;
    this.id = id;
    this.method = method;
  }

  get isDone(): boolean {
    return this.#done || !this.#peer.connection.isOpen;
  }

  result(value: unknown, fds: readonly number[] = []): void {
    if (this.#done) return;
    let line: string;
    try {
      line = encodeReply(this.id, value, fds.length);
    } catch (error) {
      return this.error(
        new LuoError('INTERNAL', `the answer to '${this.method}' cannot be written as JSON`, { cause: error }),
      );
    }
    if (tooLarge(line, fds)) return this.error(tooLarge(line, fds));
    this.#done = true;
    this.#peer.answered(this.id);
    this.#peer.connection.send(line, fds);
  }

  error(error: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#peer.answered(this.id);
    this.#peer.connection.send(encodeError(this.id, LuoError.from(error).toWire()));
  }

  progress(data: unknown): void {
    if (this.#done) return;
    this.#peer.connection.send(encodeProgress(this.id, data));
  }
}

/** What an open request needs of its peer. */
interface PeerCore {
  readonly connection: LineConnection;
  answered(id: number): void;
}

/** One end of a connection that asks and answers. */
export class Peer {
  readonly connection: LineConnection;
  /** Settles when the connection is gone, with the reason; never rejected. */
  readonly closed: Promise<LuoError | undefined>;
  readonly #options: PeerOptions;
  readonly #core: PeerCore;
  readonly #pending = new Map<number, Pending>();
  readonly #incoming = new Map<number, OpenRequest>();
  readonly #requestsMax: number;
  #lastId = 0;
  #onRequest: RequestHandler | undefined;
  #onEvent: ((name: string, data: unknown, fds: OwnedFd[]) => void) | undefined;

  /** Takes ownership of a connected, non-blocking stream socket. */
  constructor(takenFd: OwnedFd, options: PeerOptions = {}) {
    this.#options = options;
    this.#requestsMax = options.requestsMax ?? LIMITS.requestsMax;
    this.#onRequest = options.onRequest;
    this.#onEvent = options.onEvent;
    let resolveClosed: (error: LuoError | undefined) => void;
    this.closed = new Promise((resolve) => (resolveClosed = resolve));
    this.connection = new LineConnection(
      takenFd,
      {
        onMessage: (envelope, fds, lost) => this.#message(envelope, fds, lost),
        onClose: (error) => {
          this.#abandon(error);
          this.#options.onClose?.(error);
          resolveClosed(error);
        },
      },
      options,
    );
    this.#core = { connection: this.connection, answered: (id) => this.#incoming.delete(id) };
  }

  /** Answer the other end's requests by `handler` from now on. */
  onRequest(handler: RequestHandler): void {
    this.#onRequest = handler;
  }

  /** Take the other end's events from now on; without a handler they are dropped. */
  onEvent(handler: (name: string, data: unknown, fds: OwnedFd[]) => void): void {
    this.#onEvent = handler;
  }

  /** Requests of the other end that have no answer yet. */
  get openRequests(): number {
    return this.#incoming.size;
  }

  /** Requests of ours that have no answer yet. */
  get pendingRequests(): number {
    return this.#pending.size;
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  credentials(): Credentials {
    return this.connection.credentials();
  }

  /**
   * Ask. Requests are pipelined: none waits for the answer of another.
   * @throws LuoError what the other end answered; PROTO_TIMEOUT, PROTO_CLOSED, PROTO_INVALID (its result is not as
   *   declared), LIMIT_REACHED (too long, too many fds); or the reason of `signal`
   */
  request<R = unknown>(method: string, params: unknown, options: RequestOptions = {}): Promise<Answer<R>> {
    return new Promise<Answer<R>>((resolve, reject) => {
      if (!this.connection.isOpen) throw closedError();
      options.signal?.throwIfAborted();
      const fds = options.fds ?? [];
      const id = (this.#lastId += 1);
      const line = encodeRequest(id, method, params, fds.length);
      const refusal = tooLarge(line, fds);
      if (refusal) throw refusal;
      const pending = new Pending(method, resolve as (answer: Answer) => void, reject, options.onProgress);
      this.#pending.set(id, pending);
      if (options.deadlineMs !== undefined) {
        const ms = options.deadlineMs;
        pending.deadline = deadlines.after(ms, () => this.#giveUp(id, () => timeoutError(method, ms)));
      }
      const signal = options.signal;
      if (signal !== undefined) {
        const abort = (): void => this.#giveUp(id, () => signal.reason as unknown);
        signal.addEventListener('abort', abort, { once: true });
        pending.unlisten = () => signal.removeEventListener('abort', abort);
      }
      this.connection.send(line, fds, options.urgent);
    });
  }

  /** Tell something that has no answer. @param fds borrowed */
  event(name: string, data: unknown, fds: readonly number[] = []): void {
    this.connection.send(encodeEvent(name, data, fds.length), fds);
  }

  pause(): void {
    this.connection.pause();
  }

  resume(): void {
    this.connection.resume();
  }

  /** Keep this peer from keeping the process alive. */
  unref(): void {
    this.connection.unref();
  }

  ref(): void {
    this.connection.ref();
  }

  /** Close; open requests of both ends are over. */
  close(error?: LuoError): void {
    this.connection.close(error);
  }

  /** Close when all that was answered has left. */
  end(): void {
    this.connection.end();
  }

  #message(envelope: Envelope, fds: OwnedFd[], lost: LuoError | undefined): void {
    switch (envelope.kind) {
      case 'request':
        return this.#requested(envelope.id, envelope.method, envelope.params, fds, lost);
      case 'reply':
        return this.#replied(envelope, fds, lost);
      case 'progress':
        closeAll(fds);
        this.#pending.get(envelope.progress)?.onProgress?.(envelope.data);
        return;
      case 'event':
        return this.#told(envelope.event, envelope.data, fds);
    }
  }

  #requested(id: number, method: string, params: unknown, fds: OwnedFd[], lost: LuoError | undefined): void {
    if (this.#incoming.has(id)) {
      throw new LuoError('PROTO_INVALID', `request ${id} is used again before it was answered`, {
        data: { path: '/id' },
      });
    }
    const reply = new OpenRequest(this.#core, id, method);
    try {
      if (lost !== undefined) throw lost;
      if (this.#incoming.size >= this.#requestsMax) {
        throw new LuoError('LIMIT_REACHED', `more than ${this.#requestsMax} requests of this connection are open`, {
          data: { limit: 'requestsMax', value: this.#requestsMax },
        });
      }
      this.#checkRequest(method, params, fds);
    } catch (error) {
      closeAll(fds);
      // Not registered: answering it must not free another request of the same number.
      return this.connection.send(encodeError(id, LuoError.from(error).toWire()));
    }
    this.#incoming.set(id, reply);
    try {
      assert(this.#onRequest, 'a peer that is asked needs a handler');
      const running = this.#onRequest(method, params, fds, reply);
      if (running !== undefined) {
        running.catch((error: unknown) => {
          closeAll(fds);
          reply.error(error);
        });
      }
    } catch (error) {
      closeAll(fds);
      reply.error(error);
    }
  }

  #checkRequest(method: string, params: unknown, fds: OwnedFd[]): void {
    const table = this.#options.serves;
    if (table === undefined && this.#onRequest !== undefined) return;
    const spec = methodSpec(table ?? {}, method);
    parseValue(spec.params, params, `parameters of '${method}'`);
    const wanted = spec.fdsIn ?? 0;
    if (wanted >= 0 && fds.length !== wanted) {
      throw new LuoError('PROTO_FDS', `'${method}' takes ${wanted} fds and ${fds.length} came`);
    }
  }

  #replied(envelope: Extract<Envelope, { kind: 'reply' }>, fds: OwnedFd[], lost: LuoError | undefined): void {
    const pending = this.#pending.get(envelope.re);
    if (pending === undefined) {
      closeAll(fds);
      if (envelope.re > this.#lastId) {
        throw new LuoError('PROTO_INVALID', `an answer came to request ${envelope.re}, which was never made`);
      }
      return;
    }
    this.#pending.delete(envelope.re);
    pending.release();
    if (lost !== undefined) return pending.reject(lost);
    if (envelope.error !== undefined) {
      closeAll(fds);
      return pending.reject(LuoError.fromWire(envelope.error));
    }
    try {
      const table = this.#options.calls;
      if (table !== undefined) {
        const spec = methodSpec(table, pending.method);
        parseValue(spec.result, envelope.result, `result of '${pending.method}'`);
        const wanted = spec.fdsOut ?? 0;
        if (wanted >= 0 && fds.length !== wanted) {
          throw new LuoError('PROTO_FDS', `'${pending.method}' answers with ${wanted} fds and ${fds.length} came`);
        }
      }
    } catch (error) {
      closeAll(fds);
      return pending.reject(error);
    }
    pending.resolve({ result: envelope.result, fds });
  }

  #told(name: string, data: unknown, fds: OwnedFd[]): void {
    const handler = this.#onEvent;
    if (handler === undefined) return closeAll(fds);
    const table = this.#options.events;
    if (table !== undefined && Object.hasOwn(table, name)) parseEvent(table, name, data);
    handler(name, data, fds);
  }

  #giveUp(id: number, reason: () => unknown): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    pending.release();
    pending.reject(reason());
  }

  #abandon(error: LuoError | undefined): void {
    this.#incoming.clear();
    for (const [id, pending] of [...this.#pending]) {
      this.#pending.delete(id);
      pending.release();
      pending.reject(error ?? closedError());
    }
  }
}

/** The error for a message that no receiver would take. */
function tooLarge(line: string, fds: readonly number[]): LuoError | undefined {
  if (fds.length > LIMITS.messageFdsMax) {
    return new LuoError('LIMIT_REACHED', `a message carries at most ${LIMITS.messageFdsMax} fds, not ${fds.length}`, {
      data: { limit: 'messageFdsMax', value: LIMITS.messageFdsMax },
    });
  }
  if (line.length * 3 < LIMITS.lineBytesMax || Buffer.byteLength(line) < LIMITS.lineBytesMax) return undefined;
  return new LuoError('LIMIT_REACHED', `a message has at most ${LIMITS.lineBytesMax} bytes`, {
    data: { limit: 'lineBytesMax', value: LIMITS.lineBytesMax },
  });
}

function closedError(): LuoError {
  return new LuoError('PROTO_CLOSED', 'the connection is closed');
}

function timeoutError(method: string, ms: number): LuoError {
  return new LuoError('PROTO_TIMEOUT', `no answer to '${method}' within ${ms} ms`);
}
