/**
 * The connection of a member to luod, and its return. luod may be killed and started again at any time: the link then
 * connects anew and says hello with who it was and where it stands (`resume`). A request that was cut off is asked again
 * on the new connection; all of them may be asked twice.
 *
 * The link does not keep the process alive: a program that has nothing left to do may end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LuoError } from '../base/errors.js';
import {
  LUOD_EVENTS,
  LUOD_METHODS,
  MEMBER_CALLS,
  PROTOCOL_VERSION,
  type LuodMethod,
  type LuodParams,
  type LuodResult,
} from '../protocol/spec.js';
import { compileMethods } from '../protocol/validate.js';
import type { OwnedFd } from '../sys/index.js';
import { connectPeer, Peer, type RequestHandler } from '../transport/index.js';

export interface LinkOptions {
  readonly socketPath: string;
  readonly service: string | undefined;
  readonly secret: string | undefined;
  readonly client: string;
  /** How long luod may be away at the first connection, ms. */
  readonly waitMs: number;
}

/** What the member behind the link gives it. */
export interface LinkOwner {
  /** luod's calls. */
  readonly onCall: RequestHandler;
  /** Where the member stands, for a hello after a break. */
  readonly resume: () => { attempt: number | null; phase: string };
  /** False: not now; the hello waits. */
  readonly mayResume: () => boolean;
  readonly onDown: () => void;
  /** @param hello `resumed` false: luod does not know this member any more */
  readonly onUp: (hello: LuodResult<'hello'>) => void;
}

type Hello = LuodResult<'hello'>;

/** What is asked and answered over a link. */
const TABLES = { calls: LUOD_METHODS, events: LUOD_EVENTS, serves: MEMBER_CALLS } as const;

/** Pauses between tries to reach luod again, ms. */
const RETRY_MS_MAX = 250;

export class Link {
  readonly #options: LinkOptions;
  #owner: LinkOwner | undefined;
  #peer: Peer;
  #hello: Hello;
  #participant: string | null;
  #closed = false;
  /** From a break until luod knows this member again. */
  #isAway = false;
  /** Settles when the link is up (again). */
  #up: Promise<void> = Promise.resolve();
  readonly #early: Parameters<RequestHandler>[] = [];

  private constructor(options: LinkOptions) {
    this.#options = options;
    this.#peer = undefined as unknown as Peer;
    this.#hello = undefined as unknown as Hello;
    this.#participant = null;
  }

  /**
   * Connect, join and say hello.
   * @throws LuoError LUOD_UNREACHABLE nobody answered within `waitMs`; AUTH_SECRET, AUTH_DENIED, PROTO_VERSION luod refused
   */
  static async open(options: LinkOptions): Promise<Link> {
    const link = new Link(options);
    const end = performance.now() + options.waitMs;
    for (;;) {
      const leftMs = end - performance.now();
      try {
        await link.#connect(Math.max(0, leftMs), Math.max(1000, leftMs));
        return link;
      } catch (error) {
        const known = LuoError.from(error, 'SYS');
        if (!isAbsence(known)) throw known;
        if (performance.now() >= end) {
          throw new LuoError(
            'LUOD_UNREACHABLE',
            `luod did not answer at '${options.socketPath}' within ${options.waitMs} ms`,
            { cause: known, remedy: 'start luod, or unset LUO_SOCKET to run without it' },
          );
        }
        await sleep(20);
      }
    }
  }

  /** For a rehearsal: a link over a socket that is connected already, and said hello. It is not made anew when it breaks. */
  static over(takenFd: OwnedFd, hello: Hello): Link {
    const link = new Link({ socketPath: '', service: undefined, secret: undefined, client: '', waitMs: 0 });
    link.#peer = new Peer(takenFd, { ...TABLES, onRequest: (...call) => link.#call(...call) });
    link.#hello = hello;
    return link;
  }

  get hello(): Hello {
    return this.#hello;
  }

  get isUp(): boolean {
    return this.#peer.isOpen;
  }

  /** From now on `owner` gets what comes; calls that came before are given to it at once. */
  own(owner: LinkOwner): void {
    this.#owner = owner;
    for (const call of this.#early.splice(0)) void this.#call(...call);
  }

  /**
   * Ask luod; waits while it is away. The fds of the answer are the caller's.
   * @param urgent it leaves before this returns, with everything that was sent before it
   * @throws LuoError its refusal; PROTO_CLOSED after `close()`
   */
  async request<M extends LuodMethod>(
    method: M,
    params: LuodParams<M>,
    fds: readonly number[] = [],
    urgent = false,
  ): Promise<{ result: LuodResult<M>; fds: OwnedFd[]; again: boolean }> {
    for (let again = false; ; again = true) {
      if (this.#isAway) await this.#up;
      try {
        const answer = await this.#peer.request<LuodResult<M>>(method, params, { fds, urgent });
        return { ...answer, again };
      } catch (error) {
        if (this.#closed || !(error instanceof LuoError) || !isAbsence(error)) throw again ? markAgain(error) : error;
        // The break is noticed in a later turn, which sets the promise that the next round waits for.
        await this.#peer.closed;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#peer.close();
  }

  async #connect(waitMs: number, helloMs: number): Promise<void> {
    const { socketPath, service, secret, client } = this.#options;
    const resume = this.#participant === null ? undefined : this.#owner?.resume();
    // Here, not with the first freeze or go: those are in a blackout.
    compileMethods(MEMBER_CALLS, 'params');
    compileMethods({ standby: LUOD_METHODS.standby, ready: LUOD_METHODS.ready }, 'result');
    const peer = await connectPeer(socketPath, {
      ...TABLES,
      waitMs,
      onRequest: (...call) => this.#call(...call),
    });
    try {
      const { result } = await peer.request<Hello>(
        'hello',
        {
          protocol: [PROTOCOL_VERSION],
          client,
          join: true,
          ...(service === undefined ? {} : { service }),
          ...(secret === undefined ? {} : { secret }),
          ...(resume === undefined ? {} : { resume: { participant: this.#participant!, ...resume } }),
        },
        { deadlineMs: helloMs },
      );
      this.#peer = peer;
      this.#hello = result;
      this.#participant = result.participant;
    } catch (error) {
      peer.close();
      throw error;
    }
    peer.unref();
    void peer.closed.then(() => this.#broken(peer));
  }

  #call(...call: Parameters<RequestHandler>): void | Promise<void> {
    if (this.#owner === undefined) {
      this.#early.push(call);
      return;
    }
    return this.#owner.onCall(...call);
  }

  #broken(peer: Peer): void {
    if (this.#closed || this.#peer !== peer) return;
    this.#isAway = true;
    this.#up = this.#reconnect();
    this.#owner?.onDown();
  }

  async #reconnect(): Promise<void> {
    for (let pauseMs = 2; !this.#closed; pauseMs = Math.min(RETRY_MS_MAX, pauseMs * 2)) {
      try {
        if (this.#owner?.mayResume() !== false) {
          await this.#connect(0, 10_000);
          this.#owner?.onUp(this.#hello);
          this.#isAway = false;
          return;
        }
      } catch {
        // Away, or not ready to take anyone back yet: whoever is at the other end, there is nothing else to do.
      }
      await sleep(pauseMs, undefined, { ref: false });
    }
  }
}

/** Is it that nobody is there, rather than a refusal? */
function isAbsence(error: LuoError): boolean {
  return error.code === 'LUOD_UNREACHABLE' || error.code === 'PROTO_CLOSED' || error.code === 'PROTO_TIMEOUT';
}

const askedAgain = new WeakSet<object>();

/** Was this refusal the answer to a request that had been cut off once, and may have been done then? */
export function wasAskedAgain(error: unknown): boolean {
  return typeof error === 'object' && error !== null && askedAgain.has(error);
}
function markAgain(error: unknown): unknown {
  if (typeof error === 'object' && error !== null) askedAgain.add(error);
  return error;
}
