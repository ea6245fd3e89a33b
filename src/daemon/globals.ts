/**
 * The service that runs the hooks of global handles, started by luod itself as soon as something depends on one of them: nobody else
 * would, and the plan of whatever depends on it would be refused. From then on it is a service like any other.
 *
 * Happy path: a handle that needs `OWNER/global:NAME` is registered -> the service is started; a plan waits for that (`settled`).
 * Unhappy: there are no hooks, or the service does not start: the log says so, and the plan names what is missing. A service that
 * the operator has stopped stays stopped.
 */
import { LuoError } from '../base/errors.js';
import type { LuodParams } from '../protocol/spec.js';
import type { Logger } from './logger.js';

export interface GlobalsParts {
  /** What `run` takes to start it; asked anew each time. Undefined: there are no hooks, or this luod runs none. */
  readonly command: () => LuodParams<'run'> | undefined;
  /** Owner of the handles of service NAME. */
  readonly ownerOf: (service: string) => string;
  readonly has: (service: string) => boolean;
  /** Resolves when it serves. */
  readonly run: (params: LuodParams<'run'>) => Promise<unknown>;
  readonly log: Logger;
}

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
      .then(() => undefined)
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
}
