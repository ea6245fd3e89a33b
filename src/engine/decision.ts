/**
 * The decision: one record in the keeper, first writer wins. Nobody gets go, thaw or retire before its answer is here
 * and written down. It is needed as soon as a freeze may have been sent; before that, luod alone decides.
 *
 * A keeper that dies takes the record along. What luod holds is written into the next one; if luod holds nothing, then
 * `aborted`, except that a decide(committed) may have been recorded and read: a successor that lost luod may act by it.
 * So then no record is opened until every living successor has been heard of: one that went on means `committed`.
 *
 * Over the kexec gap `committed` is a leave to jump for the luod that asked for it, and for no other: one that finds it
 * recorded writes `returned` and thaws everybody.
 */
import type { WireError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import { wireError } from './errors.js';
import { enterUndo } from './undo.js';
import type { Work } from './work.js';

/** Stages from which there is a way back. */
export function isBeforeDecision(w: Work): boolean {
  switch (w.a.stage) {
    case 'opening':
    case 'standby':
    case 'preparing':
    case 'prepared':
    case 'freezing':
    case 'restoring':
      return true;
    case 'deciding':
      return !w.a.commitSent;
    case 'jumping':
    case 'going':
    case 'updated':
    case 'asking':
    case 'finishing':
    case 'cancelling':
      return false;
  }
}

/** Turn back. Without effect where it is too late or done already. */
export function abort(w: Work, cause: WireError): void {
  if (!isBeforeDecision(w)) return;
  turnBack(w, cause);
  if (!w.a.freezeSent) writeAborting(w, 'undo');
  else if (w.a.record === 'lost') settleKeeper(w);
  else writeAborting(w, 'decide-aborted');
}

function turnBack(w: Work, cause: WireError): void {
  const { a } = w;
  a.cause = cause;
  a.run = null;
  a.waits = 0;
  w.clearTimers();
  w.stage('cancelling');
}

/** Write why it turns back, and go on with `then`. */
export function writeAborting(w: Work, then: 'undo' | 'decide-aborted' | 'open-aborted' | 'end-unheard'): void {
  w.a.abortLine = true;
  w.journal({ type: 'aborting', error: w.a.cause! }, then);
}

/** The line `aborting` is written, and a freeze may have been sent. */
export function decideAborted(w: Work): void {
  if (w.a.record === 'lost') settleKeeper(w);
  else w.decide('aborted');
}

/** The keeper's answer, or what was written into a new keeper. */
export function decided(w: Work, outcome: Outcome): void {
  const { a } = w;
  if (a.decision !== null) return;
  a.decision = outcome;
  w.clearTimers();
  if (outcome === 'aborted' && a.stage !== 'cancelling') {
    turnBack(w, wireError('UPDATE_FAILED', 'a frozen participant aborted: its deadline passed, or it lost luod'));
  }
  // Whoever turned back does not jump: an earlier luod of this boot asked, and died before it could.
  const returns = outcome === 'committed' && a.plan.gap === 'kexec' && a.stage === 'cancelling';
  if (outcome === 'committed' && !returns) a.cause = null;
  w.journal({ type: 'decided', outcome }, outcome === 'aborted' ? 'undo' : returns ? 'return' : 'go');
}

/** A kexec that was committed did not happen: write so and why; then everybody is thawed. */
export function writeReturned(w: Work): void {
  w.journal({ type: 'returned', error: w.a.cause! }, 'undo');
}

/** The line `aborting`, `decided aborted` or `returned` is written. */
export function undo(w: Work): void {
  if (!w.a.undoing) enterUndo(w);
}

/** A new keeper runs and has no record. */
export function keeperLost(w: Work): void {
  w.a.record = 'lost';
  for (const [id, open] of [...w.open.entries()]) {
    if (open.command === 'decide' || (open.command === 'open' && open.attempt === w.a.attempt)) {
      w.open.set(id, { command: 'decide', attempt: open.attempt, voided: true });
    }
  }
  settleKeeper(w);
}

/** Does it wait for successors to be heard of before a record can be opened? */
export function isHearing(w: Work): boolean {
  const { a } = w;
  return a.record === 'lost' && a.freezeSent && a.decision === null && isOneUnheard(w);
}

/** The operator's word: successors that are not heard of are ended, so that the old ones can go on. */
export function giveUpUnheard(w: Work): void {
  if (!isHearing(w)) return;
  if (!w.a.abortLine) {
    writeAborting(w, 'end-unheard');
    return;
  }
  for (const [member, state] of [...w.members()]) {
    if (!w.hasSuccessor(member) || !state.nextAway || state.next === 'dead' || state.next === 'ending') continue;
    w.set(member, { next: 'ending' });
    w.endProcess({ member, side: 'new' }, 0, false);
  }
}

function isOneUnheard(w: Work): boolean {
  if (!w.a.commitSent) return false;
  for (const [member, state] of w.members()) {
    if (w.hasSuccessor(member) && state.nextAway && state.next !== 'dead' && state.next !== 'none') return true;
  }
  return false;
}

function hasOneGoneOn(w: Work): boolean {
  for (const [, state] of w.members()) if (state.next === 'went') return true;
  return false;
}

/** Open the record in a new keeper, as soon as it is known what belongs into it. */
export function settleKeeper(w: Work): void {
  const { a } = w;
  if (a.record !== 'lost' || a.closing) return;
  if (a.decision !== null) {
    w.openRecord(a.decision);
    return;
  }
  if (!a.freezeSent) {
    // Nobody has been given the key, so nobody can have decided.
    if (a.stage !== 'cancelling') w.openRecord(null);
    return;
  }
  if (a.stage !== 'cancelling') turnBack(w, wireError('KEEPER_LOST', 'the keeper died before the decision'));
  if (hasOneGoneOn(w)) {
    a.chosen = 'committed';
  } else {
    if (isOneUnheard(w)) return;
    if (!a.abortLine) {
      writeAborting(w, 'open-aborted');
      return;
    }
    a.chosen = 'aborted';
  }
  w.openRecord(a.chosen);
}

/** The record is open (again). True: go on with what was being done; false: that is taken care of. */
export function opened(w: Work): boolean {
  w.a.record = 'open';
  if (w.a.chosen !== null && w.a.decision === null) {
    decided(w, w.a.chosen);
    return false;
  }
  return true;
}
