/**
 * luod is replaced by the next one, under the same keeper and with everything left running: when the operator asks for it, and
 * after a lost keeper, since luod is no child of the new one, which would not start it again. Never while an attempt is open.
 */
import { LuoError } from '../base/errors.js';
import type { Custody } from './custody.js';
import type { Logger } from './logger.js';
import type { Orchestrator } from './orchestrator.js';

export interface SelfUpdateParts {
  readonly log: Logger;
  readonly custody: Custody;
  readonly orchestrator: Orchestrator;
  /** Command line of this luod. */
  readonly luodArgv: readonly string[];
  readonly isEnding: () => boolean;
  /** End this luod alone. */
  readonly leave: () => void;
}

export class SelfUpdate {
  readonly #parts: SelfUpdateParts;
  #isDue = false;

  constructor(parts: SelfUpdateParts) {
    this.#parts = parts;
  }

  /** @param argv the next luod; this one's if undefined @throws LuoError STATE_BUSY */
  async request(argv: readonly string[] | undefined): Promise<{ pidBefore: number }> {
    const { custody, orchestrator, luodArgv, leave } = this.#parts;
    if (!orchestrator.isIdle) {
      throw new LuoError('STATE_BUSY', 'luod cannot be replaced while an update is running', {
        remedy: 'wait for it, or luoctl cancel',
      });
    }
    await custody.next(argv ?? luodArgv);
    // The reply has to leave first.
    setTimeout(leave, 10);
    return { pidBefore: process.pid };
  }

  /** A new keeper was refilled. The engine opens its record there; luod replaces itself under it when it is idle. */
  keeperReplaced(): void {
    this.#parts.orchestrator.dispatch({ type: 'keeperLost' });
    this.#isDue = true;
    this.whenIdle();
  }

  /** No attempt is open, it may be: what had to wait for that is done. */
  whenIdle(): void {
    const { log, custody, orchestrator, luodArgv, isEnding, leave } = this.#parts;
    if (!this.#isDue || isEnding() || !orchestrator.isIdle) return;
    this.#isDue = false;
    custody
      .next(luodArgv)
      .then(leave, (error: unknown) => log.error({ error: String(error) }, 'luod stays an orphan of its dead keeper'));
  }
}
