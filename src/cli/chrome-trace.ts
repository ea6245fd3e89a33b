/**
 * A timeline in the Chrome trace event format (JSON object form), which Perfetto and chrome://tracing open. One row per
 * participant and one for the update as a whole; a `X.sent` and the `X.answered` or `X.acked` that follows it for the
 * same participant make one span, a blackout is a span of its own, everything else is an instant. An update that crosses a
 * kexec has a row more: which kernel ran when, with how well the two clocks could be joined. Pure.
 */
import type { Timeline, TimelineEvent } from '../protocol/spec.js';
import { joinText, kernelJoin, uncertaintyOf } from './join.js';

export interface TraceEvent {
  readonly name: string;
  readonly ph: 'X' | 'i' | 'M';
  readonly pid: number;
  readonly tid: number;
  /** Microseconds from the start of the update. */
  readonly ts: number;
  /** Microseconds; of spans. */
  readonly dur?: number;
  /** Scope of an instant: its thread, or everything. */
  readonly s?: 't' | 'g';
  readonly cat?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}
export interface ChromeTrace {
  readonly displayTimeUnit: 'ms';
  readonly traceEvents: readonly TraceEvent[];
  readonly otherData: Readonly<Record<string, unknown>>;
}

const PID = 1;
const KERNEL_ROW = 'kernel';
const OPENS = /^(.+)\.sent$/;
const CLOSES = /^(.+)\.(answered|acked|failed|timeout)$/;

/**
 * `timeline` as a trace. A call that was never answered reaches to the last event while the update runs (it is what is
 * waited for); afterwards it is an instant, as of retire, which nobody answers.
 */
export function chromeTrace(timeline: Timeline): ChromeTrace {
  const us = (ns: number): number => Math.round(ns - timeline.startNs) / 1000;
  const lastNs = timeline.endNs ?? Math.max(timeline.startNs, ...timeline.events.map((event) => event.ns));
  const tids = new Map<string | undefined, number>([[undefined, 0]]);
  const tidOf = (participant: string | undefined): number => {
    const known = tids.get(participant);
    if (known !== undefined) return known;
    tids.set(participant, tids.size);
    return tids.size - 1;
  };
  const place = (event: TimelineEvent): { pid: number; tid: number; ts: number } => ({
    pid: PID,
    tid: tidOf(event.participant),
    ts: us(event.ns),
  });
  const argsOf = (...events: TimelineEvent[]): Record<string, unknown> =>
    Object.fromEntries(events.filter((event) => event.detail !== undefined).map((event) => [event.what, event.detail]));

  const spans: TraceEvent[] = [];
  const open = new Map<string, TimelineEvent>();
  const close = (name: string, begin: TimelineEvent, endNs: number, args: Record<string, unknown>): void => {
    // A clock that was joined badly may go back over a kexec.
    const dur = Math.max(0, us(endNs) - us(begin.ns));
    spans.push({ name, ph: 'X', cat: begin.phase ?? 'update', ...place(begin), dur, args });
  };
  const instant = (event: TimelineEvent): void => {
    const cat = event.phase ?? 'update';
    spans.push({ name: event.what, ph: 'i', s: 't', cat, ...place(event), args: argsOf(event) });
  };
  for (const event of timeline.events) {
    const opens = OPENS.exec(event.what)?.[1];
    const closes = CLOSES.exec(event.what);
    const key = (name: string): string => `${name}\n${event.participant ?? ''}`;
    const begin = closes ? open.get(key(closes[1]!)) : undefined;
    if (opens !== undefined) {
      open.set(key(opens), event);
    } else if (closes && begin) {
      open.delete(key(closes[1]!));
      close(closes[1]!, begin, event.ns, { ...argsOf(begin, event), ended: closes[2] });
    } else {
      instant(event);
    }
  }
  for (const [key, begin] of open) {
    if (timeline.endNs === null) close(key.split('\n')[0]!, begin, lastNs, { ...argsOf(begin), ended: 'not yet' });
    else instant(begin);
  }
  spans.push({
    name: `attempt ${timeline.attempt}`,
    ph: 'X',
    cat: 'update',
    pid: PID,
    tid: 0,
    ts: 0,
    dur: Math.max(0, us(lastNs)),
    args: { state: timeline.state, outcome: timeline.outcome, ...(timeline.error ? { error: timeline.error } : {}) },
  });
  spans.push(...blackouts(timeline, us, tidOf), ...kernels(timeline, us, lastNs, tidOf));

  const names: TraceEvent[] = [
    { name: 'process_name', ph: 'M', pid: PID, tid: 0, ts: 0, args: { name: `luo: ${timeline.scope.join(', ')}` } },
    ...[...tids].map(([participant, tid]): TraceEvent => {
      return { name: 'thread_name', ph: 'M', pid: PID, tid, ts: 0, args: { name: participant ?? 'update' } };
    }),
  ];
  return {
    displayTimeUnit: 'ms',
    traceEvents: [...names, ...spans.sort((a, b) => a.ts - b.ts)],
    otherData: {
      attempt: timeline.attempt,
      gap: timeline.gap,
      startedAt: timeline.startedAt,
      blackoutMs: timeline.blackoutMs,
      uncertaintyMs: uncertaintyOf(timeline),
    },
  };
}

/** A member's blackout begins with its freeze; its length is what luod measured, also where a successor's go ends it. */
function blackouts(timeline: Timeline, us: (ns: number) => number, tidOf: (p: string) => number): TraceEvent[] {
  const memberOf = (event: TimelineEvent): string | undefined =>
    (event.detail as { member?: string } | null | undefined)?.member ?? event.participant;
  return Object.entries(timeline.blackouts).flatMap(([member, ms]): TraceEvent[] => {
    const freeze = timeline.events.find((event) => event.what === 'freeze.sent' && memberOf(event) === member);
    if (!freeze) return [];
    const dur = Math.max(0, ms * 1000);
    return [{ name: 'blackout', ph: 'X', cat: 'blackout', pid: PID, tid: tidOf(member), ts: us(freeze.ns), dur }];
  });
}

/** Which kernel ran when: a span each, and an instant over all rows where they are joined. Nothing without a kexec. */
function kernels(
  timeline: Timeline,
  us: (ns: number) => number,
  lastNs: number,
  tidOf: (row: string) => number,
): TraceEvent[] {
  const { events } = timeline;
  const found: TraceEvent[] = [];
  let beginUs = 0;
  let name: string | null = null;
  for (const [index, event] of events.entries()) {
    const join = kernelJoin(event);
    if (!join) continue;
    const at = { pid: PID, tid: tidOf(KERNEL_ROW) };
    // The last word of the kernel before; what lies between the two is the jump and the boot.
    const endUs = us(events[index - 1]?.ns ?? event.ns);
    found.push(kernelSpan(join.from, beginUs, endUs, at));
    found.push({ name: joinText(join), ph: 'i', s: 'g', cat: 'kernel', ...at, ts: us(event.ns), args: { ...join } });
    beginUs = us(event.ns);
    name = join.to;
  }
  if (found.length > 0) found.push(kernelSpan(name, beginUs, us(lastNs), { pid: PID, tid: tidOf(KERNEL_ROW) }));
  return found;
}

function kernelSpan(
  release: string | null,
  beginUs: number,
  endUs: number,
  at: { pid: number; tid: number },
): TraceEvent {
  const dur = Math.max(0, endUs - beginUs);
  return { name: `Linux ${release ?? '?'}`, ph: 'X', cat: 'kernel', ...at, ts: beginUs, dur };
}
