/**
 * Progress of long work on standard error: one line that is rewritten on a terminal, plain lines with -v, nothing
 * otherwise, so that a script's error output holds errors only.
 */
import type { Context, ProgressData } from './context.js';
import { printable } from './format.js';

export class ProgressView {
  readonly #context: Context;
  readonly #label: string;
  readonly #mode: 'line' | 'lines' | 'none';
  #shown = false;

  constructor(context: Context, label: string) {
    this.#context = context;
    this.#label = label;
    this.#mode = context.verbose ? 'lines' : context.io.stderr.isTTY === true && !context.json ? 'line' : 'none';
  }

  /** Show one step. An arrow function, so that it can be given away as a callback. */
  readonly show = (data: ProgressData): void => {
    if (this.#mode === 'none') return;
    const words = [data.what, data.participant, data.phase === undefined ? undefined : `(${data.phase})`];
    const text = printable(`${this.#label}: ${words.filter((word) => word !== undefined).join(' ')}`);
    if (this.#mode === 'lines') this.#context.tell(text);
    else this.#context.io.stderr.write(`\r\u001b[K${text.slice(0, 100)}`);
    this.#shown = true;
  };

  /** Take the rewritten line away, before anything else is written. Any number of times. */
  clear(): void {
    if (this.#mode === 'line' && this.#shown) this.#context.io.stderr.write('\r\u001b[K');
    this.#shown = false;
  }
}
