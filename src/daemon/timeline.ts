/**
 * What happened in each attempt, participant by participant, with times of CLOCK_MONOTONIC: it goes on over luod's own
 * death. The blackout of a participant is from its freeze sent to its go (or thaw) acknowledged; of an update, from the
 * earliest of these to the latest. Bounded by LIMITS.timelinesMax attempts and LIMITS.timelineEventsMax events each;
 * what comes beyond that is dropped. Events reach the journal in batches (`flush`): a luod that is killed loses at most the
 * last few milliseconds of them, and nothing that an update depends on.
 */
import { LIMITS } from '../base/limits.js';
import type { Gap, Outcome } from '../base/words.js';
import type { WireError } from '../base/errors.js';
import type { Timeline, TimelineEvent } from '../protocol/spec.js';
import type { JournalRecord } from '../protocol/journal.js';

/** Events between two lines of the engine are written together, so long after the first of them. */
const FLUSH_MS = 5;

/** Nanoseconds of CLOCK_MONOTONIC: exact for 104 days of uptime, then in steps of 2 ns. */
export function monotonicNs(): number {
  return Number(process.hrtime.bigint());
}

/** The attempt that came over from the last kernel: its times go on along that one's monotonic clock. */
export interface ClockJoin {
  readonly attempt: number;
  /** Added to this kernel's CLOCK_MONOTONIC. */
  readonly offsetNs: number;
  /** By how much that may be wrong: it was read from a clock that lives through a reboot, which has whole seconds. */
  readonly uncertaintyMs: number;
  /** Release of the last kernel. */
  readonly from: string;
}

export class Timelines {
  readonly #timelines = new Map<number, Timeline>();
  readonly #append: (record: JournalRecord) => void;
  /** Events that are not in the journal yet, all of one attempt. */
  #unwritten: TimelineEvent[] = [];
  #unwrittenOf = 0;
  #isFlushing = false;
  #join: ClockJoin | undefined;

  constructor(append: (record: JournalRecord) => void) {
    this.#append = append;
  }

  begin(attempt: number, gap: Gap, scope: readonly string[]): void {
    this.#record({
      kind: 'timeline.begin',
      attempt,
      gap,
      scope,
      startedAt: new Date().toISOString(),
      startNs: monotonicNs(),
    });
  }

  /** Note what happened now; what is undefined or null is left out. */
  event(attempt: number, what: string, more: Omit<TimelineEvent, 'ns' | 'what'> = {}): TimelineEvent {
    const event: TimelineEvent = { ns: this.#now(attempt), what };
    if (more.participant !== undefined) event.participant = more.participant;
    if (more.phase !== undefined) event.phase = more.phase;
    if (more.detail !== undefined) event.detail = more.detail;
    if (this.#unwrittenOf !== attempt) this.flush();
    this.#unwrittenOf = attempt;
    this.#unwritten.push(event);
    this.#keep(attempt, event);
    if (!this.#isFlushing) {
      this.#isFlushing = true;
      setTimeout(() => this.flush(), FLUSH_MS).unref();
    }
    return event;
  }

  /** Write the events down that are not yet: before a line of the engine, and in any case soon. */
  flush(): void {
    this.#isFlushing = false;
    if (this.#unwritten.length === 0) return;
    const events = this.#unwritten;
    this.#unwritten = [];
    this.#append({ kind: 'timeline.events', attempt: this.#unwrittenOf, events });
  }

  end(attempt: number, state: 'done' | 'rolled-back', outcome: Outcome, error: WireError | undefined): void {
    this.#record({
      kind: 'timeline.end',
      attempt,
      state,
      outcome,
      endNs: this.#now(attempt),
      ...(error ? { error } : {}),
    });
  }

  get(attempt: number): Timeline | undefined {
    return this.#timelines.get(attempt);
  }

  /** The last attempt that began. */
  last(): Timeline | undefined {
    return [...this.#timelines.values()].at(-1);
  }

  /** All that are kept, oldest first. */
  all(): Timeline[] {
    return [...this.#timelines.values()];
  }

  /** Median blackout, ms, of the finished updates of exactly this scope over this gap: the prediction of the next one. */
  predictMs(scope: readonly string[], gap: Gap = 'handover'): number | null {
    const key = servicesOf(scope);
    const blackouts = this.all()
      .filter(
        (timeline) => timeline.outcome === 'committed' && timeline.gap === gap && servicesOf(timeline.scope) === key,
      )
      .flatMap((timeline) => (timeline.blackoutMs === null ? [] : [timeline.blackoutMs]))
      .sort((a, b) => a - b);
    return blackouts[blackouts.length >> 1] ?? null;
  }

  /** Take in a record of the journal. @returns whether it was one of ours */
  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'timeline.whole': {
        const timeline = record.timeline as Timeline;
        this.#timelines.set(timeline.attempt, timeline);
        return true;
      }
      case 'timeline.begin': {
        const begun = record as unknown as Pick<Timeline, 'attempt' | 'gap' | 'scope' | 'startedAt' | 'startNs'>;
        this.#timelines.set(begun.attempt, {
          attempt: begun.attempt,
          gap: begun.gap,
          scope: [...begun.scope],
          outcome: null,
          state: 'running',
          startedAt: begun.startedAt,
          startNs: begun.startNs,
          endNs: null,
          blackoutMs: null,
          blackouts: {},
          luodDeaths: 0,
          events: [],
        });
        while (this.#timelines.size > LIMITS.timelinesMax) {
          this.#timelines.delete(this.#timelines.keys().next().value!);
        }
        return true;
      }
      case 'timeline.join': {
        const { attempt, offsetNs, uncertaintyMs, from } = record as unknown as ClockJoin;
        this.#join = { attempt, offsetNs, uncertaintyMs, from };
        return true;
      }
      case 'timeline.events':
        for (const event of record.events as TimelineEvent[]) this.#keep(record.attempt as number, event);
        return true;
      case 'timeline.end': {
        const timeline = this.#timelines.get(record.attempt as number);
        if (!timeline) return true;
        timeline.state = record.state as string;
        timeline.outcome = record.outcome as Outcome;
        timeline.endNs = record.endNs as number;
        if (record.error) timeline.error = record.error as WireError;
        Object.assign(timeline, blackoutsOf(timeline.events));
        return true;
      }
      default:
        return false;
    }
  }

  /** The records that bring a new journal to where this is. */
  snapshot(): JournalRecord[] {
    const records: JournalRecord[] = this.all().map((timeline) => ({ kind: 'timeline.whole', timeline }));
    if (this.#join && this.#timelines.get(this.#join.attempt)?.endNs === null) {
      records.push({ kind: 'timeline.join', ...this.#join });
    }
    return records;
  }

  /** How this kernel's clock is joined to the last one's, if this attempt came over and its timeline does not say so yet. */
  untoldJoin(attempt: number): ClockJoin | undefined {
    if (this.#join?.attempt !== attempt) return undefined;
    const isTold = this.#timelines.get(attempt)?.events.some(({ what }) => what === 'arrived') === true;
    return isTold ? undefined : this.#join;
  }

  /** Nanoseconds on the attempt's own clock. */
  #now(attempt: number): number {
    return monotonicNs() + (this.#join?.attempt === attempt ? this.#join.offsetNs : 0);
  }

  #keep(attempt: number, event: TimelineEvent): void {
    const timeline = this.#timelines.get(attempt);
    if (!timeline || timeline.events.length >= LIMITS.timelineEventsMax) return;
    timeline.events.push(event);
    if (event.what === 'luod.recovered') timeline.luodDeaths += 1;
  }

  #record(record: JournalRecord): void {
    this.flush();
    this.#append(record);
    this.replay(record);
  }
}

/** A scope without the numbers of the processes, which change with each update. */
function servicesOf(scope: readonly string[]): string {
  return scope
    .map((participant) => participant.replace(/#\d+$/, ''))
    .sort()
    .join('\n');
}

/** Blackouts, ms, from the events `freeze.sent` and `go.acked` or `cancel.acked`. */
function blackoutsOf(events: readonly TimelineEvent[]): Pick<Timeline, 'blackoutMs' | 'blackouts'> {
  const from = new Map<string, number>();
  const to = new Map<string, number>();
  for (const event of events) {
    // A successor's go ends the blackout of the one it replaces: both carry the member's name in `detail.member`.
    const member = (event.detail as { member?: string } | undefined)?.member ?? event.participant;
    if (member === undefined) continue;
    if (event.what === 'freeze.sent' && !from.has(member)) from.set(member, event.ns);
    if ((event.what === 'go.acked' || event.what === 'cancel.acked') && from.has(member)) to.set(member, event.ns);
  }
  const blackouts: Record<string, number> = {};
  for (const [member, start] of from) {
    const end = to.get(member);
    if (end !== undefined) blackouts[member] = (end - start) / 1e6;
  }
  if (to.size === 0) return { blackoutMs: null, blackouts };
  return { blackoutMs: (Math.max(...to.values()) - Math.min(...from.values())) / 1e6, blackouts };
}
