/**
 * The keeper's table of entries in this process, for tests of what uses it: same methods, same errors, fds duplicated as if
 * they had gone over a socket. `lose` makes every call fail as a dead keeper's channel does.
 */
import { LuoError } from '../../src/base/errors.js';
import type { SessionKeeper } from '../../src/backends/handover/index.js';
import { closeAll, dupFd, type OwnedFd } from '../../src/sys/index.js';

interface Entry {
  owner: string;
  meta: unknown;
  fds: OwnedFd[];
}

export class FakeKeeper implements SessionKeeper {
  readonly entries = new Map<string, Entry>();
  fdsMax = Number.POSITIVE_INFINITY;
  lost = false;
  /** Messages, in the order in which they were sent. */
  readonly sent: string[] = [];

  put: SessionKeeper['put'] = (entry, fds) => this.#answer(`put ${entry.name}`, () => this.#put([entry], [fds]));

  putMany: SessionKeeper['putMany'] = (owner, entries, fds, options = {}) =>
    this.#answer(`putMany ${entries.length}`, () =>
      this.#put(
        entries.map((entry) => ({ ...entry, owner, ...options })),
        fds.map((fd) => [fd]),
      ),
    );

  getMany: SessionKeeper['getMany'] = (names) =>
    this.#answer(`getMany ${names.length}`, () =>
      names.map((name) => {
        const entry = this.entries.get(name);
        if (entry === undefined) throw new LuoError('KEEPER_UNKNOWN', `no entry '${name}'`);
        const { owner, meta, fds } = entry;
        return { name, owner, meta, fds: fds.length, owned: fds.map((fd) => fd.dup()) };
      }),
    );

  drop: SessionKeeper['drop'] = ({ names = [], prefix }) =>
    this.#answer(`drop ${prefix ?? names.length}`, () => {
      const gone = [...this.entries.keys()].filter(
        (name) => names.includes(name) || (prefix !== undefined && name.startsWith(prefix)),
      );
      for (const name of gone) this.#remove(name);
      return gone.length;
    });

  list: SessionKeeper['list'] = (prefix = '') =>
    this.#answer(`list ${prefix}`, () => ({
      pid: process.pid,
      entries: [...this.entries]
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, { owner, meta, fds }]) => ({ name, owner, meta, fds: fds.length })),
      fdsMax: 1000,
      attempts: [],
      luodDeaths: 0,
    }));

  get fdCount(): number {
    return [...this.entries.values()].reduce((sum, entry) => sum + entry.fds.length, 0);
  }

  close(): void {
    for (const name of [...this.entries.keys()]) this.#remove(name);
  }

  #put(
    entries: readonly { name: string; owner: string; meta?: unknown; replace?: boolean }[],
    fds: readonly (readonly number[])[],
  ): void {
    for (const { name, replace } of entries)
      if (this.entries.has(name) && replace !== true) throw new LuoError('KEEPER_EXISTS', `'${name}' is there`);
    const more = fds.reduce((sum, list) => sum + list.length, 0);
    if (this.fdCount + more > this.fdsMax)
      throw new LuoError('LIMIT_REACHED', 'too many fds', { data: { limit: 'keeperOwnerFdsMax' } });
    for (const [index, { name, owner, meta }] of entries.entries()) {
      this.#remove(name);
      this.entries.set(name, { owner, meta: json(meta), fds: fds[index]!.map((fd) => dupFd(fd)) });
    }
  }

  #remove(name: string): void {
    closeAll(this.entries.get(name)?.fds ?? []);
    this.entries.delete(name);
  }

  /** The deed at once, in the order of the calls; the answer a turn later. */
  #answer<T>(message: string, act: () => T): Promise<T> {
    this.sent.push(message);
    if (this.lost) return Promise.reject(new LuoError('KEEPER_LOST', 'the keeper went away'));
    try {
      const value = act();
      return new Promise((resolve) => setImmediate(() => resolve(value)));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }
}

function json(value: unknown): unknown {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown);
}
