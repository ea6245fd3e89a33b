/**
 * One step in progress: a draft of the state and the effects so far. The stages write on it; machine.ts opens and
 * closes it. It knows how to ask for things (one method per command), never when.
 */
import type { WireError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import {
  participantAt,
  type Attempt,
  type EngineState,
  type MemberState,
  type OpenCommand,
  type Then,
} from './state.js';
import type { DictionaryDraft, TableDraft } from './table.js';
import {
  JOURNAL_VERSION,
  type Actor,
  type CallEffect,
  type CallMethod,
  type Effect,
  type JournalRecord,
  type PlanMember,
  type Stage,
  type StuckRecord,
  type TimerName,
} from './types.js';
import { advance, type Order, type Run, startRun } from './run.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A record without what is the same in all of them. */
export type RecordBody = JournalRecord extends infer R
  ? R extends JournalRecord
    ? Omit<R, 'v' | 'attempt'>
    : never
  : never;

export class Work {
  readonly effects: Effect[] = [];
  readonly open: DictionaryDraft<number, OpenCommand>;
  readonly stuck: DictionaryDraft<string, StuckRecord>;
  lingering: number;
  lastAttempt: number;
  #nextId: number;
  #attempt: Mutable<Attempt> | null;
  #members: TableDraft<MemberState> | null;

  constructor(state: EngineState) {
    this.open = state.open.draft();
    this.stuck = state.stuck.draft();
    this.lingering = state.lingering;
    this.lastAttempt = state.lastAttempt;
    this.#nextId = state.nextId;
    this.#attempt = state.attempt === null ? null : { ...state.attempt };
    this.#members = state.attempt === null ? null : state.attempt.members.draft();
  }

  done(): EngineState {
    const attempt = this.#attempt;
    return {
      nextId: this.#nextId,
      attempt: attempt === null ? null : { ...attempt, members: this.#members!.done() },
      open: this.open.done(),
      stuck: this.stuck.done(),
      lingering: this.lingering,
      lastAttempt: this.lastAttempt,
    };
  }

  // -------------------------------------------------------------------------------------------- attempt and members

  get hasAttempt(): boolean {
    return this.#attempt !== null;
  }

  /** The open attempt. */
  get a(): Mutable<Attempt> {
    if (this.#attempt === null) throw new TypeError('no attempt is open');
    return this.#attempt;
  }

  begin(attempt: Attempt): void {
    this.#attempt = { ...attempt };
    this.#members = attempt.members.draft();
    this.lastAttempt = attempt.attempt;
  }

  end(): void {
    this.#attempt = null;
    this.#members = null;
  }

  get membersCount(): number {
    return this.#members!.length;
  }

  member(member: number): MemberState {
    return this.#members!.get(member);
  }

  set(member: number, change: Partial<MemberState>): void {
    this.#members!.set(member, { ...this.#members!.get(member), ...change });
  }

  planned(member: number): PlanMember {
    return this.a.plan.members[member]!;
  }

  /** Does it get a successor in this attempt? */
  hasSuccessor(member: number): boolean {
    return this.a.plan.gap === 'handover' && this.planned(member).replaced;
  }

  *members(): Generator<[number, MemberState]> {
    for (let member = 0; member < this.membersCount; member += 1) yield [member, this.member(member)];
  }

  stage(stage: Stage): void {
    this.a.stage = stage;
    this.effects.push({ type: 'stage', stage });
  }

  // -------------------------------------------------------------------------------------------- the schedule

  run(order: Order, start: (node: number) => boolean): void {
    this.a.run = advance(startRun(order), null, start);
  }

  complete(node: number, start: (node: number) => boolean): void {
    // `start` may look at the schedule, so it is put back before it is advanced.
    const run: Run | null = this.a.run;
    if (run !== null) this.a.run = advance(run, node, start);
  }

  // -------------------------------------------------------------------------------------------- commands

  #command(open: OpenCommand): number {
    const id = this.#nextId;
    this.#nextId += 1;
    this.open.set(id, open);
    return id;
  }

  journal(body: RecordBody, then: Then, member: number | null = null): void {
    this.journalOf(this.a.attempt, body, then, member);
  }

  /** For an attempt that is over. */
  journalOf(attempt: number, body: RecordBody, then: Then, member: number | null = null): void {
    const id = this.#command({ command: 'journal', attempt, then, member });
    this.effects.push({ type: 'journal', id, record: { ...body, v: JOURNAL_VERSION, attempt } as JournalRecord });
  }

  openRecord(outcome: Outcome | null): void {
    const { attempt, key } = this.a;
    this.a.record = 'opening';
    const id = this.#command({ command: 'open', attempt });
    this.effects.push({ type: 'open', id, attempt, key, ...(outcome === null ? {} : { outcome }) });
  }

  decide(want: Outcome): void {
    const { attempt, key } = this.a;
    const id = this.#command({ command: 'decide', attempt, voided: false });
    this.effects.push({ type: 'decide', id, attempt, key, want });
  }

  standby(member: number): void {
    const id = this.#command({ command: 'standby', attempt: this.a.attempt, member });
    this.effects.push({ type: 'standby', id, member, deadlineMs: this.a.limits.standbyMs });
  }

  call(
    actor: Actor,
    method: CallMethod,
    deadlineMs: number,
    more: { readonly step?: number; readonly part?: 'prepared' | 'frozen'; readonly error?: WireError } = {},
  ): void {
    this.callOf(this.a.attempt, { actor, method, deadlineMs, ...more }, this.participantOf(actor));
  }

  /** For an attempt that may be over. */
  callOf(
    attempt: number,
    call: Omit<CallEffect, 'type' | 'id' | 'attempt' | 'participant'>,
    participant: string,
  ): void {
    const id = this.#command({
      command: 'call',
      attempt,
      actor: call.actor,
      participant,
      method: call.method,
      step: call.step ?? null,
      part: call.part ?? null,
      timedOut: false,
    });
    this.effects.push({ type: 'call', id, attempt, participant, ...call });
  }

  endProcess(actor: Actor, graceMs: number, lingers: boolean): void {
    const id = this.#command({ command: 'end', attempt: this.a.attempt, actor, lingers });
    if (lingers) this.lingering += 1;
    this.effects.push({ type: 'endProcess', id, actor, participant: null, graceMs });
  }

  /** Of an attempt that is over. */
  endParticipant(participant: string, lingers: boolean): void {
    const id = this.#command({ command: 'end', attempt: 0, actor: null, lingers });
    if (lingers) this.lingering += 1;
    this.effects.push({ type: 'endProcess', id, actor: null, participant, graceMs: 0 });
  }

  restart(actor: Actor): void {
    const id = this.#command({ command: 'restart', attempt: this.a.attempt, actor });
    this.effects.push({ type: 'restart', id, actor, deadlineMs: this.a.limits.standbyMs });
  }

  dropParcels(attempt: number, member: number): void {
    const id = this.#command({ command: 'drop', attempt });
    this.effects.push({ type: 'dropParcels', id, attempt, member });
  }

  jump(): void {
    const id = this.#command({ command: 'jump', attempt: this.a.attempt });
    this.effects.push({ type: 'jump', id, attempt: this.a.attempt });
  }

  /** Start a timer unless one of that name runs. */
  timer(name: TimerName, ms: number): void {
    if (this.a.timers[name] !== undefined) return;
    const id = this.#command({ command: 'timer', attempt: this.a.attempt, name });
    this.a.timers = { ...this.a.timers, [name]: id };
    this.effects.push({ type: 'timer', id, name, ms });
  }

  clearTimer(name: TimerName): void {
    const timer = this.a.timers[name];
    if (timer === undefined) return;
    const { [name]: _, ...rest } = this.a.timers;
    this.a.timers = rest;
    this.open.delete(timer);
    this.effects.push({ type: 'clearTimer', timer });
  }

  clearTimers(): void {
    for (const name of Object.keys(this.a.timers) as TimerName[]) this.clearTimer(name);
  }

  // -------------------------------------------------------------------------------------------- what several stages do

  noteError(member: number, method: string, error: WireError): void {
    this.a.errors = { participant: this.planned(member).participant, method, error, earlier: this.a.errors };
  }

  /**
   * This process acts (again): write it down, then let go of what it handed over.
   * @param started who it is, if it was started again; else it is who stood there
   */
  acknowledge(actor: Actor, started: string | null = null): void {
    const named = started === null ? {} : actor.side === 'old' ? { standIn: started } : { successor: started };
    this.set(actor.member, { acts: true, ...named });
    const participant = started === null ? {} : { participant: started };
    this.journal({ type: 'acked', ...actor, ...participant }, 'drop', actor.member);
  }

  setStuck(actor: Actor, method: CallMethod): void {
    const { attempt } = this.a;
    const participant = this.participantOf(actor);
    this.stuck.set(participant, { participant, attempt, ...actor, method, undo: method === 'cancel' });
    this.effects.push({ type: 'stuck', participant, attempt, stuck: true });
  }

  /** No longer stuck; false if it was not. */
  clearStuck(participant: string): boolean {
    const record = this.stuck.get(participant);
    if (record === undefined) return false;
    this.stuck.delete(participant);
    for (const [id, open] of [...this.open.entries()]) {
      if (open.command === 'call' && open.timedOut && open.participant === participant) this.open.delete(id);
    }
    this.effects.push({ type: 'stuck', participant, attempt: record.attempt, stuck: false });
    return true;
  }

  participantOf(actor: Actor): string {
    const planned = this.planned(actor.member);
    return participantAt(planned, this.member(actor.member), actor.side) ?? `${planned.participant} (successor)`;
  }

  refuse(request: number, error: WireError): void {
    this.effects.push({ type: 'refused', request, error });
  }
}
