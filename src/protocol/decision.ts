/**
 * The keeper's record of decisions, as a value: for each attempt one outcome, and the first who writes it wins. Pure.
 *
 * Happy path: luod opens the record with a random key; it and the frozen participants ask with that key; whoever says
 * `want` first decides for all. Unhappy: an unknown attempt is DECISION_NONE (a new keeper before luod opened the
 * record, or an attempt long ago), a wrong key is KEEPER_KEY and tells nothing of what is recorded.
 */
import type { Outcome } from '../base/words.js';

/** How many attempts are remembered; older ones answer DECISION_NONE. */
export const DECISIONS_MAX = 8;

export interface DecisionRecord {
  readonly attempt: number;
  readonly key: string;
  /** Null: nobody has decided. */
  readonly outcome: Outcome | null;
}

export interface Decisions {
  /** Oldest first, at most DECISIONS_MAX. */
  readonly attempts: readonly DecisionRecord[];
}

export const noDecisions: Decisions = { attempts: [] };

export type DecideAnswer =
  | { readonly decisions: Decisions; readonly outcome: Outcome | null }
  | { readonly error: 'DECISION_NONE' | 'KEEPER_KEY' };

/**
 * Open the record of an attempt. Opening it again (a luod that was restarted) changes nothing that is recorded, neither
 * the key nor an outcome; `outcome` counts only where there is none.
 */
export function openAttempt(decisions: Decisions, attempt: number, key: string, outcome?: Outcome): Decisions {
  const at = decisions.attempts.findIndex((record) => record.attempt === attempt);
  if (at === -1) {
    const record: DecisionRecord = { attempt, key, outcome: outcome ?? null };
    return { attempts: [...decisions.attempts, record].slice(-DECISIONS_MAX) };
  }
  if (decisions.attempts[at]!.key !== key) return decisions;
  return write(decisions, at, outcome);
}

/** Record `want` unless something is recorded, and give back what is. Without `want`, only read. */
export function decide(decisions: Decisions, attempt: number, key: string, want?: Outcome): DecideAnswer {
  const at = decisions.attempts.findIndex((record) => record.attempt === attempt);
  if (at === -1) return { error: 'DECISION_NONE' };
  if (decisions.attempts[at]!.key !== key) return { error: 'KEEPER_KEY' };
  const after = write(decisions, at, want);
  return { decisions: after, outcome: after.attempts[at]!.outcome };
}

function write(decisions: Decisions, at: number, want: Outcome | undefined): Decisions {
  const found = decisions.attempts[at]!;
  if (found.outcome !== null || want === undefined) return decisions;
  return { attempts: decisions.attempts.with(at, { ...found, outcome: want }) };
}
