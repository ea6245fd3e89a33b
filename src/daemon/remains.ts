/**
 * What is left when luod and keeper died together: the copy of the journal in luod's directory, and the processes, each with its
 * own copies of what it holds. The next luod in the same directory takes up both.
 *
 * Happy path: `readRemains` gives the records of the dead luod. Every handle whose fd was in keeper and luod alone is
 * *missing*; the participants that hold or claimed it give it again when they reconnect (`refill`), and it is whole.
 * Unhappy: what no living participant has is *lost*: it is named in the log and in status until the operator has seen it (`recover`),
 * and never given out as if it were there. A journal of another boot is none: nothing of it lives. A damaged or newer one is
 * refused, and nothing is touched.
 */
import { constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { LuoError } from '../base/errors.js';
import { handleKey, type Kind } from '../base/words.js';
import type { JournalRecord as EngineRecord } from '../engine/types.js';
import type { FdDescriber } from '../ports/index.js';
import type { JournalRecord } from '../protocol/journal.js';
import { OwnedFd, fstat } from '../sys/index.js';
import type { Custody } from './custody.js';
import { handleEntryName, type Handle, type Handles } from './handles.js';
import { bootId, readJournal } from './journal.js';

/** Why what is missing cannot be handed over. */
const MISSING_REASON = 'its fd was lost with keeper and luod, and its holder has not given it again';

/**
 * The records of a luod that died in `dir` in this boot, together with its keeper; undefined if there was none.
 * @throws LuoError AUTH_DENIED it is another user's; JOURNAL_TOO_NEW, JOURNAL_DAMAGED
 */
export function readRemains(dir: string): JournalRecord[] | undefined {
  const path = join(dir, 'journal');
  let file: OwnedFd;
  try {
    file = new OwnedFd(openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { uid } = fstat(file.fd);
    if (uid !== process.getuid?.()) {
      throw new LuoError('AUTH_DENIED', `'${path}' was written by uid ${uid}: what it says is not taken up`, {
        remedy: 'start luod as that user, or in another directory',
      });
    }
    const { records, bootId: written } = readJournal(file.fd);
    return written === bootId() && records.length > 0 ? withDoubt(records) : undefined;
  } catch (error) {
    if (!(error instanceof LuoError) || !error.code.startsWith('JOURNAL_')) throw error;
    throw new LuoError(error.code, `'${path}', which a dead luod left: ${error.message}`, {
      cause: error,
      remedy: `start the luod that wrote it, or move '${path}' away: then what it knows of is given up`,
    });
  } finally {
    file.close();
  }
}

/**
 * The copy may end some lines before the journal did, once members could be frozen. What may have been asked of the keeper then was
 * asked, as far as anybody can tell: with the line `deciding` the engine hears every successor before it decides.
 */
function withDoubt(records: JournalRecord[]): JournalRecord[] {
  const engine = records.filter((one) => one.kind === 'engine').map((one) => one.record as EngineRecord);
  const begun = engine.findLast((one) => one.type === 'attempt');
  if (begun === undefined) return records;
  const of = (type: EngineRecord['type']): EngineRecord | undefined =>
    engine.findLast((one) => one.type === type && one.attempt === begun.attempt);
  if (!of('freezing') || of('deciding') || of('aborting') || of('decided') || of('settled')) return records;
  const deciding: EngineRecord = { v: begun.v, type: 'deciding', attempt: begun.attempt };
  return [...records, { kind: 'engine', record: deciding }];
}

/** Someone who can give a handle again. */
export interface Giver {
  readonly id: string;
  readonly owner: string;
}

interface Waiter {
  readonly giver: string;
  readonly resolve: () => void;
}

export class Remains {
  readonly #append: (record: JournalRecord) => void;
  readonly #handles: Handles;
  readonly #custody: Custody;
  readonly #describer: FdDescriber;
  /** Keys of handles without their fd. */
  #missing = new Set<string>();
  #lost: string[] = [];
  #waiters: Waiter[] = [];

  constructor(handles: Handles, custody: Custody, describer: FdDescriber, append: (record: JournalRecord) => void) {
    this.#handles = handles;
    this.#custody = custody;
    this.#describer = describer;
    this.#append = append;
  }

  /** Handles and boxes that are gone for good, by key and as `box/NAME`, until `seen`. */
  get lost(): readonly string[] {
    return this.#lost;
  }

  /**
   * The records are replayed, and what they name is not in the keeper: find out what that is.
   * @param boxes entries of boxes, which nobody else had
   */
  begin(participants: Iterable<string>, boxes: readonly string[]): void {
    const missing = this.#handles.all().filter((handle) => this.#isGone(handle));
    for (const handle of missing) {
      const gone = { ok: false, reason: MISSING_REASON };
      this.#handles.update(handle.key, { viable: { ...handle.viable, handover: gone } });
    }
    const declared = [...participants].flatMap((id) => this.#handles.declared(id).filter((one) => this.#isGone(one)));
    this.#set(new Set([...missing, ...declared].map((handle) => handle.key)), [...this.#lost, ...boxes]);
  }

  /** What this participant is asked to give again. */
  owed({ id }: Giver): { kind: Kind; name: string }[] {
    if (this.#missing.size === 0) return [];
    return this.#owedBy(id).map(({ kind, name }) => ({ kind, name }));
  }

  /** It is given again. @param takenFd owned from now on @throws LuoError HANDLE_UNKNOWN, CLAIM_INCOMPATIBLE */
  async refill(giver: Giver, what: { kind: Kind; name: string }, takenFd: OwnedFd): Promise<void> {
    const key = handleKey({ owner: giver.owner, ...what });
    const handle = this.#owedBy(giver.id).find((one) => one.key === key);
    const described = this.#describer.describe(takenFd.fd);
    if (!handle || described.type !== handle.type) {
      takenFd.close();
      if (!handle) throw new LuoError('HANDLE_UNKNOWN', `'${giver.id}' is not asked for '${key}'`, { handle: key });
      throw new LuoError('CLAIM_INCOMPATIBLE', `'${key}' is a ${handle.type}, and a ${described.type} was given`, {
        handle: key,
        participant: giver.id,
      });
    }
    const { viable, sizeBytes } = described;
    const put = this.#custody.put(handleEntryName(key), handle.owner, { key }, [takenFd]);
    if (this.#handles.get(key)) this.#handles.update(key, { viable, sizeBytes });
    this.#resolve([key]);
    await put;
  }

  /** Resolves when it owes nothing any more, or when the time is over. */
  async whenGiven(giver: Giver, ms: number): Promise<void> {
    if (this.#owedBy(giver.id).length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
      this.#waiters.push({ giver: giver.id, resolve });
    });
    clearTimeout(timer);
  }

  /**
   * Give up what nobody has. @param lives is this participant still there?
   * @returns keys of the handles that are lost; they are the caller's to drop
   */
  giveUp(lives: (participant: string) => boolean): string[] {
    if (this.#missing.size === 0) return [];
    const lost = [...this.#missing].filter((key) => !this.#givers(key).some(lives));
    if (lost.length === 0) return [];
    this.#lost = [...this.#lost, ...lost];
    this.#resolve(lost);
    return lost;
  }

  /** The operator knows what is lost. */
  seen(): void {
    if (this.#lost.length > 0) this.#set(this.#missing, []);
  }

  replay(record: JournalRecord): boolean {
    if (record.kind !== 'remains') return false;
    this.#missing = new Set(record.missing as string[]);
    this.#lost = record.lost as string[];
    return true;
  }

  snapshot(): JournalRecord[] {
    if (this.#missing.size === 0 && this.#lost.length === 0) return [];
    return [{ kind: 'remains', missing: [...this.#missing], lost: this.#lost }];
  }

  #isGone(handle: Handle): boolean {
    return handle.hasFd && this.#custody.get(handleEntryName(handle.key)) === undefined;
  }

  #owedBy(participant: string): Handle[] {
    const owed: Handle[] = [];
    for (const key of this.#missing) {
      const handle = this.#handles.get(key);
      const claimed = this.#handles.claims(participant).get(key) === 'claimed';
      if (handle && (handle.holder === participant || claimed)) owed.push(handle);
    }
    owed.push(...this.#handles.declared(participant).filter((handle) => this.#missing.has(handle.key)));
    return owed;
  }

  /** Everybody who had it when the others died. */
  #givers(key: string): string[] {
    const holder = this.#handles.get(key)?.holder ?? null;
    return [...(holder === null ? [] : [holder]), ...this.#handles.claimers(key)];
  }

  #resolve(keys: readonly string[]): void {
    const missing = new Set(this.#missing);
    for (const key of keys) missing.delete(key);
    this.#set(missing, this.#lost);
    const done = this.#waiters.filter(({ giver }) => this.#owedBy(giver).length === 0);
    this.#waiters = this.#waiters.filter((one) => !done.includes(one));
    for (const { resolve } of done) resolve();
  }

  #set(missing: Set<string>, lost: string[]): void {
    this.#missing = missing;
    this.#lost = lost;
    this.#append({ kind: 'remains', missing: [...missing], lost });
  }
}
