/** A timeline that begins in one kernel and goes on in the next: where the two are joined, and how well that is known. */
import type { Timeline, TimelineEvent } from '../protocol/spec.js';

/** How an `arrived` event joins two kernels. */
export interface KernelJoin {
  /** Releases; null: it does not say. */
  readonly from: string | null;
  readonly to: string | null;
  /** By how much all times after it may be off against those before; null: it does not say. */
  readonly uncertaintyMs: number | null;
}

/** Undefined: the event joins nothing. */
export function kernelJoin(event: TimelineEvent): KernelJoin | undefined {
  if (event.what !== 'arrived') return undefined;
  const detail = (event.detail ?? {}) as Record<string, unknown>;
  const word = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
  const { uncertaintyMs } = detail;
  return {
    from: word(detail['from']),
    to: word(detail['to']),
    uncertaintyMs: typeof uncertaintyMs === 'number' ? uncertaintyMs : null,
  };
}

/** By how much a length that spans the whole timeline may be off, ms; null: it is all on one clock. */
export function uncertaintyOf({ events }: Timeline): number | null {
  const joins = events.map(kernelJoin).filter((join) => join !== undefined);
  return joins.length === 0 ? null : joins.reduce((sum, join) => sum + (join.uncertaintyMs ?? 0), 0);
}

/** `kernel 7.2.13 → 7.3.4, ±1000 ms`. */
export function joinText({ from, to, uncertaintyMs }: KernelJoin): string {
  const off = uncertaintyMs === null ? 'clocks not compared' : `±${uncertaintyMs} ms`;
  return `kernel ${from ?? '?'} → ${to ?? '?'}, ${off}`;
}
