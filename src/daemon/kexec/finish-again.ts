/**
 * When to try again to finish after the jump. A finish that was vetoed is asked for again when something happened that may change the
 * veto, and otherwise now and then: a participant need not tell luod that it has changed its mind. Never in a loop: what follows
 * from a veto is a change of luod's state like any other, and asks for nothing by itself.
 */

/** Between two tries while nothing happens. */
const AGAIN_MS = 5_000;

export class FinishAgain {
  readonly #finish: () => boolean;
  readonly #everyMs: number;
  #isNews = true;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  /** @param finish asks for it; false: that is not possible now, and what is news stays news */
  constructor(finish: () => boolean, everyMs = AGAIN_MS) {
    this.#finish = finish;
    this.#everyMs = everyMs;
  }

  /** Something happened that may change a veto: a claim, somebody came or went, the operator decided. */
  something(): void {
    this.#isNews = true;
  }

  /** Nothing stands in the way as far as luod knows. */
  ask(): void {
    if (this.#isStopped) return;
    if (this.#isNews) return this.#try();
    this.#timer ??= setTimeout(() => this.#try(), this.#everyMs).unref();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #try(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const isNews = this.#isNews;
    this.#isNews = false;
    if (!this.#finish()) this.#isNews = isNews;
  }
}
