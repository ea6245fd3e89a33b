/**
 * After decide(committed): go to who shall act, retire to who shall not, and restarts where a process is missing.
 * There is no way back from here. Unhappy: a successor that dies before it acknowledged its go is started again on what
 * is kept, but only when its old process is certainly gone; one that does not answer is stuck, and the update rests in
 * `updated` until it answers or dies.
 *
 * One rule breaks the decision: an old process that thawed while luod and keeper were both dead and its successor too
 * (design 3.4.6) holds the only living state, so it stays (`keptOld`).
 */
import { settle } from './close.js';
import { callError, wireError } from './errors.js';
import { enterAsking } from './finish.js';
import { anyOrder, goOrder } from './order.js';
import { isDone, isStarted } from './run.js';
import type { MemberState } from './state.js';
import type { Actor, CallResult, DoneResult, ResumedPhase } from './types.js';
import type { Work } from './work.js';

/** The decision is written down. */
export function enterGoing(w: Work): void {
  const { a } = w;
  a.rests = 'frozen';
  a.waits = 0;
  w.clearTimers();
  w.stage('going');
  w.effects.push({ type: 'outcome', attempt: a.attempt, outcome: 'committed' });
  w.run(a.recovered ? anyOrder(w.membersCount) : goOrder(a.plan), (member) => startGo(w, member));
  for (let member = 0; member < w.membersCount; member += 1) if (w.hasSuccessor(member)) retireOld(w, member);
  checkGone(w);
}

/**
 * In the next kernel: everything of the last one is gone, and everybody is started again in the order of go. It rests in
 * `updated` while that lasts, which may be for ever: a member that nobody can start is the operator's.
 */
export function enterArrived(w: Work): void {
  const { a } = w;
  a.rests = 'updated';
  a.waits = 0;
  w.stage('updated');
  w.effects.push({ type: 'outcome', attempt: a.attempt, outcome: 'committed' });
  w.run(goOrder(a.plan), (member) => startGo(w, member));
  checkGone(w);
}

/** Who has not come back yet; empty when finish may be tried. */
export function missingMembers(w: Work): string[] {
  const missing: string[] = [];
  if (w.a.run === null || isDone(w.a.run)) return missing;
  for (const [member, state] of w.members())
    if (!state.acts && state.old !== 'absent' && state.old !== 'failed') missing.push(w.planned(member).participant);
  return missing;
}

/** Is the go of this member due, as far as the order goes? */
function isTurn(w: Work, member: number): boolean {
  return w.a.run !== null && isStarted(w.a.run, member);
}

/** It is this member's turn. True: there is nothing to wait for. */
function startGo(w: Work, member: number): boolean {
  const state = w.member(member);
  if (state.acts) return true;
  if (!w.hasSuccessor(member)) return startBystander(w, member, state);
  switch (state.next) {
    case 'went':
      w.acknowledge({ member, side: 'new' });
      return true;
    case 'none':
    case 'dead':
      if (state.old === 'back') {
        keepOld(w, member);
        return true;
      }
      awaitRestart(w, member);
      return false;
    case 'failed':
      return true;
    case 'starting':
    case 'standby':
    case 'unknown':
    case 'ready':
      if (state.nextAway) w.timer('resume', w.a.limits.goMs);
      else {
        w.set(member, { next: 'going' });
        w.call({ member, side: 'new' }, 'go', w.a.limits.goMs);
      }
      return false;
    case 'going':
    case 'ending':
    case 'restarting':
    case 'stuck':
      return false;
  }
}

function startBystander(w: Work, member: number, state: MemberState): boolean {
  switch (state.old) {
    case 'absent':
    case 'failed':
      return true;
    case 'back':
    case 'went':
      w.set(member, { old: 'went' });
      w.acknowledge({ member, side: 'old' });
      return true;
    case 'dead':
      w.set(member, { old: 'restarting' });
      w.restart({ member, side: 'old' });
      return false;
    case 'running':
    case 'called':
    case 'freezing':
    case 'frozen':
    case 'cancelling':
      if (state.oldAway) w.timer('resume', w.a.limits.goMs);
      else {
        w.set(member, { old: 'going' });
        w.call({ member, side: 'old' }, 'go', w.a.limits.goMs);
      }
      return false;
    case 'going':
    case 'retiring':
    case 'restarting':
    case 'stuck':
      return false;
  }
}

// ---------------------------------------------------------------------------------------------- the old process

/**
 * Retire the old process of a replaced member. One that lost its connection is not asked but ended, unless it may have
 * thawed for good: that is only when its successor is dead.
 */
function retireOld(w: Work, member: number): void {
  const state = w.member(member);
  if (isOldGone(state) || state.old === 'retiring' || state.old === 'went') return;
  // It thawed by itself: whether it stays depends on its successor.
  if (state.old === 'back' && !state.acts && !isNewLiving(state)) {
    w.timer('resume', w.a.limits.goMs);
    return;
  }
  if (!state.oldAway) {
    w.set(member, { old: 'retiring' });
    w.a.retires += 1;
    w.call({ member, side: 'old' }, 'retire', w.a.limits.retireMs);
    return;
  }
  if (state.acts || isNewLiving(state)) endOld(w, member, w.a.limits.retireMs);
  else w.timer('resume', w.a.limits.goMs);
}

/** Is the successor known to live? */
function isNewLiving(state: MemberState): boolean {
  return !state.nextAway && state.next !== 'unknown' && state.next !== 'dead' && state.next !== 'none';
}

function isOldGone(state: MemberState): boolean {
  return state.old === 'dead' || state.old === 'absent';
}

function endOld(w: Work, member: number, graceMs: number): void {
  w.set(member, { old: 'retiring' });
  w.endProcess({ member, side: 'old' }, graceMs, true);
}

/** After a restart of luod: whoever acts, acts; the old processes of replaced members are to be gone. */
export function endOlds(w: Work): void {
  for (let member = 0; member < w.membersCount; member += 1) {
    const state = w.member(member);
    if (w.hasSuccessor(member) && !isOldGone(state) && state.old !== 'went') endOld(w, member, w.a.limits.retireMs);
  }
}

/** It answered, or not: it ends either way, by itself or by SIGKILL. */
export function onRetire(w: Work, member: number, result: CallResult): void {
  w.a.retires -= 1;
  if (w.member(member).old === 'retiring') {
    w.endProcess({ member, side: 'old' }, result.ok ? w.a.limits.retireMs : 0, true);
  }
}

/** The old process of a replaced member is certainly gone. */
export function onOldGone(w: Work, member: number): void {
  w.set(member, { old: 'dead', oldAway: false });
  if (isTurn(w, member)) awaitRestart(w, member);
}

// ---------------------------------------------------------------------------------------------- acting

/** Start the new command again, as soon as the old process cannot act any more. */
function awaitRestart(w: Work, member: number): void {
  const state = w.member(member);
  if (state.acts || (state.next !== 'dead' && state.next !== 'none')) return;
  if (!isOldGone(state)) {
    retireOld(w, member);
    return;
  }
  w.set(member, { next: 'restarting' });
  w.restart({ member, side: 'new' });
}

/** It acknowledged its go, says that it went on by the decision that it read, or was started again. */
function acted(w: Work, actor: Actor, started: string | null = null): void {
  w.set(actor.member, actor.side === 'old' ? { old: 'went' } : { next: 'went' });
  if (!w.member(actor.member).acts) w.acknowledge(actor, started);
  w.complete(actor.member, (member) => startGo(w, member));
  if (w.hasSuccessor(actor.member) && actor.side === 'new') retireOld(w, actor.member);
  checkGone(w);
}

export function onGo(w: Work, actor: Actor, result: CallResult): void {
  const state = w.member(actor.member);
  const word = actor.side === 'old' ? state.old : state.next;
  if (word !== 'going' && word !== 'stuck') return;
  if (result.ok) {
    w.clearStuck(w.participantOf(actor));
    acted(w, actor);
    return;
  }
  if (result.how === 'lost') {
    w.timer('resume', w.a.limits.goMs);
    return;
  }
  w.noteError(actor.member, 'go', callError(w.participantOf(actor), 'go', result.how, result.error));
  if (result.how === 'timeout') {
    stuck(w, actor);
    return;
  }
  w.clearStuck(w.participantOf(actor));
  if (actor.side === 'old') {
    acted(w, actor);
    return;
  }
  // A successor that cannot go on is no better than a dead one: another is started on what is kept.
  w.set(actor.member, { next: 'ending' });
  w.endProcess(actor, 0, false);
}

function stuck(w: Work, actor: Actor): void {
  w.set(actor.member, actor.side === 'old' ? { old: 'stuck' } : { next: 'stuck' });
  w.setStuck(actor, 'go');
  w.complete(actor.member, (member) => startGo(w, member));
  checkGone(w);
}

export function onNewEnded(w: Work, member: number): void {
  if (w.member(member).next !== 'ending') return;
  w.set(member, { next: 'dead', nextAway: false });
  if (isTurn(w, member)) awaitRestart(w, member);
}

export function onRestarted(w: Work, actor: Actor, result: DoneResult, participant: string | null): void {
  if (result.ok) {
    acted(w, actor, participant);
    return;
  }
  w.noteError(actor.member, 'restart', result.error);
  w.set(actor.member, actor.side === 'old' ? { old: 'failed' } : { next: 'failed' });
  w.complete(actor.member, (member) => startGo(w, member));
  checkGone(w);
}

// ---------------------------------------------------------------------------------------------- deaths, reconnections

/** A process that had not acted (or was stuck) is dead. */
export function onDied(w: Work, actor: Actor): void {
  const { member } = actor;
  if (actor.side === 'old' && w.hasSuccessor(member)) {
    onOldGone(w, member);
    return;
  }
  if (actor.side === 'new') {
    if (w.member(member).next === 'ending') return;
    w.set(member, { next: 'dead', nextAway: false });
    if (!isTurn(w, member)) return;
    if (w.member(member).old === 'back') {
      keepOld(w, member);
      w.complete(member, (other) => startGo(w, other));
      checkGone(w);
    } else awaitRestart(w, member);
    return;
  }
  w.set(member, { old: 'dead', oldAway: false });
  if (isTurn(w, member)) startBystander(w, member, w.member(member));
}

export function onResumed(w: Work, actor: Actor, phase: ResumedPhase): void {
  if (actor.side === 'new') resumedNew(w, actor, phase);
  else if (w.hasSuccessor(actor.member)) resumedOld(w, actor.member, phase);
  else resumedBystander(w, actor, phase);
}

function resumedNew(w: Work, actor: Actor, phase: ResumedPhase): void {
  const state = w.member(actor.member);
  if (state.next === 'ending' || state.next === 'dead') return;
  if (phase === 'gone-on' || phase === 'running') {
    w.clearStuck(w.participantOf(actor));
    acted(w, actor);
    return;
  }
  if (state.next === 'stuck') w.call(actor, 'go', w.a.limits.goMs);
  else {
    w.set(actor.member, { next: 'ready' });
    if (isTurn(w, actor.member)) startGo(w, actor.member);
  }
  retireOld(w, actor.member);
}

function resumedOld(w: Work, member: number, phase: ResumedPhase): void {
  const state = w.member(member);
  const successorGone = state.next === 'dead' || state.next === 'none';
  if (successorGone && !state.acts && (phase === 'thawed' || phase === 'running')) {
    keepOld(w, member);
    w.complete(member, (other) => startGo(w, other));
    checkGone(w);
    return;
  }
  if (phase === 'thawed' || phase === 'running') w.set(member, { old: 'back' });
  retireOld(w, member);
}

/** It holds the only living state. */
function keepOld(w: Work, member: number): void {
  w.set(member, { old: 'went', next: 'none' });
  const { participant } = w.planned(member);
  const message = 'luod, keeper and successor were all dead, so the old process went on and stays';
  w.noteError(member, 'go', wireError('UPDATE_FAILED', message, { participant }));
  w.effects.push({ type: 'keptOld', member });
  w.acknowledge({ member, side: 'old' });
}

function resumedBystander(w: Work, actor: Actor, phase: ResumedPhase): void {
  const { member } = actor;
  if (phase === 'running' || phase === 'thawed' || phase === 'gone-on') {
    w.clearStuck(w.participantOf(actor));
    acted(w, actor);
    return;
  }
  const state = w.member(member);
  if (state.old === 'stuck') w.call(actor, 'go', w.a.limits.goMs);
  else {
    w.set(member, { old: 'frozen' });
    if (isTurn(w, member)) startGo(w, member);
  }
}

/** Who has not come back by now is stuck; an old one whose successor is dead is ended, so that another can start. */
export function onResumeTimeout(w: Work): void {
  for (const [member] of [...w.members()]) {
    const state = w.member(member);
    if (!w.hasSuccessor(member)) {
      if (isTurn(w, member) && state.oldAway && !state.acts && state.old !== 'stuck' && state.old !== 'dead') {
        stuck(w, { member, side: 'old' });
      }
      continue;
    }
    const alive = state.next !== 'dead' && state.next !== 'none';
    if (isTurn(w, member) && alive && state.nextAway && !state.acts && state.next !== 'stuck') {
      stuck(w, { member, side: 'new' });
    }
    if (!alive && state.oldAway && !isOldGone(state) && state.old !== 'retiring') endOld(w, member, 0);
  }
  checkGone(w);
}

// ---------------------------------------------------------------------------------------------- the end of it

/** Is everybody through, and if so: is it finished, or does it rest with someone stuck? */
export function checkGone(w: Work): void {
  const { a } = w;
  if ((a.stage !== 'going' && a.stage !== 'updated') || a.run === null || !isDone(a.run)) return;
  const missing: string[] = [];
  for (const [member, state] of w.members()) {
    if (state.next === 'stuck') missing.push(w.participantOf({ member, side: 'new' }));
    else if (state.old === 'stuck') missing.push(w.planned(member).participant);
    else if (state.next === 'restarting' || state.next === 'ending' || state.old === 'restarting') return;
    else if (state.next === 'dead' && !state.acts) return;
  }
  if (missing.length === 0) {
    enterAsking(w);
    return;
  }
  if (a.stage === 'updated') return;
  a.rests = 'updated';
  w.clearTimers();
  w.stage('updated');
  const names = missing.map((name) => `'${name}'`).join(', ');
  settle(
    w,
    'updated',
    'committed',
    wireError('CALL_TIMEOUT', `go is not acknowledged by ${names}`, { data: { stuck: missing } }),
  );
}
