/**
 * Makes this process look to its parent, a shell, as the program would: signals for this process alone go to the program; when
 * the program stops, this process stops, so that the shell sees a stopped job. See signals.ts for how a signal for the whole
 * job is told from one for this process, and end-like.ts for the end.
 */
import { constants } from 'node:os';
import { kill, withDefaultAction } from '../../sys/index.js';
import type { Launcher, Program } from './launcher.js';
import type { ProgramChange } from './messages.js';
import { COUNTED_SIGNALS, GroupSignals, type CountedSignal } from './signals.js';

/** For one emulator; the program changes at each simulated kexec. */
export class Foreground {
  readonly #launcher: Launcher;
  readonly #group = new GroupSignals();
  readonly #handlers = new Map<CountedSignal, () => void>();
  #program: Program | undefined;
  /** Came while a program was being started. */
  readonly #early: CountedSignal[] = [];

  constructor(launcher: Launcher) {
    this.#launcher = launcher;
    for (const signal of COUNTED_SIGNALS) {
      const handler = (): void => void this.#caught(signal);
      this.#handlers.set(signal, handler);
      process.on(signal, handler);
    }
  }

  /** Signals go to `program` from now on, and those that came since it was asked for. */
  follow(program: Program): void {
    this.#program = program;
    for (const signal of this.#early.splice(0)) program.signal(signal);
  }

  /** The program is gone, the next one is not there yet. */
  unfollow(): void {
    this.#program = undefined;
  }

  /** The program has stopped, or goes on. */
  readonly paused = (change: Exclude<ProgramChange, { kind: 'ended' }>): void => {
    if (change.kind === 'stopped') stopLike(change.signal);
  };

  /** Signals have their former effect on this process again. */
  close(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }

  async #caught(signal: CountedSignal): Promise<void> {
    const count = await this.#launcher.countOf(signal);
    // Without a launcher process there is no program either.
    if (count === undefined || this.#group.wasForGroup(signal, count)) return;
    if (this.#program === undefined) this.#early.push(signal);
    else this.#program.signal(signal);
  }
}

/** Stop this process by the signal that stopped the program; returns when somebody continues it. */
function stopLike(signal: number): void {
  if (signal === constants.signals.SIGSTOP) kill(process.pid, 'SIGSTOP');
  else withDefaultAction(signal, () => kill(process.pid, signal));
}
