/**
 * What one side of an attempt does when the word of luod does not come: a frozen old process, a frozen bystander, a
 * successor that said ready. Pure: the client library feeds what happened and performs the actions.
 *
 * Happy path: luod's own word (go, cancel, retire) ends it. Unhappy: luod hangs up, or the blackout deadline passes. An
 * old process or a bystander then asks the keeper to decide `aborted` and goes by the answer, whoever wrote it; a
 * successor only reads. While there is no answer, it waits and asks again. Nobody goes on by itself, with one exception:
 * a frozen process that can reach neither luod nor keeper, and whose successors are all dead, thaws, since nobody else
 * can ever act on the state.
 *
 * Over the kexec gap `committed` is not an end: the next kernel ends the process, or luod says that the jump came back.
 */
import type { Gap, Outcome } from '../base/words.js';

export type SideRole = 'old' | 'bystander' | 'successor';

export interface SideState {
  readonly role: SideRole;
  readonly gap: Gap;
  /** `settled`: it went on, thawed, retired or ended; nothing matters any more. */
  readonly phase: 'waiting' | 'settled';
  /** Its connection to luod stands. */
  readonly luod: boolean;
  readonly deadlinePassed: boolean;
  /** Every successor that came with freeze is dead (false where there is none to watch). */
  readonly successorsDead: boolean;
  /** A question to the keeper is under way. */
  readonly asking: boolean;
  /** The last question found no keeper. */
  readonly keeperUnreachable: boolean;
  /** Over kexec: the keeper said committed, so only luod's word counts from now on. */
  readonly jumping: boolean;
}

export type SideEvent =
  /** luod's word: to a frozen process cancel, go (bystander) or retire (old); to a successor go. */
  | { readonly type: 'called'; readonly call: 'cancel' | 'go' | 'retire' }
  | { readonly type: 'hangup' }
  /** Connected to luod again. */
  | { readonly type: 'back' }
  | { readonly type: 'deadline' }
  /** `none`: asked, and nothing is recorded (a read), or the keeper has no such record. */
  | { readonly type: 'answer'; readonly answer: Outcome | 'none' | 'unreachable' }
  | { readonly type: 'successorsDead' }
  /** The time that `wait` named is over. */
  | { readonly type: 'again' };

export type SideAction =
  /** Serve as before; to luod it reports `thawed`. */
  | { readonly do: 'thaw' }
  /** Act from now on; to luod it reports `gone-on`. */
  | { readonly do: 'goOn' }
  /** End at once by _exit, without exit handlers. */
  | { readonly do: 'retire' }
  /** A successor: end, nothing is lost. */
  | { readonly do: 'end' }
  /** Ask the keeper to decide; one `answer` follows. */
  | { readonly do: 'ask'; readonly want: 'aborted' }
  /** Read the decision; one `answer` follows. */
  | { readonly do: 'read' }
  /** Nothing to be done for `ms` milliseconds; then `again`. Meanwhile go on connecting to luod. */
  | { readonly do: 'wait'; readonly ms: number };

/** Milliseconds between two questions to the keeper. */
export const ASK_AGAIN_MS = 200;

/**
 * May it report to luod where it stands (hello with `resume`)? Not while a question is under way: the answer could still
 * send it the other way, after luod has believed the report.
 */
export function mayResume(state: SideState): boolean {
  return !state.asking;
}

export interface SideStep {
  readonly state: SideState;
  readonly actions: readonly SideAction[];
}

/** A frozen process (its freeze is answered), or a successor that said ready. */
export function startSide(role: SideRole, gap: Gap = 'handover'): SideState {
  return {
    role,
    gap,
    phase: 'waiting',
    luod: true,
    deadlinePassed: false,
    successorsDead: false,
    asking: false,
    keeperUnreachable: false,
    jumping: false,
  };
}

export function stepSide(state: SideState, event: SideEvent): SideStep {
  if (state.phase === 'settled') return { state, actions: [] };
  switch (event.type) {
    case 'called':
      return onCalled(state, event.call);
    case 'hangup':
      return ask({ ...state, luod: false });
    case 'back':
      // Its word will come, by the decision, or the deadline.
      return { state: { ...state, luod: true }, actions: [] };
    case 'deadline':
      // A successor does not hurry: luod or the old process decides.
      return state.role === 'successor' ? { state, actions: [] } : ask({ ...state, deadlinePassed: true });
    case 'answer':
      return onAnswer({ ...state, asking: false, keeperUnreachable: event.answer === 'unreachable' }, event.answer);
    case 'successorsDead':
      return onSuccessorsDead({ ...state, successorsDead: true });
    case 'again':
      return ask(state);
  }
}

function settle(state: SideState, action: SideAction): SideStep {
  return { state: { ...state, phase: 'settled', asking: false }, actions: [action] };
}

function onCalled(state: SideState, call: 'cancel' | 'go' | 'retire'): SideStep {
  if (state.role === 'successor') return settle(state, call === 'go' ? { do: 'goOn' } : { do: 'end' });
  if (call === 'retire') return settle(state, { do: 'retire' });
  // To a bystander go and cancel are the same: it serves again.
  return settle(state, state.role === 'bystander' && call === 'go' ? { do: 'goOn' } : { do: 'thaw' });
}

/** Does it have a reason not to wait for luod? */
function isAlone(state: SideState): boolean {
  return (!state.luod || state.deadlinePassed) && !state.jumping;
}

function ask(state: SideState): SideStep {
  if (!isAlone(state) || state.asking) return { state, actions: [] };
  const action: SideAction = state.role === 'successor' ? { do: 'read' } : { do: 'ask', want: 'aborted' };
  return { state: { ...state, asking: true }, actions: [action] };
}

function onAnswer(state: SideState, answer: Outcome | 'none' | 'unreachable'): SideStep {
  switch (answer) {
    case 'aborted':
      return settle(state, { do: state.role === 'successor' ? 'end' : 'thaw' });
    case 'committed':
      if (state.gap === 'kexec') return { state: { ...state, jumping: true }, actions: [] };
      if (state.role === 'old') return settle(state, { do: 'retire' });
      return settle(state, { do: 'goOn' });
    case 'none':
      return waitOn(state);
    case 'unreachable':
      return isForsaken(state) ? settle(state, { do: 'thaw' }) : waitOn(state);
  }
}

/** The one case in which nobody's word is needed. */
function isForsaken(state: SideState): boolean {
  return state.role !== 'successor' && !state.luod && state.keeperUnreachable && state.successorsDead && !state.asking;
}

function onSuccessorsDead(state: SideState): SideStep {
  return isForsaken(state) ? settle(state, { do: 'thaw' }) : { state, actions: [] };
}

function waitOn(state: SideState): SideStep {
  if (!isAlone(state) || state.asking) return { state, actions: [] };
  return { state, actions: [{ do: 'wait', ms: ASK_AGAIN_MS }] };
}
