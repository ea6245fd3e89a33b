/** Durations in ms, collected cheaply; percentiles on demand. */
export interface LatencySummary {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** From here on only every second value is kept, then every fourth, and so on; the largest is always known. */
const KEPT_MAX = 500_000;

export class Latencies {
  #values: number[] = [];
  #every = 1;
  #count = 0;
  #maxMs = 0;

  add(ms: number): void {
    this.#count += 1;
    if (ms > this.#maxMs) this.#maxMs = ms;
    if (this.#count % this.#every !== 0) return;
    this.#values.push(ms);
    if (this.#values.length < KEPT_MAX) return;
    this.#values = this.#values.filter((_, index) => index % 2 === 1);
    this.#every *= 2;
  }

  /** Zeroes when nothing was added. */
  summary(): LatencySummary {
    const sorted = Float64Array.from(this.#values).sort();
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return { count: this.#count, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: this.#maxMs };
  }
}
