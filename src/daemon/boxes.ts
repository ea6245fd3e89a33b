/**
 * Boxes: fds under names, put and taken by hand, kept over every update. An entry lies in the keeper as `box/BOX/NAME`.
 * A sealed box does not change any more: nothing goes in or out, its memfds are sealed against writing, and a digest
 * says what is in it.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import type { FdDescriber } from '../ports/index.js';
import type { JournalRecord } from '../protocol/journal.js';
import type { LuodResult } from '../protocol/spec.js';
import { isSysError } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import { checkName } from './check-name.js';
import type { Custody, Entry } from './custody.js';
import { digestOf } from './digest.js';

interface EntryMeta {
  readonly type: string;
  readonly sizeBytes: number | null;
}

/** What boxes need to know and do about fds. */
export interface BoxTools {
  readonly describe: FdDescriber;
  /** Seal a memfd against every change. @throws SysError EBUSY somebody has it mapped for writing; EPERM, EINVAL */
  sealContent(fd: number): void;
}

type BoxList = LuodResult<'list'>['boxes'];

export class Boxes {
  readonly #custody: Custody;
  readonly #owner: string;
  readonly #tools: BoxTools;
  readonly #append: (record: JournalRecord) => void;
  /** Sealed boxes: entry name to digest. */
  readonly #sealed = new Map<string, Record<string, string | null>>();

  constructor(custody: Custody, owner: string, tools: BoxTools, append: (record: JournalRecord) => void) {
    this.#custody = custody;
    this.#owner = owner;
    this.#tools = tools;
    this.#append = append;
  }

  /** @param takenFd owned by custody from now on @throws LuoError BOX_SEALED, HANDLE_EXISTS, LIMIT_REACHED */
  async put(box: string, name: string, takenFd: OwnedFd, replace: boolean): Promise<EntryMeta> {
    try {
      checkName(box);
      checkName(name);
      this.#checkOpen(box);
      const entries = this.#entries(box);
      const exists = entries.some((entry) => nameOf(entry) === name);
      if (exists && !replace) {
        throw new LuoError('HANDLE_EXISTS', `box '${box}' has an entry '${name}' already`, {
          remedy: 'give --replace, or another name',
        });
      }
      if (!exists && entries.length >= LIMITS.boxEntriesMax) throw limit('boxEntriesMax', `box '${box}' is full`);
      if (entries.length === 0 && this.#names().length >= LIMITS.boxesMax) {
        throw limit('boxesMax', `there are ${LIMITS.boxesMax} boxes already`);
      }
    } catch (error) {
      takenFd.close();
      throw error;
    }
    const { type, sizeBytes } = this.#tools.describe.describe(takenFd.fd);
    const meta = { type, sizeBytes };
    await this.#custody.put(entryName(box, name), this.#owner, meta, [takenFd], replace);
    return meta;
  }

  /** Everything in boxes, by its entry in the keeper, and whether a memfd: nothing else crosses the kexec gap. */
  entries(): { name: string; sizeBytes: number | null; viable: boolean }[] {
    return this.#custody.withPrefix('box/').map((entry) => {
      const { type, sizeBytes } = this.#meta(entry);
      return { name: entry.name, sizeBytes, viable: type === 'memfd' };
    });
  }

  /** The entry's fd, which the caller owns. @throws LuoError BOX_UNKNOWN, BOX_SEALED */
  take(box: string, name: string, remove: boolean): { fd: OwnedFd; meta: EntryMeta; digest: string | null } {
    const entry = this.#custody.get(entryName(box, name));
    if (!entry) {
      throw new LuoError('BOX_UNKNOWN', `box '${box}' has no entry '${name}'`, {
        remedy: 'luoctl list shows boxes and entries',
      });
    }
    if (remove) this.#checkOpen(box);
    const fd = entry.fds[0]!.dup();
    const digest = this.#sealed.get(box)?.[name] ?? null;
    const meta = this.#meta(entry);
    if (remove) this.#custody.drop([entry.name]);
    return { fd, meta, digest };
  }

  list(only?: string): BoxList {
    return this.#names()
      .filter((box) => only === undefined || box === only)
      .map((box) => ({
        box,
        sealed: this.#sealed.has(box),
        entries: this.#entries(box).map((entry) => ({
          name: nameOf(entry),
          ...this.#meta(entry),
          digest: this.#sealed.get(box)?.[nameOf(entry)] ?? null,
        })),
      }));
  }

  /**
   * Seal a box and take the digests of what has content.
   * @throws LuoError BOX_UNKNOWN; HANDLE_BUSY an entry can still be written by somebody: the box stays open
   */
  async seal(box: string): Promise<LuodResult<'seal'>['entries']> {
    const entries = this.#entries(box);
    if (entries.length === 0) throw new LuoError('BOX_UNKNOWN', `there is no box '${box}'`);
    if (!this.#sealed.has(box)) {
      const digests: Record<string, string | null> = {};
      for (const entry of entries) if (this.#meta(entry).type === 'memfd') this.#sealContent(box, entry);
      for (const entry of entries) {
        const { type } = this.#meta(entry);
        digests[nameOf(entry)] = type === 'memfd' || type === 'file' ? await digestOf(entry.fds[0]!.fd) : null;
      }
      this.#append({ kind: 'box.sealed', box, digests });
      this.#sealed.set(box, digests);
    }
    return Object.entries(this.#sealed.get(box)!).map(([name, digest]) => ({ name, digest }));
  }

  /** Delete a box with all that is in it, sealed or not. @returns names of what went */
  discard(box: string): string[] {
    const entries = this.#entries(box);
    if (entries.length === 0) throw new LuoError('BOX_UNKNOWN', `there is no box '${box}'`);
    this.#custody.drop(entries.map((entry) => entry.name));
    this.#append({ kind: 'box.gone', box });
    this.#sealed.delete(box);
    return entries.map((entry) => `${box}/${nameOf(entry)}`);
  }

  /** Sealed boxes of which nothing is left: keeper and luod, the only holders, died together. @returns their names */
  forgetEmpty(): string[] {
    const empty = [...this.#sealed.keys()].filter((box) => this.#entries(box).length === 0);
    for (const box of empty) {
      this.#append({ kind: 'box.gone', box });
      this.#sealed.delete(box);
    }
    return empty;
  }

  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'box.sealed':
        this.#sealed.set(record.box as string, record.digests as Record<string, string | null>);
        return true;
      case 'box.gone':
        this.#sealed.delete(record.box as string);
        return true;
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    return [...this.#sealed].map(([box, digests]) => ({ kind: 'box.sealed', box, digests }));
  }

  #sealContent(box: string, entry: Entry): void {
    try {
      this.#tools.sealContent(entry.fds[0]!.fd);
    } catch (error) {
      if (!isSysError(error, 'EBUSY')) {
        // A memfd that was made without sealing cannot be sealed; its digest will show a change.
        return;
      }
      throw new LuoError('HANDLE_BUSY', `entry '${nameOf(entry)}' of box '${box}' is mapped for writing`, {
        remedy: 'end or unmap its writers, then seal again; the box is still open',
        cause: error,
      });
    }
  }

  #checkOpen(box: string): void {
    if (this.#sealed.has(box)) {
      throw new LuoError('BOX_SEALED', `box '${box}' is sealed: nothing can be put in or taken out`, {
        remedy: 'take without --remove gives a duplicate; luoctl discard deletes the whole box',
      });
    }
  }

  #names(): string[] {
    const names = new Set(this.#custody.withPrefix('box/').map((entry) => entry.name.split('/')[1]!));
    return [...names].sort();
  }

  #entries(box: string): Entry[] {
    return this.#custody.withPrefix(`box/${box}/`);
  }

  #meta(entry: Entry): EntryMeta {
    return entry.meta as EntryMeta;
  }
}

function entryName(box: string, name: string): string {
  return `box/${box}/${name}`;
}

function nameOf(entry: Entry): string {
  return entry.name.split('/')[2]!;
}

function limit(name: keyof typeof LIMITS, message: string): LuoError {
  return new LuoError('LIMIT_REACHED', message, { data: { limit: name } });
}
