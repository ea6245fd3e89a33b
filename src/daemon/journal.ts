/**
 * The journal's home: a memfd that the keeper holds under `luod/journal`, so that it outlives this process. `append` is
 * synchronous and costs one pwrite: it may stand before every irreversible effect, the blackout included. A copy goes
 * to DIR/journal afterwards, when the loop is free; it is for people, nothing reads it back.
 *
 * When the journal has grown past `compactBytes`, and no attempt is open, it is written anew from a snapshot and
 * replaces the old one in the keeper in one step.
 */
import { appendFile, rename, writeFile } from 'node:fs/promises';
import { decodeJournal, encodeHeader, encodeRecord } from '../protocol/journal.js';
import type { JournalRecord } from '../protocol/journal.js';
import { fstat, memfdCreate, preadFully, pwriteFully } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';

/** Name of the journal's entry in the keeper. */
export const JOURNAL_ENTRY = 'luod/journal';

const COMPACT_BYTES = 8 * 1024 * 1024;
const COPY_DELAY_MS = 200;

/** Everything in the journal behind `fd` (borrowed). @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED */
export function readJournal(fd: number): { records: JournalRecord[]; sizeBytes: number } {
  const bytes = new Uint8Array(fstat(fd).sizeBytes);
  return decodeJournal(bytes.subarray(0, preadFully(fd, bytes, 0)));
}

/** A new, empty journal. The caller owns it. */
export function createJournal(): OwnedFd {
  const fd = memfdCreate('luod-journal');
  pwriteFully(fd.fd, encodeHeader(), 0);
  return fd;
}

/** Add records to a journal that nobody writes yet. */
export function writeRecords(fd: number, records: readonly JournalRecord[]): number {
  let offset = fstat(fd).sizeBytes;
  for (const record of records) {
    const line = encodeRecord(record);
    pwriteFully(fd, line, offset);
    offset += line.length;
  }
  return offset;
}

export class Journal {
  #fd: OwnedFd;
  #sizeBytes: number;
  readonly #copyPath: string;
  readonly #onError: (error: unknown) => void;
  #pendingCopy: Uint8Array[] = [];
  #copyTimer: NodeJS.Timeout | undefined;
  #copying: Promise<void> = Promise.resolve();
  #compactAt = COMPACT_BYTES;

  /** @param fd borrowed for the life of this object: custody owns it. @param sizeBytes where the next record goes */
  constructor(fd: OwnedFd, sizeBytes: number, copyPath: string, onError: (error: unknown) => void) {
    this.#fd = fd;
    this.#sizeBytes = sizeBytes;
    this.#copyPath = copyPath;
    this.#onError = onError;
    this.#startCopy();
  }

  /** In the memfd when this returns. @throws SysError ENOSPC, ENOMEM: the caller must not go on */
  append(record: JournalRecord): void {
    const line = encodeRecord(record);
    pwriteFully(this.#fd.fd, line, this.#sizeBytes);
    this.#sizeBytes += line.length;
    this.#pendingCopy.push(line);
    this.#copyTimer ??= setTimeout(() => this.#copy(), COPY_DELAY_MS);
  }

  get wantsCompaction(): boolean {
    return this.#sizeBytes > this.#compactAt;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /**
   * Write `snapshot` into a new memfd and go on there. @param replace puts it into the keeper in place of the old one
   */
  async compact(snapshot: readonly JournalRecord[], replace: (fd: OwnedFd) => Promise<void>): Promise<void> {
    const fd = createJournal();
    const offset = writeRecords(fd.fd, snapshot);
    this.#fd = fd;
    this.#sizeBytes = offset;
    this.#compactAt = Math.max(COMPACT_BYTES, 2 * offset);
    this.#startCopy();
    await replace(fd);
  }

  /** Resolves when the copy on disk is up to date. */
  async flush(): Promise<void> {
    if (this.#copyTimer) this.#copy();
    await this.#copying;
  }

  #copy(): void {
    clearTimeout(this.#copyTimer);
    this.#copyTimer = undefined;
    const bytes = Buffer.concat(this.#pendingCopy);
    this.#pendingCopy = [];
    this.#copying = this.#copying.then(() => appendFile(this.#copyPath, bytes)).catch(this.#onError);
  }

  /** The copy begins anew, with what the journal holds now. */
  #startCopy(): void {
    clearTimeout(this.#copyTimer);
    this.#copyTimer = undefined;
    this.#pendingCopy = [];
    const bytes = new Uint8Array(this.#sizeBytes);
    preadFully(this.#fd.fd, bytes, 0);
    const beside = `${this.#copyPath}.new`;
    this.#copying = this.#copying
      .then(() => writeFile(beside, bytes, { mode: 0o600 }))
      .then(() => rename(beside, this.#copyPath))
      .catch(this.#onError);
  }
}
