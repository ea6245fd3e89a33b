/** How a transition comes to rest, and how an attempt ends. */
import type { WireError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import type { SettledEffect, StuckRecord } from './types.js';
import type { Work } from './work.js';

/** Tell whoever asked where it came to rest. */
export function settle(w: Work, state: SettledEffect['state'], outcome: Outcome | null, error: WireError | null): void {
  const errors: SettledEffect['errors'][number][] = [];
  for (let at = w.a.errors; at !== null; at = at.earlier) {
    errors.push({ participant: at.participant, method: at.method, error: at.error });
  }
  w.effects.push({
    type: 'settled',
    attempt: w.a.attempt,
    state,
    outcome,
    error,
    stuck: [...w.stuck.entries()].map(([participant]) => participant).sort(),
    errors: errors.reverse(),
  });
}

/** The attempt is over: write so, then `closed` follows. */
export function close(w: Work, outcome: Outcome): void {
  if (w.a.closing) return;
  w.a.closing = true;
  w.clearTimers();
  const stuck: StuckRecord[] = [];
  for (const [, record] of w.stuck.entries()) if (record.attempt === w.a.attempt) stuck.push(record);
  const retired: string[] = [];
  for (const [, open] of w.open.entries()) {
    if (open.command !== 'end' || !open.lingers || open.actor === null) continue;
    if (open.attempt === w.a.attempt) retired.push(w.participantOf(open.actor));
  }
  w.journal({ type: 'settled', outcome, stuck, retired: retired.sort() }, 'settle');
}

export function closed(w: Work): void {
  const aborted = w.a.undoing;
  settle(w, 'normal', aborted ? 'aborted' : 'committed', aborted ? w.a.cause : null);
  w.end();
}
