/**
 * What this member does when luod's word does not come, performed: the rules are those of src/protocol/side.ts, here are
 * its questions to the keeper, its timers, and the eyes on the successors (pidfds that came with freeze). One instance
 * from the moment of the freeze's answer, or of ready, until the attempt is decided for this member.
 */
import { LuoError } from '../base/errors.js';
import type { Gap, Outcome } from '../base/words.js';
import { mayResume, startSide, stepSide, type SideEvent, type SideRole, type SideState } from '../protocol/side.js';
import { eventLoop, type OwnedFd, type Watch } from '../sys/index.js';
import { decideVia } from '../transport/index.js';

export interface SideOptions {
  readonly role: SideRole;
  readonly gap: Gap;
  readonly keeperSocket: string;
  readonly attempt: number;
  readonly key: string;
  /** Pidfds of the processes that would act instead. */
  readonly takenSuccessors: OwnedFd[];
  /** Until the blackout is over, ms; undefined for a successor, which does not hurry. */
  readonly deadlineMs: number | undefined;
  /** Called once at most: what is to be done without luod's word. */
  readonly perform: (action: 'thaw' | 'goOn' | 'retire' | 'end') => void;
}

/** How long the keeper may be away in one question, ms; one that is being replaced is back sooner. */
const QUESTION_MS = 2_000;

export class Side {
  readonly #options: SideOptions;
  #state: SideState;
  readonly #deadline: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  readonly #questions = new AbortController();
  readonly #watches = new Map<OwnedFd, Watch>();

  constructor(options: SideOptions) {
    this.#options = options;
    this.#state = startSide(options.role, options.gap);
    if (options.deadlineMs !== undefined) {
      this.#deadline = setTimeout(() => this.tell({ type: 'deadline' }), Math.max(0, options.deadlineMs));
    }
    for (const pidfd of options.takenSuccessors) {
      const watch = eventLoop().watch(pidfd.fd, { readable: true, writable: false }, () => this.#died(pidfd));
      watch.unref();
      this.#watches.set(pidfd, watch);
    }
  }

  get mayResume(): boolean {
    return mayResume(this.#state);
  }

  /** Something happened. */
  tell(event: SideEvent): void {
    if (this.#state.phase === 'settled') return;
    const step = stepSide(this.#state, event);
    this.#state = step.state;
    if (this.#state.phase === 'settled') this.close();
    for (const action of step.actions) {
      switch (action.do) {
        case 'ask':
          void this.#ask(action.want);
          break;
        case 'read':
          void this.#ask(undefined);
          break;
        case 'wait':
          clearTimeout(this.#again);
          this.#again = setTimeout(() => this.tell({ type: 'again' }), action.ms);
          break;
        case 'thaw':
        case 'goOn':
        case 'retire':
        case 'end':
          // luod's own word is carried out by whoever took its call.
          if (event.type !== 'called') this.#options.perform(action.do);
      }
    }
  }

  /** It matters no more. */
  close(): void {
    this.#state = { ...this.#state, phase: 'settled', asking: false };
    clearTimeout(this.#deadline);
    clearTimeout(this.#again);
    this.#questions.abort();
    for (const [pidfd, watch] of this.#watches) {
      watch.close();
      pidfd.close();
    }
    this.#watches.clear();
  }

  async #ask(want: 'aborted' | undefined): Promise<void> {
    const { keeperSocket, attempt, key } = this.#options;
    let answer: Outcome | 'none' | 'unreachable';
    try {
      const outcome = await decideVia(keeperSocket, {
        attempt,
        key,
        deadlineMs: QUESTION_MS,
        signal: this.#questions.signal,
        ...(want === undefined ? {} : { want }),
      });
      answer = outcome ?? 'none';
    } catch (error) {
      // Whatever else the keeper says, it does not say an outcome.
      answer = error instanceof LuoError && error.code === 'KEEPER_LOST' ? 'unreachable' : 'none';
    }
    this.tell({ type: 'answer', answer });
  }

  #died(pidfd: OwnedFd): void {
    this.#watches.get(pidfd)?.close();
    this.#watches.delete(pidfd);
    pidfd.close();
    if (this.#watches.size === 0) this.tell({ type: 'successorsDead' });
  }
}
