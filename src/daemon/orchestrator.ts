/**
 * Runs the engine: events in, effects out, each performed exactly once and answered exactly once. It decides nothing
 * about updates; src/engine does. What it adds are processes, fds, clocks and the keeper.
 *
 * Order: `dispatch` queues; one loop steps the engine and performs the effects of each step in their order. The journal
 * is written synchronously, so that `journaled` is back before the next effect. A parcel is mirrored before
 * its answer reaches the engine; that of a prepare is then in the keeper, that of a freeze is sent when the successor has it, and
 * before the decision (custody.ts). What an outcome means for others than the members is told after the calls of its step.
 * A retire is held back for the goes of its attempt (goes.ts).
 */
import { randomBytes } from 'node:crypto';
import { release } from 'node:os';
import { LuoError } from '../base/errors.js';
import type { WireError } from '../base/errors.js';
import { assertNever } from '../base/words.js';
import type { Outcome } from '../base/words.js';
import {
  handlesDeath,
  initialState,
  mayBeReady,
  participantAt,
  recover,
  shown,
  step,
  stuckNames,
} from '../engine/index.js';
import type { EngineState, MemberState } from '../engine/index.js';
import type {
  Actor,
  CallEffect,
  CallResult,
  Effect,
  Event,
  JournalRecord as EngineRecord,
  Plan,
  PlanMember,
  SettledEffect,
  Shown,
  StuckRecord,
} from '../engine/types.js';
import type { UpdateLimits } from '../protocol/spec.js';
import { faultPoint } from '../sys/index.js';
import { allLimits, givenLimits } from './attempt-limits.js';
import { passAcked, passSent } from './call-points.js';
import type { Custody } from './custody.js';
import { Goes } from './goes.js';
import type { Logger } from './logger.js';
import { parcelPrefix } from './member-calls.js';
import { howFailed, resumedPhase } from './member-words.js';
import { Places } from './places.js';
import { ProgressFeed } from './progress.js';
import type { Progress } from './progress.js';
import type { Timelines } from './timeline.js';
import { Waiters } from './waiters.js';
import type { Settled } from './waiters.js';

/** What the orchestrator needs of the rest of the daemon. Participants by their ids. */
export interface OrchestratorHost {
  readonly log: Logger;
  readonly custody: Custody;
  readonly timelines: Timelines;
  append(record: { kind: 'engine'; record: EngineRecord }): void;
  /** Start the successor of a participant. Resolves with the successor's id at its standby. */
  standby(plan: Plan, member: number, deadlineMs: number): Promise<string>;
  /** Make a call; without a plan, of an attempt that is over. Rejects with the participant's own error, PROTO_TIMEOUT or PROTO_CLOSED. */
  call(effect: CallEffect, participant: string, plan: Plan | undefined, key: string): Promise<void>;
  /** See that a process is gone; without its id, that a start of `actor` that is under way comes to nothing. */
  endProcess(participant: string | null, actor: Actor | null, graceMs: number): Promise<void>;
  /** The old process of this member goes on although its successor was decided for, which is dead. */
  keptOld(plan: Plan, member: number, successors: ReadonlyMap<number, string>): void;
  /** Start the command of a member's service again on the kept state. Resolves with the new id when it acts. */
  restart(plan: Plan, member: number, deadlineMs: number): Promise<string>;
  /** The decision is known. `successors`: by member. */
  decided(plan: Plan, outcome: Outcome, successors: ReadonlyMap<number, string>): void;
  /** Leave this kernel; gives the reason if that failed. */
  jump(attempt: number): LuoError;
  /** An attempt rests in normal. */
  over(plan: Plan, settled: Settled): void;
  /** State, phase or stuck list has changed. */
  changed(): void;
}

export class Orchestrator {
  readonly #host: OrchestratorHost;
  #state: EngineState = initialState();
  readonly #queue: Event[] = [];
  #running = false;
  readonly #waiters = new Waiters();
  readonly #timers = new Map<number, NodeJS.Timeout>();
  readonly #places = new Places();
  readonly #progress = new ProgressFeed();
  /** Tells the host of an outcome. */
  #untold: (() => void) | undefined;
  #plan: Plan | undefined;
  #planOf = 0;
  #key = '';
  #lastShown = '';
  readonly #goes = new Goes();
  #generation: number;
  /** The attempt that made the last generation, if that is known. */
  #generationAttempt: number | null;

  constructor(host: OrchestratorHost, generation: number, generationAttempt: number | null) {
    this.#host = host;
    this.#generation = generation;
    this.#generationAttempt = generationAttempt;
  }

  // -------------------------------------------------------------------------------------------- asking

  get shown(): Shown {
    return shown(this.#state);
  }

  /** Updates that were committed since luod's directory began. */
  get generation(): number {
    return this.#generation;
  }

  get generationAttempt(): number | null {
    return this.#generationAttempt;
  }

  /** Every participant that has a place in the open attempt. */
  get actors(): string[] {
    return this.#places.all;
  }

  get stuck(): string[] {
    return stuckNames(this.#state);
  }

  /** Who is stuck, and on what. */
  get stuckRecords(): StuckRecord[] {
    return [...this.#state.stuck.entries()].map(([, record]) => record);
  }

  /** The plan of the open attempt. */
  get plan(): Plan | undefined {
    return this.#plan;
  }

  /** Where a participant stands in the open attempt, for status: `old: frozen`. */
  memberWord(participant: string): string | null {
    const actor = this.#places.of(participant);
    const attempt = this.#state.attempt;
    if (!actor || !attempt) return null;
    const member = attempt.members.get(actor.member);
    return actor.side === 'old' ? `old: ${member.old}` : `new: ${member.next}`;
  }

  successorOf(member: number): string | null {
    return this.#places.successors.get(member) ?? null;
  }

  actorOf(participant: string): Actor | undefined {
    return this.#places.of(participant);
  }

  /** Would the engine care for what follows the death of this participant? */
  handlesDeath(participant: string): boolean {
    const actor = this.#places.of(participant);
    return actor !== undefined && handlesDeath(this.#state, actor);
  }

  mayBeReady(participant: string): boolean {
    const actor = this.#places.of(participant);
    return actor?.side === 'new' && mayBeReady(this.#state, actor.member);
  }

  /** Told of everything that happens in attempts, until the returned function is called. */
  onProgress(listener: (progress: Progress) => void): () => void {
    return this.#progress.listen(listener);
  }

  // -------------------------------------------------------------------------------------------- requests

  /**
   * Begin an attempt. Resolves when it comes to rest, however it ended.
   * @throws LuoError STATE_INVALID, STATE_BUSY, STATE_STUCK: nothing has changed
   */
  prepare(plan: Plan, until: 'prepared' | 'finished', limits: UpdateLimits = {}): Promise<Settled> {
    const attempt = this.#state.lastAttempt + 1;
    const key = randomBytes(16).toString('hex');
    return this.#ask((request) => ({ type: 'prepare', request, attempt, key, plan, until, limits: allLimits(limits) }));
  }

  continue(limits: UpdateLimits = {}): Promise<Settled> {
    return this.#ask((request) => ({ type: 'continue', request, limits: givenLimits(limits) }));
  }

  cancel(error?: WireError): Promise<Settled> {
    return this.#ask((request) => ({ type: 'cancel', request, ...(error === undefined ? {} : { error }) }));
  }

  finish(): Promise<Settled> {
    return this.#ask((request) => ({ type: 'finish', request }));
  }

  /** Give a stuck participant up. @throws LuoError when it is not stuck */
  forget(participant: string): void {
    this.#waiters.askNow((request) => this.dispatch({ type: 'forget', request, participant }));
  }

  // -------------------------------------------------------------------------------------------- events

  /** What happened to a participant, if it has a place in the open attempt or is stuck. */
  died(participant: string): void {
    const actor = this.#places.of(participant);
    if (actor) {
      this.dispatch({ type: 'died', actor });
      this.#places.leave(participant);
    }
    if (this.#state.stuck.get(participant)) this.dispatch({ type: 'stuckDied', participant });
  }

  /** Members whose successor nobody knows get none any more: whoever could have started it is dead. */
  unknownSuccessorsDied(): void {
    for (const { member, replaced } of this.#plan?.members ?? []) {
      if (replaced && !this.#places.successors.has(member))
        this.dispatch({ type: 'died', actor: { member, side: 'new' } });
    }
  }

  hangup(participant: string): void {
    const actor = this.#places.of(participant);
    if (actor) this.dispatch({ type: 'hangup', actor });
  }

  resumed(participant: string, phase: string, attempt: number | null): void {
    const actor = this.#places.of(participant);
    if (actor && attempt !== null && attempt === this.#state.attempt?.attempt) {
      this.#note(attempt, 'resumed', participant, { phase });
      // A successor that runs has had its go, also when the line that says so is lost with keeper and luod.
      const hasGone = actor.side === 'new' && phase === 'running';
      this.dispatch({ type: 'resumed', actor, phase: hasGone ? 'gone-on' : resumedPhase(phase) });
    } else if (actor) {
      this.dispatch({ type: 'resumed', actor, phase: 'running' });
    }
    const stuck = this.#state.stuck.get(participant);
    if (!stuck) return;
    // What it says of another attempt than the one it is stuck in says nothing of that one: it is outside of it.
    const word = attempt === stuck.attempt ? resumedPhase(phase) : 'running';
    this.dispatch({ type: 'resolved', participant, attempt: stuck.attempt, phase: word });
  }

  ready(participant: string): void {
    const actor = this.#places.of(participant);
    if (!actor) return;
    this.#note(this.#state.attempt?.attempt, 'ready', participant);
    faultPoint('luod.ready');
    this.dispatch({ type: 'ready', member: actor.member });
  }

  dispatch(event: Event): void {
    this.#queue.push(event);
    if (this.#running) return;
    this.#running = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        const { state, effects } = step(this.#state, next);
        this.#state = state;
        this.#performAll(effects);
      }
    } finally {
      this.#running = false;
    }
    this.#show();
  }

  /**
   * Take up what an earlier luod left. Call once, before any other event.
   * @param successorOf a successor that was started and whose standby was not written down yet, by its old participant
   * @param isRecovery an earlier luod of this kernel had taken it up
   */
  recover(
    records: readonly EngineRecord[],
    successorOf: (participant: string) => string | undefined,
    isRecovery: boolean,
  ): void {
    const { state, effects } = recover(records);
    this.#state = state;
    const begun = records.findLast((record) => record.type === 'attempt');
    if (begun?.type === 'attempt' && state.attempt?.attempt === begun.attempt) {
      this.#begin(begun.plan, begun.key, begun.attempt, false);
      for (const planned of begun.plan.members) {
        const member = state.attempt.members.get(planned.member);
        this.#placeAgain(planned, member, successorOf);
      }
      const join = this.#host.timelines.untoldJoin(begun.attempt);
      if (join) this.#note(begun.attempt, 'arrived', undefined, { ...join, to: release() });
      if (isRecovery) this.#note(begun.attempt, 'luod.recovered', undefined, { stage: state.attempt.stage });
    }
    this.#performAll(effects);
    this.#dispatchQueued();
  }

  /** Whoever the journal says stands for a member. */
  #placeAgain(planned: PlanMember, state: MemberState, successorOf: (participant: string) => string | undefined): void {
    const { member, participant, replaced } = planned;
    const old = participantAt(planned, state, 'old');
    if (old !== null && old !== participant) this.#places.replaceOld(planned, old);
    const successor = participantAt(planned, state, 'new') ?? (replaced ? successorOf(participant) : undefined);
    if (successor !== undefined) this.#places.put(successor, { member, side: 'new' });
  }

  /** No attempt is open. */
  get isIdle(): boolean {
    return this.#state.attempt === null;
  }

  /** Stop all clocks: luod ends. */
  detach(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  // -------------------------------------------------------------------------------------------- effects

  #performAll(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type !== 'call') this.#tellOutcome();
      this.#perform(effect);
    }
    this.#tellOutcome();
  }

  /** What the outcome means for others than the members: after the goes of its step, before everything else. */
  #tellOutcome(): void {
    const tell = this.#untold;
    this.#untold = undefined;
    tell?.();
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'journal':
        if (effect.record.type === 'attempt') {
          this.#begin(effect.record.plan, effect.record.key, effect.record.attempt, true);
        }
        this.#host.append({ kind: 'engine', record: effect.record });
        return this.#later({ type: 'journaled', id: effect.id });
      case 'open':
        return this.#answer(
          this.#host.custody.openRecord(effect.attempt, effect.key, effect.outcome),
          (ok) => ({ type: 'opened', id: effect.id, ok }),
          () => ({ type: 'opened', id: effect.id, ok: false }),
        );
      case 'decide':
        return this.#decide(effect);
      case 'standby':
        return this.#standby(effect);
      case 'call':
        return this.#call(effect);
      case 'endProcess':
        return this.#answer(
          this.#host.endProcess(
            effect.actor ? this.#places.at(effect.actor) : effect.participant,
            effect.actor,
            effect.graceMs,
          ),
          () => ({ type: 'ended', id: effect.id }),
          () => ({ type: 'ended', id: effect.id }),
        );
      case 'restart':
        return this.#restart(effect);
      case 'dropParcels':
        return this.#dropParcels(effect);
      case 'timer':
        this.#timers.set(
          effect.id,
          setTimeout(() => {
            this.#timers.delete(effect.id);
            this.dispatch({ type: 'timeout', id: effect.id });
          }, effect.ms),
        );
        return;
      case 'clearTimer':
        clearTimeout(this.#timers.get(effect.timer));
        this.#timers.delete(effect.timer);
        return;
      case 'jump':
        return this.#jump(effect.attempt, effect.id);
      case 'stage':
        if (this.#plan?.gap === 'handover' && effect.stage === 'freezing') this.#progress.hold();
        this.#note(this.#state.attempt?.attempt, `stage.${effect.stage}`);
        return;
      case 'outcome':
        this.#note(effect.attempt, 'decided', undefined, { outcome: effect.outcome });
        // Not a second time, when an earlier luod had come so far.
        if (effect.outcome === 'committed' && effect.attempt !== this.#generationAttempt) {
          this.#generation += 1;
          this.#generationAttempt = effect.attempt;
        }
        return this.#tellAfterCalls(effect.outcome);
      case 'stuck':
        this.#note(effect.attempt, effect.stuck ? 'stuck' : 'unstuck', effect.participant);
        return;
      case 'keptOld':
        return this.#host.keptOld(this.#plan!, effect.member, this.#places.successors);
      case 'refused':
        return this.#waiters.refuse(effect.request, LuoError.fromWire(effect.error));
      case 'settled':
        return this.#settle(effect);
      default:
        return assertNever(effect);
    }
  }

  /** Members wait for the calls that follow. If luod dies between them and this, the next one does it. */
  #tellAfterCalls(outcome: Outcome): void {
    const plan = this.#plan!;
    this.#untold = () => this.#host.decided(plan, outcome, this.#places.successors);
  }

  #dropParcels({ attempt, member, id }: Extract<Effect, { type: 'dropParcels' }>): void {
    const drop = (): void => this.#host.custody.dropPrefix(parcelPrefix(attempt, member));
    if (this.#goes.isQuiet) {
      drop();
      return this.#later({ type: 'dropped', id });
    }
    void this.#goes.quiet().then(() => {
      drop();
      this.dispatch({ type: 'dropped', id });
    });
  }

  #jump(attempt: number, id: number): void {
    this.#note(attempt, 'jump');
    this.#host.timelines.flush();
    const error = this.#host.jump(attempt);
    this.#note(attempt, 'returned', undefined, { code: error.code, errno: error.errno });
    this.#later({ type: 'returned', id, error: error.toWire() });
  }

  #decide(effect: Extract<Effect, { type: 'decide' }>): void {
    this.#note(effect.attempt, 'decide.sent', undefined, { want: effect.want });
    faultPoint('luod.decide.before');
    this.#answer(
      this.#host.custody.decide(effect.attempt, effect.key, effect.want),
      (outcome) => {
        faultPoint('luod.decide.after');
        return { type: 'decided', id: effect.id, outcome };
      },
      () => ({ type: 'decided', id: effect.id, outcome: 'lost' }),
    );
  }

  #standby(effect: Extract<Effect, { type: 'standby' }>): void {
    const plan = this.#plan!;
    const attempt = this.#state.attempt?.attempt;
    this.#note(attempt, 'standby.started', plan.members[effect.member]!.participant);
    this.#answer(
      this.#host.standby(plan, effect.member, effect.deadlineMs),
      (participant) => {
        this.#places.put(participant, { member: effect.member, side: 'new' });
        this.#note(attempt, 'standby', participant);
        faultPoint('luod.standby');
        return { type: 'standby', id: effect.id, result: { ok: true }, participant };
      },
      (error) => ({ type: 'standby', id: effect.id, result: { ok: false, error: error.toWire() } }),
    );
  }

  /** The process that a standby started is known before the standby is reached, so that its death is told. */
  successorStarted(member: number, participant: string): void {
    this.#places.put(participant, { member, side: 'new' });
  }

  #restart(effect: Extract<Effect, { type: 'restart' }>): void {
    const plan = this.#plan!;
    const attempt = this.#state.attempt?.attempt;
    const member = plan.members[effect.actor.member]!;
    this.#note(attempt, 'restart.started', member.participant, { side: effect.actor.side });
    this.#answer(
      this.#host.restart(plan, effect.actor.member, effect.deadlineMs),
      (participant) => {
        this.#places.put(participant, effect.actor);
        this.#note(attempt, 'go.acked', participant, { member: member.participant, restarted: true });
        return { type: 'restarted', id: effect.id, result: { ok: true }, participant };
      },
      (error) => ({ type: 'restarted', id: effect.id, result: { ok: false, error: error.toWire() } }),
    );
  }

  #call(effect: CallEffect): void {
    // The undo of a late success may come when its attempt is over: then the effect alone says who is meant.
    const plan = effect.attempt === this.#planOf ? this.#plan : undefined;
    const member = plan?.members[effect.actor.member]!.participant ?? effect.participant;
    const participant = (plan && this.#places.at(effect.actor)) ?? effect.participant;
    const what = effect.part === undefined ? effect.method : `${effect.method}.${effect.part}`;
    // Whose blackout it is has to be said only of a successor.
    const whose = participant === member ? undefined : { member };
    const call = (): Promise<void> => {
      this.#note(effect.attempt, `${what}.sent`, participant, whose);
      const sent = this.#host.call(effect, participant, plan, this.#key);
      passSent(what);
      return sent;
    };
    const running = effect.method === 'retire' ? this.#goes.quiet().then(call) : call();
    if (effect.method === 'go') this.#goes.track(running);
    this.#answer(
      running,
      () => {
        this.#note(effect.attempt, `${what}.acked`, participant, whose);
        passAcked(what);
        // A program without the protocol said READY=1 to be started at all: there is no other word to wait for.
        const isPlain = plan?.members[effect.actor.member]!.protocol === 'plain';
        if (isPlain && effect.part === 'frozen') queueMicrotask(() => this.ready(participant));
        return { type: 'answer', id: effect.id, result: { ok: true } };
      },
      (error) => {
        const result: CallResult = { ok: false, how: howFailed(error), error: error.toWire() };
        this.#note(effect.attempt, `${what}.failed`, participant, { member, code: error.code });
        return { type: 'answer', id: effect.id, result };
      },
    );
  }

  #settle(effect: SettledEffect): void {
    const { type: _, ...settled } = effect;
    const plan = this.#plan!;
    this.#note(effect.attempt, 'settled', undefined, { state: effect.state, stuck: effect.stuck });
    faultPoint('luod.finished');
    if (effect.state === 'normal') {
      const done = effect.outcome === 'committed';
      this.#host.timelines.end(
        effect.attempt,
        done ? 'done' : 'rolled-back',
        done ? 'committed' : 'aborted',
        effect.error ?? undefined,
      );
      this.#host.over(plan, settled);
      this.#places.clear();
      this.#plan = undefined;
    }
    this.#waiters.settle(settled);
  }

  // -------------------------------------------------------------------------------------------- inside

  #begin(plan: Plan, key: string, attempt: number, isNew: boolean): void {
    this.#plan = plan;
    this.#planOf = attempt;
    this.#key = key;
    this.#places.begin(plan);
    if (isNew) this.#host.timelines.begin(attempt, plan.gap, plan.scope);
  }

  #ask(event: (request: number) => Event): Promise<Settled> {
    return this.#waiters.ask((request) => this.dispatch(event(request)));
  }

  /** The result of an effect that takes time. */
  #answer<T>(work: Promise<T>, done: (value: T) => Event, failed: (error: LuoError) => Event): void {
    work.then(
      (value) => this.dispatch(done(value)),
      (error: unknown) => this.dispatch(failed(LuoError.from(error))),
    );
  }

  /** The result of an effect that is done at once: after the other effects of this step. */
  #later(event: Event): void {
    this.#queue.push(event);
  }

  #dispatchQueued(): void {
    const next = this.#queue.shift();
    if (next) this.dispatch(next);
    else this.#show();
  }

  #note(attempt: number | undefined, what: string, participant?: string, detail?: unknown): void {
    if (attempt === undefined) return;
    const progress: Progress = { what };
    const { phase } = this.shown;
    if (participant !== undefined) progress.participant = participant;
    if (phase !== null) progress.phase = phase;
    if (detail !== undefined) progress.detail = detail;
    this.#host.timelines.event(attempt, what, progress);
    this.#progress.tell(progress);
  }

  #show(): void {
    const { state, phase } = this.shown;
    const text = `${state}/${phase}/${this.#generation}/${this.stuck.join()}`;
    if (text === this.#lastShown) return;
    this.#lastShown = text;
    this.#host.changed();
  }
}
