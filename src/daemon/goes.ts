/**
 * The goes that are under way, or were a moment ago: a retire waits for them, and the closing of what was handed over, if only for so
 * long that nobody notices a retired process that lives. The end of an old process takes a processor for as long as its memory takes
 * to be unmapped, and those who are to serve come first: docs/decisions/0010.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** How long anything waits for a go to be answered, ms. */
const ANSWER_WAIT_MS = 50;
/** How long whoever has had its go is left alone with what its clients have asked meanwhile, ms. */
const BACKLOG_MS = 15;

export class Goes {
  readonly #open = new Set<Promise<void>>();
  /** By the clock of performance.now(). */
  #quietMs = 0;

  /** This go is under way until it is answered, however. */
  track(go: Promise<void>): void {
    const over = go.then(
      () => undefined,
      () => undefined,
    );
    this.#open.add(over);
    void over.then(() => {
      this.#open.delete(over);
      this.#quietMs = performance.now() + BACKLOG_MS;
    });
  }

  /** Nobody has had its go a moment ago, or is about to. */
  get isQuiet(): boolean {
    return this.#open.size === 0 && performance.now() >= this.#quietMs;
  }

  /** Resolves 15 ms after all that are under way now were answered, or after 50 ms without an answer. */
  async quiet(): Promise<void> {
    if (this.#open.size > 0) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        Promise.all(this.#open),
        new Promise((resolve) => (timer = setTimeout(resolve, ANSWER_WAIT_MS))),
      ]);
      clearTimeout(timer);
    }
    const leftMs = this.#quietMs - performance.now();
    if (leftMs > 0) await sleep(leftMs);
  }
}
