/**
 * Signals for the emulator that are meant for the program. The emulator, its launcher process and the program share a process
 * group, so that a signal for the group (Ctrl-C, Ctrl-Z, a closed terminal, kill of a job) has reached the program already;
 * one for the emulator alone (`kill PID`) has not, and is passed on. Which it was is told by the launcher process, which counts
 * what it gets: nobody sends it signals of its own.
 */

/** The signals that are passed on. Not among them: what cannot be caught, faults, SIGCHLD, SIGPIPE, and SIGPROF, which is V8's. */
export const COUNTED_SIGNALS = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGTERM',
  'SIGCONT',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGURG',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
] as const satisfies readonly NodeJS.Signals[];
export type CountedSignal = (typeof COUNTED_SIGNALS)[number];

/** Tells signals for the group from those for one process. */
export class GroupSignals {
  readonly #seen = new Map<string, number>();

  /** @param count how often the launcher process has got `signal` so far @returns true: this one was for the group */
  wasForGroup(signal: CountedSignal, count: number): boolean {
    const seen = this.#seen.get(signal) ?? 0;
    this.#seen.set(signal, count);
    return count > seen;
  }
}
