/**
 * What the keeper found when it started in this kernel, as the beginning of a journal. Unhappy: a manifest that is damaged or too
 * new gives an arrival with an error and no sessions: the keeper goes on holding them, nothing is finished, a newer luod may
 * read it.
 */
import { LuoError } from '../../base/errors.js';
import { ARRIVAL_ENTRY, ARRIVED_MANIFEST_ENTRY } from '../../protocol/manifest.js';
import type { KeeperArrival } from '../../protocol/manifest.js';
import type { JournalRecord } from '../../protocol/journal.js';
import type { Custody } from '../custody.js';
import type { Logger } from '../logger.js';
import { arrivalRecords } from './arrival.js';
import type { ManifestContent } from './manifest-content.js';
import type { Arrival } from './incoming.js';
import { readManifest } from './manifest-file.js';

export interface Arrived {
  readonly records: readonly JournalRecord[];
  readonly parcels: ManifestContent['parcels'];
}

/** Undefined: this is an ordinary start. */
export function readArrival(custody: Custody, log: Logger): Arrived | undefined {
  const found = custody.get(ARRIVAL_ENTRY)?.meta as KeeperArrival | undefined;
  if (!found || found.state === 'off' || found.state === 'missing' || found.state === 'cold') return undefined;
  if (found.state !== 'arrived') return failed(log, found.error ?? { code: 'INTERNAL', message: found.state });
  const manifest = custody.get(ARRIVED_MANIFEST_ENTRY)?.fds[0];
  if (!manifest) return failed(log, found.error ?? { code: 'MANIFEST_DAMAGED', message: 'there is no manifest' });
  try {
    const { content, frozen, damaged } = readManifest(manifest.fd);
    if (damaged > 0) log.error({ damaged, frozen }, 'a slot of the manifest is damaged; the other one is used');
    if (!frozen) log.error('the jump came without freeze: running memory was carried, everything is torn');
    const lost = found.sessions.filter((session) => !session.ok);
    if (lost.length > 0) log.error({ sessions: lost }, 'sessions of the last kernel cannot be had');
    log.info(
      { from: content.writer.release, attempt: content.attempt, sessions: content.sessions.length, frozen },
      'arrived in the next kernel',
    );
    const now = { realtimeMs: Date.now(), monotonicNs: process.hrtime.bigint() };
    return { records: arrivalRecords(content, frozen, now), parcels: content.parcels };
  } catch (error) {
    return failed(log, LuoError.from(error, 'MANIFEST_DAMAGED').toWire());
  }
}

/** Nothing is finished, and nothing is let go of: what the keeper holds stays. */
function failed(log: Logger, error: NonNullable<Arrival['error']>): Arrived {
  log.fatal({ code: error.code }, `what the last kernel left cannot be taken over: ${error.message}`);
  const arrival: Arrival = { attempt: 0, from: '', torn: true, atMs: Date.now(), claimMs: 0, sessions: [], error };
  return { records: [{ kind: 'kexec.arrival', arrival }], parcels: [] };
}
