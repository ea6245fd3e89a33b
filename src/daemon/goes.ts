/**
 * The goes that are under way: a retire waits for them, if only for so long that nobody notices a retired process that lives. The end
 * of an old process takes a processor for as long as its memory takes to be unmapped, and those who are to serve come first:
 * docs/decisions/0010.
 */

/** How long a retire may wait for the goes of its attempt. */
const RETIRE_WAIT_MS = 50;

export class Goes {
  readonly #open = new Set<Promise<void>>();

  /** This go is under way until it is answered, however. */
  track(go: Promise<void>): void {
    const over = go.then(
      () => undefined,
      () => undefined,
    );
    this.#open.add(over);
    void over.then(() => this.#open.delete(over));
  }

  /** Resolves when all that are under way now are answered, at the latest after {@link RETIRE_WAIT_MS}. */
  async answered(): Promise<void> {
    if (this.#open.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      Promise.all(this.#open),
      new Promise((resolve) => (timer = setTimeout(resolve, RETIRE_WAIT_MS))),
    ]);
    clearTimeout(timer);
  }
}
