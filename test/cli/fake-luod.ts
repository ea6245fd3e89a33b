/**
 * A luod that answers by a script, over a real socket, with requests checked against the spec: what luoctl sends is
 * proved valid by arriving. Every answer can be replaced; everything that was asked is remembered.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LUOD_METHODS, type LuodMethod } from '../../src/protocol/spec.js';
import type { OwnedFd } from '../../src/sys/index.js';
import { Listener, Peer, type Responder } from '../../src/transport/index.js';
import * as samples from './samples.js';

export interface Asked {
  readonly method: string;
  readonly params: unknown;
  readonly fds: number;
}

export interface Call {
  readonly params: never;
  /** Closed after the handler has answered. */
  readonly fds: readonly OwnedFd[];
  readonly reply: Responder;
  readonly fake: FakeLuod;
}
/** Returns the result, or a result with fds to send; throws a LuoError; or answers by `reply` and returns NONE. */
export type Answer = (call: Call) => unknown;
export type Answers = Partial<Record<LuodMethod, Answer>>;

/** From a handler that answers later, or never. */
export const NONE = Symbol('no answer yet');
/** From a handler whose answer carries fds, which are borrowed. */
export class WithFds {
  readonly result: unknown;
  readonly fds: readonly number[];
  constructor(result: unknown, fds: readonly number[]) {
    this.result = result;
    this.fds = fds;
  }
}

const GOOD: Answers = {
  hello: () => ({
    protocol: 1,
    luod: { version: '0.1.0', pid: 100 },
    capabilities: [],
    uid: 0,
    owner: null,
    participant: null,
    role: null,
    attempt: null,
    state: 'normal',
    generation: 3,
    keeperSocket: '/nowhere/keeper.sock',
    waiting: [],
    resumed: false,
  }),
  run: () => ({ service: samples.service }),
  start: () => ({ service: samples.service }),
  stop: () => ({ service: { ...samples.service, run: 'parked', pid: null } }),
  update: () => samples.committed,
  rollback: () => samples.committed,
  discard: () => ({ discarded: ['0:cache/fd:index'] }),
  kill: () => ({}),
  put: () => ({ type: 'memfd', sizeBytes: 5 }),
  list: () => ({ boxes: [] }),
  seal: () => ({ entries: [] }),
  request: () => ({ handle: samples.handle }),
  unrequest: () => ({ handle: { ...samples.handle, requested: false } }),
  load: () => ({ image: samples.image }),
  unload: () => ({}),
  preflight: () => samples.preflight,
  kexec: () => samples.returned,
  blobPut: () => ({ sizeBytes: 5 }),
  blobList: () => ({ blobs: [{ name: 'notes', sizeBytes: 5, direction: 'outgoing' }] }),
  blobDrop: () => ({}),
  status: () => samples.status,
  plan: () => samples.plan,
  prepare: () => ({ attempt: 8 }),
  cancel: () => ({ stuck: [] }),
  finish: () => ({}),
  recover: () => ({ stuck: [], state: 'normal' }),
  watch: () => ({ state: 'normal', phase: null, generation: 3 }),
  timeline: () => ({ timelines: [samples.timeline] }),
  shutdown: ({ fake }) => {
    setImmediate(() => fake.drop());
    return {};
  },
};

export class FakeLuod {
  readonly dir: string;
  /** Requests in the order in which they came, without hello. */
  readonly asked: Asked[] = [];
  /** Can be changed while it runs. */
  readonly answers: Answers;
  readonly #peers = new Set<Peer>();
  #listener: Listener | undefined;

  private constructor(answers: Answers) {
    this.dir = mkdtempSync(join(tmpdir(), 'luo-cli-'));
    this.answers = { ...GOOD, ...answers };
  }

  static async start(answers: Answers = {}): Promise<FakeLuod> {
    const fake = new FakeLuod(answers);
    await fake.listen();
    return fake;
  }

  /** Listen (again, after {@link vanish}). */
  async listen(): Promise<void> {
    this.#listener = await Listener.listen(join(this.dir, 'luod.sock'), 0o600, {
      onConnection: (takenFd, _credentials, release) => {
        const peer: Peer = new Peer(takenFd, {
          serves: LUOD_METHODS,
          onRequest: (method, params, fds, reply) => this.#answer(method as LuodMethod, params, fds, reply),
          onClose: () => {
            this.#peers.delete(peer);
            release();
          },
        });
        this.#peers.add(peer);
      },
    });
  }

  /** Tell an event to everybody who is connected. */
  tell(event: string, data: unknown): void {
    for (const peer of this.#peers) peer.event(event, data);
  }

  /** End all connections; new ones are welcome. */
  drop(): void {
    for (const peer of [...this.#peers]) peer.close();
  }

  /** As a luod that was killed: nobody listens any more. */
  vanish(): void {
    this.#listener?.close();
    this.#listener = undefined;
    this.drop();
  }

  close(): void {
    this.vanish();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #answer(method: LuodMethod, params: unknown, fds: OwnedFd[], reply: Responder): Promise<void> {
    if (method !== 'hello') this.asked.push({ method, params, fds: fds.length });
    try {
      const answer = this.answers[method];
      if (!answer) throw new Error(`the fake luod has no answer to ${method}`);
      const result = await answer({ params: params as never, fds, reply, fake: this });
      if (result instanceof WithFds) reply.result(result.result, result.fds);
      else if (result !== NONE) reply.result(result);
    } finally {
      for (const fd of fds) fd.close();
    }
  }
}
