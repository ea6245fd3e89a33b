/**
 * Every fd that matters has two holders: the keeper, and luod. Custody is luod's side of that: a mirror of what the
 * keeper holds, so that a claim costs no round trip and a keeper that dies can be replaced and refilled.
 *
 * Happy path: `put` mirrors and sends; the channel keeps the order, so that whoever sends a `decide` afterwards need not
 * wait for the answer of a `put` before it. `putSoon` mirrors, and sends when this turn of the loop is over, or before whatever is
 * sent to the keeper next. Unhappy path: the channel breaks. A new keeper is started, refilled from the mirror,
 * and `onKeeperReplaced` is called: the decision record of an open attempt is the engine's to open again, and luod
 * replaces itself under the new keeper when it is idle. Requests that were under way are settled by the refill.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LuoError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import type { KeeperParams } from '../protocol/spec.js';
import { closeAll, isSysError, pidfdOpen, socketpair } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import { KeeperClient } from '../transport/index.js';
import { openRead } from './log-file.js';
import type { Logger } from './logger.js';
import type { Exit } from './service.js';

export interface Entry {
  readonly name: string;
  readonly owner: string;
  readonly meta: unknown;
  readonly fds: readonly OwnedFd[];
}

export interface CustodyOptions {
  readonly log: Logger;
  /** Command line of a keeper that adopts this luod by its fd 3. */
  readonly keeperArgv: readonly string[];
  /** A new keeper runs and is refilled. */
  readonly onKeeperReplaced: () => void;
  /** There is no keeper and none can be started: luod cannot go on. */
  readonly onFatal: (error: LuoError) => void;
}

/** How long the keeper may take to tell the status of a process that is dead by its pidfd. */
const EXIT_STATUS_MS = 1000;
const GET_MANY = 200;
/** So many new keepers in a row may die while they are refilled. */
const KEEPER_TRIES = 5;
const KEEPER_AGAIN_MS = 100;
/** In the keeper while it is being refilled: what it holds is not everything. */
export const REFILLING_ENTRY = 'luod/refilling';
/** Owner of session fds in the keeper's table. */
const SESSION_OWNER = 'luod';

export class Custody {
  readonly #options: CustodyOptions;
  readonly #entries = new Map<string, Entry>();
  /** Ended children whose status was told. */
  readonly #exits = new Map<number, Exit>();
  /** Pids that are children of the present keeper. */
  readonly #children = new Set<number>();
  /** Of `putSoon`: not sent yet, in order. */
  #unsent: (() => void)[] = [];
  #channel: KeeperClient;
  #keeperPid = 0;
  #fdsMax = 0;
  #refilling: Promise<void> | undefined;
  #closing = false;
  #luodDeaths = 0;

  private constructor(channel: OwnedFd, options: CustodyOptions) {
    this.#options = options;
    this.#channel = this.#connect(channel);
  }

  /** Read everything that the keeper at the other end of `channel` holds. */
  static async open(channel: OwnedFd, options: CustodyOptions): Promise<Custody> {
    const custody = new Custody(channel, options);
    const list = await custody.#keeper.list();
    custody.#keeperPid = list.pid;
    custody.#fdsMax = list.fdsMax;
    custody.#luodDeaths = list.luodDeaths;
    const names = list.entries.map((entry) => entry.name);
    for (let at = 0; at < names.length; at += GET_MANY) {
      for (const entry of await custody.#keeper.getMany(names.slice(at, at + GET_MANY))) {
        custody.#entries.set(entry.name, {
          name: entry.name,
          owner: entry.owner,
          meta: entry.meta ?? null,
          fds: entry.owned,
        });
      }
    }
    return custody;
  }

  /** The keeper, which has been sent everything before. */
  get #keeper(): KeeperClient {
    this.#sendUnsent();
    return this.#channel;
  }

  #sendUnsent(): void {
    const unsent = this.#unsent;
    this.#unsent = [];
    for (const send of unsent) send();
  }

  get keeperPid(): number {
    return this.#keeperPid;
  }

  get fdsMax(): number {
    return this.#fdsMax;
  }

  get luodDeaths(): number {
    return this.#luodDeaths;
  }

  get entryCount(): number {
    return this.#entries.size;
  }

  get fdCount(): number {
    let count = 0;
    for (const entry of this.#entries.values()) count += entry.fds.length;
    return count;
  }

  /** The entry, its fds borrowed. */
  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  /** Entries whose names begin with `prefix`, in order of their names. */
  withPrefix(prefix: string): Entry[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.name.startsWith(prefix))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Keep fds under a name. They are mirrored when this returns, and in the keeper when the promise resolves.
   * @param takenFds owned by custody from now on, also when it throws
   * @throws LuoError LIMIT_REACHED, KEEPER_EXISTS
   */
  put(name: string, owner: string, meta: unknown, takenFds: OwnedFd[], replace = false): Promise<void> {
    const before = this.#entries.get(name);
    if (before && !replace) {
      closeAll(takenFds);
      return Promise.reject(new LuoError('KEEPER_EXISTS', `the keeper has an entry '${name}' already`));
    }
    this.#entries.set(name, { name, owner, meta, fds: takenFds });
    const sent = this.#keeper.put({ name, owner, meta, replace }, numbers(takenFds));
    return this.#settled(sent).then(
      () => closeAll(before?.fds ?? []),
      (error: unknown) => {
        if (this.#entries.get(name)?.fds === takenFds) {
          if (before) this.#entries.set(name, before);
          else this.#entries.delete(name);
        }
        closeAll(takenFds);
        throw error;
      },
    );
  }

  /**
   * The same for who has something more urgent to send in this turn: mirrored at once. A refusal of the keeper is not told, but a
   * `decide` afterwards says `lost` when the keeper is.
   */
  putSoon(name: string, owner: string, meta: unknown, takenFds: OwnedFd[]): void {
    this.#entries.set(name, { name, owner, meta, fds: takenFds });
    this.#unsent.push(() => {
      // Dropped meanwhile, and never heard of by the keeper.
      if (this.#entries.get(name)?.fds !== takenFds) return;
      this.#settled(this.#channel.put({ name, owner, meta }, numbers(takenFds))).catch((error: unknown) => {
        this.#options.log.error({ error: String(error), name }, 'the keeper did not take an entry');
      });
    });
    setImmediate(() => this.#sendUnsent());
  }

  /** Let go of entries; names that are not there are passed over. */
  drop(names: readonly string[]): void {
    this.dropNow(names).catch((error: unknown) => {
      this.#options.log.error({ error: String(error), names }, 'the keeper did not drop entries');
    });
  }

  /** The same, and wait until the keeper has let go too: the last copy of a session fd has an effect when it closes. */
  async dropNow(names: readonly string[]): Promise<void> {
    const known = names.filter((name) => this.#entries.has(name));
    if (known.length === 0) return;
    for (const name of known) {
      closeAll(this.#entries.get(name)!.fds);
      this.#entries.delete(name);
    }
    await this.#settled(this.#keeper.drop({ names: known }));
  }

  /** A new outgoing session of the kernel, made and kept by the keeper as `entry`. @returns its fd, borrowed */
  async createSession(name: string, entry: string): Promise<number> {
    return this.#mirrorSession(entry, await this.#keeper.sessionCreate(name));
  }

  /** A session of the last kernel, retrieved and kept by the keeper as `entry`. @returns its fd, borrowed */
  async retrieveSession(name: string, entry: string): Promise<number> {
    return this.#mirrorSession(entry, await this.#keeper.sessionRetrieve(name));
  }

  #mirrorSession(entry: string, takenFd: OwnedFd): number {
    this.#entries.set(entry, { name: entry, owner: SESSION_OWNER, meta: null, fds: [takenFd] });
    return takenFd.fd;
  }

  dropPrefix(prefix: string): void {
    this.drop(this.withPrefix(prefix).map((entry) => entry.name));
  }

  /** Open the record of an attempt. False: the keeper went away; `onKeeperReplaced` follows. */
  async openRecord(attempt: number, key: string, outcome?: Outcome): Promise<boolean> {
    try {
      await this.#keeper.open(attempt, key, outcome);
      return true;
    } catch (error) {
      return this.#lost(error, false);
    }
  }

  /** First writer wins. `lost`: the keeper went away before it answered. */
  async decide(attempt: number, key: string, want: Outcome): Promise<Outcome | 'lost'> {
    try {
      return (await this.#keeper.decide(attempt, key, want)) ?? 'lost';
    } catch (error) {
      // A refilled keeper that was not told the outcome yet answers DECISION_NONE: it is as good as gone.
      if (error instanceof LuoError && error.code === 'DECISION_NONE') return 'lost';
      return this.#lost(error, 'lost' as const);
    }
  }

  /** Start a child of the keeper. @param logFd its stdout and stderr @param listenFds its fds 3, 4, … All borrowed. */
  async spawn(
    params: KeeperParams<'spawn'>,
    logFd: number,
    listenFds: readonly number[],
  ): Promise<{ pid: number; pidfd: OwnedFd }> {
    if (this.#refilling) await this.#refilling;
    const nothing = openRead('/dev/null');
    try {
      const nofile = Number(process.env['LUO_NOFILE']);
      const child = await this.#keeper.spawn(Number.isInteger(nofile) && nofile > 0 ? { ...params, nofile } : params, [
        nothing.fd,
        logFd,
        logFd,
        ...listenFds,
      ]);
      this.#children.add(child.pid);
      return child;
    } finally {
      nothing.close();
    }
  }

  /** The keeper's children that are not luod: living ones with a pidfd, which is the caller's. */
  async children(): Promise<Map<number, { name: string; pidfd?: OwnedFd; exit?: Exit }>> {
    const children = new Map<number, { name: string; pidfd?: OwnedFd; exit?: Exit }>();
    for (const { child, pidfd } of await this.#keeper.children()) {
      this.#children.add(child.pid);
      if (pidfd) children.set(child.pid, { name: child.name, pidfd });
      else {
        children.set(child.pid, { name: child.name, exit: { code: child.code, signal: child.signal } });
        this.#forget(child.pid);
      }
    }
    return children;
  }

  /** A pidfd of a process that is no child of the present keeper, if it is still the one that started before `startedAt`. */
  openOrphan(pid: number, startedAt: string): OwnedFd | undefined {
    try {
      const pidfd = pidfdOpen(pid);
      if (startOf(pid) <= Date.parse(startedAt) + 2000 && !isZombie(pid)) return pidfd;
      pidfd.close();
      return undefined;
    } catch (error) {
      if (isSysError(error, 'ESRCH')) return undefined;
      throw error;
    }
  }

  /** How the dead process `pid` ended; unknown if nobody can say. */
  async exitOf(pid: number): Promise<Exit> {
    const until = Date.now() + EXIT_STATUS_MS;
    while (this.#children.has(pid) && !this.#exits.has(pid) && Date.now() < until && !this.#refilling) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const exit = this.#exits.get(pid);
    this.#exits.delete(pid);
    return exit ?? { code: null, signal: null, unknown: true };
  }

  /** The next luod's command, proven by the keeper. @throws LuoError JOURNAL_TOO_NEW and others: nothing has changed */
  next(argv: readonly string[]): Promise<void> {
    return this.#keeper.next([...argv]);
  }

  confirm(): Promise<void> {
    return this.#settled(this.#keeper.confirm());
  }

  /** The keeper ends; so does custody. */
  async shutdown(): Promise<void> {
    this.#closing = true;
    await this.#keeper.shutdown().catch(() => undefined);
    this.close();
  }

  /** Let go of the mirror; the keeper goes on. */
  close(): void {
    this.#closing = true;
    this.#keeper.close();
    for (const entry of this.#entries.values()) closeAll(entry.fds);
    this.#entries.clear();
  }

  #connect(channel: OwnedFd): KeeperClient {
    const keeper = new KeeperClient(channel, {
      onExit: (child) => {
        const exit = { code: child.code, signal: child.signal };
        this.#exits.set(child.pid, exit);
        this.#forget(child.pid);
        // Whoever waits in exitOf has taken it by then; nothing may grow with children that nobody asked about.
        setTimeout(() => this.#exits.delete(child.pid), EXIT_STATUS_MS).unref();
      },
    });
    void keeper.closed.then(() => {
      if (!this.#closing && this.#channel === keeper) this.#refilling ??= this.#refill();
    });
    return keeper;
  }

  #forget(pid: number): void {
    this.#children.delete(pid);
    void this.#keeper.forget(pid).catch(() => undefined);
  }

  /** Start a new keeper and give it everything. One that dies of it is followed by another: what luod has is the only copy now. */
  async #refill(): Promise<void> {
    const { log } = this.#options;
    log.error({ keeper: this.#keeperPid }, 'the keeper is gone; starting a new one and refilling it');
    this.#children.clear();
    try {
      for (let left = KEEPER_TRIES - 1; !(await this.#refillNew(left)); left -= 1) await sleep(KEEPER_AGAIN_MS);
    } catch (error) {
      this.#options.onFatal(
        new LuoError('KEEPER_LOST', 'the keeper is gone and no new one can be started', { cause: error }),
      );
      return;
    } finally {
      this.#refilling = undefined;
    }
    this.#options.onKeeperReplaced();
  }

  /** @returns false: it died, and there are tries `left` @throws LuoError it died, and there are none */
  async #refillNew(left: number): Promise<boolean> {
    const { log } = this.#options;
    const [ours, theirs] = socketpair();
    const [command, ...args] = this.#options.keeperArgv;
    const child = spawn(command!, args, { detached: true, stdio: ['ignore', 'ignore', 'inherit', theirs.fd] });
    child.on('error', (error) => log.error({ error: error.message }, 'the new keeper cannot be started'));
    child.unref();
    theirs.close();
    // The mirror has what was not sent.
    this.#unsent = [];
    this.#channel = this.#connect(ours);
    try {
      await this.#keeper.put({ name: REFILLING_ENTRY, owner: SESSION_OWNER }, []);
      for (const entry of [...this.#entries.values()]) {
        // It may have been dropped or replaced meanwhile; then the keeper was told so.
        if (this.#entries.get(entry.name) !== entry) continue;
        await this.#keeper.put(
          { name: entry.name, owner: entry.owner, meta: entry.meta, replace: true },
          numbers(entry.fds),
        );
      }
      await this.#keeper.drop({ names: [REFILLING_ENTRY] });
      const list = await this.#keeper.list();
      this.#keeperPid = list.pid;
      this.#fdsMax = list.fdsMax;
      log.warn({ keeper: list.pid, entries: list.entries.length }, 'the new keeper is refilled');
      return true;
    } catch (error) {
      if (!(error instanceof LuoError && error.code === 'KEEPER_LOST') || left === 0) throw error;
      log.error({ left }, 'the new keeper is gone too; starting another one');
      return false;
    }
  }

  /** `request`, or the end of the refill that takes its place if the keeper went away meanwhile. */
  async #settled(request: Promise<unknown>): Promise<void> {
    try {
      await request;
    } catch (error) {
      if (!(error instanceof LuoError && error.code === 'KEEPER_LOST') || this.#closing) throw error;
      this.#refilling ??= this.#refill();
      await this.#refilling;
    }
  }

  #lost<T>(error: unknown, value: T): T {
    if (!(error instanceof LuoError && error.code === 'KEEPER_LOST')) throw error;
    return value;
  }
}

function numbers(fds: readonly OwnedFd[]): number[] {
  return fds.map((owned) => owned.fd);
}

/** When a process started, ms since the epoch: field 22 of /proc/PID/stat, in clock ticks of 10 ms after the boot. */
function startOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  const uptimeS = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  return Date.now() - uptimeS * 1000 + ticks * 10;
}

function isZombie(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) === 'Z';
}
