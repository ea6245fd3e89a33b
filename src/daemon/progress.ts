/**
 * What happens in attempts, told to whoever follows: the one who asked, and watchers. In a blackout it is held back for some
 * milliseconds: each line wakes a process, which on a machine with few processors takes one from those who are waited for.
 */

export interface Progress {
  what: string;
  participant?: string;
  phase?: string;
  detail?: unknown;
}

/** What is held back is told after this time at the latest, ms, and what follows at once: a long blackout is watched. */
const HOLD_MS = 20;

export class ProgressFeed {
  readonly #listeners = new Set<(progress: Progress) => void>();
  #held: Progress[] | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Told of everything, in order, until the returned function is called, which tells what is held back first. */
  listen(listener: (progress: Progress) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.release();
      this.#listeners.delete(listener);
    };
  }

  tell(progress: Progress): void {
    if (this.#held !== undefined) this.#held.push(progress);
    else for (const listener of this.#listeners) listener(progress);
  }

  /** The blackout begins. */
  hold(): void {
    if (this.#held !== undefined) return;
    this.#held = [];
    this.#timer = setTimeout(() => this.release(), HOLD_MS);
  }

  /** It is over. */
  release(): void {
    clearTimeout(this.#timer);
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const progress of held) this.tell(progress);
  }
}
