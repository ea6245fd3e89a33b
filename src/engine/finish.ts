/**
 * From updated to normal: ask everybody who acts whether the update may be finished; if nobody vetoes, write it down
 * and tell them. Unhappy: a veto (or no answer, which is no yes) leaves `updated` and names who; finish itself cannot be
 * refused, its errors are recorded, who does not answer it is stuck.
 */
import { callError, wireError } from './errors.js';
import { close, settle } from './close.js';
import type { Actor, CallResult } from './types.js';
import type { Work } from './work.js';

/** The process of a member that acts by this update; null: there is none (any more), its end is the supervisor's. */
function actingOf(w: Work, member: number): Actor | null {
  const state = w.member(member);
  if (!state.acts) return null;
  if (state.next === 'went') return { member, side: 'new' };
  // An old process that was kept has thawed: for it there is nothing to finish.
  if (state.old === 'went' && !w.hasSuccessor(member)) return { member, side: 'old' };
  return null;
}

function isAway(w: Work, actor: Actor): boolean {
  const state = w.member(actor.member);
  return actor.side === 'old' ? state.oldAway : state.nextAway;
}

/** canFinish, or finish, to everybody at the same time. */
function askAll(w: Work, method: 'canFinish' | 'finish'): void {
  w.a.waits = 0;
  for (let member = 0; member < w.membersCount; member += 1) {
    const actor = actingOf(w, member);
    if (actor === null) continue;
    w.set(member, { asked: true });
    w.a.waits += 1;
    if (isAway(w, actor)) w.timer('resume', w.a.limits.finishMs);
    else w.call(actor, method, w.a.limits.finishMs);
  }
}

export function enterAsking(w: Work): void {
  w.a.rests = 'updated';
  w.a.vetoes = [];
  w.clearTimers();
  w.stage('asking');
  askAll(w, 'canFinish');
  checkAsked(w);
}

function checkAsked(w: Work): void {
  if (w.a.waits > 0 || w.a.stage !== 'asking') return;
  w.clearTimer('resume');
  if (w.a.vetoes.length > 0) {
    w.stage('updated');
    const names = w.a.vetoes.map((veto) => veto.participant);
    const reasons = w.a.vetoes.map((veto) => `'${veto.participant}': ${veto.reason}`).join('; ');
    settle(
      w,
      'updated',
      'committed',
      wireError('FINISH_VETO', `finish is vetoed by ${reasons}`, { data: { vetoes: names } }),
    );
    return;
  }
  w.stage('finishing');
  w.journal({ type: 'finishing' }, 'finish');
}

/** The line is written: nobody vetoed. */
export function enterFinishing(w: Work): void {
  w.a.finishSent = true;
  askAll(w, 'finish');
  checkFinished(w);
}

export function checkFinished(w: Work): void {
  if (w.a.stage !== 'finishing' || w.a.waits > 0 || w.a.retires > 0 || !w.a.finishSent) return;
  close(w, 'committed');
}

/** One that was asked needs no longer be waited for. */
function heard(w: Work, member: number): boolean {
  if (!w.member(member).asked) return false;
  w.set(member, { asked: false });
  w.a.waits -= 1;
  return true;
}

export function onCanFinish(w: Work, actor: Actor, result: CallResult): void {
  if (w.a.stage !== 'asking' || !w.member(actor.member).asked) return;
  if (!result.ok && result.how === 'lost') {
    w.timer('resume', w.a.limits.finishMs);
    return;
  }
  heard(w, actor.member);
  if (!result.ok) veto(w, actor, result.error.message);
  checkAsked(w);
}

function veto(w: Work, actor: Actor, reason: string): void {
  w.a.vetoes = [...w.a.vetoes, { participant: w.participantOf(actor), reason }];
}

export function onFinish(w: Work, actor: Actor, result: CallResult): void {
  if (w.a.stage !== 'finishing') return;
  if (!heard(w, actor.member)) {
    // It was stuck in this, came back and was told again.
    if (result.ok || result.how === 'answered') w.clearStuck(w.participantOf(actor));
    return;
  }
  if (!result.ok) {
    w.noteError(actor.member, 'finish', callError(w.participantOf(actor), 'finish', result.how, result.error));
    if (result.how !== 'answered') w.setStuck(actor, 'finish');
  }
  checkFinished(w);
}

/** A process that acts is connected again. */
export function onResumedActing(w: Work, actor: Actor): void {
  const isStuck = w.stuck.get(w.participantOf(actor))?.method === 'finish';
  if (!w.member(actor.member).asked && !isStuck) return;
  if (w.a.stage === 'asking') w.call(actor, 'canFinish', w.a.limits.finishMs);
  else if (w.a.stage === 'finishing' && w.a.finishSent) w.call(actor, 'finish', w.a.limits.finishMs);
}

/** A process that acted is dead: the supervisor's matter, but it need not be asked. */
export function onActingDied(w: Work, member: number): void {
  if (!heard(w, member)) return;
  checkAsked(w);
  checkFinished(w);
}

/** Who has not come back by now vetoes, or is stuck. */
export function onResumeTimeout(w: Work): void {
  for (const [member, state] of w.members()) {
    const actor = actingOf(w, member);
    if (!state.asked || actor === null || !isAway(w, actor)) continue;
    heard(w, member);
    if (w.a.stage === 'asking') veto(w, actor, 'its connection is lost');
    else w.setStuck(actor, 'finish');
  }
  checkAsked(w);
  checkFinished(w);
}
