/**
 * Many deadlines on one timer. Deadlines are rounded up to a step of 8 ms and collected by step; only the earliest step
 * has a timer, so that setting and cancelling one costs no timer of its own. None of them keeps the process alive.
 */

/** One deadline. `cancel()` after it passed does nothing. */
export interface Deadline {
  cancel(): void;
}

const stepMs = 8;

class Entry implements Deadline {
  readonly callback: () => void;
  readonly #step: Set<Entry>;

  constructor(callback: () => void, step: Set<Entry>) {
    this.callback = callback;
    this.#step = step;
  }

  cancel(): void {
    this.#step.delete(this);
  }
}

/** A collection of deadlines; {@link deadlines} is the one of the process. */
export class Deadlines {
  readonly #steps = new Map<number, Set<Entry>>();
  #timer: NodeJS.Timeout | undefined;
  #timerStep = Infinity;

  /** Call `callback` once, no earlier than `ms` from now, unless cancelled. It must not throw. */
  after(ms: number, callback: () => void): Deadline {
    const step = Math.ceil((performance.now() + ms) / stepMs);
    let entries = this.#steps.get(step);
    if (entries === undefined) {
      entries = new Set();
      this.#steps.set(step, entries);
    }
    const entry = new Entry(callback, entries);
    entries.add(entry);
    if (step < this.#timerStep) this.#arm(step);
    return entry;
  }

  /** Deadlines that are neither passed nor cancelled. */
  get pending(): number {
    let count = 0;
    for (const entries of this.#steps.values()) count += entries.size;
    return count;
  }

  #arm(step: number): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timerStep = step;
    // Node fires a timer up to a millisecond early; one more keeps "no earlier than".
    const waitMs = Math.min(Math.max(1, Math.ceil(step * stepMs - performance.now()) + 1), 0x7fffffff);
    this.#timer = setTimeout(() => this.#fire(), waitMs);
    this.#timer.unref();
  }

  #fire(): void {
    this.#timer = undefined;
    this.#timerStep = Infinity;
    const now = performance.now() / stepMs;
    let next = Infinity;
    const due: number[] = [];
    for (const [step, entries] of this.#steps) {
      if (entries.size === 0) this.#steps.delete(step);
      else if (step > now) next = Math.min(next, step);
      else due.push(step);
    }
    // After a stall several steps are due: they pass in their order.
    for (const step of due.sort((a, b) => a - b)) {
      const entries = this.#steps.get(step)!;
      this.#steps.delete(step);
      for (const entry of entries) entry.callback();
      entries.clear();
    }
    // A callback may have set a deadline, and with it a timer that is earlier.
    if (next < this.#timerStep) this.#arm(next);
  }
}

/** The deadlines of this process. */
export const deadlines = new Deadlines();
