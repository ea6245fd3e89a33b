/**
 * A luod by script, for tests of the client library alone: it speaks the wire contract over real unix sockets, keeps
 * handles and parcels in this process, and does what the test says and nothing else. It checks nothing that the library
 * is not tested for. `keeper.sock` beside it answers `decide`, as the keeper would.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LuoError } from '../../src/base/errors.js';
import type { Outcome, Role } from '../../src/base/words.js';
import {
  KEEPER_METHODS,
  LUOD_METHODS,
  MEMBER_CALLS,
  type CallParams,
  type CallResult,
  type HandleSpec,
  type LuodParams,
  type LuodResult,
  type MemberCall,
  type Waiting,
} from '../../src/protocol/spec.js';
import { closeAll, pidfdOpen, type OwnedFd } from '../../src/sys/index.js';
import { Listener, Peer, type Answer, type Responder } from '../../src/transport/index.js';

interface Kept {
  readonly spec: HandleSpec;
  readonly fd: OwnedFd | undefined;
  torn: boolean;
}
export interface Parcel {
  readonly part: 'prepared' | 'frozen';
  readonly parcel: unknown;
  readonly fds: OwnedFd[];
}
type Said = 'standby' | 'ready' | 'leave' | 'closed' | 'resumed';

/** One process as the fake luod sees it. */
export class FakeMember {
  readonly participant: string;
  readonly role: Role;
  readonly resumes: { attempt: number | null; phase: string }[] = [];
  readonly claimed = new Set<string>();
  readonly released = new Set<string>();
  readonly registered: HandleSpec[] = [];
  readonly pid: number;
  peer: Peer;
  readonly #said = new Map<Said, { count: number; waiters: (() => void)[] }>();

  constructor(participant: string, role: Role, pid: number, peer: Peer) {
    this.participant = participant;
    this.role = role;
    this.pid = pid;
    this.peer = peer;
  }

  /** Call the participant. */
  call<M extends MemberCall>(method: M, params: CallParams<M>, fds: number[] = []): Promise<Answer<CallResult<M>>> {
    return this.peer.request<CallResult<M>>(method, params, { fds, deadlineMs: 20_000 });
  }

  say(what: Said): void {
    const entry = this.#entry(what);
    entry.count += 1;
    entry.waiters.shift()?.();
  }

  /** The next time that it says this, also if it said so before and nobody has waited for it. */
  async heard(what: Said): Promise<void> {
    const entry = this.#entry(what);
    if (entry.count === 0) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`never heard '${what}' from ${this.participant}`)), 20_000);
        entry.waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    entry.count -= 1;
  }

  hasSaid(what: Said): boolean {
    return this.#entry(what).count > 0;
  }

  #entry(what: Said): { count: number; waiters: (() => void)[] } {
    const entry = this.#said.get(what) ?? { count: 0, waiters: [] };
    this.#said.set(what, entry);
    return entry;
  }
}

export class FakeLuod {
  readonly dir = mkdtempSync(join(tmpdir(), 'luo-client-'));
  readonly socketPath = join(this.dir, 'luod.sock');
  readonly keeperPath = join(this.dir, 'keeper.sock');
  readonly handles = new Map<string, Kept>();
  readonly decisions = new Map<number, { key: string; outcome: Outcome | null }>();
  readonly children = new Set<ChildProcess>();
  /** Role of the next one that joins. */
  nextRole: Role = 'first';
  /** What hello answers instead, if anything. */
  refusal: LuoError | undefined;
  /** Take requests and answer none. */
  silent = false;
  /** Do not answer hello of a resumed member by `resumed: true`. */
  forgetful = false;
  generation = 1;
  attempt = 0;
  #listener: Listener | undefined;
  #keeper: Listener | undefined;
  readonly #members = new Map<string, FakeMember>();
  #joined: FakeMember[] = [];
  #joinWaiters: ((member: FakeMember) => void)[] = [];
  readonly #peers = new Set<Peer>();
  readonly #releases = new Map<Peer, () => void>();
  #serial = 0;

  static async start(): Promise<FakeLuod> {
    const luod = new FakeLuod();
    await luod.listen();
    await luod.listenAsKeeper();
    return luod;
  }

  /** luod is there (again). */
  async listen(): Promise<void> {
    this.#listener = await Listener.listen(this.socketPath, 0o600, {
      onConnection: (fd, credentials, release) => this.#serve(fd, credentials.pid, release),
    });
  }

  async listenAsKeeper(): Promise<void> {
    this.#keeper = await Listener.listen(this.keeperPath, 0o600, {
      onConnection: (fd, _credentials, release) => {
        const peer = new Peer(fd, {
          serves: KEEPER_METHODS,
          onRequest: (_method, params, _fds, reply) => this.#decide(params as { attempt: number }, reply),
        });
        this.#peers.add(peer);
        void peer.closed.then(() => {
          this.#peers.delete(peer);
          release();
        });
      },
    });
  }

  /** luod dies: nobody listens, every connection is gone; what it kept is kept. */
  die(): void {
    this.#listener?.close();
    for (const member of this.#members.values()) member.peer.close();
  }

  keeperDies(): void {
    this.#keeper?.close();
  }

  /** Run a program of test/client/programs, or any script by its path, as a service. */
  spawn(program: string, env: Record<string, string> = {}, role: Role = 'first'): ChildProcess {
    const path = program.startsWith('/')
      ? program
      : fileURLToPath(new URL(`./programs/${program}.js`, import.meta.url));
    return this.spawnCommand([process.execPath, '--enable-source-maps', path], role, env);
  }

  /** Run any command as a service. */
  spawnCommand(argv: readonly string[], role: Role, env: Record<string, string> = {}): ChildProcess {
    this.nextRole = role;
    const child = spawn(argv[0]!, argv.slice(1), {
      env: { ...process.env, LUO_SOCKET: this.socketPath, LUO_SERVICE: 'test', LUO_SECRET: 's', ...env },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    this.children.add(child);
    child.once('exit', () => this.children.delete(child));
    return child;
  }

  /** The next member that joins. */
  joined(): Promise<FakeMember> {
    const member = this.#joined.shift();
    if (member !== undefined) return Promise.resolve(member);
    return new Promise((resolve) => this.#joinWaiters.push(resolve));
  }

  /** Start a program and bring it to its go. */
  async startFirst(program: string, env: Record<string, string> = {}): Promise<FakeMember> {
    this.spawn(program, env);
    const member = await this.joined();
    await member.heard('ready');
    await member.call('go', { attempt: 0, deadlineMs: 10_000 });
    return member;
  }

  /** Start a program as the successor and bring it to its standby. */
  async startSuccessor(program: string, env: Record<string, string> = {}): Promise<FakeMember> {
    this.attempt += 1;
    this.spawn(program, env, 'successor');
    const member = await this.joined();
    await member.heard('standby');
    return member;
  }

  open(): { attempt: number; key: string } {
    const key = `key-${this.attempt}`;
    this.decisions.set(this.attempt, { key, outcome: null });
    return { attempt: this.attempt, key };
  }

  async prepare(old: FakeMember, next?: FakeMember): Promise<Parcel> {
    const { attempt } = this.open();
    const parcel = await this.#parcel('prepared', () =>
      old.call('prepare', { attempt, gap: 'handover', deadlineMs: 10_000, handles: [], replaced: next !== undefined }),
    );
    if (next !== undefined) await this.restore(next, 'prepared', [parcel]);
    return parcel;
  }

  async freeze(
    old: FakeMember,
    options: { deadlineMs?: number; successor?: FakeMember; replaced?: boolean } = {},
  ): Promise<Parcel> {
    const { attempt } = this;
    const { key } = this.decisions.get(attempt)!;
    const pidfds = options.successor === undefined ? [] : [pidfdOpen(options.successor.pid)];
    const parcel = this.#parcel('frozen', () =>
      old.call(
        'freeze',
        {
          attempt,
          gap: 'handover',
          deadlineMs: options.deadlineMs ?? 10_000,
          handles: [],
          replaced: options.replaced ?? true,
          key,
          keeperSocket: this.keeperPath,
        },
        pidfds.map((fd) => fd.fd),
      ),
    );
    closeAll(pidfds);
    return parcel;
  }

  async restore(next: FakeMember, part: 'prepared' | 'frozen', parcels: readonly Parcel[]): Promise<void> {
    const { attempt } = this;
    const key = this.decisions.get(attempt)?.key;
    await next.call(
      'restore',
      {
        attempt,
        part,
        deadlineMs: 10_000,
        parcels: parcels.map((one) => ({ part: one.part, parcel: one.parcel, fds: one.fds.length })),
        ...(part === 'frozen' && key !== undefined ? { key } : {}),
      },
      parcels.flatMap((one) => one.fds.map((fd) => fd.fd)),
    );
  }

  decide(want: Outcome): Outcome {
    const record = this.decisions.get(this.attempt)!;
    record.outcome ??= want;
    return record.outcome;
  }

  /** What follows the freeze of an update that is committed: the successor has its go, the old process is retired. */
  async commit(
    old: FakeMember,
    next: FakeMember,
    taken: { readonly prepared: Parcel; readonly frozen: Parcel },
    goMs = 1000,
  ): Promise<void> {
    await this.restore(next, 'frozen', [taken.frozen]);
    await next.heard('ready');
    this.decide('committed');
    await next.call('go', { attempt: this.attempt, deadlineMs: goMs });
    await old.call('retire', { attempt: this.attempt, deadlineMs: 1000 });
    closeAll([...taken.prepared.fds, ...taken.frozen.fds]);
  }

  /** A whole update that goes well. */
  async update(old: FakeMember, program: string, env: Record<string, string> = {}): Promise<FakeMember> {
    const next = await this.startSuccessor(program, env);
    const prepared = await this.prepare(old, next);
    const frozen = await this.freeze(old, { successor: next });
    await this.commit(old, next, { prepared, frozen }, 10_000);
    await next.call('finish', { attempt: this.attempt, deadlineMs: 10_000 });
    this.generation += 1;
    return next;
  }

  /** End one service and forget what it kept. */
  async end(member: FakeMember): Promise<void> {
    const child = [...this.children].find((one) => one.pid === member.pid);
    if (child !== undefined) {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    for (const kept of this.handles.values()) kept.fd?.close();
    this.handles.clear();
  }

  /** End everything; returns once every child is gone. */
  async stop(): Promise<void> {
    await Promise.all(
      [...this.children].map(async (child) => {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }),
    );
    this.#listener?.close();
    this.#keeper?.close();
    for (const peer of this.#peers) peer.close();
    for (const kept of this.handles.values()) kept.fd?.close();
    this.handles.clear();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #parcel(part: Parcel['part'], ask: () => Promise<Answer<{ parcel?: unknown }>>): Promise<Parcel> {
    const { result, fds } = await ask();
    return { part, parcel: result.parcel ?? null, fds };
  }

  #decide(params: { attempt: number; key?: string; want?: Outcome }, reply: Responder): void {
    const record = this.decisions.get(params.attempt);
    if (record === undefined) throw new LuoError('DECISION_NONE', 'no such attempt');
    if (record.key !== params.key) throw new LuoError('KEEPER_KEY', 'wrong key');
    record.outcome ??= params.want ?? null;
    reply.result({ outcome: record.outcome });
  }

  #serve(fd: OwnedFd, pid: number, release: () => void): void {
    let member: FakeMember | undefined;
    const peer: Peer = new Peer(fd, {
      serves: LUOD_METHODS,
      calls: MEMBER_CALLS,
      onRequest: (method, params, fds, reply) => {
        if (this.silent) return;
        if (method === 'hello') member = this.#hello(params as LuodParams<'hello'>, pid, peer, reply);
        else this.#asked(member!, method, params, fds, reply);
      },
    });
    this.#peers.add(peer);
    void peer.closed.then(() => {
      this.#peers.delete(peer);
      release();
      if (member?.peer === peer) member.say('closed');
    });
  }

  #hello(params: LuodParams<'hello'>, pid: number, peer: Peer, reply: Responder): FakeMember | undefined {
    if (this.refusal !== undefined) throw this.refusal;
    const resume = params.resume;
    let member = resume === undefined ? undefined : this.#members.get(resume.participant);
    const resumed = member !== undefined && !this.forgetful;
    if (member === undefined) {
      member = new FakeMember(`p${(this.#serial += 1)}`, this.nextRole, pid, peer);
      if (params.join) this.#members.set(member.participant, member);
    }
    member.peer = peer;
    if (resume !== undefined) member.resumes.push({ attempt: resume.attempt, phase: resume.phase });
    const waiting = member.role === 'first' ? [] : [...this.handles.values()].map(waitingOf);
    reply.result({
      protocol: 1,
      luod: { version: 'fake', pid: process.pid },
      capabilities: [],
      uid: process.getuid!(),
      owner: `${process.getuid!()}:test`,
      participant: params.join ? member.participant : null,
      role: params.join ? member.role : null,
      attempt: member.role === 'first' ? null : this.attempt,
      state: 'normal',
      generation: this.generation,
      keeperSocket: this.keeperPath,
      waiting,
      resumed,
    } satisfies LuodResult<'hello'>);
    if (resume !== undefined) member.say('resumed');
    else if (params.join) {
      const waiter = this.#joinWaiters.shift();
      if (waiter === undefined) this.#joined.push(member);
      else waiter(member);
    }
    return member;
  }

  #asked(member: FakeMember, method: string, params: unknown, fds: OwnedFd[], reply: Responder): void {
    switch (method) {
      case 'register': {
        const { handles } = params as LuodParams<'register'>;
        for (const spec of handles) {
          const key = `${spec.kind}:${spec.name}`;
          if (this.handles.has(key) && member.role !== 'first') {
            throw new LuoError('CLAIM_WAITING', `'${key}' waits to be claimed`);
          }
        }
        for (const spec of handles) {
          const fd = spec.fds === 1 ? fds.shift() : undefined;
          member.registered.push(spec);
          this.handles.get(`${spec.kind}:${spec.name}`)?.fd?.close();
          this.handles.set(`${spec.kind}:${spec.name}`, { spec, fd, torn: false });
        }
        return reply.result({ handles: [] });
      }
      case 'claim': {
        const { kind, name, accepts } = params as LuodParams<'claim'>;
        const kept = this.handles.get(`${kind}:${name}`);
        if (kept === undefined) throw new LuoError('HANDLE_UNKNOWN', `nothing is kept as '${kind}:${name}'`);
        if (accepts !== undefined && !accepts.includes(kept.spec.compatible)) {
          throw new LuoError('CLAIM_INCOMPATIBLE', `'${name}' is '${kept.spec.compatible}'`);
        }
        member.claimed.add(`${kind}:${name}`);
        return reply.result({ handle: waitingOf(kept) }, kept.fd === undefined ? [] : [kept.fd.fd]);
      }
      case 'release':
        member.released.add((params as LuodParams<'release'>).name);
        return reply.result({});
      case 'unregister': {
        const { kind, name } = params as LuodParams<'unregister'>;
        this.handles.get(`${kind}:${name}`)?.fd?.close();
        this.handles.delete(`${kind}:${name}`);
        return reply.result({});
      }
      case 'standby':
      case 'ready':
      case 'leave':
        reply.result({});
        return member.say(method);
      default:
        throw new LuoError('PROTO_UNKNOWN_METHOD', method);
    }
  }
}

function waitingOf(kept: Kept): Waiting {
  const { spec, fd, torn } = kept;
  return {
    kind: spec.kind,
    name: spec.name,
    compatible: spec.compatible,
    type: 'other',
    sizeBytes: null,
    torn,
    hasFd: fd !== undefined,
  };
}
