/** Keeps log files bounded: each is looked at now and then. One that cannot be rotated goes on growing, and the log says so. */
import { LIMITS } from '../base/limits.js';
import { rotate } from './log-file.js';
import type { Logger } from './logger.js';

const CHECK_MS = 30_000;

export class LogRotation {
  readonly #timer: NodeJS.Timeout;

  /** @param paths of the log files; asked anew each time */
  constructor(paths: () => readonly string[], log: Logger) {
    this.#timer = setInterval(() => {
      for (const path of paths()) {
        try {
          rotate(path, LIMITS.logBytesMax);
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          log.warn({ path, error: message }, 'log not rotated, continuing without');
        }
      }
    }, CHECK_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
