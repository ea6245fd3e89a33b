/**
 * What happens in attempts, told to whoever follows: the one who asked, and watchers. It is told in groups, some milliseconds later, and
 * in a blackout later still: each line wakes a process, which on a machine with few processors takes one from those who are
 * waited for.
 */

export interface Progress {
  what: string;
  participant?: string;
  phase?: string;
  detail?: unknown;
}

/** What happens within this time is told together, ms. */
const GROUP_MS = 5;
/** In a blackout. A longer one is followed while it lasts. */
const BLACKOUT_MS = 20;

export class ProgressFeed {
  readonly #listeners = new Set<(progress: Progress) => void>();
  #untold: Progress[] = [];
  #timer: NodeJS.Timeout | undefined;
  #untilMs = 0;

  /** Told of everything, in order, until the returned function is called; that tells first what was not told yet. */
  listen(listener: (progress: Progress) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.flush();
      this.#listeners.delete(listener);
    };
  }

  tell(progress: Progress): void {
    if (this.#listeners.size === 0) return;
    this.#untold.push(progress);
    this.#timer ??= setTimeout(() => this.flush(), Math.max(GROUP_MS, this.#untilMs - performance.now()));
  }

  /** A blackout begins: what was not told yet, and what follows, waits for 20 ms. */
  hold(): void {
    this.#untilMs = performance.now() + BLACKOUT_MS;
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), BLACKOUT_MS);
  }

  /** Tell now what was not told yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#untilMs = 0;
    const untold = this.#untold;
    this.#untold = [];
    for (const progress of untold) for (const listener of this.#listeners) listener(progress);
  }
}
