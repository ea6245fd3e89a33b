/**
 * The state of the engine, as a value, and the questions that others ask of it. Only the stages (forward.ts, going.ts,
 * finish.ts, undo.ts) change it, through Work; it never holds a time, a process or an fd.
 */
import type { WireError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import { Dictionary, type Table } from './table.js';
import type {
  Actor,
  CallMethod,
  Limits,
  Plan,
  PlanMember,
  Shown,
  Side,
  Stage,
  StuckRecord,
  TimerName,
} from './types.js';
import type { Run } from './run.js';

/** Where the process that came with the attempt stands. For a bystander this is the only process. */
export type OldWord =
  /** No process: crashed or parked before the attempt. */
  | 'absent'
  /** Nothing was asked of it. */
  | 'running'
  /** A prepare was sent, so it has to be undone. */
  | 'called'
  /** A freeze was sent. */
  | 'freezing'
  /** Its freeze is answered and what it handed over is stored. */
  | 'frozen'
  /** A cancel was sent, or waits for it to reconnect. */
  | 'cancelling'
  /** Its cancel is acknowledged: it serves as before. */
  | 'back'
  /** A go was sent (bystander). */
  | 'going'
  /** It goes on after a go (bystander), or after it thawed for good. */
  | 'went'
  /** Retire was sent or its end is awaited. */
  | 'retiring'
  | 'dead'
  /** Its command is being started again on the kept state. */
  | 'restarting'
  /** It could not be started again; the supervisor goes on with it. */
  | 'failed'
  /** Its cancel or go has no answer. */
  | 'stuck';

/** Where the successor stands. */
export type NewWord =
  | 'none'
  | 'starting'
  | 'standby'
  /** After a restart of luod: it may be anything up to ready. */
  | 'unknown'
  | 'ready'
  | 'going'
  | 'went'
  | 'ending'
  /** Dead before it acted. */
  | 'dead'
  | 'restarting'
  | 'failed'
  | 'stuck';

export interface MemberState {
  readonly old: OldWord;
  readonly next: NewWord;
  /** The connection is lost (or luod was restarted) and the process may live. */
  readonly oldAway: boolean;
  readonly nextAway: boolean;
  /** Steps of the present phase that are done. */
  readonly stepsDone: number;
  /** When it last answered prepare or freeze, as a count; 0 never. */
  readonly touched: number;
  /** Its calls of prepare and freeze that have no answer (a timeout is none). */
  readonly missing: number;
  readonly restored: boolean;
  readonly saidReady: boolean;
  /** A canFinish or finish was sent or is due, and has no answer. */
  readonly asked: boolean;
  /** Some process of it acts again and acknowledged so. */
  readonly acts: boolean;
  readonly successor: string | null;
  /** Who was started again on the old side; null: the process that came with the attempt stands there. */
  readonly standIn: string | null;
}

/** A command without its result yet. */
export type OpenCommand =
  | { readonly command: 'journal'; readonly attempt: number; readonly then: Then; readonly member: number | null }
  | { readonly command: 'open' | 'drop' | 'jump'; readonly attempt: number }
  | { readonly command: 'decide'; readonly attempt: number; readonly voided: boolean }
  | { readonly command: 'standby'; readonly attempt: number; readonly member: number }
  | {
      readonly command: 'call';
      readonly attempt: number;
      readonly actor: Actor;
      readonly participant: string;
      readonly method: CallMethod;
      readonly step: number | null;
      /** Of restore. */
      readonly part: 'prepared' | 'frozen' | null;
      /** Its deadline passed: only a `late` can follow. */
      readonly timedOut: boolean;
    }
  | {
      readonly command: 'end';
      readonly attempt: number;
      readonly actor: Actor | null;
      /** The end of a retired process: the next standby waits for it. */
      readonly lingers: boolean;
    }
  | { readonly command: 'restart'; readonly attempt: number; readonly actor: Actor }
  | { readonly command: 'timer'; readonly attempt: number; readonly name: TimerName };

/** What follows when a journal line is written. */
export type Then =
  | 'begin'
  | 'freeze'
  | 'decide-committed'
  | 'decide-aborted'
  | 'open-aborted'
  | 'end-unheard'
  | 'undo'
  | 'go'
  | 'return'
  | 'finish'
  | 'drop'
  | 'settle'
  | 'nothing';

export interface Attempt {
  readonly attempt: number;
  readonly key: string;
  readonly plan: Plan;
  readonly limits: Limits;
  readonly until: 'prepared' | 'finished';
  readonly stage: Stage;
  /** The state that is shown: the one that the running transition left. */
  readonly rests: 'normal' | 'prepared' | 'frozen' | 'updated';
  /** Luod was restarted within this attempt. */
  readonly recovered: boolean;
  readonly members: Table<MemberState>;
  /** The schedule that is being run, if the stage has one. */
  readonly run: Run | null;
  /** Results that the stage waits for besides its run. */
  readonly waits: number;
  /** Retires without an answer. */
  readonly retires: number;
  /** Count of answers to prepare and freeze. */
  readonly answers: number;
  /** The line `freezing` is or may be written. */
  readonly freezeSent: boolean;
  /** decide(committed) may have reached a keeper. */
  readonly commitSent: boolean;
  readonly abortLine: boolean;
  readonly decision: Outcome | null;
  /** The record in the keeper. */
  readonly record: 'none' | 'opening' | 'open' | 'lost';
  /** What is written into the record of a new keeper. */
  readonly chosen: Outcome | null;
  /** Why it is aborted. */
  readonly cause: WireError | null;
  readonly timers: Readonly<Partial<Record<TimerName, number>>>;
  readonly vetoes: readonly { readonly participant: string; readonly reason: string }[];
  readonly errors: ErrorList;
  /** The last line is being written; what happens now belongs to the time after. */
  readonly closing: boolean;
  /** The undo runs: every decision that it needs is known and written. */
  readonly undoing: boolean;
  /** The line `finishing` is written. */
  readonly finishSent: boolean;
}

/** Errors that stop nothing, newest first: a list that is shared, never copied. */
export type ErrorList = {
  readonly participant: string;
  readonly method: string;
  readonly error: WireError;
  readonly earlier: ErrorList;
} | null;

export interface EngineState {
  readonly nextId: number;
  readonly attempt: Attempt | null;
  readonly open: Dictionary<number, OpenCommand>;
  /** By participant. */
  readonly stuck: Dictionary<string, StuckRecord>;
  /** Retired processes that are not gone yet. */
  readonly lingering: number;
  /** The highest attempt so far. */
  readonly lastAttempt: number;
}

/** The engine of a luod that has never updated anything. */
export function initialState(): EngineState {
  return {
    nextId: 1,
    attempt: null,
    open: Dictionary.empty(),
    stuck: Dictionary.empty(),
    lingering: 0,
    lastAttempt: 0,
  };
}

const PHASE_OF = {
  opening: 'preparing',
  standby: 'preparing',
  preparing: 'preparing',
  prepared: null,
  freezing: 'freezing',
  restoring: 'committing',
  deciding: 'committing',
  jumping: 'committing',
  going: 'committing',
  updated: null,
  asking: 'finishing',
  finishing: 'finishing',
  cancelling: 'cancelling',
} as const;

/** State and phase in the words of everybody. */
export function shown(state: EngineState): Shown {
  const attempt = state.attempt;
  if (attempt === null) return { state: 'normal', phase: null, stage: null, attempt: null };
  return {
    state: attempt.rests,
    phase: PHASE_OF[attempt.stage],
    stage: attempt.stage,
    attempt: attempt.attempt,
  };
}

/** May this member's successor say ready now? */
export function mayBeReady(state: EngineState, member: number): boolean {
  const attempt = state.attempt;
  if (attempt === null || attempt.stage !== 'restoring' || member >= attempt.members.length) return false;
  return attempt.members.get(member).next === 'standby';
}

/**
 * Will the engine care for what follows the death of this process? False: it is an ordinary crash, the supervisor's.
 */
export function handlesDeath(state: EngineState, actor: Actor): boolean {
  const attempt = state.attempt;
  if (attempt === null || attempt.closing || actor.member >= attempt.members.length) return false;
  const member = attempt.members.get(actor.member);
  if (attempt.stage === 'cancelling') return member.old !== 'went' && member.old !== 'failed';
  if (attempt.decision !== 'committed') return true;
  const word = actor.side === 'old' ? member.old : member.next;
  if (actor.side === 'old' && attempt.plan.members[actor.member]!.replaced) return word !== 'went';
  return !member.acts && word !== 'failed';
}

/** Who stands on this side of a member now; null: a successor that nobody has heard of. */
export function participantAt(planned: PlanMember, state: MemberState, side: Side): string | null {
  return side === 'new' ? state.successor : (state.standIn ?? planned.participant);
}

/** Names of the participants that are stuck, in order. */
export function stuckNames(state: EngineState): string[] {
  return [...state.stuck.entries()].map(([participant]) => participant).sort();
}
