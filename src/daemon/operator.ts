/**
 * What operators ask: services, updates, boxes, selection, plan, status. Access was checked before (server.ts); what
 * happens in an update is the engine's. A rolled back update is a result with an error in it, not an error.
 */
import { LuoError } from '../base/errors.js';
import { parseHandleKey } from '../base/words.js';
import { plan as makePlan } from '../engine/index.js';
import type { HandleRecord, ParticipantRecord, Plan as EnginePlan } from '../engine/types.js';
import type { JournalRecord } from '../protocol/journal.js';
import type { LuodParams, LuodResult, Plan, Status, UpdateLimits, UpdateResult } from '../protocol/spec.js';
import type { Boxes } from './boxes.js';
import type { Custody } from './custody.js';
import { handleInfo } from './handles.js';
import type { Handle, Handles } from './handles.js';
import type { Kexec } from './kexec/kexec.js';
import type { MemberCalls } from './member-calls.js';
import type { Membership } from './membership.js';
import type { Orchestrator } from './orchestrator.js';
import { engineParticipant } from './participants.js';
import type { Participants } from './participants.js';
import type { ServiceCommand } from './service.js';
import { ownerOf } from './service.js';
import type { Remains } from './remains.js';
import type { Services } from './services.js';
import type { Timelines } from './timeline.js';
import type { Settled } from './waiters.js';

/** The plan of an update across the kexec gap in which there is no participant. */
const NOBODY: EnginePlan = {
  gap: 'kexec',
  scope: [],
  members: [],
  steps: [],
  cycles: [],
  go: [],
  left: [],
  pulled: [],
};

export interface OperatorParts {
  readonly uid: number;
  readonly version: string;
  readonly dir: string;
  readonly startedAt: string;
  readonly participants: Participants;
  readonly handles: Handles;
  readonly services: Services;
  readonly custody: Custody;
  readonly orchestrator: Orchestrator;
  readonly membership: Membership;
  readonly calls: MemberCalls;
  readonly boxes: Boxes;
  readonly kexec: Kexec;
  readonly remains: Remains;
  readonly timelines: Timelines;
  readonly append: (record: JournalRecord) => void;
  readonly connections: () => number;
  readonly changed: () => void;
}

export class Operator {
  readonly #parts: OperatorParts;

  constructor(parts: OperatorParts) {
    this.#parts = parts;
  }

  // -------------------------------------------------------------------------------------------- updates

  async update(params: LuodParams<'update'>): Promise<UpdateResult> {
    const { services } = this.#parts;
    const record = services.record(params.name);
    const next: ServiceCommand = {
      argv: params.argv ?? record.command.argv,
      cwd: params.cwd ?? record.command.cwd,
      env: params.env ? { ...record.command.env, ...params.env } : record.command.env,
    };
    return this.#replace(params.name, next, params.limits ?? {});
  }

  async rollback(params: LuodParams<'rollback'>): Promise<UpdateResult> {
    const { previous } = this.#parts.services.record(params.name);
    if (!previous) {
      throw new LuoError(
        'SERVICE_NO_PREVIOUS',
        `service '${params.name}' was never updated: there is nothing to go back to`,
      );
    }
    return this.#replace(params.name, previous, params.limits ?? {});
  }

  async prepare(params: LuodParams<'prepare'>): Promise<LuodResult<'prepare'>> {
    const { services, orchestrator } = this.#parts;
    if (params.gap === 'kexec') return this.#prepareKexec(params);
    this.#refuseUnlessNormal();
    if (params.argv && params.scope.length !== 1) {
      throw new LuoError('PROTO_INVALID', 'a new command can be given for one service only');
    }
    const plan = this.#handoverPlan(params.scope);
    for (const name of params.scope) {
      if (!services.has(name)) continue;
      const { command } = services.record(name);
      services.setNext(name, {
        argv: params.argv ?? command.argv,
        cwd: params.cwd ?? command.cwd,
        env: params.env ? { ...command.env, ...params.env } : command.env,
      });
    }
    const settled = await orchestrator.prepare(plan, 'prepared', params.limits ?? {});
    if (settled.state === 'prepared') return { attempt: settled.attempt };
    throw LuoError.fromWire(settled.error ?? { code: 'UPDATE_FAILED', message: 'prepare failed' });
  }

  async cancel(): Promise<LuodResult<'cancel'>> {
    const settled = await this.#parts.orchestrator.cancel();
    return { stuck: [...settled.stuck] };
  }

  async finish(): Promise<Record<string, never>> {
    const settled = await this.#parts.orchestrator.finish();
    if (settled.state !== 'normal' && settled.error) throw LuoError.fromWire(settled.error);
    return {};
  }

  async recover(params: LuodParams<'recover'>): Promise<LuodResult<'recover'>> {
    const { orchestrator, calls } = this.#parts;
    if (params.forget !== undefined) orchestrator.forget(params.forget);
    await Promise.all(
      orchestrator.stuckRecords.map(async (record) => {
        const participant = this.#parts.participants.get(record.participant);
        if (participant?.connected && (await calls.askAgain(participant, record))) {
          orchestrator.dispatch({ type: 'resolved', participant: record.participant, attempt: record.attempt });
        }
      }),
    );
    if (params.abort && orchestrator.plan) {
      await orchestrator.cancel({ code: 'UPDATE_CANCELLED', message: 'aborted by the operator' });
    }
    const { remains } = this.#parts;
    const lost = [...remains.lost];
    remains.seen();
    return { stuck: orchestrator.stuck, state: orchestrator.shown.state, ...(lost.length === 0 ? {} : { lost }) };
  }

  // -------------------------------------------------------------------------------------------- plan and status

  plan(params: LuodParams<'plan'>): Plan {
    const gap = params.gap ?? 'handover';
    const plan = gap === 'kexec' ? this.#everything() : this.#handoverPlan(params.scope ?? this.#everybody());
    const survives = new Set(plan.steps.flatMap((one) => one.handles));
    return {
      gap,
      scope: [...plan.scope],
      steps: plan.steps.map((one) => ({
        step: one.step,
        participant: plan.members[one.member]!.participant,
        kind: one.kind,
        handles: [...one.handles],
        after: [...one.after],
        ...(one.cycles.length > 0 ? { cycle: true } : {}),
      })),
      replaced: plan.members.filter((one) => one.replaced).map((one) => one.participant),
      bystanders: plan.members.filter((one) => !one.replaced).map((one) => one.participant),
      survives: [...survives],
      left: plan.left.map((one) => ({ ...one })),
      pulled: plan.pulled.map((one) => ({ handle: one.handle, path: [...one.path] })),
      predictedBlackoutMs: this.#parts.timelines.predictMs(plan.scope, gap),
    };
  }

  status(): Status {
    const { orchestrator, services, participants, handles, custody, membership, boxes } = this.#parts;
    const { state, phase, attempt } = orchestrator.shown;
    const stuck = orchestrator.stuck;
    return {
      state,
      phase,
      generation: orchestrator.generation,
      attempt,
      luod: {
        version: this.#parts.version,
        pid: process.pid,
        startedAt: this.#parts.startedAt,
        dir: this.#parts.dir,
        restarts: custody.luodDeaths,
      },
      keeper: { pid: custody.keeperPid, entries: custody.entryCount, fds: custody.fdCount, fdsMax: custody.fdsMax },
      services: services.statuses(),
      participants: participants.all().map((participant) => ({
        id: participant.id,
        owner: participant.owner,
        pid: participant.record.pid,
        role: participant.record.role,
        connected: participant.connected,
        handles: handles.heldBy(participant.id).length,
        member: orchestrator.memberWord(participant.id),
        stuck: stuck.includes(participant.id),
      })),
      handles: handles.all().map((handle) => handleInfo(handle, membership.torn(handle))),
      boxes: boxes.list().map(({ box, sealed, entries }) => ({ box, sealed, entries: entries.length })),
      stuck,
      ...(this.#parts.remains.lost.length === 0 ? {} : { lost: [...this.#parts.remains.lost] }),
      counts: {
        connections: this.#parts.connections(),
        participants: participants.size,
        handles: handles.size,
        fds: custody.fdCount,
      },
      kexec: this.#parts.kexec.status(),
    };
  }

  // -------------------------------------------------------------------------------------------- state

  discard(params: LuodParams<'discard'>): LuodResult<'discard'> {
    const { services, handles, custody, membership, boxes } = this.#parts;
    const given = [params.name, params.handle, params.box].filter((one) => one !== undefined);
    if (given.length !== 1) throw new LuoError('PROTO_INVALID', 'discard takes one of: a service, a handle, a box');
    if (params.box !== undefined) return { discarded: boxes.discard(params.box) };
    if (params.handle !== undefined) {
      const handle = this.#handle(params.handle);
      if (handle.holder !== null) {
        throw new LuoError('HANDLE_BUSY', `'${handle.key}' is held by '${handle.holder}'`, {
          handle: handle.key,
          remedy: 'only what nobody holds can be discarded; stop the service first',
        });
      }
      membership.drop([handle.key]);
      this.#parts.changed();
      return { discarded: [handle.key] };
    }
    const name = params.name!;
    const { owner } = services.record(name);
    services.forget(name);
    const keys = handles.ofOwner(owner).map((handle) => handle.key);
    membership.drop(keys);
    custody.drop(
      custody
        .withPrefix('parcel/')
        .filter((entry) => entry.owner === owner)
        .map((entry) => entry.name),
    );
    this.#parts.changed();
    return { discarded: keys };
  }

  select(key: string, requested: boolean): LuodResult<'request'> {
    const handle = this.#parts.handles.update(this.#handle(key).key, { requested });
    this.#parts.changed();
    return { handle: handleInfo(handle, this.#parts.membership.torn(handle)) };
  }

  timelines(params: LuodParams<'timeline'>): LuodResult<'timeline'> {
    const { timelines } = this.#parts;
    if (params.all) return { timelines: timelines.all().map((timeline) => ({ ...timeline, events: [] })) };
    const timeline = params.attempt === undefined ? timelines.last() : timelines.get(params.attempt);
    if (!timeline && params.attempt !== undefined) {
      throw new LuoError('HANDLE_UNKNOWN', `there is no timeline of attempt ${params.attempt}`, {
        remedy: 'luoctl timeline --all lists those that are kept',
      });
    }
    return { timelines: timeline ? [timeline] : [] };
  }

  // -------------------------------------------------------------------------------------------- inside

  async #replace(name: string, next: ServiceCommand, limits: UpdateLimits): Promise<UpdateResult> {
    const { services, orchestrator } = this.#parts;
    const current = services.current(name);
    const { state, phase } = orchestrator.shown;
    if (state === 'prepared' && phase === null && this.#isPrepared(name, next)) {
      return this.#result(name, current?.record.pid ?? null, await orchestrator.continue(limits));
    }
    this.#refuseUnlessNormal();
    if (!current) return this.#replaceOffline(name, next);
    const plan = this.#handoverPlan([name]);
    services.setNext(name, next);
    try {
      const settled = await orchestrator.prepare(plan, 'finished', limits);
      return this.#result(name, current.record.pid, settled);
    } catch (error) {
      services.setNext(name, null);
      throw error;
    }
  }

  /** No old process lives: the new command starts on the kept state; if it does not serve, the old command is back. */
  async #replaceOffline(name: string, next: ServiceCommand): Promise<UpdateResult> {
    const { services } = this.#parts;
    const { command, previous } = services.record(name);
    services.replaceCommand(name, next, command);
    try {
      await services.start(name);
    } catch (error) {
      services.replaceCommand(name, command, previous);
      await services.stop(name, 1000);
      await services.start(name);
      const wire = LuoError.from(error, 'UPDATE_FAILED').toWire();
      return this.#offlineResult(name, 'aborted', { error: wire });
    }
    return this.#offlineResult(name, 'committed', {});
  }

  /** An update without an old process is no attempt of the engine; it is shown with the number of the last one. */
  #offlineResult(
    name: string,
    outcome: UpdateResult['outcome'],
    more: Pick<UpdateResult, 'error'> | Record<string, never>,
  ): UpdateResult {
    const { services, orchestrator, timelines } = this.#parts;
    return {
      attempt: timelines.last()?.attempt ?? 0,
      outcome,
      generation: orchestrator.generation,
      blackoutMs: null,
      pidBefore: null,
      pidAfter: services.current(name)?.record.pid ?? null,
      ...more,
    };
  }

  #result(name: string, pidBefore: number | null, settled: Settled): UpdateResult {
    const { services, orchestrator, timelines } = this.#parts;
    return {
      attempt: settled.attempt,
      outcome: settled.outcome ?? 'aborted',
      generation: orchestrator.generation,
      blackoutMs: timelines.get(settled.attempt)?.blackoutMs ?? null,
      pidBefore,
      pidAfter: services.current(name)?.record.pid ?? null,
      ...(settled.error ? { error: settled.error } : {}),
    };
  }

  /** An update of everything across the kexec gap, up to `until`; or on from what is prepared. */
  async runKexec(plan: EnginePlan, until: 'prepared' | 'finished', limits: UpdateLimits = {}): Promise<UpdateResult> {
    const { orchestrator } = this.#parts;
    const { state, phase } = orchestrator.shown;
    const isPrepared = state === 'prepared' && phase === null && orchestrator.plan?.gap === 'kexec';
    if (isPrepared && until === 'finished') {
      return this.#kexecResult(await orchestrator.continue(limits));
    }
    this.#refuseUnlessNormal();
    return this.#kexecResult(await orchestrator.prepare(plan, until, limits));
  }

  #kexecResult(settled: Settled): UpdateResult {
    const { orchestrator } = this.#parts;
    return {
      attempt: settled.attempt,
      outcome: settled.outcome ?? 'aborted',
      generation: orchestrator.generation,
      blackoutMs: null,
      pidBefore: null,
      pidAfter: null,
      ...(settled.error ? { error: settled.error } : {}),
    };
  }

  /** The plan of an update of everything across the kexec gap. @throws LuoError as the engine refuses it */
  kexecPlan(): EnginePlan {
    try {
      return this.#everything();
    } catch (error) {
      // Boxes cross, and the kernel can be replaced, also where nobody has joined.
      if (error instanceof LuoError && error.code === 'PLAN_EMPTY') return NOBODY;
      throw error;
    }
  }

  /** Is what is prepared an update of exactly this service by this command? */
  #isPrepared(name: string, next: ServiceCommand): boolean {
    const { orchestrator, services } = this.#parts;
    const scope = orchestrator.plan?.scope ?? [];
    const current = services.current(name)?.id;
    const prepared = services.record(name).next;
    if (scope.length !== 1 || scope[0] !== current || !prepared) return false;
    return JSON.stringify(prepared.argv) === JSON.stringify(next.argv) || next === services.record(name).command;
  }

  #refuseUnlessNormal(): void {
    const { state, phase, attempt } = this.#parts.orchestrator.shown;
    if (state === 'normal' && phase === null) return;
    throw new LuoError(
      'STATE_BUSY',
      `the state is '${state}'${phase ? `, ${phase}` : ''} (attempt ${attempt}): one update at a time`,
      {
        remedy:
          state === 'prepared'
            ? 'luoctl cancel gives the prepared one up'
            : 'wait for it; luoctl watch shows where it is',
      },
    );
  }

  /** For this gap the scope is everything: nobody stays behind in a kernel that is gone. */
  async #prepareKexec(params: LuodParams<'prepare'>): Promise<LuodResult<'prepare'>> {
    if (params.argv) throw new LuoError('PROTO_INVALID', 'over the kexec gap every service keeps its command');
    const result = await this.#parts.kexec.prepare(params.limits);
    if (result.error) throw LuoError.fromWire(result.error);
    return { attempt: result.attempt };
  }

  #handle(key: string): Handle {
    const handle = parseHandleKey(key) ? this.#parts.handles.get(key) : undefined;
    if (handle) return handle;
    throw new LuoError('HANDLE_UNKNOWN', `there is no handle '${key}'`, {
      handle: key,
      remedy: 'luoctl status --json shows them; a handle is written owner/kind:name, as in 0:cache/fd:data',
    });
  }

  /** Names of everybody whom an update of services can be about. */
  #everybody(): string[] {
    const { services, participants, uid } = this.#parts;
    const others = participants.all().filter((one) => one.record.supervised === null);
    return [
      ...services.names().filter((name) => services.current(name) !== undefined),
      ...others.filter((one) => one.record.uid === uid).map((one) => one.owner.slice(one.owner.indexOf(':') + 1)),
    ];
  }

  /** What the engine makes a plan of: the living, and the owners of what waits. */
  #registry(): { participants: Map<string, ParticipantRecord>; handles: Map<string, HandleRecord> } {
    const { services, participants, handles } = this.#parts;
    const view = new Map<string, ParticipantRecord>();
    for (const participant of participants.all()) view.set(participant.id, engineParticipant(participant));
    let seq = participants.size;
    for (const name of services.names()) {
      const current = services.current(name);
      if (!current || view.has(current.id)) continue;
      const { owner } = services.record(name);
      view.set(current.id, { id: current.id, owner, seq: (seq += 1), alive: true, protocol: 'plain' });
    }
    for (const handle of handles.all()) {
      if (handle.holder !== null || view.has(handle.owner)) continue;
      view.set(handle.owner, { id: handle.owner, owner: handle.owner, seq: (seq += 1), alive: false, protocol: 'luo' });
    }
    const records = new Map<string, HandleRecord>();
    for (const record of handles.engineRecords((owner) => owner)) {
      if (view.has(record.participant)) records.set(record.key, record);
    }
    return { participants: view, handles: records };
  }

  /**
   * Across the kexec gap goes everybody, whoever's user it is, and everything that waits for an owner without a process: what stays
   * behind is gone. A process that an update of services replaced, and that is about to end, is nobody any more.
   * @throws LuoError what the engine's plan refuses
   */
  #everything(): EnginePlan {
    const { services } = this.#parts;
    const registry = this.#registry();
    const scope = [...registry.participants.keys()].filter((id) => {
      const instance = services.instances.byId(id);
      return instance === undefined || services.current(instance.record.service) === instance;
    });
    return makePlan(registry, { gap: 'kexec', scope });
  }

  /** @throws LuoError SERVICE_UNKNOWN, SERVICE_NOT_RUNNING, and what the engine's plan refuses */
  #handoverPlan(names: readonly string[]): EnginePlan {
    const { services, uid } = this.#parts;
    const registry = this.#registry();
    const scope = names.map((name) => {
      if (services.has(name)) {
        const current = services.current(name);
        if (current) return current.id;
        throw new LuoError('SERVICE_NOT_RUNNING', `service '${name}' is not running`);
      }
      const owner = ownerOf(uid, name);
      if (registry.participants.get(owner)?.alive) return owner;
      throw new LuoError('SERVICE_UNKNOWN', `there is no service and no participant '${name}'`, {
        remedy: 'luoctl status shows them',
      });
    });
    const plan = makePlan(registry, { gap: 'handover', scope });
    // Nobody can start a successor of a process that nobody supervises: it is frozen and goes on itself.
    const members = plan.members.map((member) =>
      member.replaced && services.instances.byId(member.participant) === undefined
        ? { ...member, replaced: false }
        : member,
    );
    return { ...plan, members };
  }
}
