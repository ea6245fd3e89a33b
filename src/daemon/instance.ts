/**
 * One process of a service, living: its record, its pidfd, its notification socket, and what others wait for of it. It
 * starts nothing and restarts nothing (instances.ts and services.ts do); it tells once when it is gone.
 */
import { LuoError } from '../base/errors.js';
import { eventLoop, pidfdSendSignal, isSysError } from '../sys/index.js';
import type { OwnedFd, Watch } from '../sys/index.js';
import type { NotifySocket } from './notify.js';
import { describeExit } from './service.js';
import type { Exit, InstanceRecord } from './service.js';

/** What an instance can be waited for, each reached at most once. */
export type Milestone = 'spoke' | 'standby' | 'ready';

interface Waiter {
  readonly milestone: Milestone;
  readonly resolve: () => void;
  readonly reject: (error: LuoError) => void;
  readonly timer: NodeJS.Timeout;
}

export class Instance {
  record: InstanceRecord;
  statusText: string | undefined;
  notify: NotifySocket | undefined;
  readonly pidfd: OwnedFd;
  readonly #watch: Watch;
  readonly #reached = new Set<Milestone>();
  #waiters: Waiter[] = [];
  #exit: Exit | undefined;
  #goneWaiters: ((exit: Exit) => void)[] = [];

  /** @param takenPidfd owned from now on @param onDead the process has ended; its exit status may still be on its way */
  constructor(record: InstanceRecord, takenPidfd: OwnedFd, onDead: () => void) {
    this.record = record;
    this.pidfd = takenPidfd;
    if (record.ready) for (const milestone of ['spoke', 'standby', 'ready'] as const) this.#reached.add(milestone);
    this.#watch = eventLoop().watch(takenPidfd.fd, { readable: true, writable: false }, () => {
      this.#watch.close();
      onDead();
    });
  }

  get id(): string {
    return this.record.id;
  }

  get exit(): Exit | undefined {
    return this.#exit;
  }

  has(milestone: Milestone): boolean {
    return this.#reached.has(milestone);
  }

  /** Resolves at the milestone. @throws LuoError SERVICE_START_FAILED it ended first; `late` if the time is over */
  when(milestone: Milestone, deadlineMs: number, late: () => LuoError): Promise<void> {
    if (this.#reached.has(milestone)) return Promise.resolve();
    if (this.#exit) return Promise.reject(this.#endedError(this.#exit));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((waiter) => waiter.timer !== timer);
        reject(late());
      }, deadlineMs);
      this.#waiters.push({ milestone, resolve, reject, timer });
    });
  }

  reach(milestone: Milestone): void {
    this.#reached.add(milestone);
    const met = this.#waiters.filter((waiter) => waiter.milestone === milestone);
    this.#waiters = this.#waiters.filter((waiter) => waiter.milestone !== milestone);
    for (const waiter of met) {
      clearTimeout(waiter.timer);
      waiter.resolve();
    }
  }

  /** Resolves when the process is gone and its status is known. */
  whenGone(): Promise<Exit> {
    if (this.#exit) return Promise.resolve(this.#exit);
    return new Promise((resolve) => this.#goneWaiters.push(resolve));
  }

  /** Resolves with true when the process is gone within `ms`. */
  async goneWithin(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
    const gone = await Promise.race([this.whenGone().then(() => true), late]);
    clearTimeout(timer);
    return gone;
  }

  /** Send a signal; a process that is gone already is no error. */
  signal(signal: NodeJS.Signals): void {
    if (this.#exit) return;
    try {
      pidfdSendSignal(this.pidfd.fd, signal);
    } catch (error) {
      if (!isSysError(error, 'ESRCH')) throw error;
    }
  }

  /** Its end and status are known. Called once, by instances.ts. */
  ended(exit: Exit): void {
    this.#exit = exit;
    this.#watch.close();
    this.pidfd.close();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      clearTimeout(waiter.timer);
      waiter.reject(this.#endedError(exit));
    }
    const gone = this.#goneWaiters;
    this.#goneWaiters = [];
    for (const resolve of gone) resolve(exit);
  }

  /** luod ends and leaves the process alone. */
  detach(): void {
    this.#watch.close();
    this.pidfd.close();
    this.notify?.detach();
    for (const waiter of this.#waiters) clearTimeout(waiter.timer);
  }

  #endedError(exit: Exit): LuoError {
    return new LuoError(
      'SERVICE_START_FAILED',
      `'${this.record.id}' (${this.record.command.argv[0]}) ended with ${describeExit(exit)} before it was ready`,
      { participant: this.id, remedy: `read its log: luoctl logs ${this.record.service}` },
    );
  }
}
