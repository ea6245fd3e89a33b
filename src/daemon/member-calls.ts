/**
 * The calls to members, as they go over the wire: what each is told, what it hands over, and what is kept of that. Parcels
 * lie in the keeper as `parcel/ATTEMPT/MEMBER/n` until a go is acknowledged.
 *
 * A program without the protocol is answered for: its freeze is SIGTERM and its exit; everything else is done at once.
 * An answer that comes after its deadline is told to `onLate`; what it handed over is closed.
 */
import { LuoError } from '../base/errors.js';
import { DEADLINES } from '../base/limits.js';
import { parseHandleKey } from '../base/words.js';
import { peers, toCome } from '../engine/index.js';
import type { CallEffect, Plan, PlanStep, StuckRecord } from '../engine/types.js';
import type { CallParams, CallResult } from '../protocol/spec.js';
import { closeAll } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import { deadlines } from '../transport/index.js';
import type { Peer } from '../transport/index.js';
import type { Custody, Entry } from './custody.js';
import type { Instance } from './instance.js';
import type { Instances } from './instances.js';
import { OWN_MEMBER } from './kexec/crossing.js';
import type { Kexec } from './kexec/kexec.js';
import { howFailed } from './member-words.js';
import type { Participant, Participants } from './participants.js';

/** What is kept of a parcel, besides its fds. */
interface ParcelMeta {
  readonly part: 'prepared' | 'frozen';
  readonly step: number;
  readonly parcel: unknown;
}

export interface MemberCallsOptions {
  readonly participants: Participants;
  readonly instances: Instances;
  readonly custody: Custody;
  readonly keeperSocket: string;
  readonly kexec: Kexec;
  /** A call that timed out was answered after all. */
  readonly onLate: (call: number, ok: boolean) => void;
  /** The successor of a member, if there is one yet. */
  readonly successorOf: (member: number) => string | null;
}

export class MemberCalls {
  readonly #options: MemberCallsOptions;
  /** Programs without the protocol whose exit is the answer to their freeze. */
  readonly #ending = new Set<string>();
  #parcels = 0;

  constructor(options: MemberCallsOptions) {
    this.#options = options;
  }

  /** True while the exit of this process is awaited as the answer to its freeze. */
  isEnding(participant: string): boolean {
    return this.#ending.has(participant);
  }

  /** @param plan none: the attempt is over, and only a cancel, finish, go or retire can come */
  async call(effect: CallEffect, id: string, plan: Plan | undefined, key: string): Promise<void> {
    if (plan?.gap !== 'kexec') return this.#call(effect, id, plan, key);
    const { crossing } = this.#options.kexec;
    if (id === OWN_MEMBER) return crossing.own(effect, plan);
    const { member } = effect.actor;
    if (effect.method === 'prepare' && plan.members[member]!.protocol === 'plain') {
      return crossing.prepared(plan, plan.steps[effect.step!]!, effect.attempt);
    }
    try {
      await this.#call(effect, id, plan, key);
    } finally {
      // Whatever the process says of a cancel or a finish, its session follows.
      if (effect.method === 'cancel') await crossing.cancelled(plan, member);
      else if (effect.method === 'finish') await crossing.finished(plan, member);
    }
  }

  async #call(effect: CallEffect, id: string, plan: Plan | undefined, key: string): Promise<void> {
    const member = plan?.members[effect.actor.member];
    if (member?.protocol === 'plain') return this.#plain(effect, id);
    const participant = this.#options.participants.get(id);
    if (!participant) throw new LuoError('PROTO_CLOSED', `'${id}' is not there any more`, { participant: id });
    switch (effect.method) {
      case 'prepare':
      case 'freeze':
        return this.#collect(effect, participant, plan!, key);
      case 'restore': {
        const kept = this.#keptFor(effect, member!.owner, member!.alive);
        const params = { attempt: effect.attempt, part: effect.part!, deadlineMs: effect.deadlineMs, key };
        return this.#restore(effect, participant, params, kept);
      }
      case 'canFinish': {
        const answer = await this.#ask(effect, participant, { attempt: effect.attempt, deadlineMs: effect.deadlineMs });
        const { ok, reason } = answer.result as CallResult<'canFinish'>;
        if (ok) return;
        throw new LuoError('FINISH_VETO', reason ?? 'no reason given', { participant: id, phase: 'finishing' });
      }
      case 'cancel':
      case 'go':
      case 'finish':
      case 'retire': {
        await this.#ask(effect, participant, {
          attempt: effect.attempt,
          deadlineMs: effect.deadlineMs,
          ...(effect.method === 'cancel' && effect.error ? { reason: effect.error } : {}),
        });
        if (effect.method === 'cancel' || effect.method === 'go') this.acts(participant);
      }
    }
  }

  /** Ask a stuck member for what it still owes. True: it answered, so that it stands outside of the attempt now. */
  async askAgain(participant: Participant, stuck: StuckRecord): Promise<boolean> {
    const method = stuck.method === 'go' || stuck.method === 'finish' ? stuck.method : 'cancel';
    const params = { attempt: stuck.attempt, deadlineMs: DEADLINES.cancelMs };
    try {
      closeAll((await this.#peer(participant).request(method, params, { deadlineMs: DEADLINES.cancelMs })).fds);
      return true;
    } catch (error) {
      // Its own error is an answer too: cancel and finish cannot refuse.
      return error instanceof LuoError && howFailed(error) === 'answered';
    }
  }

  /**
   * Bring a process up that is no successor: hand it every parcel that its owner has in the keeper, then say go.
   * Resolves when it acts; then the parcels are gone.
   */
  async bringUp(participant: Participant): Promise<void> {
    const { custody } = this.#options;
    const kept = this.#keptOf(participant.owner);
    const peer = this.#peer(participant);
    if (kept.length > 0) {
      const params = { attempt: 0, part: 'frozen' as const, deadlineMs: DEADLINES.goMs };
      closeAll(
        (await peer.request('restore', { ...params, parcels: parcelList(kept) }, sending(kept, params.deadlineMs))).fds,
      );
    }
    await peer.request('go', { attempt: 0, deadlineMs: DEADLINES.goMs }, { deadlineMs: DEADLINES.goMs });
    custody.drop(kept.map((entry) => entry.name));
    this.acts(participant);
  }

  /** A process of this owner serves, and has what was handed over: nobody else will ask for it. */
  dropKept(owner: string): void {
    this.#options.custody.drop(this.#keptOf(owner).map((entry) => entry.name));
  }

  #keptOf(owner: string): Entry[] {
    return this.#options.custody.withPrefix('parcel/').filter((entry) => entry.owner === owner);
  }

  /** It has had its go, or its thaw: it serves. */
  acts(participant: Participant): void {
    participant.frozen = false;
    participant.phase = 'running';
    if (!participant.record.acting) this.#options.participants.change(participant, { acting: true });
    const instance = this.#options.instances.byId(participant.id);
    if (instance) this.#options.instances.markReady(instance);
  }

  async #collect(effect: CallEffect, participant: Participant, plan: Plan, key: string): Promise<void> {
    const step = plan.steps[effect.step!]!;
    const common = {
      attempt: effect.attempt,
      gap: plan.gap,
      deadlineMs: effect.deadlineMs,
      handles: handlesOf(step),
      replaced: plan.members[step.member]!.replaced,
    };
    let answer: { result: unknown; fds: OwnedFd[] };
    if (effect.method === 'prepare') {
      const coming = step.cycles.length > 0 ? { toCome: toCome(plan, step.step) } : {};
      const isKexec = plan.gap === 'kexec';
      const delegate = isKexec ? await this.#options.kexec.crossing.delegate(plan, step, effect.attempt) : undefined;
      const params: CallParams<'prepare'> = {
        ...common,
        ...coming,
        ...(delegate === undefined ? {} : { delegate: delegate.params }),
      };
      answer = await this.#ask(effect, participant, params, delegate === undefined ? [] : [delegate.fd]);
      const { preserved } = answer.result as CallResult<'prepare'>;
      if (isKexec) await this.#options.kexec.crossing.prepared(plan, step, effect.attempt, preserved);
    } else {
      const tokens = step.cycles.length > 0 ? { tokens: this.#tokens(effect.attempt, plan, step) } : {};
      const params: CallParams<'freeze'> = { ...common, key, keeperSocket: this.#options.keeperSocket, ...tokens };
      const successor = this.#successor(step.member);
      answer = await this.#ask(effect, participant, params, successor ? [successor.pidfd.fd] : []);
      participant.frozen = true;
    }
    const part = effect.method === 'prepare' ? 'prepared' : 'frozen';
    participant.phase = part;
    const { parcel } = answer.result as CallResult<'prepare'>;
    if (plan.gap === 'kexec') {
      // No fd crosses by itself: what shall come over is a handle.
      closeAll(answer.fds);
      answer.fds = [];
    }
    if (parcel === undefined && answer.fds.length === 0) return;
    this.#parcels += 1;
    const name = `${parcelPrefix(effect.attempt, step.member)}${String(this.#parcels).padStart(8, '0')}`;
    const meta: ParcelMeta = { part, step: step.step, parcel: parcel ?? null };
    const { custody } = this.#options;
    if (part === 'prepared') await custody.put(name, participant.owner, meta, answer.fds);
    // The successor gets it from the mirror, and first; the keeper has it before the decision.
    else custody.putSoon(name, participant.owner, meta, answer.fds);
  }

  #keptFor(effect: CallEffect, owner: string, wasAlive: boolean): Entry[] {
    if (!wasAlive) return this.#keptOf(owner);
    return this.#options.custody
      .withPrefix(parcelPrefix(effect.attempt, effect.actor.member))
      .filter((entry) => (entry.meta as ParcelMeta).part === effect.part);
  }

  async #restore(
    effect: CallEffect,
    participant: Participant,
    params: Omit<CallParams<'restore'>, 'parcels'>,
    kept: readonly Entry[],
  ): Promise<void> {
    const fds = kept.flatMap((entry) => entry.fds.map((owned) => owned.fd));
    closeAll((await this.#ask(effect, participant, { ...params, parcels: parcelList(kept) }, fds)).fds);
  }

  /** What the other handles of a cycle answered to prepare, by handle key. */
  #tokens(attempt: number, plan: Plan, step: PlanStep): Record<string, unknown> {
    const tokens: Record<string, unknown> = {};
    const byStep = new Map<number, unknown>();
    const members = new Set(
      step.cycles.flatMap((cycle) => plan.cycles[cycle]!.steps).map((one) => plan.steps[one]!.member),
    );
    for (const member of members) {
      for (const entry of this.#options.custody.withPrefix(parcelPrefix(attempt, member))) {
        const meta = entry.meta as ParcelMeta;
        if (meta.part === 'prepared') byStep.set(meta.step, meta.parcel);
      }
    }
    for (const key of peers(plan, step.step)) {
      const of = plan.steps.find((one) => one.handles.includes(key));
      if (of) tokens[key] = byStep.get(of.step) ?? null;
    }
    return tokens;
  }

  /** One request with the engine's deadline; what comes later is told, not dropped in silence. */
  #ask(
    effect: CallEffect,
    participant: Participant,
    params: unknown,
    fds: readonly number[] = [],
  ): Promise<{ result: unknown; fds: OwnedFd[] }> {
    const peer = this.#peer(participant);
    return new Promise((resolve, reject) => {
      let late = false;
      const deadline = deadlines.after(effect.deadlineMs, () => {
        late = true;
        reject(
          new LuoError(
            'PROTO_TIMEOUT',
            `'${participant.id}' did not answer ${effect.method} in ${effect.deadlineMs} ms`,
            {
              participant: participant.id,
            },
          ),
        );
      });
      peer.request(effect.method, params, { fds, urgent: IN_BLACKOUT.has(effect.method) }).then(
        (answer) => {
          deadline.cancel();
          if (!late) return resolve(answer);
          closeAll(answer.fds);
          this.#options.onLate(effect.id, true);
        },
        (error: unknown) => {
          deadline.cancel();
          if (!late) return reject(error as Error);
          if (error instanceof LuoError && error.code !== 'PROTO_CLOSED') this.#options.onLate(effect.id, false);
        },
      );
    });
  }

  #peer(participant: Participant): Peer {
    if (!participant.peer?.isOpen) {
      throw new LuoError('PROTO_CLOSED', `'${participant.id}' is not connected`, { participant: participant.id });
    }
    return participant.peer;
  }

  #successor(member: number): Instance | undefined {
    const id = this.#options.successorOf(member);
    return id === null ? undefined : this.#options.instances.byId(id);
  }

  async #plain(effect: CallEffect, id: string): Promise<void> {
    const instance = this.#options.instances.byId(id);
    if (!instance) return;
    if (effect.method === 'cancel' && instance.record.ending) return this.#endLate(instance);
    if (effect.method !== 'freeze') return;
    this.#ending.add(id);
    try {
      this.#options.instances.change(instance, { ending: true });
      instance.signal('SIGTERM');
      if (await instance.goneWithin(effect.deadlineMs)) return;
      throw new LuoError('PROTO_TIMEOUT', `'${id}' did not end within ${effect.deadlineMs} ms of SIGTERM`, {
        participant: id,
      });
    } finally {
      // The engine hears the answer first, then of the death.
      setImmediate(() => this.#ending.delete(id));
    }
  }

  /**
   * It was told to end, did not in time, and is to go on after all. Nobody knows whether it will: it is ended, and the
   * engine, which hears of its death, starts its command again.
   */
  async #endLate(instance: Instance): Promise<never> {
    instance.signal('SIGKILL');
    await instance.whenGone();
    throw new LuoError('PROTO_CLOSED', `'${instance.id}' did not end in time and was killed`, {
      participant: instance.id,
    });
  }
}

/** Where in the keeper a member's parcels of an attempt lie. */
export function parcelPrefix(attempt: number, member: number): string {
  return `parcel/${attempt}/${member}/`;
}

/** Calls for whose answer somebody stands still. */
const IN_BLACKOUT: ReadonlySet<CallEffect['method']> = new Set(['freeze', 'restore', 'go']);

function handlesOf(step: PlanStep): CallParams<'prepare'>['handles'] {
  return step.handles.map((key) => {
    const { kind, name } = parseHandleKey(key)!;
    return { kind, name };
  });
}

function parcelList(kept: readonly Entry[]): CallParams<'restore'>['parcels'] {
  return kept.map((entry) => {
    const { part, parcel } = entry.meta as ParcelMeta;
    return { part, parcel, fds: entry.fds.length };
  });
}

function sending(kept: readonly Entry[], deadlineMs: number): { fds: number[]; deadlineMs: number } {
  return { fds: kept.flatMap((entry) => entry.fds.map((owned) => owned.fd)), deadlineMs };
}
