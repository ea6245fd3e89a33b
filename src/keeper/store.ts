/**
 * The named entries that the keeper holds: fds, their owner, and data that only the owner reads. Nothing is parsed.
 * Limits refuse before anything is changed: fds of one owner, bytes of an entry's data, and fds altogether, so that the
 * keeper always has some left for its own work.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS, type LimitName } from '../base/limits.js';
import type { KeeperEntry } from '../protocol/spec.js';
import { closeAll, type OwnedFd } from '../sys/index.js';
import { Table, type Held } from './table.js';

export interface StoreLimits {
  /** Fds of all entries together. */
  readonly fdsMax: number;
  readonly ownerFdsMax: number;
  readonly metaBytesMax: number;
}

/** What goes in under one name. */
export interface NewEntry {
  readonly name: string;
  readonly meta?: unknown;
  readonly fds: OwnedFd[];
}

/** What the keeper holds. It owns every fd in it. */
export class Store {
  readonly #limits: StoreLimits;
  readonly #table = new Table();
  /** An entry counts as one fd at least, so that empty ones are limited too. */
  readonly #ownerFds = new Map<string, number>();
  #fds = 0;

  constructor(limits: StoreLimits) {
    this.#limits = limits;
  }

  get fdCount(): number {
    return this.#fds;
  }

  get fdsMax(): number {
    return this.#limits.fdsMax;
  }

  /**
   * Keep entries of one owner; all or none. Their fds are taken; on an error they stay the caller's.
   * @throws LuoError KEEPER_EXISTS without `replace`, or a name given twice; LIMIT_REACHED
   */
  put(owner: string, entries: readonly NewEntry[], replace: boolean): void {
    this.#check(owner, entries, replace);
    for (const { name, meta, fds } of entries) {
      if (replace) this.#remove(name);
      this.#table.add(name, { owner, meta }, fds.length === 1 ? fds[0]! : fds);
    }
    let fds = 0;
    let weights = 0;
    for (const entry of entries) {
      fds += entry.fds.length;
      weights += weight(entry.fds.length);
    }
    this.#count(owner, fds, weights);
  }

  /**
   * Keep one fd under each of `names`, without data; all or none, and one pass over what is good. The fds are taken; on an error
   * they stay the caller's.
   * @throws LuoError as {@link put}
   */
  putOnes(owner: string, names: readonly string[], fds: readonly OwnedFd[], replace: boolean): void {
    if (replace) {
      const entries = names.map((name, index) => ({ name, fds: [fds[index]!] }));
      return this.put(owner, entries, true);
    }
    const about = { owner, meta: undefined };
    const added = names.length;
    for (let index = 0; index < added; index += 1) {
      if (this.#table.add(names[index]!, about, fds[index]!)) continue;
      this.#forget(names, index);
      throw exists([{ name: names[index]! }]);
    }
    try {
      this.#checkCounts(owner, this.#fds + added, (this.#ownerFds.get(owner) ?? 0) + added);
    } catch (error) {
      this.#forget(names, added);
      throw error;
    }
    this.#count(owner, added, added);
  }

  /** Before what cannot be done twice: is there room for one fd more of this owner? @throws LuoError LIMIT_REACHED */
  checkRoom(owner: string): void {
    this.#checkCounts(owner, this.#fds + 1, (this.#ownerFds.get(owner) ?? 0) + 1);
  }

  /** An entry, its fds as numbers (borrowed) added to `fds`. @throws LuoError KEEPER_UNKNOWN */
  get(name: string, fds: number[]): KeeperEntry {
    const row = this.#row(name);
    const held = this.#table.held(row);
    if (isOne(held)) fds.push(held.fd);
    else for (const owned of held) fds.push(owned.fd);
    return this.#info(name, row);
  }

  /**
   * The fds of `names` as numbers (borrowed), if each has one and no data and all are of one owner; else undefined.
   * @throws LuoError KEEPER_UNKNOWN
   */
  getOnes(names: readonly string[]): { owner: string; fds: number[] } | undefined {
    const { owner } = this.#table.about(this.#row(names[0]!));
    const fds: number[] = [];
    for (const name of names) {
      const row = this.#row(name);
      const about = this.#table.about(row);
      const held = this.#table.held(row);
      if (about.owner !== owner || about.meta !== undefined || !isOne(held)) return undefined;
      fds.push(held.fd);
    }
    return { owner, fds };
  }

  has(name: string): boolean {
    return this.#table.find(name) >= 0;
  }

  /** The entries whose names begin with `prefix`, in the order in which they came. */
  list(prefix = ''): KeeperEntry[] {
    return this.#table.names(prefix).map((name) => this.#info(name, this.#row(name)));
  }

  /** Let go of entries; returns how many there were. */
  drop(names: Iterable<string>): number {
    let count = 0;
    for (const name of names) if (this.#remove(name)) count += 1;
    return count;
  }

  dropPrefix(prefix: string): number {
    return this.drop(this.#table.names(prefix));
  }

  /** Let go of everything. */
  clear(): void {
    this.dropPrefix('');
  }

  /** Hundreds of entries come at once: one pass, and nothing is made for an entry that is good. */
  #check(owner: string, entries: readonly NewEntry[], replace: boolean): void {
    let total = this.#fds;
    let owned = this.#ownerFds.get(owner) ?? 0;
    if (entries.length > 1 && new Set(entries.map((entry) => entry.name)).size < entries.length) throw exists(entries);
    for (const { name, meta, fds } of entries) {
      const row = this.#table.find(name);
      if (row >= 0) {
        if (!replace) throw exists([{ name }]);
        const count = countOf(this.#table.held(row));
        total -= count;
        if (this.#table.about(row).owner === owner) owned -= weight(count);
      }
      total += fds.length;
      owned += weight(fds.length);
      if (meta !== undefined && Buffer.byteLength(JSON.stringify(meta)) > this.#limits.metaBytesMax) {
        throw limit('keeperMetaBytesMax', this.#limits.metaBytesMax, `data of '${name}' is too large`);
      }
    }
    this.#checkCounts(owner, total, owned);
  }

  #checkCounts(owner: string, total: number, owned: number): void {
    if (owned > this.#limits.ownerFdsMax) {
      throw limit('keeperOwnerFdsMax', this.#limits.ownerFdsMax, `'${owner}' would have too many fds kept`);
    }
    if (total > this.#limits.fdsMax) {
      throw limit('keeperFdsReserve', this.#limits.fdsMax, 'the keeper has no room for more fds');
    }
  }

  #row(name: string): number {
    const row = this.#table.find(name);
    if (row >= 0) return row;
    throw new LuoError('KEEPER_UNKNOWN', `the keeper holds nothing under '${name}'`, { data: { name } });
  }

  #info(name: string, row: number): KeeperEntry {
    const { owner, meta } = this.#table.about(row);
    const fds = countOf(this.#table.held(row));
    return meta === undefined ? { name, owner, fds } : { name, owner, fds, meta };
  }

  #remove(name: string): boolean {
    const row = this.#table.find(name);
    if (row < 0) return false;
    const { owner } = this.#table.about(row);
    const held = this.#table.held(row);
    this.#table.remove(row);
    this.#count(owner, -countOf(held), -weight(countOf(held)));
    if (isOne(held)) held.close();
    else closeAll(held);
    return true;
  }

  /** The first `count` of `names` were put in by a request that is refused. */
  #forget(names: readonly string[], count: number): void {
    for (let index = 0; index < count; index += 1) this.#table.remove(this.#table.find(names[index]!));
  }

  #count(owner: string, fds: number, weights: number): void {
    this.#fds += fds;
    const count = (this.#ownerFds.get(owner) ?? 0) + weights;
    if (count === 0) this.#ownerFds.delete(owner);
    else this.#ownerFds.set(owner, count);
  }
}

/** The limits of a keeper that may have `fileLimit` descriptors open. */
export function storeLimits(fileLimit: number): StoreLimits {
  return {
    fdsMax: Math.max(0, fileLimit - LIMITS.keeperFdsReserve),
    ownerFdsMax: LIMITS.keeperOwnerFdsMax,
    metaBytesMax: LIMITS.keeperMetaBytesMax,
  };
}

function exists(entries: readonly { readonly name: string }[]): LuoError {
  const names = entries.map((entry) => entry.name);
  const name = names.find((candidate, index) => names.indexOf(candidate) !== index) ?? names[0]!;
  return new LuoError('KEEPER_EXISTS', `the keeper holds something under '${name}', or would twice`, {
    data: { name },
  });
}

function weight(fds: number): number {
  return Math.max(1, fds);
}

function isOne(held: Held): held is OwnedFd {
  return !Array.isArray(held);
}

function countOf(held: Held): number {
  return isOne(held) ? 1 : held.length;
}

function limit(name: LimitName, value: number, message: string): LuoError {
  return new LuoError('LIMIT_REACHED', `${message}: at most ${value}`, { data: { limit: name, value } });
}
