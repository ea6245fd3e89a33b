/**
 * The way back: cancel to every member that was prepared or frozen, the end of every successor, a restart of every old
 * process that is dead. It starts when the decision (where one is needed) is `aborted` and written down. A cancel cannot
 * be refused: an error is recorded, no answer makes the member stuck, and the transition completes.
 */
import { callError } from './errors.js';
import { close } from './close.js';
import { anyOrder, undoOrder } from './order.js';
import { isDone, type Order } from './run.js';
import type { MemberState } from './state.js';
import type { Actor, CallResult, DoneResult, ResumedPhase } from './types.js';
import type { Work } from './work.js';

/** Does this member have something to undo? */
function needsUndo(state: MemberState): boolean {
  return state.old === 'called' || state.old === 'freezing' || state.old === 'frozen';
}

function isNewAlive(state: MemberState): boolean {
  return state.next !== 'none' && state.next !== 'dead' && state.next !== 'failed';
}

export function enterUndo(w: Work): void {
  const { a } = w;
  a.undoing = true;
  a.waits = 0;
  w.effects.push({ type: 'outcome', attempt: a.attempt, outcome: 'aborted' });
  for (const [member, state] of [...w.members()]) {
    if (isNewAlive(state)) {
      a.waits += 1;
      w.set(member, { next: 'ending' });
      w.endProcess({ member, side: 'new' }, 0, false);
    }
    if (state.old === 'dead') {
      a.waits += 1;
      restartOld(w, member);
    }
    if (state.old === 'back' && !state.acts) w.acknowledge({ member, side: 'old' });
  }
  w.run(orderOf(w), (member) => startCancel(w, member));
  checkUndone(w);
}

/**
 * After a restart of luod the order of completion is not known, and nobody should wait for one that has not come back.
 */
function orderOf(w: Work): Order {
  if (w.a.recovered) return anyOrder(w.membersCount);
  return undoOrder(
    w.a.plan,
    (member) => (w.member(member).missing > 0 ? Infinity : w.member(member).touched),
    (member) => needsUndo(w.member(member)),
  );
}

/** It is this member's turn. True: there is nothing to undo (any more). */
function startCancel(w: Work, member: number): boolean {
  const state = w.member(member);
  if (!needsUndo(state)) return true;
  w.set(member, { old: 'cancelling' });
  if (state.oldAway) w.timer('resume', w.a.limits.cancelMs);
  else cancel(w, member);
  return false;
}

function cancel(w: Work, member: number): void {
  const error = w.a.cause;
  w.call({ member, side: 'old' }, 'cancel', w.a.limits.cancelMs, error === null ? {} : { error });
}

export function onCancel(w: Work, member: number, result: CallResult): void {
  const state = w.member(member);
  if (state.old !== 'cancelling' && state.old !== 'stuck') return;
  const actor: Actor = { member, side: 'old' };
  if (!result.ok) {
    if (result.how === 'lost') {
      w.timer('resume', w.a.limits.cancelMs);
      return;
    }
    w.noteError(member, 'cancel', callError(w.participantOf(actor), 'cancel', result.how, result.error));
    if (result.how === 'timeout') {
      stuck(w, member);
      return;
    }
  }
  back(w, member);
}

function stuck(w: Work, member: number): void {
  if (w.member(member).old === 'stuck') return;
  w.set(member, { old: 'stuck' });
  w.setStuck({ member, side: 'old' }, 'cancel');
  w.complete(member, (other) => startCancel(w, other));
  checkUndone(w);
}

/** It runs as before. */
function back(w: Work, member: number): void {
  w.clearStuck(w.participantOf({ member, side: 'old' }));
  w.set(member, { old: 'back' });
  w.acknowledge({ member, side: 'old' });
  w.complete(member, (other) => startCancel(w, other));
  checkUndone(w);
}

/** A prepare or freeze that had timed out succeeded after all, and its undo had been answered before: undo it again. */
export function onLateSuccess(w: Work, member: number): void {
  const { old } = w.member(member);
  if (old !== 'back' && old !== 'running') return;
  w.set(member, { old: 'stuck' });
  w.setStuck({ member, side: 'old' }, 'cancel');
  cancel(w, member);
}

/** Start the old command again, as soon as the successor is certainly gone. */
function restartOld(w: Work, member: number): void {
  const state = w.member(member);
  if (state.old !== 'dead' || isNewAlive(state)) return;
  w.set(member, { old: 'restarting' });
  w.restart({ member, side: 'old' });
}

export function onDied(w: Work, actor: Actor): void {
  const { member } = actor;
  const state = w.member(member);
  if (actor.side === 'new') {
    // While it is being ended, the result of that is what counts.
    if (state.next !== 'ending') w.set(member, { next: 'dead', nextAway: false });
    return;
  }
  if (state.old === 'went' || state.old === 'failed' || state.old === 'restarting') return;
  w.set(member, { old: 'dead', oldAway: false });
  if (!w.a.undoing) return;
  w.a.waits += 1;
  restartOld(w, member);
  w.complete(member, (other) => startCancel(w, other));
  checkUndone(w);
}

export function onNewEnded(w: Work, member: number): void {
  if (w.member(member).next !== 'ending') return;
  w.set(member, { next: 'dead', nextAway: false });
  if (!w.a.undoing) return;
  w.a.waits -= 1;
  restartOld(w, member);
  checkUndone(w);
}

export function onRestarted(w: Work, member: number, result: DoneResult, participant: string | null): void {
  if (result.ok) {
    w.set(member, { old: 'went' });
    w.acknowledge({ member, side: 'old' }, participant);
  } else {
    w.noteError(member, 'restart', result.error);
    w.set(member, { old: 'failed' });
  }
  w.a.waits -= 1;
  checkUndone(w);
}

/** A process is connected again; before the undo has begun its word is noted, then it is acted upon. */
export function onResumed(w: Work, actor: Actor, phase: ResumedPhase): void {
  const { member } = actor;
  const state = w.member(member);
  if (actor.side === 'new') {
    // It went on by `committed`, which it read: so that is what the keeper's record said.
    if (phase === 'gone-on' && !w.a.undoing) w.set(member, { next: 'went' });
    else if (state.next === 'unknown') w.set(member, { next: 'ready' });
    return;
  }
  // A bystander that read `committed` in a keeper that is gone runs, and still has to hear that the attempt is off.
  const runs = phase === 'running' || phase === 'thawed';
  if (w.a.undoing && (state.old === 'cancelling' || state.old === 'stuck')) {
    if (runs) back(w, member);
    else cancel(w, member);
    return;
  }
  if (!needsUndo(state)) return;
  if (runs) w.set(member, { old: phase === 'running' && !w.a.freezeSent ? 'running' : 'back' });
  else w.set(member, { old: phase === 'prepared' ? 'called' : 'frozen' });
}

/** Who has not come back by now is stuck. */
export function onResumeTimeout(w: Work): void {
  for (const [member] of [...w.members()]) {
    const state = w.member(member);
    if (state.old === 'cancelling' && state.oldAway) stuck(w, member);
  }
}

export function checkUndone(w: Work): void {
  const { a } = w;
  if (!a.undoing || a.waits > 0 || a.run === null || !isDone(a.run)) return;
  close(w, 'aborted');
}
