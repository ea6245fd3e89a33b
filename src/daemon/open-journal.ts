/**
 * Which journal a luod starts on: the one that the keeper holds; in the first start of a kernel, a new one that begins with what the
 * last kernel left (the manifest); where luod and keeper died together, a new one that begins with the copy in luod's directory;
 * otherwise an empty one. It is in the keeper when this returns.
 */
import { join } from 'node:path';
import type { JournalRecord } from '../protocol/journal.js';
import { faultPoint } from '../sys/index.js';
import { REFILLING_ENTRY } from './custody.js';
import type { Custody } from './custody.js';
import { JOURNAL_ENTRY, Journal, createJournal, readJournal, writeRecords } from './journal.js';
import { readArrival } from './kexec/read-arrival.js';
import type { Logger } from './logger.js';
import { readRemains } from './remains.js';
import { ownerOf } from './service.js';

export interface OpenedJournal {
  readonly journal: Journal;
  readonly records: readonly JournalRecord[];
  /** A luod before this one, in this kernel, had begun with what the records say. */
  readonly isRecovery: boolean;
  /** Luod and keeper had died together: the keeper is new, and lacks what they alone held. */
  readonly fromRemains: boolean;
}

/** @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED, AUTH_DENIED: nothing was touched */
export async function openJournal(
  custody: Custody,
  { dir, uid, log }: { readonly dir: string; readonly uid: number; readonly log: Logger },
): Promise<OpenedJournal> {
  const onError = (error: unknown): void => log.warn({ error: String(error) }, 'journal copy not written');
  const copy = join(dir, 'journal');
  const known = custody.get(JOURNAL_ENTRY)?.fds[0];
  const kept = known && readJournal(known.fd);
  if (kept && !isAboutNothing(kept.records)) {
    const journal = new Journal(known, kept.sizeBytes, copy, onError);
    // A keeper that was being refilled when luod died as well does not hold everything.
    const fromRemains = custody.get(REFILLING_ENTRY) !== undefined;
    return { journal, records: kept.records, isRecovery: true, fromRemains };
  }
  const fresh = createJournal();
  // The first start in this kernel: what the last one left is the journal's beginning.
  const arrived = readArrival(custody, log);
  const left = arrived || known ? undefined : readRemains(dir);
  writeRecords(fresh.fd, arrived?.records ?? left ?? []);
  const { records, sizeBytes } = readJournal(fresh.fd);
  // The journal comes last: whoever finds one does not look at the manifest any more.
  for (const { name, owner, meta } of arrived?.parcels ?? []) await custody.put(name, owner, meta, [], true);
  if (arrived) faultPoint('luod.arriving');
  await custody.put(JOURNAL_ENTRY, ownerOf(uid, '(luod)'), {}, [fresh], true);
  const journal = new Journal(fresh, sizeBytes, copy, onError);
  if (arrived) faultPoint('luod.arrived');
  const fromRemains = left !== undefined;
  // What an earlier luod could not read, it has not begun with.
  const isRecovery = (known !== undefined && !arrived) || fromRemains;
  return { journal, records, isRecovery, fromRemains };
}

/**
 * An earlier luod could not read what the last kernel left, and nothing has happened since: this one may be new enough to read it.
 */
function isAboutNothing(records: readonly JournalRecord[]): boolean {
  const arrival = records.find((record) => record.kind === 'kexec.arrival')?.arrival as { error?: unknown } | undefined;
  if (arrival?.error === undefined) return false;
  const ours = new Set(['service', 'handle', 'participant', 'engine', 'box.sealed']);
  return !records.some((record) => ours.has(record.kind));
}
