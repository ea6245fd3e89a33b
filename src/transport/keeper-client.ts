/**
 * The keeper as luod uses it, over its privileged channel: one method for each of KEEPER_METHODS. Fds go in as borrowed
 * numbers and come out owned. Requests are sent in the order of the calls and may be pipelined.
 * Every method throws what the keeper answers, or KEEPER_LOST when the channel is gone.
 */
import { LuoError } from '../base/errors.js';
import {
  KEEPER_EVENTS,
  KEEPER_METHODS,
  type KeeperChild,
  type KeeperEntry,
  type KeeperMethod,
  type KeeperParams,
  type KeeperResult,
} from '../protocol/spec.js';
import type { Outcome } from '../base/words.js';
import { closeAll, type OwnedFd } from '../sys/index.js';
import { Peer, type PeerOptions, type RequestOptions } from './peer.js';

type WithoutTables = Omit<PeerOptions, 'serves' | 'calls' | 'events' | 'onEvent' | 'onRequest'>;

export interface KeeperClientOptions extends WithoutTables {
  readonly onExit?: (child: KeeperChild) => void;
  /** For each request; default none: the keeper is as trusted as this process. */
  readonly deadlineMs?: number;
}

/** A child that was started: its pidfd is the caller's. */
export interface SpawnedChild {
  readonly pid: number;
  readonly pidfd: OwnedFd;
}

/** An entry with its fds, which are the caller's. */
export interface KeptEntry extends KeeperEntry {
  readonly owned: OwnedFd[];
}

/** A keeper at the other end of a connection. */
export class KeeperClient {
  readonly peer: Peer;
  readonly #options: KeeperClientOptions;

  /** Takes ownership of the connected channel. */
  constructor(takenFd: OwnedFd, options: KeeperClientOptions = {}) {
    this.#options = options;
    this.peer = new Peer(takenFd, {
      ...options,
      calls: KEEPER_METHODS,
      events: KEEPER_EVENTS,
      onEvent: (name, data, fds) => {
        closeAll(fds);
        if (name === 'exit') options.onExit?.(data as KeeperChild);
      },
    });
  }

  /** Settles when the channel is gone. */
  get closed(): Promise<LuoError | undefined> {
    return this.peer.closed;
  }

  close(): void {
    this.peer.close();
  }

  /** Any method, with its types. */
  async call<M extends KeeperMethod>(
    method: M,
    params: KeeperParams<M>,
    options: RequestOptions = {},
  ): Promise<{ result: KeeperResult<M>; fds: OwnedFd[] }> {
    try {
      const deadline = this.#options.deadlineMs === undefined ? {} : { deadlineMs: this.#options.deadlineMs };
      return await this.peer.request<KeeperResult<M>>(method, params, { ...deadline, ...options });
    } catch (error) {
      if (error instanceof LuoError && error.code === 'PROTO_CLOSED') {
        throw new LuoError('KEEPER_LOST', `the keeper went away during '${method}'`, { cause: error });
      }
      throw error;
    }
  }

  /** First writer wins; without `want` only read. @throws LuoError DECISION_NONE, KEEPER_KEY */
  async decide(attempt: number, key: string, want?: Outcome): Promise<Outcome | null> {
    const params = want === undefined ? { attempt, key } : { attempt, key, want };
    return (await this.call('decide', params, { urgent: true })).result.outcome;
  }

  /** Open the record of an attempt, in a refilled keeper with its outcome. */
  async open(attempt: number, key: string, outcome?: Outcome): Promise<void> {
    await this.call('open', outcome === undefined ? { attempt, key } : { attempt, key, outcome });
  }

  /** @param fds borrowed @throws LuoError KEEPER_EXISTS, LIMIT_REACHED */
  async put(
    entry: { name: string; owner: string; meta?: unknown; replace?: boolean },
    fds: readonly number[],
  ): Promise<void> {
    await this.call('put', entry, { fds });
  }

  /** One fd for each entry, in their order; all or none. @param fds borrowed @throws LuoError KEEPER_EXISTS, LIMIT_REACHED */
  async putMany(
    owner: string,
    entries: { name: string; meta?: unknown }[],
    fds: readonly number[],
    options: { replace?: boolean } = {},
  ): Promise<void> {
    // Hundreds of names without data are the common case: a list of strings costs half of a list of objects, at both ends.
    const isBare = entries.every((entry) => entry.meta === undefined);
    const what = isBare ? { names: entries.map((entry) => entry.name) } : { entries };
    await this.call('putMany', { owner, ...what, ...options }, { fds });
  }

  /** A new session of the kernel, which the keeper keeps too. @throws LuoError LIVEUPDATE_MISSING, LIVEUPDATE_HELD, SYS */
  async sessionCreate(name: string): Promise<OwnedFd> {
    return this.#oneFd(await this.call('sessionCreate', { name }));
  }

  /** A session of the last kernel. @throws LuoError SESSION_MISSING, SESSION_TAKEN, LIVEUPDATE_HELD, SYS */
  async sessionRetrieve(name: string): Promise<OwnedFd> {
    return this.#oneFd(await this.call('sessionRetrieve', { name }));
  }

  #oneFd({ fds }: { fds: OwnedFd[] }): OwnedFd {
    const [fd, ...more] = fds;
    closeAll(more);
    if (!fd) throw new LuoError('PROTO_FDS', 'the keeper sent no fd');
    return fd;
  }

  /** @throws LuoError KEEPER_UNKNOWN */
  async get(name: string): Promise<KeptEntry> {
    const { result, fds } = await this.call('get', { name });
    return { ...result, owned: fds };
  }

  /** @throws LuoError KEEPER_UNKNOWN if one of them is not there; then none comes */
  async getMany(names: string[]): Promise<KeptEntry[]> {
    const { result, fds } = await this.call('getMany', { names, brief: true });
    const { entries = [], owner } = result;
    // Hundreds of one owner without data are the common case, of which only the owner and the fds are new to us.
    if (owner !== undefined && fds.length === names.length) {
      return names.map((name, index) => ({ name, owner, fds: 1, owned: [fds[index]!] }));
    }
    let at = 0;
    for (const entry of entries as (KeeperEntry & { owned?: OwnedFd[] })[]) {
      // The entry is ours alone since it was parsed; copying hundreds of them costs more than all the rest.
      entry.owned = entry.fds === 1 && at < fds.length ? [fds[at]!] : fds.slice(at, at + entry.fds);
      at += entry.fds;
    }
    if (at === fds.length && entries.length === names.length) return entries as KeptEntry[];
    closeAll(fds);
    const said = owner === undefined ? `${entries.length} entries with ${at} fds` : 'one fd for each';
    throw new LuoError('PROTO_FDS', `for ${names.length} names the keeper says ${said}, and ${fds.length} came`);
  }

  /** How many entries were let go. */
  async drop(what: { names?: string[]; prefix?: string }): Promise<number> {
    return (await this.call('drop', what)).result.dropped;
  }

  async list(prefix?: string): Promise<KeeperResult<'list'>> {
    return (await this.call('list', prefix === undefined ? {} : { prefix })).result;
  }

  /** @param fds borrowed; they become the child's fds 0, 1, 2, … @throws LuoError SERVICE_START_FAILED */
  async spawn(params: KeeperParams<'spawn'>, fds: readonly number[]): Promise<SpawnedChild> {
    const answer = await this.call('spawn', params, { fds });
    return { pid: answer.result.pid, pidfd: answer.fds[0]! };
  }

  /** Children that were not forgotten; each living one with a pidfd, which is the caller's. */
  async children(): Promise<{ child: KeeperChild; pidfd: OwnedFd | undefined }[]> {
    const { result, fds } = await this.call('children', {});
    let at = 0;
    return result.children.map((child) => ({ child, pidfd: child.exited ? undefined : fds[at++] }));
  }

  async forget(pid: number): Promise<void> {
    await this.call('forget', { pid });
  }

  /** @throws LuoError JOURNAL_TOO_NEW or JOURNAL_DAMAGED the next command cannot read the journal; SERVICE_START_FAILED */
  async next(argv: string[]): Promise<void> {
    await this.call('next', { argv });
  }

  async confirm(): Promise<void> {
    await this.call('confirm', {});
  }

  async shutdown(): Promise<void> {
    await this.call('shutdown', {});
  }
}
