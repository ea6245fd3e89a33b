/**
 * luod under the keeper: started, started again when it ends, replaced by the next command.
 * - Each luod gets the privileged channel as fd 3: one end of a new socketpair, whose other end is served here.
 * - It may end at any time. The first restart comes at once, later ones after a pause that doubles, until one lives long.
 * - `next` names the command that follows; it must first prove that it can read the journal. It counts from the moment at
 *   which it confirms; if it ends before that, the old command is started again.
 * - A luod that this keeper did not start (it started the keeper) is watched by pidfd.
 * Unhappy: a first luod that never confirms and keeps ending, while nothing is kept, ends the keeper too.
 */
import { LuoError } from '../base/errors.js';
import type { OwnedFd } from '../sys/index.js';
import { eventLoop, pidfdOpen, pidfdSendSignal, isSysError, socketpair, type Watch } from '../sys/index.js';
import type { Children } from './children.js';

export interface SupervisorOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Open file that takes luod's output, borrowed. */
  readonly logFd: number;
  readonly children: Children;
  /** Serve the keeper's end of a channel; called for each luod. */
  readonly onChannel: (takenFd: OwnedFd) => void;
  /** True while giving up would lose something. */
  readonly isNeeded: () => boolean;
  /** There is no luod, and none will be started: by request, or because it cannot work. */
  readonly onEnd: (error: LuoError | undefined) => void;
}

interface Running {
  readonly argv: readonly string[];
  readonly pidfd: OwnedFd;
  readonly startedMs: number;
}

const backOffMs = [0, 100, 200, 400, 800, 1600, 3200, 5000];
const livedLongMs = 10_000;
const firstTries = 5;
const checkMs = 20_000;

/** The one luod of a keeper. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  #current: readonly string[];
  #next: readonly string[] | undefined;
  #running: Running | undefined;
  #everConfirmed = false;
  #stopping = false;
  #ended = false;
  #deaths = 0;
  #inRow = 0;
  #timer: NodeJS.Timeout | undefined;
  #watch: Watch | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#current = options.argv;
  }

  /** How often a luod ended that nobody asked to. */
  get deaths(): number {
    return this.#deaths;
  }

  /** Start the first luod. */
  start(): void {
    this.#launch(this.#current);
  }

  /** Supervise a luod that is there already and has `takenFd` as its channel. */
  adopt(pid: number, takenFd: OwnedFd): void {
    this.#everConfirmed = true;
    const pidfd = pidfdOpen(pid);
    this.#running = { argv: this.#current, pidfd, startedMs: performance.now() };
    this.#watch = eventLoop().watch(pidfd.fd, { readable: true, writable: false }, () => this.#died());
    this.#options.onChannel(takenFd);
  }

  /**
   * The command that follows the running luod, once `argv --check-journal` with the journal as fd 3 has ended with 0.
   * @throws LuoError JOURNAL_TOO_NEW it did not; SERVICE_START_FAILED
   */
  async setNext(argv: readonly string[], journalFd: number): Promise<void> {
    const { children, cwd, env, logFd } = this.#options;
    let resolve: (text: string) => void;
    const ended = new Promise<string>((settle) => (resolve = settle));
    const check = await children.start(
      {
        name: 'luod-check',
        argv: [...argv, '--check-journal'],
        cwd,
        env,
        fds: [null, logFd, logFd, journalFd],
        isInternal: true,
      },
      (child) => {
        resolve(child.code === 0 ? '' : `it ended with ${child.signal ?? child.code}`);
      },
    );
    const timer = setTimeout(() => {
      signalQuietly(check.pidfd, 'SIGKILL');
      resolve(`no answer within ${checkMs} ms`);
    }, checkMs);
    const failure = await ended;
    clearTimeout(timer);
    if (failure !== '') {
      throw new LuoError('JOURNAL_TOO_NEW', `the next luod '${argv[0]}' cannot read the journal: ${failure}`, {
        remedy: 'see luod.log in the folder logs; the running luod goes on',
      });
    }
    this.#next = argv;
  }

  /** The running luod works: from now on its command is the one to start again. */
  confirm(): void {
    this.#everConfirmed = true;
    if (this.#running === undefined) return;
    this.#current = this.#running.argv;
    if (this.#next === this.#current) this.#next = undefined;
  }

  /** Start no luod any more; with `signal`, tell the running one. `onEnd` comes when it has ended. */
  stop(signal?: NodeJS.Signals): void {
    this.#stopping = true;
    if (this.#running === undefined) return this.#end(undefined);
    if (signal !== undefined) signalQuietly(this.#running.pidfd, signal);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#watch?.close();
    if (this.#watch !== undefined) this.#running?.pidfd.close();
  }

  #launch(argv: readonly string[]): void {
    this.#timer = undefined;
    const { children, cwd, env, logFd } = this.#options;
    const [ours, theirs] = socketpair();
    children
      .start({ name: 'luod', argv, cwd, env, fds: [null, logFd, logFd, theirs.fd], isInternal: true }, () =>
        this.#died(),
      )
      .then(
        (child) => {
          theirs.close();
          this.#running = { argv, pidfd: child.pidfd, startedMs: performance.now() };
          this.#options.onChannel(ours);
          if (this.#stopping) signalQuietly(child.pidfd, 'SIGTERM');
        },
        () => {
          ours.close();
          theirs.close();
          this.#afterDeath(argv, 0);
        },
      );
  }

  #died(): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    if (this.#watch !== undefined) {
      this.#watch.close();
      this.#watch = undefined;
      running.pidfd.close();
    }
    this.#afterDeath(running.argv, performance.now() - running.startedMs);
  }

  #afterDeath(argv: readonly string[], livedMs: number): void {
    if (this.#stopping) return this.#end(undefined);
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined) {
      this.#inRow = 0;
      return this.#launch(next);
    }
    this.#deaths += 1;
    this.#inRow = livedMs >= livedLongMs ? 1 : this.#inRow + 1;
    if (!this.#everConfirmed && this.#inRow >= firstTries && !this.#options.isNeeded()) {
      return this.#end(new LuoError('INTERNAL', `luod '${argv[0]}' ended ${this.#inRow} times before it worked`));
    }
    // A command that ended before it confirmed is not the current one: the old command comes back.
    const pauseMs = backOffMs[Math.min(this.#inRow - 1, backOffMs.length - 1)]!;
    if (pauseMs === 0) this.#launch(this.#current);
    else this.#timer = setTimeout(() => this.#launch(this.#current), pauseMs);
  }

  #end(error: LuoError | undefined): void {
    clearTimeout(this.#timer);
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd(error);
  }
}

function signalQuietly(pidfd: OwnedFd, signal: NodeJS.Signals): void {
  try {
    if (pidfd.isOpen) pidfdSendSignal(pidfd.fd, signal);
  } catch (error) {
    if (!isSysError(error, 'ESRCH')) throw error;
  }
}
