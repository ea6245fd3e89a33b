/**
 * The public face of a membership: names what a program keeps, claims what waits, and brings the program to its go.
 * With a link it registers everything with luod; without one (detached) the same calls do the same things, and nothing is
 * kept. What an update does with it all is workload.ts; how luod is answered is member.ts.
 */
import type { Server as HttpServer } from 'node:http';
import type { Server as NetServer, Socket } from 'node:net';
import { LuoError } from '../base/errors.js';
import type { Kind, Role } from '../base/words.js';
import type { HandleSpec, LuodParams, Waiting } from '../protocol/spec.js';
import { closeAll, dupFd, faultPoint, sessionRetrieveFd, type OwnedFd } from '../sys/index.js';
import { collectGarbage, untilAtRest } from './at-rest.js';
import { wasAskedAgain, type Link } from './link.js';
import { LuoListener } from './listener.js';
import { DEFAULT_BACKLOG, isListening, makeListening } from './listening-socket.js';
import { Member } from './member.js';
import { testInternals } from './net-selftest.js';
import { Region } from './region.js';
import { RehearsalStage, warmCalls } from './rehearsal.js';
import { rehearseSwitch } from './rehearsed-switch.js';
import { findDevice } from './sysfs.js';
import type {
  CallContext,
  CallEvent,
  CallListener,
  HandleCallbacks,
  HandleOptions,
  JoinOptions,
  Listener,
  ListenOptions,
  Luo,
  Memory,
  MemoryOptions,
  RehearsalContext,
  Started,
  StateCallbacks,
} from './types.js';
import { Workload } from './workload.js';

/** Something that is registered with luod, and what to register it with again. */
interface Registration {
  readonly spec: HandleSpec;
  /** Borrowed; undefined for handles without one. */
  readonly fd: () => number | undefined;
}

export class Session implements Luo {
  readonly service: string | undefined;
  readonly #link: Link | undefined;
  readonly #member: Member | undefined;
  readonly #workload: Workload;
  readonly #options: JoinOptions;
  readonly #registrations = new Map<string, Registration>();
  /** Names that are being claimed or made. */
  readonly #taken = new Set<string>();
  /** Duplicates of fds that were given, kept so that a luod that forgot them can be given them again. */
  readonly #kept = new Map<string, OwnedFd>();
  #waiting: Waiting[];
  #rehearsals: ((context: RehearsalContext) => unknown)[] = [];
  #ready: Promise<Started> | undefined;
  #gone: ((started: Started) => void) | undefined;
  #left = false;

  constructor(link: Link | undefined, options: JoinOptions & { readonly exit?: (code: number) => void }) {
    this.#link = link;
    this.#options = options;
    this.service = options.service;
    this.#waiting = [...(link?.hello.waiting ?? [])];
    this.#workload = new Workload({ drainShare: options.drainShare ?? 0.5 });
    if (link === undefined) return;
    warmCalls();
    this.#member = new Member({
      link,
      workload: this.#workload,
      role: this.role,
      onForgotten: () => this.#registerAgain(),
      onRefill: (handles) => this.#refill(handles),
      onGo: (started) => this.#gone?.(started),
      ...(options.exit === undefined ? {} : { exit: options.exit }),
    });
  }

  get detached(): boolean {
    return this.#link === undefined;
  }

  get role(): Role {
    return this.#link?.hello.role ?? 'first';
  }

  get owner(): string | undefined {
    return this.#link?.hello.owner ?? undefined;
  }

  get participant(): string | undefined {
    return this.#link?.hello.participant ?? undefined;
  }

  get generation(): number {
    return this.#link?.hello.generation ?? 0;
  }

  get waiting(): readonly Waiting[] {
    return this.#waiting;
  }

  get frozen(): boolean {
    return this.#member?.frozen ?? false;
  }

  // -------------------------------------------------------------------------------------------- memory, fds, state

  async memory(name: string, options: MemoryOptions): Promise<Memory> {
    return this.#exclusively('fd', name, async () => {
      const claim = async (): Promise<Region> => {
        const { fd, handle } = await this.#claim('fd', name, options);
        return Region.claim(name, fd, { sizeBytes: options.sizeBytes, torn: handle.torn });
      };
      let region: Region;
      // Whoever names no size expects one to wait, also one that began to wait after hello.
      if (this.#isWaiting('fd', name) || (options.sizeBytes === undefined && this.#link !== undefined)) {
        region = await claim().catch((error: unknown) => {
          if (!(error instanceof LuoError) || error.code !== 'HANDLE_UNKNOWN') throw error;
          throw new LuoError('CLIENT_SIZE', `nothing waits as '${name}', and no size was given to create it`, {
            handle: name,
            cause: error,
          });
        });
      } else {
        region = Region.create(name, options.sizeBytes);
        const registered = await this.#register(specOf('fd', name, options, { marked: true, fds: 1 }), () => region.fd);
        if (registered === 'waiting') region = await claim();
      }
      this.#remember(specOf('fd', name, options, { marked: true, fds: 1 }), () => region.fd);
      this.#workload.regions.set(name, region);
      return region;
    });
  }

  async fd(name: string, fd?: number, options: HandleOptions = {}): Promise<OwnedFd> {
    return this.#exclusively('fd', name, async () => {
      const spec = specOf('fd', name, options, { fds: 1 });
      let result: OwnedFd | undefined;
      if (!this.#isWaiting('fd', name)) {
        if (fd === undefined) {
          throw new LuoError('HANDLE_UNKNOWN', `nothing waits as '${name}', and no fd was given for it`, {
            handle: name,
          });
        }
        const registered = await this.#register(spec, () => fd);
        if (registered === 'registered') result = dupFd(fd);
      }
      result ??= (await this.#claim('fd', name, options)).fd;
      const kept = result.dup();
      this.#kept.set(name, kept);
      this.#remember(spec, () => kept.fd);
      return result;
    });
  }

  state(name: string, callbacks: StateCallbacks): void {
    if (this.#workload.states.has(name)) throw exists('state', name);
    this.#workload.states.set(name, callbacks);
  }

  async device(path: string, callbacks: HandleCallbacks, options: HandleOptions = {}): Promise<void> {
    const place = findDevice(path, this.#options.sysfs);
    const ancestors = place.ancestors.map(({ name }) => ({ kind: 'device' as const, name }));
    // Each device above is a handle too, without callbacks of its own, unless the program has named it already.
    for (const [index, ancestor] of [...place.ancestors.entries()].reverse()) {
      if (this.#registrations.has(`device:${ancestor.name}`)) continue;
      const above = ancestors.slice(index + 1);
      await this.#named('device', ancestor.name, {}, { dependencies: above }, { path: ancestor.path });
    }
    const dependencies = [...(options.dependencies ?? []), ...ancestors];
    await this.#named('device', place.name, callbacks, { ...options, dependencies }, { path: place.path });
  }

  async global(name: string, callbacks: HandleCallbacks, options: HandleOptions = {}): Promise<void> {
    await this.#named('global', name, callbacks, options, {});
  }

  async release(name: string, kind: Kind = 'fd'): Promise<void> {
    if (!this.#isWaiting(kind, name)) {
      throw new LuoError('HANDLE_UNKNOWN', `nothing waits as '${kind}:${name}'`, { handle: name });
    }
    await this.#link!.request('release', { kind, name });
    this.#noLongerWaiting(kind, name);
  }

  async unregister(name: string, kind: Kind = 'fd'): Promise<void> {
    if (!this.#registrations.delete(`${kind}:${name}`)) {
      throw new LuoError('HANDLE_UNKNOWN', `'${kind}:${name}' is not registered`, { handle: name });
    }
    if (this.#link !== undefined) {
      await this.#link.request('unregister', { kind, name }).catch((error: unknown) => {
        if (!(wasAskedAgain(error) && (error as LuoError).code === 'HANDLE_UNKNOWN')) throw error;
      });
    }
    this.#taken.delete(`${kind}:${name}`);
    this.#workload.removeHandle(kind, name);
    if (kind !== 'fd') return;
    this.#kept.get(name)?.close();
    this.#kept.delete(name);
    this.#workload.regions.delete(name);
    this.#workload.listeners.get(name)?.close();
    this.#workload.listeners.delete(name);
  }

  // -------------------------------------------------------------------------------------------- listening

  async listen(server: NetServer | HttpServer, options: ListenOptions): Promise<Listener> {
    const name = options.name ?? 'listener';
    return this.#exclusively('fd', name, async () => {
      if (server.listening) {
        throw new LuoError(
          'STATE_INVALID',
          `the server of '${name}' listens already, by a socket that luo has not made`,
          {
            handle: name,
            remedy: 'call luo.listen() in place of server.listen()',
          },
        );
      }
      await testInternals();
      const spec = specOf('fd', name, options, { fds: 1, meta: { luo: 'listener' } });
      const claim = async (): Promise<OwnedFd> => {
        const { fd } = await this.#claim('fd', name, options);
        if (isListening(fd.fd)) return fd;
        fd.close();
        throw new LuoError('CLAIM_INCOMPATIBLE', `what is kept as '${name}' is no listening socket`, { handle: name });
      };
      let fd: OwnedFd;
      if (this.#isWaiting('fd', name)) {
        fd = await claim();
      } else {
        const made = await makeListening(options);
        fd = made;
        if ((await this.#register(spec, () => made.fd)) === 'waiting') {
          made.close();
          fd = await claim();
        }
      }
      const listener = new LuoListener({
        name,
        server,
        takenFd: fd,
        backlog: options.backlog ?? DEFAULT_BACKLOG,
        connections: options.connections ?? {},
        pendingOutputBytesMax: this.#options.pendingOutputBytesMax ?? 1024 * 1024,
      });
      this.#remember(spec, () => listener.fd);
      this.#workload.listeners.set(name, listener);
      if (listener.reason !== undefined && this.#link !== undefined)
        process.emitWarning(listener.reason.message, 'LuoWarning');
      return listener;
    });
  }

  isHandedOver(socket: Socket): boolean {
    return this.#connectionOf(socket)?.handedOver ?? false;
  }

  giveBack(socket: Socket, bytes: Uint8Array): void {
    const connection = this.#connectionOf(socket);
    if (connection === undefined) {
      throw new LuoError('HANDLE_UNKNOWN', 'this socket is no connection of a server that listens by luo');
    }
    connection.givenBack = Buffer.from(bytes);
  }

  // -------------------------------------------------------------------------------------------- callbacks, life

  on(event: CallEvent, listener: CallListener): this {
    this.#workload.on(event, listener);
    return this;
  }

  off(event: CallEvent, listener: CallListener): this {
    this.#workload.off(event, listener);
    return this;
  }

  canFinish(callback: () => string | undefined | Promise<string | undefined>): void {
    this.#workload.vetoes.push(callback);
  }

  rehearse(rehearsal: (context: RehearsalContext) => unknown): void {
    this.#rehearsals.push(rehearsal);
  }

  ready(): Promise<Started> {
    this.#ready ??= this.#start();
    return this.#ready;
  }

  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    if (this.#link !== undefined) {
      await this.#link.request('leave', {}).catch((error: unknown) => {
        if (!wasAskedAgain(error)) throw error;
      });
    }
    this.#member?.close();
    this.#link?.close();
    closeAll(this.#kept.values());
  }

  async #start(): Promise<Started> {
    if (this.#member === undefined) {
      const started: Started = { role: 'first', attempt: 0, generation: 0 };
      await this.#workload.go(detachedContext());
      return started;
    }
    const going = new Promise<Started>((resolve) => (this.#gone = resolve));
    if (this.role !== 'first') faultPoint('new.claimed');
    if (this.role === 'successor') {
      await this.#rehearse();
      this.#workload.settleMemory();
      await this.#member.standby();
    } else {
      await this.#member.ready();
    }
    return going;
  }

  async #rehearse(): Promise<void> {
    const listeners = [...this.#workload.listeners.values()].filter((one) => one.handsOver);
    const rehearsed =
      listeners.length > 0 ? await rehearseSwitch({ http: listeners.some((one) => one.isHttp) }) : undefined;
    try {
      for (const rehearsal of this.#rehearsals) {
        const stage = new RehearsalStage();
        try {
          await rehearsal(stage);
        } finally {
          await stage.end();
        }
      }
      this.#rehearsals = [];
      collectGarbage('major');
    } finally {
      await rehearsed?.end();
    }
    await untilAtRest();
  }

  // -------------------------------------------------------------------------------------------- names

  #connectionOf(socket: Socket): ReturnType<LuoListener['connectionOf']> {
    for (const listener of this.#workload.listeners.values()) {
      const connection = listener.connectionOf(socket);
      if (connection !== undefined) return connection;
    }
    return undefined;
  }

  /** One thing of a name, also while it is being made. */
  async #exclusively<T>(kind: Kind, name: string, make: () => Promise<T>): Promise<T> {
    const key = `${kind}:${name}`;
    if (this.#taken.has(key)) throw exists(kind, name);
    this.#taken.add(key);
    try {
      return await make();
    } catch (error) {
      this.#taken.delete(key);
      throw error;
    }
  }

  async #named(
    kind: 'device' | 'global',
    name: string,
    callbacks: HandleCallbacks,
    options: HandleOptions,
    more: Partial<HandleSpec>,
  ): Promise<void> {
    await this.#exclusively(kind, name, async () => {
      const spec = specOf(kind, name, options, more);
      if (this.#isWaiting(kind, name)) closeAll((await this.#claimAny(kind, name, options)).fds);
      else if ((await this.#register(spec, () => undefined)) === 'waiting') {
        closeAll((await this.#claimAny(kind, name, options)).fds);
      }
      this.#remember(spec, () => undefined);
      this.#workload.addHandle(kind, name, callbacks);
    });
  }

  #isWaiting(kind: Kind, name: string): boolean {
    return this.#waiting.some((one) => one.kind === kind && one.name === name);
  }

  #noLongerWaiting(kind: Kind, name: string): void {
    this.#waiting = this.#waiting.filter((one) => one.kind !== kind || one.name !== name);
  }

  #remember(spec: HandleSpec, fd: () => number | undefined): void {
    this.#registrations.set(`${spec.kind}:${spec.name}`, { spec, fd });
  }

  /** `waiting`: luod has one of that name for us, which is to be claimed instead. */
  async #register(spec: HandleSpec, fd: () => number | undefined): Promise<'registered' | 'waiting'> {
    if (this.#link === undefined) return 'registered';
    const number = fd();
    try {
      await this.#link.request('register', { handles: [spec] }, number === undefined ? [] : [number]);
    } catch (error) {
      const code = error instanceof LuoError ? error.code : undefined;
      if (code === 'CLAIM_WAITING') return 'waiting';
      if (!(code === 'HANDLE_EXISTS' && wasAskedAgain(error))) throw error;
    }
    return 'registered';
  }

  async #claim(kind: Kind, name: string, options: HandleOptions): Promise<{ fd: OwnedFd; handle: Waiting }> {
    const { handle, fds } = await this.#claimAny(kind, name, options);
    const [fd, ...rest] = fds;
    closeAll(rest);
    if (fd === undefined) throw new LuoError('PROTO_FDS', `luod gave '${name}' without its fd`, { handle: name });
    return { fd, handle };
  }

  async #claimAny(kind: Kind, name: string, options: HandleOptions): Promise<{ fds: OwnedFd[]; handle: Waiting }> {
    const params: LuodParams<'claim'> = { kind, name };
    if (options.compatible !== undefined) params.accepts = [options.compatible, ...(options.accepts ?? [])];
    if ((options as MemoryOptions).delegate === true) params.delegate = true;
    const { result, fds } = await this.#link!.request('claim', params);
    this.#noLongerWaiting(kind, name);
    if (result.retrieve === undefined) return { handle: result.handle, fds };
    return { handle: result.handle, fds: [await this.#retrieve(kind, name, result.retrieve.token, fds)] };
  }

  /** After a kexec, as a delegate: take it out of the session, and let luod have a duplicate. */
  async #retrieve(kind: Kind, name: string, token: string, takenFds: OwnedFd[]): Promise<OwnedFd> {
    const [session, ...more] = takenFds;
    closeAll(more);
    if (session === undefined)
      throw new LuoError('PROTO_FDS', `luod gave '${name}' without its session`, { handle: name });
    try {
      const fd = await sessionRetrieveFd(session.fd, BigInt(token));
      await this.#link!.request('retrieved', { kind, name }, [fd.fd]);
      return fd;
    } catch (error) {
      const { errno } = LuoError.from(error);
      if (errno !== undefined) await this.#link!.request('retrieved', { kind, name, errno });
      throw error;
    } finally {
      session.close();
    }
  }

  /** luod came back without the keeper: give it the fds that only they had besides us. */
  async #refill(handles: readonly { kind: Kind; name: string }[]): Promise<void> {
    for (const { kind, name } of handles) {
      const fd = this.#registrations.get(`${kind}:${name}`)?.fd();
      if (fd !== undefined) await this.#link!.request('refill', { kind, name }, [fd]);
    }
  }

  /** luod came back and does not know us: give it everything again. */
  async #registerAgain(): Promise<void> {
    for (const { spec, fd } of this.#registrations.values()) await this.#register(spec, fd);
    if (this.#ready !== undefined) await this.#link!.request('ready', {});
  }
}

function specOf(kind: Kind, name: string, options: HandleOptions, more: Partial<HandleSpec>): HandleSpec {
  const { policy, wants, dependencies } = options;
  const { delegate, digest } = options as MemoryOptions;
  return {
    kind,
    name,
    compatible: options.compatible ?? `${name}/1`,
    ...(policy === undefined ? {} : { policy }),
    ...(wants === undefined ? {} : { wants }),
    ...(dependencies === undefined ? {} : { dependencies: [...dependencies] }),
    ...(delegate === true ? { delegate } : {}),
    ...(digest === true ? { digest } : {}),
    ...more,
  };
}

function exists(kind: string, name: string): LuoError {
  return new LuoError('HANDLE_EXISTS', `'${kind}:${name}' is in use by this program already`, { handle: name });
}

function detachedContext(): CallContext {
  return {
    attempt: 0,
    signal: new AbortController().signal,
    deadlineMs: 0,
    gap: undefined,
    replaced: true,
    toCome: [],
    tokens: {},
  };
}
