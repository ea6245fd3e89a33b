/**
 * The journal's home: a memfd that the keeper holds under `luod/journal`, so that it outlives this process. `append` is
 * synchronous and costs one pwrite: it may stand before every irreversible effect, the blackout included.
 *
 * A copy goes to DIR/journal before anybody is answered, without fsync: it is for the case that keeper and luod die together
 * (remains.ts), and for people. Between `holdCopy` and `releaseCopy` it waits, since that is the blackout, and may be 200 ms
 * behind; what is missing then is told by the members. Unhappy: a copy that cannot be written is reported, and the journal goes on.
 *
 * When the journal has grown past `compactBytes`, and no attempt is open, it is written anew from a snapshot and
 * replaces the old one in the keeper in one step.
 */
import { openSync, readFileSync, renameSync } from 'node:fs';
import { decodeJournal, encodeHeader, encodeRecord } from '../protocol/journal.js';
import type { DecodedJournal, JournalRecord } from '../protocol/journal.js';
import { OwnedFd, fstat, memfdCreate, preadFully, pwriteFully } from '../sys/index.js';

/** Name of the journal's entry in the keeper. */
export const JOURNAL_ENTRY = 'luod/journal';

const COMPACT_BYTES = 8 * 1024 * 1024;
const COPY_DELAY_MS = 200;

/** Everything in the journal behind `fd` (borrowed). @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED */
export function readJournal(fd: number): DecodedJournal {
  const bytes = new Uint8Array(fstat(fd).sizeBytes);
  return decodeJournal(bytes.subarray(0, preadFully(fd, bytes, 0)));
}

/** A new, empty journal. The caller owns it. */
export function createJournal(): OwnedFd {
  const fd = memfdCreate('luod-journal');
  pwriteFully(fd.fd, encodeHeader(undefined, bootId()), 0);
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

/** The running boot, which no other one has in common with it. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export class Journal {
  #fd: OwnedFd;
  #sizeBytes: number;
  readonly #copyPath: string;
  readonly #onError: (error: unknown) => void;
  #copy: OwnedFd | undefined;
  /** So much of the journal is in the copy. */
  #copiedBytes = 0;
  #isCopyDue = false;
  #copyTimer: NodeJS.Timeout | undefined;
  #holding = false;
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
    if (this.#holding) this.#copyTimer ??= setTimeout(() => this.flush(), COPY_DELAY_MS);
    else this.#copySoon();
  }

  get wantsCompaction(): boolean {
    return this.#sizeBytes > this.#compactAt;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The copy is brought up to date, and then waits: what follows is in a hurry. */
  holdCopy(): void {
    this.flush();
    this.#holding = true;
  }

  /** The hurry is over. */
  releaseCopy(): void {
    if (!this.#holding) return;
    this.#holding = false;
    this.#copySoon();
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

  /** The copy on disk is up to date when this returns. */
  flush(): void {
    this.#cancelCopy();
    if (this.#copy === undefined || this.#copiedBytes === this.#sizeBytes) return;
    try {
      this.#append(this.#copy);
    } catch (error) {
      this.#giveCopyUp(error);
    }
  }

  /** Nothing is written any more. The copy stays. */
  close(): void {
    this.flush();
    this.#copy?.close();
    this.#copy = undefined;
  }

  /** What is written in one go is copied in one write, before anybody is answered. */
  #copySoon(): void {
    if (this.#isCopyDue) return;
    this.#isCopyDue = true;
    queueMicrotask(() => {
      this.#isCopyDue = false;
      if (!this.#holding) this.flush();
    });
  }

  /** The copy begins anew, with what the journal holds now. */
  #startCopy(): void {
    this.#cancelCopy();
    this.#copy?.close();
    this.#copy = undefined;
    this.#copiedBytes = 0;
    const beside = `${this.#copyPath}.new`;
    try {
      this.#copy = new OwnedFd(openSync(beside, 'w', 0o600));
      this.#append(this.#copy);
      renameSync(beside, this.#copyPath);
    } catch (error) {
      this.#giveCopyUp(error);
    }
  }

  #append(copy: OwnedFd): void {
    const bytes = new Uint8Array(this.#sizeBytes - this.#copiedBytes);
    preadFully(this.#fd.fd, bytes, this.#copiedBytes);
    pwriteFully(copy.fd, bytes, this.#copiedBytes);
    this.#copiedBytes = this.#sizeBytes;
  }

  /** It would be one with a gap: the next compaction begins another. */
  #giveCopyUp(error: unknown): void {
    this.#copy?.close();
    this.#copy = undefined;
    this.#onError(error);
  }

  #cancelCopy(): void {
    clearTimeout(this.#copyTimer);
    this.#copyTimer = undefined;
  }
}
