/**
 * Restarts that wait: each of a service that fails again and again is later than the one before, and after ten in a row it is
 * given up. Whether one is wanted at all is not asked here (services.ts does). Only a process that stays up clears the
 * count: one that is ready and crashes is still a crash loop.
 */
import type { Instance } from './instance.js';
import { BACK_OFF, backOffMs } from './service.js';

export interface BackOffHost {
  /** It is time. Rejects if the process that was started does not serve. */
  restart(service: string): Promise<Instance>;
  /** That restart failed. */
  onFailed(service: string, error: unknown): void;
  /** It failed so often that nobody tries again. */
  onGivenUp(service: string, failures: number): void;
}

interface Restarts {
  /** In a row. */
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

export class BackOff {
  readonly #host: BackOffHost;
  readonly #restarts = new Map<string, Restarts>();
  #isClosed = false;

  constructor(host: BackOffHost) {
    this.#host = host;
  }

  /** A restart of this service waits for its time. */
  isPending(service: string): boolean {
    return this.#restarts.get(service)?.timer !== undefined;
  }

  /** Restart it, after the delay that it has come to. @returns false: nothing has changed, it is pending already or given up */
  schedule(service: string): boolean {
    const restarts = this.#of(service);
    if (this.#isClosed || restarts.timer) return false;
    if (restarts.failures >= BACK_OFF.attemptsMax) {
      this.#host.onGivenUp(service, restarts.failures);
      return false;
    }
    restarts.timer = setTimeout(() => {
      restarts.timer = undefined;
      this.#host.restart(service).then(
        (instance) => clearWhenSteady(restarts, instance),
        (error: unknown) => this.#host.onFailed(service, error),
      );
    }, backOffMs(restarts.failures));
    restarts.failures += 1;
    return true;
  }

  /** No restart is pending any more; the count stays. */
  cancel(service: string): void {
    const restarts = this.#restarts.get(service);
    if (!restarts) return;
    clearTimeout(restarts.timer);
    restarts.timer = undefined;
  }

  /** It is not failing: the next delay is the first. */
  clear(service: string): void {
    const restarts = this.#restarts.get(service);
    if (restarts) restarts.failures = 0;
  }

  /** There is no such service any more. */
  forget(service: string): void {
    this.cancel(service);
    this.#restarts.delete(service);
  }

  /** Nothing is restarted any more. */
  close(): void {
    this.#isClosed = true;
    for (const service of this.#restarts.keys()) this.cancel(service);
  }

  #of(service: string): Restarts {
    const known = this.#restarts.get(service);
    if (known) return known;
    const restarts = { failures: 0, timer: undefined };
    this.#restarts.set(service, restarts);
    return restarts;
  }
}

function clearWhenSteady(restarts: Restarts, instance: Instance): void {
  setTimeout(() => {
    if (!instance.exit) restarts.failures = 0;
  }, BACK_OFF.steadyMs).unref();
}
