/**
 * The service that runs the hooks of global handles, started by luod itself as soon as something depends on one of them: nobody else
 * would, and the plan of whatever depends on it would be refused. From then on it is a service like any other.
 *
 * Happy path: a handle that needs `OWNER/global:NAME` is registered -> the service is started; a plan waits for that (`settled`).
 * Unhappy: there are no hooks, or the service does not start: the log says so, and the plan names what is missing. A service that
 * the operator has stopped stays stopped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LuoError } from '../base/errors.js';
import type { LuodParams } from '../protocol/spec.js';
import type { Logger } from './logger.js';

export interface GlobalsParts {
  /** What `run` takes to start it; asked anew each time. Undefined: there are no hooks, or this luod runs none. */
  readonly command: () => LuodParams<'run'> | undefined;
  /** Owner of the handles of service NAME. */
  readonly ownerOf: (service: string) => string;
  readonly has: (service: string) => boolean;
  readonly run: (params: LuodParams<'run'>) => Promise<unknown>;
  /** Its process has registered the hooks and had its go. */
  readonly acts: (owner: string) => boolean;
  readonly log: Logger;
  /** How long it may take to act; by default {@link WAIT_MS}. */
  readonly waitMs?: number;
}

const WAIT_MS = 120_000;
const LOOK_MS = 50;

export class Globals {
  readonly #parts: GlobalsParts;
  #starting: Promise<void> | undefined;

  constructor(parts: GlobalsParts) {
    this.#parts = parts;
  }

  /** @param dependencies keys of handles that something needs */
  needed(dependencies: readonly string[]): void {
    if (this.#starting || !dependencies.some((key) => key.includes('/global:'))) return;
    const { command, ownerOf, has, run, log } = this.#parts;
    const params = command();
    if (params === undefined || has(params.name)) return;
    const prefix = `${ownerOf(params.name)}/global:`;
    const needs = dependencies.find((key) => key.startsWith(prefix));
    if (needs === undefined) return;
    log.info({ service: params.name, handle: needs }, 'hooks are needed: the service that runs them is started');
    this.#starting = run(params)
      .then(() => this.#untilActs(ownerOf(params.name)))
      .catch((error: unknown) => {
        const { code, message } = LuoError.from(error);
        log.error({ service: params.name, code }, `the service that runs the hooks does not start: ${message}`);
      })
      .finally(() => (this.#starting = undefined));
  }

  /** Resolves when a start that is under way has come to its end, whichever. */
  async settled(): Promise<void> {
    await this.#starting;
  }

  /** On a slow machine a process counts as serving before it has said its first word: that is not enough here. */
  async #untilActs(owner: string): Promise<void> {
    const { acts, waitMs = WAIT_MS } = this.#parts;
    for (const end = Date.now() + waitMs; !acts(owner); await sleep(LOOK_MS)) {
      if (Date.now() < end) continue;
      throw new LuoError('CALL_TIMEOUT', `it has not registered the hooks within ${waitMs} ms`);
    }
  }
}
