/**
 * The way forward, from the first line of the journal to the question to the keeper: open, standby, prepare, prepared,
 * freeze, restore, decide. What can fail fails here, and whatever fails turns back (decision.ts). The happy path of one
 * member: standby, prepare, restore(prepared), freeze, restore(frozen) and ready.
 */
import type { WireError } from '../base/errors.js';
import { settle } from './close.js';
import { abort } from './decision.js';
import { callError, wireError } from './errors.js';
import { freezeOrder, goOrder, prepareOrder } from './order.js';
import { isDone, isStarted } from './run.js';
import type { Attempt, MemberState } from './state.js';
import { Table } from './table.js';
import type { Actor, CallResult, DoneResult, Event, Limits, Plan } from './types.js';
import type { Work } from './work.js';

/** How a member begins. */
export function freshMember(alive: boolean): MemberState {
  return {
    old: alive ? 'running' : 'absent',
    next: 'none',
    oldAway: false,
    nextAway: false,
    stepsDone: 0,
    touched: 0,
    missing: 0,
    restored: false,
    saidReady: false,
    asked: false,
    acts: false,
    successor: null,
    standIn: null,
  };
}

/** How an attempt begins. */
export function freshAttempt(about: {
  readonly attempt: number;
  readonly key: string;
  readonly plan: Plan;
  readonly until: 'prepared' | 'finished';
  readonly limits: Limits;
}): Attempt {
  return {
    ...about,
    stage: 'opening',
    rests: 'normal',
    recovered: false,
    members: Table.of(about.plan.members.length, (member) => freshMember(about.plan.members[member]!.alive)),
    run: null,
    waits: 0,
    retires: 0,
    answers: 0,
    freezeSent: false,
    commitSent: false,
    abortLine: false,
    decision: null,
    record: 'none',
    chosen: null,
    cause: null,
    timers: {},
    vetoes: [],
    errors: null,
    closing: false,
    undoing: false,
    finishSent: false,
  };
}

export function begin(w: Work, event: Event & { readonly type: 'prepare' }): void {
  const { attempt, key, plan, until, limits } = event;
  // What timed out in an older attempt and whose undo was answered cannot matter any more.
  for (const [id, open] of [...w.open.entries()]) {
    if (open.command === 'call' && open.timedOut && w.stuck.get(open.participant) === undefined) w.open.delete(id);
  }
  w.begin(freshAttempt({ attempt, key, plan, until, limits }));
  w.stage('opening');
  w.journal({ type: 'attempt', key, until, limits, plan }, 'begin');
}

/** The record is open: go on when no retired process lives any more, so that at most two generations ever do. */
export function enterStandby(w: Work): void {
  const { a } = w;
  if (a.stage !== 'opening' || a.record !== 'open') return;
  if (w.lingering > 0) {
    w.timer('linger', a.limits.standbyMs);
    return;
  }
  w.clearTimer('linger');
  w.stage('standby');
  for (let member = 0; member < w.membersCount; member += 1) {
    if (!w.hasSuccessor(member) || w.planned(member).protocol === 'plain') continue;
    startSuccessor(w, member);
    a.waits += 1;
  }
  if (a.waits === 0) enterPreparing(w);
}

function startSuccessor(w: Work, member: number): void {
  w.set(member, { next: 'starting' });
  w.standby(member);
}

export function onStandby(w: Work, member: number, result: DoneResult, participant: string | null): void {
  const state = w.member(member);
  if (participant !== null) w.set(member, { successor: participant });
  if (state.next !== 'starting') return;
  const { stage } = w.a;
  if (stage !== 'standby' && stage !== 'restoring') return;
  if (!result.ok) {
    abort(w, result.error);
    return;
  }
  w.set(member, { next: 'standby' });
  w.journal({ type: 'standby', member, participant: w.participantOf({ member, side: 'new' }) }, 'nothing');
  if (stage === 'restoring') {
    w.call({ member, side: 'new' }, 'restore', w.a.limits.blackoutMs, { part: 'frozen' });
    return;
  }
  w.a.waits -= 1;
  if (w.a.waits === 0) enterPreparing(w);
}

// ---------------------------------------------------------------------------------------------- prepare

function enterPreparing(w: Work): void {
  w.stage('preparing');
  w.run(prepareOrder(w.a.plan), (step) => startStep(w, step, 'prepare'));
  checkPrepared(w);
}

function startStep(w: Work, step: number, method: 'prepare' | 'freeze'): boolean {
  const { member } = w.a.plan.steps[step]!;
  const state = w.member(member);
  if (state.old === 'absent') return true;
  const word = method === 'prepare' ? 'called' : 'freezing';
  w.set(member, { old: word, missing: state.missing + 1 });
  const deadlineMs = method === 'prepare' ? w.a.limits.prepareMs : w.a.limits.blackoutMs;
  w.call({ member, side: 'old' }, method, deadlineMs, { step });
  return false;
}

/** An answer to prepare or freeze, or that there is none. */
export function onStepAnswer(
  w: Work,
  method: 'prepare' | 'freeze',
  step: number,
  member: number,
  result: CallResult,
): void {
  const { a } = w;
  const state = w.member(member);
  const stage = method === 'prepare' ? 'preparing' : 'freezing';
  if (result.ok || result.how === 'answered') {
    a.answers += 1;
    w.set(member, { touched: a.answers, missing: state.missing - 1 });
  }
  if (a.stage !== stage) return;
  if (!result.ok) {
    // Whose only prepare failed has nothing to undo.
    const nothing = method === 'prepare' && result.how === 'answered' && state.stepsDone === 0 && state.missing === 1;
    if (nothing) w.set(member, { old: 'running' });
    abort(w, callError(w.participantOf({ member, side: 'old' }), method, result.how, result.error));
    return;
  }
  const stepsDone = state.stepsDone + 1;
  w.set(member, { stepsDone });
  const complete = stepsDone === w.planned(member).steps.length;
  if (method === 'prepare') {
    if (complete && w.member(member).next === 'standby') {
      a.waits += 1;
      w.call({ member, side: 'new' }, 'restore', a.limits.prepareMs, { part: 'prepared' });
    }
    w.complete(step, (other) => startStep(w, other, 'prepare'));
    checkPrepared(w);
    return;
  }
  if (complete) w.set(member, { old: 'frozen' });
  w.complete(step, (other) => startStep(w, other, 'freeze'));
  checkFrozen(w);
}

export function onRestore(w: Work, member: number, part: 'prepared' | 'frozen', result: CallResult): void {
  const { a } = w;
  if (a.stage !== (part === 'prepared' ? 'preparing' : 'restoring')) return;
  if (!result.ok) {
    abort(w, callError(w.participantOf({ member, side: 'new' }), 'restore', result.how, result.error));
    return;
  }
  if (part === 'prepared') {
    a.waits -= 1;
    checkPrepared(w);
    return;
  }
  w.set(member, { restored: true });
  checkReady(w, member);
}

function checkPrepared(w: Work): void {
  const { a } = w;
  if (a.stage !== 'preparing' || a.waits > 0 || a.run === null || !isDone(a.run)) return;
  a.run = null;
  a.rests = 'prepared';
  w.stage('prepared');
  if (a.until === 'finished') {
    enterFreezing(w);
    return;
  }
  w.timer('prepared', a.limits.preparedMs);
  settle(w, 'prepared', null, null);
}

export function continueFromPrepared(w: Work, limits: Partial<Limits>): void {
  w.a.limits = { ...w.a.limits, ...limits };
  w.a.until = 'finished';
  enterFreezing(w);
}

// ---------------------------------------------------------------------------------------------- freeze

function enterFreezing(w: Work): void {
  w.clearTimer('prepared');
  w.stage('freezing');
  w.a.freezeSent = true;
  w.journal({ type: 'freezing' }, 'freeze');
}

/** The line is written. */
export function freeze(w: Work): void {
  if (w.a.stage !== 'freezing') return;
  w.timer('blackout', w.a.limits.blackoutMs);
  for (let member = 0; member < w.membersCount; member += 1) w.set(member, { stepsDone: 0 });
  w.run(freezeOrder(w.a.plan), (step) => startStep(w, step, 'freeze'));
  checkFrozen(w);
}

function checkFrozen(w: Work): void {
  const { a } = w;
  if (a.stage !== 'freezing' || a.run === null || !isDone(a.run)) return;
  a.rests = 'frozen';
  w.stage('restoring');
  w.run(goOrder(a.plan), (member) => startRestore(w, member));
  checkRestored(w);
}

function startRestore(w: Work, member: number): boolean {
  if (!w.hasSuccessor(member)) return true;
  if (w.planned(member).protocol === 'plain') startSuccessor(w, member);
  else w.call({ member, side: 'new' }, 'restore', w.a.limits.blackoutMs, { part: 'frozen' });
  return false;
}

export function onReady(w: Work, member: number): void {
  if (w.a.stage !== 'restoring' || w.member(member).next !== 'standby') return;
  w.set(member, { saidReady: true });
  checkReady(w, member);
}

function checkReady(w: Work, member: number): void {
  const state = w.member(member);
  if (!state.restored || !state.saidReady || state.next !== 'standby') return;
  // It may have said ready before the order came to it.
  if (w.a.run === null || !isStarted(w.a.run, member)) return;
  w.set(member, { next: 'ready' });
  w.complete(member, (other) => startRestore(w, other));
  checkRestored(w);
}

function checkRestored(w: Work): void {
  const { a } = w;
  if (a.stage !== 'restoring' || a.run === null || !isDone(a.run)) return;
  a.run = null;
  w.stage('deciding');
  w.journal({ type: 'deciding' }, 'decide-committed');
}

/** The line is written: ask. A keeper that was lost meanwhile has turned the attempt back already. */
export function decideCommitted(w: Work): void {
  if (w.a.stage !== 'deciding') return;
  w.a.commitSent = true;
  w.decide('committed');
}

// ---------------------------------------------------------------------------------------------- deaths

/** Before the decision: a process is dead, or (`lost`) only its connection. */
export function onGone(w: Work, actor: Actor, lost: boolean): void {
  const { member, side } = actor;
  const state = w.member(member);
  const participant = w.participantOf(actor);
  if (side === 'new') {
    if (state.next === 'none' || state.next === 'dead') return;
    if (!lost) w.set(member, { next: 'dead', nextAway: false });
    abort(w, gone('SUCCESSOR_DIED', `the successor of '${w.planned(member).participant}'`, participant, lost));
    return;
  }
  if (state.old === 'absent' || state.old === 'dead') return;
  // Its answer to freeze is stored: it is not needed any more.
  const stored = state.old === 'frozen';
  if (!lost) w.set(member, { old: 'dead', oldAway: false });
  if (!stored) abort(w, gone('MEMBER_DIED', `'${participant}'`, participant, lost));
}

function gone(code: 'MEMBER_DIED' | 'SUCCESSOR_DIED', who: string, participant: string, lost: boolean): WireError {
  return wireError(code, lost ? `${who} lost its connection` : `${who} died`, { participant });
}
