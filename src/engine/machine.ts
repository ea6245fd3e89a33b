/**
 * The engine: `step(state, event)` gives the next state and what is to be done. This file only finds the stage that an
 * event belongs to; what a stage does is in forward.ts, decision.ts, going.ts, finish.ts and undo.ts. A request that
 * cannot be is answered by a notice `refused`; any other event that does not fit (late, twice, of an attempt that is
 * over) changes nothing or is undone.
 */
import { assertNever } from '../base/words.js';
import { closed } from './close.js';
import * as decision from './decision.js';
import { wireError } from './errors.js';
import * as finish from './finish.js';
import * as forward from './forward.js';
import * as going from './going.js';
import { stuckNames, type EngineState, type OpenCommand } from './state.js';
import type { Actor, CallResult, Effect, Event, ResumedPhase, StuckRecord } from './types.js';
import * as undo from './undo.js';
import { Work } from './work.js';

export interface Step {
  readonly state: EngineState;
  readonly effects: readonly Effect[];
}

/** The one function. It never throws for an event of the outside world; a result without its command is ignored. */
export function step(state: EngineState, event: Event): Step {
  const w = new Work(state);
  handle(w, state, event);
  return { state: w.done(), effects: w.effects };
}

function handle(w: Work, state: EngineState, event: Event): void {
  switch (event.type) {
    case 'prepare':
      onPrepare(w, state, event);
      return;
    case 'continue':
      if (!w.hasAttempt || w.a.stage !== 'prepared') refuseFor(w, event.request, 'continue');
      else forward.continueFromPrepared(w, event.limits ?? {});
      return;
    case 'cancel':
      onCancelRequest(w, event);
      return;
    case 'finish':
      onFinishRequest(w, event);
      return;
    case 'forget':
      onForget(w, event);
      return;
    case 'ready':
      if (isMember(w, event.member)) forward.onReady(w, event.member);
      return;
    case 'died':
      if (isMember(w, event.actor.member)) onDied(w, event.actor);
      return;
    case 'hangup':
      if (isMember(w, event.actor.member)) onHangup(w, event.actor);
      return;
    case 'resumed':
      if (isMember(w, event.actor.member)) onResumed(w, event);
      return;
    case 'resolved':
      onResolved(w, event.participant, event.attempt, event.phase ?? 'running');
      return;
    case 'stuckDied':
      unstuckAfterwards(w, event.participant, false);
      return;
    case 'late':
      onLate(w, event.id, event.ok);
      return;
    case 'keeperLost':
      if (w.hasAttempt) decision.keeperLost(w);
      return;
    case 'journaled':
    case 'opened':
    case 'decided':
    case 'standby':
    case 'answer':
    case 'ended':
    case 'restarted':
    case 'dropped':
    case 'timeout':
    case 'returned':
      onResult(w, event);
      return;
    default:
      assertNever(event);
  }
}

function isMember(w: Work, member: number): boolean {
  return w.hasAttempt && !w.a.closing && member >= 0 && member < w.membersCount;
}

// ---------------------------------------------------------------------------------------------- requests

function refuseFor(w: Work, request: number, verb: string): void {
  const stage = w.hasAttempt ? w.a.stage : null;
  const rests = stage === null ? 'normal' : w.a.rests;
  const busy = stage !== null && stage !== 'prepared' && stage !== 'updated';
  w.refuse(
    request,
    busy
      ? wireError('STATE_BUSY', `${verb} has to wait: attempt ${w.a.attempt} is in ${stage}`, {
          data: { attempt: w.a.attempt, stage },
        })
      : wireError('STATE_INVALID', `${verb} is not possible in state ${rests}`, { data: { state: rests } }),
  );
}

function onPrepare(w: Work, state: EngineState, event: Event & { type: 'prepare' }): void {
  if (w.hasAttempt) {
    refuseFor(w, event.request, 'prepare');
    return;
  }
  if (event.attempt <= w.lastAttempt || event.plan.members.length === 0) {
    const why =
      event.plan.members.length === 0 ? 'the plan has no member' : `attempt ${event.attempt} is not a new one`;
    w.refuse(event.request, wireError('STATE_INVALID', why));
    return;
  }
  const names = stuckNames(state);
  if (names.length > 0) {
    const scope = new Set(event.plan.members.map((member) => member.participant));
    const stuck = names.filter((name) => scope.has(name));
    if (stuck.length > 0) {
      const list = stuck.map((name) => `'${name}'`).join(', ');
      w.refuse(
        event.request,
        wireError('STATE_STUCK', `${list} did not answer in an earlier attempt and may still be in it`, {
          data: { stuck },
        }),
      );
      return;
    }
  }
  forward.begin(w, event);
}

function onCancelRequest(w: Work, event: Event & { type: 'cancel' }): void {
  if (!w.hasAttempt) {
    refuseFor(w, event.request, 'cancel');
    return;
  }
  if (decision.isBeforeDecision(w)) {
    decision.abort(w, event.error ?? wireError('UPDATE_CANCELLED', 'cancelled on request'));
    return;
  }
  if (!decision.isHearing(w)) {
    refuseFor(w, event.request, 'cancel');
    return;
  }
  decision.giveUpUnheard(w);
}

function onFinishRequest(w: Work, event: Event & { type: 'finish' }): void {
  if (!w.hasAttempt || w.a.stage !== 'updated') {
    refuseFor(w, event.request, 'finish');
    return;
  }
  const stuck: string[] = [];
  for (const [, record] of w.stuck.entries()) if (record.attempt === w.a.attempt) stuck.push(record.participant);
  if (stuck.length > 0) {
    const list = stuck.map((name) => `'${name}'`).join(', ');
    w.refuse(event.request, wireError('STATE_STUCK', `go is not acknowledged by ${list}`, { data: { stuck } }));
    return;
  }
  const missing = going.missingMembers(w);
  if (missing.length > 0) {
    const list = missing.map((name) => `'${name}'`).join(', ');
    w.refuse(event.request, wireError('FINISH_VETO', `not everybody is back: ${list}`, { data: { vetoes: missing } }));
    return;
  }
  finish.enterAsking(w);
}

function onForget(w: Work, event: Event & { type: 'forget' }): void {
  const record = w.stuck.get(event.participant);
  if (record === undefined) {
    w.refuse(event.request, wireError('STATE_INVALID', `'${event.participant}' is not stuck`));
    return;
  }
  w.endParticipant(event.participant, false);
}

// ---------------------------------------------------------------------------------------------- by itself

function wordOf(w: Work, actor: Actor): string {
  const state = w.member(actor.member);
  return actor.side === 'old' ? state.old : state.next;
}

/** A process that is being started again belongs to that command until its result. */
function isNobody(w: Work, actor: Actor): boolean {
  return ['absent', 'none', 'dead', 'failed', 'restarting'].includes(wordOf(w, actor));
}

function onDied(w: Work, actor: Actor): void {
  if (isNobody(w, actor)) return;
  w.clearStuck(w.participantOf(actor));
  const { stage } = w.a;
  const acted = w.member(actor.member).acts && wordOf(w, actor) === 'went';
  if (acted) {
    w.set(actor.member, actor.side === 'old' ? { old: 'dead' } : { next: 'dead' });
    finish.onActingDied(w, actor.member);
  } else if (stage === 'cancelling') {
    undo.onDied(w, actor);
    decision.settleKeeper(w);
  } else if (w.a.decision === null || stage === 'jumping' || stage === 'deciding') forward.onGone(w, actor, false);
  else going.onDied(w, actor);
}

function setAway(w: Work, actor: Actor, away: boolean): void {
  w.set(actor.member, actor.side === 'old' ? { oldAway: away } : { nextAway: away });
}

function onHangup(w: Work, actor: Actor): void {
  if (isNobody(w, actor)) return;
  setAway(w, actor, true);
  if (w.a.decision === null && w.a.stage !== 'cancelling') forward.onGone(w, actor, true);
}

function onResumed(w: Work, event: Event & { type: 'resumed' }): void {
  const { actor, phase } = event;
  if (isNobody(w, actor)) return;
  setAway(w, actor, false);
  if (w.member(actor.member).acts && wordOf(w, actor) === 'went') {
    finish.onResumedActing(w, actor);
    return;
  }
  const { stage } = w.a;
  if (stage === 'cancelling') {
    undo.onResumed(w, actor, phase);
    decision.settleKeeper(w);
  } else if (stage === 'going' || stage === 'updated' || stage === 'asking' || stage === 'finishing') {
    going.onResumed(w, actor, phase);
  } else if (stage === 'deciding' && actor.side === 'new' && phase === 'gone-on') {
    // It read `committed` before luod heard of it.
    w.set(actor.member, { next: 'went' });
  }
}

function onResolved(w: Work, participant: string, attempt: number, phase: ResumedPhase): void {
  const record = w.stuck.get(participant);
  if (record === undefined || record.attempt !== attempt) return;
  const runs = phase === 'running' || phase === 'thawed' || phase === 'gone-on';
  const { member, side } = record;
  if (w.hasAttempt && !w.a.closing && w.a.attempt === attempt && record.method !== 'finish') {
    onResumed(w, { type: 'resumed', actor: { member, side }, phase });
  } else if (record.method === 'finish' || (record.undo && !runs)) {
    // That it runs does not say that it was told of the finish.
    callAfterwards(w, record);
  } else unstuckAfterwards(w, participant, true);
}

/** Stuck in an attempt that is over, and so no more. */
function unstuckAfterwards(w: Work, participant: string, runs: boolean): void {
  const record = w.stuck.get(participant);
  if (record === undefined || !w.clearStuck(participant)) return;
  // What it handed over is dropped once it is written that it runs again.
  const then = runs && record.undo ? 'drop' : 'nothing';
  w.journalOf(record.attempt, { type: 'unstuck', participant }, then, record.member);
}

/** The real answer to a call that had timed out. */
function onLate(w: Work, id: number, ok: boolean): void {
  const open = w.open.get(id);
  if (open?.command !== 'call' || !open.timedOut) return;
  w.open.delete(id);
  const { method, actor, participant, attempt } = open;
  const current = w.hasAttempt && !w.a.closing && w.a.attempt === attempt;
  const record = w.stuck.get(participant);
  if (record !== undefined && record.attempt === attempt && record.method === method) {
    const result: CallResult = ok ? { ok: true } : lateError(participant, method);
    if (!current || method === 'finish') unstuckAfterwards(w, participant, true);
    else if (method === 'cancel') undo.onCancel(w, actor.member, result);
    else if (method === 'go') going.onGo(w, actor, result);
    return;
  }
  if (method !== 'prepare' && method !== 'freeze') return;
  if (!current) {
    if (ok && record === undefined) undoAfterwards(w, open);
    return;
  }
  w.set(actor.member, { missing: w.member(actor.member).missing - 1 });
  if (ok && w.a.undoing) undo.onLateSuccess(w, actor.member);
}

function lateError(participant: string, method: string): CallResult {
  return { ok: false, how: 'answered', error: wireError('CALL_FAILED', `${method} of '${participant}' failed, late`) };
}

/** It was prepared or frozen after its attempt was over. */
function undoAfterwards(w: Work, open: OpenCommand & { command: 'call' }): void {
  const { participant, attempt, actor } = open;
  const record: StuckRecord = { participant, attempt, ...actor, method: 'cancel', undo: true };
  w.stuck.set(participant, record);
  w.effects.push({ type: 'stuck', participant, attempt, stuck: true });
  callAfterwards(w, record);
}

/** Make the call again that has no answer: the attempt is over, its cancel or finish is not. */
function callAfterwards(w: Work, { participant, attempt, member, side, undo }: StuckRecord): void {
  const method = undo ? 'cancel' : 'finish';
  w.callOf(attempt, { actor: { member, side }, method, deadlineMs: AFTERWARDS_MS }, participant);
}

/** The deadline of a call whose attempt, and with it its limits, is over. */
const AFTERWARDS_MS = 10_000;

// ---------------------------------------------------------------------------------------------- results

type ResultEvent = Event & {
  type:
    | 'journaled'
    | 'opened'
    | 'decided'
    | 'standby'
    | 'answer'
    | 'ended'
    | 'restarted'
    | 'dropped'
    | 'timeout'
    | 'returned';
};

function onResult(w: Work, event: ResultEvent): void {
  const open = w.open.get(event.id);
  if (open === undefined || (open.command === 'call' && open.timedOut)) return;
  const timesOut = event.type === 'answer' && !event.result.ok && event.result.how === 'timeout';
  if (timesOut && open.command === 'call') w.open.set(event.id, { ...open, timedOut: true });
  else w.open.delete(event.id);
  if (event.type === 'ended' && open.command === 'end') {
    onEnded(w, open);
    return;
  }
  if (open.command === 'journal' && open.then === 'drop' && event.type === 'journaled') {
    w.dropParcels(open.attempt, open.member!);
    return;
  }
  const current = w.hasAttempt && w.a.attempt === open.attempt;
  if (!current) {
    if (event.type === 'answer' && open.command === 'call') onAnswerAfterwards(w, open, event.result);
    return;
  }
  if (event.type === 'journaled' && open.command === 'journal') onJournaled(w, open);
  else if (w.a.closing) return;
  else if (event.type === 'opened' && open.command === 'open') {
    // Not ok: the keeper is dead, and the event that says so opens the record in the next one.
    if (event.ok && decision.opened(w)) forward.enterStandby(w);
  } else if (event.type === 'decided' && open.command === 'decide') {
    if (event.outcome !== 'lost' && !open.voided) decision.decided(w, event.outcome);
  } else if (event.type === 'standby' && open.command === 'standby') {
    forward.onStandby(w, open.member, event.result, event.participant ?? null);
  } else if (event.type === 'answer' && open.command === 'call') onAnswer(w, open, event.result);
  else if (event.type === 'restarted' && open.command === 'restart') {
    const participant = event.participant ?? null;
    if (w.a.stage === 'cancelling') undo.onRestarted(w, open.actor.member, event.result, participant);
    else going.onRestarted(w, open.actor, event.result, participant);
  } else if (event.type === 'timeout' && open.command === 'timer') onTimeout(w, open);
  else if (event.type === 'returned' && open.command === 'jump') {
    w.a.cause = event.error;
    w.stage('cancelling');
    decision.writeReturned(w);
  }
}

function onJournaled(w: Work, open: OpenCommand & { command: 'journal' }): void {
  switch (open.then) {
    case 'begin':
      if (w.a.stage === 'opening') w.openRecord(null);
      return;
    case 'freeze':
      forward.freeze(w);
      return;
    case 'decide-committed':
      forward.decideCommitted(w);
      return;
    case 'decide-aborted':
      decision.decideAborted(w);
      return;
    case 'open-aborted':
      decision.settleKeeper(w);
      return;
    case 'end-unheard':
      decision.giveUpUnheard(w);
      return;
    case 'undo':
      decision.undo(w);
      return;
    case 'go':
      if (w.a.plan.gap === 'kexec') {
        w.stage('jumping');
        w.jump();
      } else going.enterGoing(w);
      return;
    case 'return':
      decision.writeReturned(w);
      return;
    case 'finish':
      finish.enterFinishing(w);
      return;
    case 'settle':
      closed(w);
      return;
    case 'drop':
    case 'nothing':
      return;
  }
}

function onAnswer(w: Work, open: OpenCommand & { command: 'call' }, result: CallResult): void {
  const { actor, method } = open;
  if (!result.ok && result.how === 'lost' && !isNobody(w, actor)) setAway(w, actor, true);
  switch (method) {
    case 'prepare':
    case 'freeze':
      forward.onStepAnswer(w, method, open.step!, actor.member, result);
      return;
    case 'restore':
      forward.onRestore(w, actor.member, open.part!, result);
      return;
    case 'go':
      going.onGo(w, actor, result);
      return;
    case 'retire':
      going.onRetire(w, actor.member, result);
      finish.checkFinished(w);
      return;
    case 'canFinish':
      finish.onCanFinish(w, actor, result);
      return;
    case 'finish':
      finish.onFinish(w, actor, result);
      return;
    case 'cancel':
      undo.onCancel(w, actor.member, result);
      return;
  }
}

/** An answer to a call of an attempt that is over: only a cancel or finish of one that is stuck is awaited. */
function onAnswerAfterwards(w: Work, open: OpenCommand & { command: 'call' }, result: CallResult): void {
  const record = w.stuck.get(open.participant);
  if (record?.attempt !== open.attempt || record.method !== open.method) return;
  if (result.ok || result.how === 'answered') unstuckAfterwards(w, open.participant, true);
}

function onEnded(w: Work, open: OpenCommand & { command: 'end' }): void {
  if (open.lingers) w.lingering -= 1;
  const current = w.hasAttempt && !w.a.closing && w.a.attempt === open.attempt && open.actor !== null;
  if (current) {
    const { member, side } = open.actor!;
    if (side === 'old') {
      if (w.member(member).old === 'retiring') going.onOldGone(w, member);
    } else if (w.a.stage === 'cancelling') {
      undo.onNewEnded(w, member);
      decision.settleKeeper(w);
    } else going.onNewEnded(w, member);
  }
  if (w.hasAttempt && w.a.stage === 'opening') forward.enterStandby(w);
}

function onTimeout(w: Work, open: OpenCommand & { command: 'timer' }): void {
  const { [open.name]: _, ...rest } = w.a.timers;
  w.a.timers = rest;
  switch (open.name) {
    case 'linger':
      decision.abort(w, wireError('SUCCESSOR_TIMEOUT', 'a process that an earlier update replaced does not end'));
      return;
    case 'prepared':
      decision.abort(
        w,
        wireError('UPDATE_CANCELLED', `prepared lasted ${w.a.limits.preparedMs} ms, its limit`, {
          data: { limit: 'preparedMs' },
        }),
      );
      return;
    case 'blackout':
      decision.abort(
        w,
        wireError('UPDATE_FAILED', `the blackout would have become longer than ${w.a.limits.blackoutMs} ms`, {
          data: { limit: 'blackoutMs' },
        }),
      );
      return;
    case 'resume':
      if (w.a.stage === 'cancelling') undo.onResumeTimeout(w);
      else if (w.a.stage === 'going' || w.a.stage === 'updated') going.onResumeTimeout(w);
      else finish.onResumeTimeout(w);
      return;
  }
}
