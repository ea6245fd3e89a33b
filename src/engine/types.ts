/**
 * The vocabulary of the engine: what a plan is, what happens to it (events), what it asks for (effects), what it is
 * (state), what it writes down (journal records). Types only, so that the daemon can be written against this page.
 *
 * How it is used: `const { state, effects } = step(state, event)` (machine.ts). The daemon performs every effect. An
 * effect that has an `id` is a *command*: exactly one event carries its result, named beside it below. An effect without
 * an `id` is a *notice* and has no result. Nothing here reads a clock: a deadline is a number that the daemon enforces.
 *
 * Sides. A member of an attempt is a participant that is in the plan. Its process is side `old`; the successor that a
 * replaced member gets is side `new`. A process that was started again on kept state stays on the side it stands for.
 */
import type { WireError } from '../base/errors.js';
import type { Gap, Kind, Outcome, Phase, Policy, State, Want } from '../base/words.js';

// ---------------------------------------------------------------------------------------------- registry

/** Can it cross this gap? `reason` is a sentence for people, empty when `ok`. */
export interface Viability {
  readonly ok: boolean;
  readonly reason: string;
}

/** A process, or a place where one was: registered handles outlive their process. */
export interface ParticipantRecord {
  /** Unique while luod's directory lives; the daemon chooses it. */
  readonly id: string;
  /** `uid:service`. */
  readonly owner: string;
  /** Order of registration; cycles are prepared in it. */
  readonly seq: number;
  /** False: crashed or parked; its state is kept, nobody answers calls (prepare and freeze are skipped). */
  readonly alive: boolean;
  /** `plain`: speaks no luo. Its freeze is its end, so its successor starts only after it (design 3.4.8). */
  readonly protocol: 'luo' | 'plain';
}

export interface HandleRecord {
  readonly owner: string;
  readonly kind: Kind;
  readonly name: string;
  /** `owner/kind:name`, see handleKey. */
  readonly key: string;
  /** Id of the participant that holds it. */
  readonly participant: string;
  readonly compatible: string;
  /** Keys of handles. */
  readonly dependencies: readonly string[];
  readonly viable: Readonly<Record<Gap, Viability>>;
  readonly wants: Readonly<Record<Gap, Want>>;
  /** The operator's override: true preserves it whatever its owner wants, false never, null leaves it to the owner. */
  readonly requested: boolean | null;
  readonly policy: Policy;
  /** Order of registration over all handles. */
  readonly seq: number;
}

// ---------------------------------------------------------------------------------------------- plan

/** One participant of a plan. */
export interface PlanMember {
  /** Index in `Plan.members`; events and effects name a member by it. */
  readonly member: number;
  readonly participant: string;
  readonly owner: string;
  /** True: it gets a successor (handover), or everything of it ends (kexec). False: a bystander that was pulled in. */
  readonly replaced: boolean;
  readonly alive: boolean;
  readonly protocol: 'luo' | 'plain';
  /** Its steps, in order of prepare. */
  readonly steps: readonly number[];
}

/** One call of prepare and one of freeze: a batch of one participant's handles of one kind. */
export interface PlanStep {
  /** Index in `Plan.steps`, which are in order of prepare. */
  readonly step: number;
  readonly member: number;
  readonly kind: Kind;
  /** Handle keys; what is depended on first. */
  readonly handles: readonly string[];
  /** Steps of the same kind that must be prepared before this one. Kinds are barriers and need no edges. */
  readonly after: readonly number[];
  /** Indexes in `Plan.cycles` of the cycles that it has handles of; see toCome and peers (plan.ts). */
  readonly cycles: readonly number[];
}

/** What will be done, as a value; assembled at prepare and not before. */
export interface Plan {
  readonly gap: Gap;
  /** Participants that were asked for. */
  readonly scope: readonly string[];
  readonly members: readonly PlanMember[];
  readonly steps: readonly PlanStep[];
  /** Handles that depend on each other in a circle (fds only), in order of prepare, each with its step. */
  readonly cycles: readonly { readonly handles: readonly string[]; readonly steps: readonly number[] }[];
  /** Order of restore and go. Ranks are barriers (0: holds a global, 1: a device, 2: neither); `after` is inside a rank. */
  readonly go: readonly { readonly rank: 0 | 1 | 2; readonly after: readonly number[] }[];
  readonly left: readonly { readonly handle: string; readonly reason: string }[];
  /** What no one asked for and a dependency needs; `path` leads from what was asked for to it. */
  readonly pulled: readonly { readonly handle: string; readonly path: readonly string[] }[];
}

// ---------------------------------------------------------------------------------------------- attempt

/** All in milliseconds. */
export interface Limits {
  /** Start of a successor to its standby; also how long a restart may take. */
  readonly standbyMs: number;
  readonly prepareMs: number;
  /** First freeze to decide. */
  readonly blackoutMs: number;
  readonly cancelMs: number;
  readonly finishMs: number;
  readonly goMs: number;
  /** Retire to SIGKILL. */
  readonly retireMs: number;
  /** How long `prepared` may last. */
  readonly preparedMs: number;
}

export type Side = 'old' | 'new';

/** A process of the attempt. */
export interface Actor {
  readonly member: number;
  readonly side: Side;
}

/** What a reconnected process says of itself (`resume.phase` of hello). */
export type ResumedPhase = 'running' | 'prepared' | 'frozen' | 'standby' | 'ready' | 'gone-on' | 'thawed';

/**
 * How a call ended. `answered`: the participant said this error. `timeout`: the deadline passed; a `late` event may
 * follow. `lost`: the connection went first; `resumed` or `died` follows. For `canFinish` a veto is `answered` with
 * code FINISH_VETO.
 */
export type CallResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly how: 'answered' | 'timeout' | 'lost'; readonly error: WireError };

export type DoneResult = { readonly ok: true } | { readonly ok: false; readonly error: WireError };

/** Where an attempt stands. Finer than state and phase; `shown(state)` gives those. */
export type Stage =
  | 'opening'
  | 'standby'
  | 'preparing'
  | 'prepared'
  | 'freezing'
  | 'restoring'
  | 'deciding'
  | 'jumping'
  | 'going'
  | 'updated'
  | 'asking'
  | 'finishing'
  | 'cancelling';

// ---------------------------------------------------------------------------------------------- events

export type Event =
  // Requests. A request that cannot be is answered by the notice `refused` with the same `request`.
  /**
   * Begin an attempt. `attempt` is larger than every earlier one, `key` is random: the secret that opens the keeper's
   * record. `until: 'prepared'` stops in prepared; `continue` goes on from there.
   */
  | {
      readonly type: 'prepare';
      readonly request: number;
      readonly attempt: number;
      readonly key: string;
      readonly plan: Plan;
      readonly until: 'prepared' | 'finished';
      readonly limits: Limits;
    }
  /** From prepared on to the end. Whether the request matches what is prepared is for the daemon to compare. */
  | { readonly type: 'continue'; readonly request: number; readonly limits?: Partial<Limits> }
  | { readonly type: 'cancel'; readonly request: number; readonly error?: WireError }
  | { readonly type: 'finish'; readonly request: number }
  // Results of commands; `id` is the command's.
  /** The journal line is in the memfd. It is never refused: a journal that cannot be written stops luod. */
  | { readonly type: 'journaled'; readonly id: number }
  /** Result of `open`. Not ok: the keeper is gone; `keeperLost` follows or has come. */
  | { readonly type: 'opened'; readonly id: number; readonly ok: boolean }
  /** Result of `decide`. `lost`: the keeper died before it answered; `keeperLost` follows or has come. */
  | { readonly type: 'decided'; readonly id: number; readonly outcome: Outcome | 'lost' }
  /** Result of `standby`: the successor said standby (for `plain`: READY=1), and who it is; or why not. */
  | { readonly type: 'standby'; readonly id: number; readonly result: DoneResult; readonly participant?: string }
  /**
   * Result of `call`. For prepare and freeze `ok` means that the parcel already lies in the keeper. For a plain member
   * the daemon answers for the program: prepare, restore, go, canFinish, finish and retire at once; freeze when it exited.
   */
  | { readonly type: 'answer'; readonly id: number; readonly result: CallResult }
  /** Result of `endProcess`: the process is gone (also when there never was one). */
  | { readonly type: 'ended'; readonly id: number }
  /** Result of `restart`: it claimed, was restored from what is kept and acknowledged its go; or it could not. */
  | { readonly type: 'restarted'; readonly id: number; readonly result: DoneResult; readonly participant?: string }
  /** Result of `dropParcels`. */
  | { readonly type: 'dropped'; readonly id: number }
  /** Result of `timer`, unless `clearTimer` came first. One that crosses a clearTimer is ignored. */
  | { readonly type: 'timeout'; readonly id: number }
  /** Result of `jump` (kexec): it came back, so it failed. */
  | { readonly type: 'returned'; readonly id: number; readonly error: WireError }
  // What happens by itself.
  /** The answer to a call that had ended in `timeout`. */
  | { readonly type: 'late'; readonly id: number; readonly ok: boolean }
  /** A successor said ready and its claims are complete. Ignored unless `mayBeReady(state, member)` (state.ts). */
  | { readonly type: 'ready'; readonly member: number }
  /** A process is dead, by its pidfd or by the keeper. Comes at most once for a process, after its last answer. */
  | { readonly type: 'died'; readonly actor: Actor }
  /** A process lost its connection and may live. Its open calls also end, each with `lost`. */
  | { readonly type: 'hangup'; readonly actor: Actor }
  /** A process is connected again (also: for the first time since luod's own restart) and says where it stands. */
  | { readonly type: 'resumed'; readonly actor: Actor; readonly phase: ResumedPhase }
  /**
   * A stuck participant says where it stands for its attempt (method `resolve`, or hello with `resume`; without `phase`
   * it runs). Running, thawed or gone-on ends it; anything else is undone again.
   */
  | {
      readonly type: 'resolved';
      readonly participant: string;
      readonly attempt: number;
      readonly phase?: ResumedPhase;
    }
  /** A stuck participant's process is dead. */
  | { readonly type: 'stuckDied'; readonly participant: string }
  /** The operator gives a stuck participant up; its process will be killed. */
  | { readonly type: 'forget'; readonly request: number; readonly participant: string }
  /**
   * The keeper died; a new one runs, its fds are refilled, and it has no record of the attempt (also: a keeper that
   * answers DECISION_NONE). The engine opens it. No result of the dead keeper comes after this except `lost` and not ok;
   * every `hangup` that happened before it has been reported.
   */
  | { readonly type: 'keeperLost' };

// ---------------------------------------------------------------------------------------------- effects

export type CallMethod = 'prepare' | 'freeze' | 'restore' | 'go' | 'retire' | 'canFinish' | 'finish' | 'cancel';

/** A call to a participant; result `answer`. */
export interface CallEffect {
  readonly type: 'call';
  readonly id: number;
  readonly attempt: number;
  readonly actor: Actor;
  /** Who is called. The attempt may be over (the undo of a late success): then `actor` names nobody any more. */
  readonly participant: string;
  readonly method: CallMethod;
  readonly deadlineMs: number;
  /** Of prepare and freeze: index in `Plan.steps`. A member without handles has one step without handles. */
  readonly step?: number;
  /** Of restore. `frozen` of a member whose old process did not live: every parcel that is kept. */
  readonly part?: 'prepared' | 'frozen';
  /** Of cancel. */
  readonly error?: WireError;
}

export type Effect =
  // Commands: exactly one result each.
  /** Append to the journal; result `journaled`. */
  | { readonly type: 'journal'; readonly id: number; readonly record: JournalRecord }
  /**
   * Open the keeper's record of the attempt; with `outcome` when it is known already (after a lost keeper). Result `opened`.
   */
  | {
      readonly type: 'open';
      readonly id: number;
      readonly attempt: number;
      readonly key: string;
      readonly outcome?: Outcome;
    }
  /** Ask the keeper for the decision; result `decided`. */
  | {
      readonly type: 'decide';
      readonly id: number;
      readonly attempt: number;
      readonly key: string;
      readonly want: Outcome;
    }
  /** Start the successor of a member and bring it to standby within `deadlineMs`; result `standby`. */
  | { readonly type: 'standby'; readonly id: number; readonly member: number; readonly deadlineMs: number }
  | CallEffect
  /**
   * See that this process is gone: wait `graceMs` for its own end, then SIGKILL. Result `ended`, also when there is none;
   * a start that is under way is given up, and its `standby` result comes too. `participant` instead of `actor`: one of
   * an attempt that is over, stuck and given up by the operator, or retired and not gone when luod died.
   */
  | {
      readonly type: 'endProcess';
      readonly id: number;
      readonly actor: Actor | null;
      readonly participant: string | null;
      readonly graceMs: number;
    }
  /**
   * Start the command of this side again on the kept state (role `restart`: claims, restore with every kept parcel, go).
   * Side `old` is the old command, `new` the new one. Result `restarted`. After a failure the daemon's own restart policy
   * goes on; the parcels stay.
   */
  | { readonly type: 'restart'; readonly id: number; readonly actor: Actor; readonly deadlineMs: number }
  /** Let go of what this member handed over; result `dropped`. */
  | { readonly type: 'dropParcels'; readonly id: number; readonly attempt: number; readonly member: number }
  /** Result `timeout`, unless cleared. */
  | { readonly type: 'timer'; readonly id: number; readonly name: TimerName; readonly ms: number }
  /** Leave this kernel (kexec). Result `returned`, if there is one. */
  | { readonly type: 'jump'; readonly id: number; readonly attempt: number }
  // Notices: no result.
  | { readonly type: 'clearTimer'; readonly timer: number }
  /** The attempt entered this stage (for the timeline and for people). */
  | { readonly type: 'stage'; readonly stage: Stage }
  /** The decision is known: declarations of successors become registrations (committed) or vanish (aborted). */
  | { readonly type: 'outcome'; readonly attempt: number; readonly outcome: Outcome }
  /** A member became stuck, or is so no more. */
  | {
      readonly type: 'stuck';
      readonly participant: string;
      readonly attempt: number;
      readonly stuck: boolean;
    }
  /** Both daemons were dead and so was the successor: the old process thawed, and stays although committed was decided. */
  | { readonly type: 'keptOld'; readonly member: number }
  /** A request is refused: STATE_INVALID, STATE_BUSY, STATE_STUCK. Nothing changed. */
  | { readonly type: 'refused'; readonly request: number; readonly error: WireError }
  | SettledEffect;

/** A transition came to rest: answer whoever asked for it. */
export interface SettledEffect {
  readonly type: 'settled';
  readonly attempt: number;
  /** Where it rests. `updated` only with an error: FINISH_VETO, or a member that has not acknowledged its go. */
  readonly state: 'normal' | 'prepared' | 'updated';
  /** Null while prepared. */
  readonly outcome: Outcome | null;
  /** Why it is not what was asked for; null when it is. */
  readonly error: WireError | null;
  /** Participants that are stuck now. */
  readonly stuck: readonly string[];
  /** Errors that could not stop it: of cancel, finish, retire, restart. */
  readonly errors: readonly { readonly participant: string; readonly method: string; readonly error: WireError }[];
}

export type TimerName = 'linger' | 'prepared' | 'blackout' | 'resume';

// ---------------------------------------------------------------------------------------------- journal

/** Version of the records; a reader refuses larger ones with JOURNAL_TOO_NEW. */
export const JOURNAL_VERSION = 1;

/**
 * What is written before each irreversible effect. Unknown fields of a record are ignored; an unknown type is refused.
 * An attempt begins with `attempt` and is closed by `settled` in state normal.
 */
export type JournalRecord =
  /** Before anything of the attempt. */
  | {
      readonly v: number;
      readonly type: 'attempt';
      readonly attempt: number;
      readonly key: string;
      readonly until: 'prepared' | 'finished';
      readonly limits: Limits;
      readonly plan: Plan;
    }
  /** Who the successor is (before its first call). */
  | {
      readonly v: number;
      readonly type: 'standby';
      readonly attempt: number;
      readonly member: number;
      readonly participant: string;
    }
  /** Before the first freeze: from here on only the keeper's record tells how it ended. */
  | { readonly v: number; readonly type: 'freezing'; readonly attempt: number }
  /** Before decide(committed). */
  | { readonly v: number; readonly type: 'deciding'; readonly attempt: number }
  /** Before the undo, and before decide(aborted) where one is needed. */
  | { readonly v: number; readonly type: 'aborting'; readonly attempt: number; readonly error: WireError }
  /** Before go, retire, thaw. It follows the keeper's record, never leads it. */
  | { readonly v: number; readonly type: 'decided'; readonly attempt: number; readonly outcome: Outcome }
  /** This process acts (again): before what was handed over is dropped. */
  | {
      readonly v: number;
      readonly type: 'acked';
      readonly attempt: number;
      readonly member: number;
      readonly side: Side;
      /** Who it is, if it was started again: neither `plan` nor `standby` names it. */
      readonly participant?: string;
    }
  /** The next kernel runs, with all that was preserved: before anything is started there. Written by the luod of that kernel. */
  | { readonly v: number; readonly type: 'arrived'; readonly attempt: number }
  /** The jump came back: before everything is thawed. */
  | { readonly v: number; readonly type: 'returned'; readonly attempt: number; readonly error: WireError }
  /** Before finish: nobody vetoed. */
  | { readonly v: number; readonly type: 'finishing'; readonly attempt: number }
  /** The attempt is over; these are stuck in it. Nothing before this line is needed any more but `stuck` of earlier ones. */
  | {
      readonly v: number;
      readonly type: 'settled';
      readonly attempt: number;
      readonly outcome: Outcome;
      readonly stuck: readonly StuckRecord[];
      /** Retired participants that are not gone yet. */
      readonly retired: readonly string[];
    }
  /** A stuck participant is so no more. */
  | { readonly v: number; readonly type: 'unstuck'; readonly attempt: number; readonly participant: string };

/** Who is stuck, since which attempt, and on what. */
export interface StuckRecord {
  readonly participant: string;
  readonly attempt: number;
  readonly member: number;
  readonly side: Side;
  /** The call that has no answer. */
  readonly method: CallMethod;
  /** The undo is what is missing: its death means a restart on the kept state. */
  readonly undo: boolean;
}

/** What `shown` gives: the words of design 3.1. */
export interface Shown {
  readonly state: State;
  readonly phase: Phase | null;
  readonly stage: Stage | null;
  readonly attempt: number | null;
}
