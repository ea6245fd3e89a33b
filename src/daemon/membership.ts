/**
 * What participants ask: join, register, claim, release, standby, ready, leave. Identity comes from the socket and, for a
 * supervised service, from the secret in its environment; a participant can only ever name handles of its own owner.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { GAPS, handleKey } from '../base/words.js';
import type { Gap, Role, Want } from '../base/words.js';
import { mayDepend } from '../engine/index.js';
import type { Describers, ViabilityByGap } from '../ports/index.js';
import type { HandleSpec, LuodParams, LuodResult } from '../protocol/spec.js';
import { closeAll } from '../sys/index.js';
import type { Credentials, OwnedFd } from '../sys/index.js';
import type { Peer } from '../transport/index.js';
import type { Custody } from './custody.js';
import { checkName } from './check-name.js';
import { dependencyKey, handleEntryName, handleInfo, waitingInfo } from './handles.js';
import type { Handle, Handles } from './handles.js';
import type { Instance } from './instance.js';
import type { MemberCalls } from './member-calls.js';
import { resumedPhase } from './member-words.js';
import type { Orchestrator } from './orchestrator.js';
import type { Kexec } from './kexec/kexec.js';
import type { Participant, Participants } from './participants.js';
import type { Remains } from './remains.js';
import { ownerOf } from './service.js';
import type { Services } from './services.js';

/** Handles that were discarded and may still be asked for: their names are remembered, this many. */
const DISCARDED_MAX = 1024;

export interface MembershipParts {
  readonly participants: Participants;
  readonly handles: Handles;
  readonly services: Services;
  readonly custody: Custody;
  readonly orchestrator: Orchestrator;
  readonly calls: MemberCalls;
  readonly describers: Describers;
  readonly kexec: Kexec;
  /** What a new handle depends on. */
  readonly needed: (dependencies: readonly string[]) => void;
  readonly remains: Remains;
  /** Reads the mark in a region's last page: true dirty, false clean, undefined there is none. */
  readonly readMark: (fd: number) => boolean | undefined;
  /** A process that nobody supervises is dead, or its connection is gone. */
  readonly onGone: (participant: Participant) => void;
  /** Something that status shows has changed. */
  readonly changed: () => void;
}

/** The answer to a claim; its fds are borrowed. */
export type Claimed = LuodResult<'claim'> & { readonly fds: number[] };

export interface Joined {
  readonly participant: Participant;
  readonly resumed: boolean;
}

export class Membership {
  readonly #parts: MembershipParts;
  readonly #discarded = new Set<string>();
  /** Keys whose fds are on their way to the keeper: a second registration meanwhile is one too many. */
  readonly #registering = new Set<string>();
  /** Participants that said ready and whose go is on its way. */
  readonly #comingUp = new WeakSet<Participant>();

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  // -------------------------------------------------------------------------------------------- joining

  /** @throws LuoError AUTH_SECRET, AUTH_DENIED, STATE_BUSY, LIMIT_REACHED */
  join(params: LuodParams<'hello'>, credentials: Credentials, peer: Peer): Joined {
    const { services, participants } = this.#parts;
    const instance = params.secret === undefined ? undefined : this.#instanceOf(params.service, params.secret);
    if (!instance && params.service === undefined) {
      throw new LuoError('PROTO_INVALID', 'a participant that no secret names must say the name of its service');
    }
    if (params.service !== undefined) checkName(params.service);
    if (!instance && services.has(params.service!) && credentials.uid === process.getuid?.()) {
      throw new LuoError(
        'AUTH_SECRET',
        `'${params.service}' is supervised: only a process that luod started may join as it`,
        {
          remedy: 'pass LUO_SECRET on to the process that joins, or choose another name',
        },
      );
    }
    const owner = instance ? services.record(instance.record.service).owner : ownerOf(credentials.uid, params.service!);
    const id = instance?.id ?? owner;
    const known = participants.get(id);
    if (known?.connected) {
      throw new LuoError('STATE_BUSY', `'${id}' has joined already, from pid ${known.record.pid}`, { participant: id });
    }
    if (known && params.resume?.participant === id && (instance || known.record.pid === credentials.pid)) {
      known.peer = peer;
      known.phase = params.resume.phase;
      if (instance) services.instances.markSpoke(instance, 'luo');
      return { participant: known, resumed: true };
    }
    if (known) {
      // The name was left by a process that is gone, or by an instance whose process joined anew (exec).
      this.#parts.onGone(known);
    }
    const participant = participants.add({
      id,
      owner,
      uid: credentials.uid,
      pid: credentials.pid,
      supervised: instance?.record.service ?? null,
      role: this.#roleOf(owner, instance),
    });
    participant.peer = peer;
    if (instance) services.instances.markSpoke(instance, 'luo');
    else if (!participant.watch(() => this.#parts.onGone(participant))) {
      this.#parts.onGone(participant);
      throw new LuoError('MEMBER_DIED', `process ${credentials.pid} ended while it joined`);
    }
    return { participant, resumed: false };
  }

  /** What the participant can claim. */
  waiting(participant: Participant): LuodResult<'hello'>['waiting'] {
    const claims = this.#parts.handles.claims(participant.id);
    return this.#claimable(participant)
      .filter((handle) => !claims.has(handle.key))
      .map((handle) => waitingInfo(handle, this.torn(handle)));
  }

  /** What luod lost and asks this participant for. */
  owed(participant: Participant): LuodResult<'hello'>['refill'] & object {
    return this.#parts.remains.owed(participant);
  }

  /** It gives again what luod lost. @param takenFds one fd @throws LuoError HANDLE_UNKNOWN, CLAIM_INCOMPATIBLE */
  async refill(participant: Participant, params: LuodParams<'refill'>, takenFds: OwnedFd[]): Promise<void> {
    await this.#parts.remains.refill(participant, params, takenFds[0]!);
    this.#parts.changed();
  }

  /** May its content be half written? Only a handle that nobody holds can be: its holder would still be writing it. */
  torn(handle: Handle): boolean {
    if (handle.holder !== null) return false;
    if (handle.cameTorn === true) return true;
    if (!handle.marked) return handle.hasFd && handle.type === 'memfd' && handle.leftDirty;
    const fd = this.#parts.custody.get(handleEntryName(handle.key))?.fds[0];
    return (fd && this.#parts.readMark(fd.fd)) ?? handle.leftDirty;
  }

  // -------------------------------------------------------------------------------------------- handles

  /** @param takenFds are closed unless they become a handle's */
  async register(
    participant: Participant,
    params: LuodParams<'register'>,
    takenFds: OwnedFd[],
    isOperator: boolean,
  ): Promise<LuodResult<'register'>> {
    const { handles, orchestrator, custody } = this.#parts;
    const actor = orchestrator.actorOf(participant.id);
    if (actor?.side === 'old' && orchestrator.shown.state !== 'updated') {
      throw new LuoError(
        'HANDLE_BUSY',
        `'${participant.id}' takes part in a running update: nothing can be registered now`,
        {
          participant: participant.id,
          remedy: 'register before the update, or after it',
        },
      );
    }
    const wantedFds = params.handles.reduce((sum, spec) => sum + (spec.fds ?? 0), 0);
    if (wantedFds !== takenFds.length) {
      throw new LuoError('PROTO_FDS', `the handles say ${wantedFds} fds and ${takenFds.length} came`);
    }
    handles.checkRoom(participant.owner, participant.id, params.handles.length);
    const made: { handle: Handle; fd: OwnedFd | undefined }[] = [];
    const keys = new Set<string>();
    let at = 0;
    for (const spec of params.handles) {
      const fd = spec.fds === 1 ? takenFds[at++] : undefined;
      const handle = this.#handleOf(participant, spec, fd, isOperator);
      if (keys.has(handle.key) || this.#registering.has(handle.key)) throw exists(handle.key);
      keys.add(handle.key);
      made.push({ handle, fd });
    }
    const withFds = made.filter(({ fd }) => fd !== undefined);
    for (const key of keys) this.#registering.add(key);
    try {
      // All at once: the channel keeps their order, and nobody waits a round trip for each.
      const puts = await Promise.allSettled(
        withFds.map(({ handle, fd }) =>
          custody.put(handleEntryName(handle.key), participant.owner, { key: handle.key }, [fd!]),
        ),
      );
      const failed = puts.find((one) => one.status === 'rejected');
      const isThere = this.#parts.participants.get(participant.id) === participant;
      if (failed || !isThere) {
        const kept = withFds.filter((_, index) => puts[index]!.status === 'fulfilled');
        custody.drop(kept.map(({ handle }) => handleEntryName(handle.key)));
        if (failed) throw failed.reason;
        throw new LuoError('PROTO_CLOSED', `'${participant.id}' left while it registered`);
      }
    } finally {
      for (const key of keys) this.#registering.delete(key);
    }
    for (const { handle } of made) {
      if (actor?.side === 'new') handles.declare(participant.id, handle);
      else handles.register(handle);
      this.#parts.needed(handle.dependencies);
    }
    this.#parts.changed();
    return { handles: made.map(({ handle }) => handleInfo(handle, false)) };
  }

  unregister(participant: Participant, params: LuodParams<'unregister'>): void {
    const key = handleKey({ owner: participant.owner, ...params });
    const handle = this.#parts.handles.get(key);
    if (!handle || handle.holder !== participant.id) throw unknown(key);
    this.#refuseInAttempt(participant, key);
    this.#parts.handles.remove(key);
    this.#parts.custody.drop([handleEntryName(key)]);
    this.#parts.changed();
  }

  /** The handle, and its fd (borrowed) if it has one. At once, unless it has to be taken out of a session first. */
  claim(participant: Participant, params: LuodParams<'claim'>): Claimed | Promise<Claimed> {
    const { kexec } = this.#parts;
    const handle = this.#find(participant, params);
    if (params.accepts && !params.accepts.includes(handle.compatible)) {
      throw new LuoError(
        'CLAIM_INCOMPATIBLE',
        `'${handle.key}' is '${handle.compatible}'; '${participant.id}' takes ${params.accepts.map((one) => `'${one}'`).join(', ')}`,
        { handle: handle.key, participant: participant.id },
      );
    }
    if (kexec.isWaiting(handle.key)) {
      if (params.delegate === true) return this.#claimAsDelegate(participant, handle);
      return kexec.retrieve(handle).then(() => {
        // It took a while: it may have been claimed, discarded, or its claimer may be gone.
        if (this.#parts.participants.get(participant.id) === participant) return this.claim(participant, params);
        throw new LuoError('PROTO_CLOSED', `'${participant.id}' left while it claimed`);
      });
    }
    const torn = this.torn(handle);
    this.#parts.handles.claim(participant.id, handle.key, 'claimed');
    if (participant.record.role !== 'successor') this.#parts.handles.update(handle.key, { holder: participant.id });
    kexec.claimed(handle.key);
    this.#parts.changed();
    const entry = handle.hasFd ? this.#parts.custody.get(handleEntryName(handle.key)) : undefined;
    return { handle: waitingInfo(handle, torn), fds: entry ? [entry.fds[0]!.fd] : [] };
  }

  /** After a kexec the owner takes it out of the session by itself, so that the memory is charged to its control group. */
  #claimAsDelegate(participant: Participant, handle: Handle): Claimed {
    const { kexec, handles } = this.#parts;
    const torn = this.torn(handle);
    const { retrieve, fd } = kexec.delegateClaim(handle);
    handles.claim(participant.id, handle.key, 'claimed');
    handles.update(handle.key, { holder: participant.id });
    this.#parts.changed();
    return { handle: waitingInfo(handle, torn), retrieve, fds: [fd] };
  }

  /** A delegate took it, or could not. @param takenFds its fd, if it can travel */
  async retrieved(participant: Participant, params: LuodParams<'retrieved'>, takenFds: OwnedFd[]): Promise<void> {
    const key = handleKey({ owner: participant.owner, kind: params.kind, name: params.name });
    const handle = this.#parts.handles.get(key);
    const [fd, ...more] = takenFds;
    closeAll(more);
    if (!handle || handle.holder !== participant.id) {
      fd?.close();
      throw unknown(key);
    }
    await this.#parts.kexec.delegateRetrieved(handle, fd, params.errno);
    this.#parts.changed();
  }

  release(participant: Participant, params: LuodParams<'release'>): void {
    const handle = this.#find(participant, params);
    this.#parts.handles.claim(participant.id, handle.key, 'released');
  }

  standby(participant: Participant): void {
    const instance = this.#parts.services.instances.byId(participant.id);
    participant.phase = 'standby';
    instance?.reach('standby');
  }

  /**
   * @param accepted called before anything follows from it, so that its answer precedes `go`
   * @throws LuoError READY_INCOMPLETE, STATE_INVALID
   */
  ready(participant: Participant, accepted: () => void): void {
    const { orchestrator, handles } = this.#parts;
    const claims = handles.claims(participant.id);
    const open = this.#claimable(participant).filter(
      (handle) => handle.policy === 'fail' && handle.holder !== participant.id && !claims.has(handle.key),
    );
    if (open.length > 0) {
      throw new LuoError(
        'READY_INCOMPLETE',
        `'${participant.id}' is not ready: ${open.map((handle) => `'${handle.key}'`).join(', ')} is neither claimed nor released`,
        { participant: participant.id, data: { handles: open.map((handle) => handle.key) } },
      );
    }
    if (orchestrator.actorOf(participant.id)?.side === 'new' && participant.record.role === 'successor') {
      if (!orchestrator.mayBeReady(participant.id)) {
        throw new LuoError('STATE_INVALID', `'${participant.id}' said ready and it is not its turn`, {
          participant: participant.id,
        });
      }
      participant.phase = 'ready';
      accepted();
      return orchestrator.ready(participant.id);
    }
    accepted();
    this.bringUp(participant);
  }

  /** It is ready and no successor: what is kept for it, then go. Asked again (by a new luod) while it is under way, once. */
  bringUp(participant: Participant): void {
    if (participant.record.acting || this.#comingUp.has(participant)) return;
    this.#comingUp.add(participant);
    this.#parts.calls.bringUp(participant).then(
      () => {
        this.#comingUp.delete(participant);
        this.dropReleased(participant.id, this.#parts.handles.claims(participant.id));
        this.#parts.changed();
      },
      (error: unknown) => {
        this.#comingUp.delete(participant);
        participant.peer?.close(LuoError.from(error));
      },
    );
  }

  /** A member that answered too late says where it stands. */
  resolve(participant: Participant, params: LuodParams<'resolve'>): void {
    participant.phase = params.phase;
    const { attempt } = params;
    const phase = resumedPhase(params.phase);
    this.#parts.orchestrator.dispatch({ type: 'resolved', participant: participant.id, attempt, phase });
  }

  /** The released handles of `claims` go. */
  dropReleased(participant: string, claims: ReadonlyMap<string, 'claimed' | 'released'>): void {
    const released = [...claims].filter(([, claim]) => claim === 'released').map(([key]) => key);
    this.drop(released);
    this.#parts.handles.abort(participant);
  }

  /** Handles and their fds go, for good; a later claim is told so. */
  drop(keys: readonly string[]): void {
    for (const key of keys) {
      this.#parts.handles.remove(key);
      this.#parts.kexec.dropped([key]);
      this.#discarded.add(key);
      if (this.#discarded.size > DISCARDED_MAX) this.#discarded.delete(this.#discarded.values().next().value!);
    }
    this.#parts.custody.drop(keys.map(handleEntryName));
  }

  // -------------------------------------------------------------------------------------------- inside

  #instanceOf(service: string | undefined, secret: string): Instance {
    const instance = this.#parts.services.instances.bySecret(secret);
    if (!instance || (service !== undefined && instance.record.service !== service)) {
      throw new LuoError(
        'AUTH_SECRET',
        `the secret is not one of a living process of ${service === undefined ? 'any service' : `'${service}'`}`,
        {
          remedy: 'LUO_SECRET belongs to one process and is void when that has ended',
        },
      );
    }
    return instance;
  }

  #roleOf(owner: string, instance: Instance | undefined): Role {
    if (instance?.record.role === 'successor' && this.#parts.services.successor(instance.record.service) === instance) {
      return 'successor';
    }
    const { handles, custody } = this.#parts;
    const waits = handles.ofOwner(owner).some((handle) => handle.holder === null);
    return waits || custody.withPrefix('parcel/').some((entry) => entry.owner === owner) ? 'restart' : 'first';
  }

  /** What it may claim: what waits, and in an update what its predecessor holds. */
  #claimable(participant: Participant): Handle[] {
    const { supervised, role } = participant.record;
    const predecessor =
      role === 'successor' && supervised !== null ? (this.#parts.services.current(supervised)?.id ?? null) : null;
    return this.#parts.handles
      .waitingFor(participant.owner, predecessor)
      .filter((handle) => handle.holder !== participant.id);
  }

  #find(participant: Participant, params: { kind: Handle['kind']; name: string }): Handle {
    const key = handleKey({ owner: participant.owner, ...params });
    const handle = this.#claimable(participant).find((one) => one.key === key);
    const claimed = this.#parts.handles.claims(participant.id).get(key);
    if (handle && claimed !== 'claimed') return handle;
    if (handle || this.#parts.handles.get(key)?.holder === participant.id) {
      throw new LuoError('HANDLE_EXISTS', `'${participant.id}' has '${key}' already`, { handle: key });
    }
    if (this.#discarded.has(key)) {
      throw new LuoError('HANDLE_DISCARDED', `'${key}' was discarded: it waited and nobody claimed it`, {
        handle: key,
      });
    }
    const foreign = this.#parts.handles.all().find((one) => one.kind === params.kind && one.name === params.name);
    if (foreign && foreign.owner !== participant.owner) {
      throw new LuoError('CLAIM_FOREIGN', `'${foreign.key}' belongs to another owner than '${participant.owner}'`, {
        handle: foreign.key,
        participant: participant.id,
      });
    }
    throw unknown(key);
  }

  #handleOf(participant: Participant, spec: HandleSpec, fd: OwnedFd | undefined, isOperator: boolean): Handle {
    const { handles, describers } = this.#parts;
    checkName(spec.name);
    const key = handleKey({ owner: participant.owner, kind: spec.kind, name: spec.name });
    const known = handles.get(key);
    if (known && known.holder === null) {
      throw new LuoError('CLAIM_WAITING', `'${key}' waits to be claimed and cannot be made anew`, {
        handle: key,
        remedy: 'claim it, or release it and register it after the update',
      });
    }
    if (known || handles.isDeclared(participant.id, key)) throw exists(key);
    if (spec.kind !== 'fd' && !isOperator) {
      throw new LuoError('AUTH_DENIED', `${spec.kind} handles need root or luod's own user`, { handle: key });
    }
    if (spec.kind !== 'fd' && fd) throw new LuoError('PROTO_FDS', `a ${spec.kind} handle has no fd`, { handle: key });
    const dependencies = (spec.dependencies ?? []).map((dependency) => {
      if (!mayDepend(spec.kind, dependency.kind)) {
        throw new LuoError(
          'PLAN_DIRECTION',
          `'${key}' cannot depend on the ${dependency.kind} '${dependency.name}': dependencies go from fd to device to global`,
          { handle: key },
        );
      }
      return dependencyKey(participant.owner, dependency);
    });
    const described = this.#describe(spec, fd, describers, participant.owner);
    if (spec.kind === 'device') dependencies.push(...described.ancestors.filter((one) => !dependencies.includes(one)));
    if (dependencies.length > LIMITS.dependenciesMax) {
      throw new LuoError('LIMIT_REACHED', `'${key}' has ${dependencies.length} dependencies`, {
        data: { limit: 'dependenciesMax' },
      });
    }
    const meta = spec.meta === undefined && spec.path === undefined ? {} : { meta: spec.meta ?? { path: spec.path } };
    return {
      key,
      owner: participant.owner,
      kind: spec.kind,
      name: spec.name,
      compatible: spec.compatible,
      policy: spec.policy ?? 'fail',
      wants: spec.wants ?? defaultWants(described.viable),
      requested: null,
      type: described.type,
      sizeBytes: described.sizeBytes,
      viable: described.viable,
      dependencies,
      marked: spec.marked === true,
      hasFd: fd !== undefined,
      ...(spec.delegate === true ? { delegate: true } : {}),
      ...(spec.digest === true ? { digest: true } : {}),
      ...meta,
      seq: handles.nextSeq(),
      holder: participant.id,
      leftDirty: true,
    };
  }

  #describe(
    spec: HandleSpec,
    fd: OwnedFd | undefined,
    describers: Describers,
    owner: string,
  ): { type: string; sizeBytes: number | null; viable: ViabilityByGap; ancestors: string[] } {
    switch (spec.kind) {
      case 'fd':
        if (!fd) return { type: 'state', sizeBytes: null, viable: everywhere(), ancestors: [] };
        return { ...describers.fd.describe(fd.fd), ancestors: [] };
      case 'device': {
        const device = describers.device.describe(spec.path ?? spec.name);
        // An ancestor is pulled in if its owner registered it too: which one that is, only its key says.
        const ancestors = device.ancestors
          .map((path) => this.#deviceAt(path, owner))
          .filter((key): key is string => key !== undefined);
        return { type: 'device', sizeBytes: null, viable: device.viable, ancestors };
      }
      case 'global':
        return { type: 'global', sizeBytes: null, viable: describers.global.describe(spec.name).viable, ancestors: [] };
      default:
        return spec.kind satisfies never;
    }
  }

  /** The registered device handle of a sysfs path, this owner's first. */
  #deviceAt(path: string, owner: string): string | undefined {
    const found = this.#parts.handles.all().filter((handle) => {
      return handle.kind === 'device' && (handle.meta as { path?: string } | undefined)?.path === path;
    });
    return (found.find((handle) => handle.owner === owner) ?? found[0])?.key;
  }

  #refuseInAttempt(participant: Participant, key: string): void {
    if (!this.#parts.orchestrator.actorOf(participant.id)) return;
    throw new LuoError('HANDLE_BUSY', `'${key}' is part of a running update`, { handle: key });
  }
}

function defaultWants(viable: ViabilityByGap): Record<Gap, Want> {
  return Object.fromEntries(GAPS.map((gap) => [gap, viable[gap].ok ? 'keep' : 'leave'])) as Record<Gap, Want>;
}

function everywhere(): ViabilityByGap {
  return { handover: { ok: true, reason: '' }, kexec: { ok: true, reason: '' } };
}

function exists(key: string): LuoError {
  return new LuoError('HANDLE_EXISTS', `there is a handle '${key}' already`, { handle: key });
}

function unknown(key: string): LuoError {
  return new LuoError('HANDLE_UNKNOWN', `nothing waits under '${key}'`, { handle: key });
}
