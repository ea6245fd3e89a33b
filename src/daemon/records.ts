/**
 * The records of this luod: each goes into the journal when it is made, is given back to the part that made it when a later luod
 * starts, and is in the snapshot that a new journal, or the next kernel, begins with.
 *
 * The parts keep their own (`Recorded`). Two kinds are nobody else's and are kept here: the engine's, of the last attempt and of
 * earlier ones in which somebody is stuck, and the generation.
 * Unhappy: a kind that no part knows is of a newer luod, and nothing starts on it. A journal that has grown too long waits for
 * the time between two attempts to be written anew.
 */
import { LuoError } from '../base/errors.js';
import type { JournalRecord as EngineRecord } from '../engine/types.js';
import type { JournalRecord } from '../protocol/journal.js';
import type { OwnedFd } from '../sys/index.js';
import type { Journal } from './journal.js';

/** Lines after which nobody waits for luod any more. */
const BLACKOUT_ENDS: readonly EngineRecord['type'][] = ['acked', 'aborting', 'returned', 'settled'];

/** A part of luod whose state is in the journal. */
export interface Recorded {
  /** @returns false: it is not one of its records */
  replay(record: JournalRecord): boolean;
  /** The records that bring an empty part to where this one is. */
  snapshot(): JournalRecord[];
}

export interface RecordsHost {
  /** No attempt is open, and luod goes on. */
  mayCompact(): boolean;
  /** Put a new journal into the keeper in place of the old one. Takes the fd. */
  replaceJournal(takenFd: OwnedFd): Promise<void>;
}

/** Updates that were committed, and the attempt that made the last of them, if that is known. */
export interface Generation {
  readonly generation: number;
  readonly attempt: number | null;
}

export class Records {
  readonly #journal: Journal;
  readonly #host: RecordsHost;
  #parts: readonly Recorded[] = [];
  #engine: EngineRecord[] = [];
  #generation: Generation = { generation: 0, attempt: null };
  #isCompactionPending = false;

  /** @param journal closed by `close` */
  constructor(journal: Journal, host: RecordsHost) {
    this.#journal = journal;
    this.#host = host;
  }

  /** Those of the engine that a later luod needs. */
  get engine(): readonly EngineRecord[] {
    return this.#engine;
  }

  get generation(): Generation {
    return this.#generation;
  }

  /**
   * Give each record of the journal to the part that made it. From now on these parts are in the snapshot, in their order.
   * @throws LuoError JOURNAL_TOO_NEW
   */
  replay(records: readonly JournalRecord[], parts: readonly Recorded[]): void {
    this.#parts = parts;
    for (const record of records) this.#replay(record);
  }

  /** Compaction is for later: what clients do outside of updates must not make the journal grow without end either. */
  append(record: JournalRecord): void {
    this.#journal.append(record);
    if (!this.#journal.wantsCompaction || this.#isCompactionPending) return;
    this.#isCompactionPending = true;
    setImmediate(() => {
      void this.compactIfDue().finally(() => (this.#isCompactionPending = false));
    });
  }

  appendEngine(record: EngineRecord): void {
    this.append({ kind: 'engine', record });
    this.#rememberEngine(record);
    // From here on a member may freeze: its word will tell what the copy lacks.
    if (record.type === 'freezing') this.#journal.holdCopy();
    else if (BLACKOUT_ENDS.includes(record.type)) this.#journal.releaseCopy();
  }

  appendGeneration(generation: Generation): void {
    this.#generation = generation;
    this.append(generationRecord(generation));
  }

  /** Write the journal anew, if it is too long and may be. */
  async compactIfDue(): Promise<void> {
    if (!this.#journal.wantsCompaction || !this.#host.mayCompact()) return;
    await this.#journal.compact(this.snapshot(), (fd) => this.#host.replaceJournal(fd));
  }

  /** The records that bring a new journal, or the next kernel's luod, to where this one is. */
  snapshot(): JournalRecord[] {
    return [
      generationRecord(this.#generation),
      ...this.#parts.flatMap((part) => part.snapshot()),
      ...this.#engine.map((record) => ({ kind: 'engine', record })),
    ];
  }

  /** Nothing is written any more. */
  close(): void {
    this.#journal.close();
  }

  #replay(record: JournalRecord): void {
    if (record.kind === 'engine') return this.#rememberEngine(record.record as EngineRecord);
    if (record.kind === 'generation') {
      const attempt = (record.attempt as number | null | undefined) ?? null;
      this.#generation = { generation: record.generation as number, attempt };
      return;
    }
    if (this.#parts.some((part) => part.replay(record))) return;
    throw new LuoError('JOURNAL_TOO_NEW', `the journal has a record '${record.kind}' that this luod does not know`, {
      remedy: 'start the luod that wrote it; nothing was touched',
    });
  }

  /** Only the last attempt matters to a later luod, and who is stuck in earlier ones. */
  #rememberEngine(record: EngineRecord): void {
    if (record.type === 'attempt' && this.#engine.at(-1)?.type === 'settled') {
      const stuck = this.#engine.some((one) => one.type === 'settled' && one.stuck.length > 0);
      if (!stuck) this.#engine = [];
    }
    this.#engine.push(record);
  }
}

function generationRecord({ generation, attempt }: Generation): JournalRecord {
  return { kind: 'generation', generation, attempt };
}
