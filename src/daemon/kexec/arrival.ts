/**
 * The first start in the next kernel: from the manifest of the last luod to a journal of this one. The keeper has retrieved
 * every session before (src/keeper/liveupdate.ts); what follows is like any recovery, with one record more: `arrived`.
 *
 * PURE; who reads the manifest and what a damaged one comes to: read-arrival.ts. A manifest that says `frozen: false` carried
 * running memory: everything in it is torn.
 */
import { LuoError } from '../../base/errors.js';
import type { JournalRecord as EngineRecord, Plan } from '../../engine/types.js';
import { JOURNAL_VERSION } from '../../engine/types.js';
import type { JournalRecord } from '../../protocol/journal.js';
import type { Handle } from '../handles.js';
import type { ServiceRecord } from '../service.js';
import type { ManifestContent } from './manifest-content.js';
import type { Arrival, IncomingDevice } from './incoming.js';

/** Offset that brings this kernel's monotonic clock onto the last one's, and how far off that may be. */
export interface ClockJoin {
  readonly offsetNs: number;
  readonly uncertaintyMs: number;
}

/** The real-time clock across a reboot is read from a clock with whole seconds. */
const REALTIME_UNCERTAINTY_MS = 1000;

/** Records for a new journal, from what the last luod wrote. */
export function arrivalRecords(
  content: ManifestContent,
  frozen: boolean,
  now: { realtimeMs: number; monotonicNs: bigint },
): JournalRecord[] {
  const engine = engineRecords(content, frozen);
  const begun = engine.find((record) => record.type === 'attempt');
  const plan = begun?.type === 'attempt' ? begun.plan : undefined;
  const preserved = new Set(content.sessions.flatMap((session) => session.handles.map((one) => one.key)));
  const records = content.records.flatMap((record) => carried(record, { plan, preserved, frozen }));
  const arrival: Arrival = {
    attempt: content.attempt,
    from: content.writer.release,
    torn: !frozen,
    atMs: now.realtimeMs,
    claimMs: content.claimMs,
    sessions: content.sessions.map(({ name, owner, handles }) => ({ name, owner, preserved: handles })),
    devices: records.flatMap(deviceOf),
  };
  return [
    ...records,
    { kind: 'kexec.arrival', arrival },
    { kind: 'timeline.join', attempt: content.attempt, from: content.writer.release, ...joinOf(content, now) },
    ...engine.map((record) => ({ kind: 'engine', record })),
  ];
}

/** The device that a carried record is about, if it is one of a device. */
function deviceOf(record: JournalRecord): IncomingDevice[] {
  if (record.kind !== 'handle') return [];
  const { key, kind, name, meta } = record.handle as Handle;
  return kind === 'device' ? [{ key, path: (meta as { path?: string } | undefined)?.path ?? name }] : [];
}

/** What a record of the last kernel comes to in this one. */
function carried(
  record: JournalRecord,
  { plan, preserved, frozen }: { plan: Plan | undefined; preserved: ReadonlySet<string>; frozen: boolean },
): JournalRecord[] {
  switch (record.kind) {
    case 'generation':
    case 'timeline.whole':
    case 'timeline.begin':
    case 'timeline.events':
    case 'timeline.end':
    case 'box.sealed':
    case 'service.gone':
    case 'handle.gone':
    case 'box.gone':
      return [record];
    case 'service':
      return [{ kind: 'service', service: { ...(record.service as ServiceRecord), next: null } }];
    case 'handle': {
      const handle = record.handle as Handle;
      const planned = plan?.steps.some((step) => step.handles.includes(handle.key)) === true;
      // What was left behind is gone with the kernel; state without an fd travels as words.
      if (handle.hasFd ? !preserved.has(handle.key) && handle.delegate !== true : !planned) return [];
      if (handle.delegate === true && !preserved.has(handle.key)) return [];
      return [{ kind: 'handle', handle: arrived(handle, frozen) }];
    }
    default:
      // Processes, connections, sessions and claims of the last kernel: none of them is left.
      return [];
  }
}

/** Running memory is torn, whatever its mark says; else its holder left it whole, and what nobody held is as it was. */
function arrived(handle: Handle, frozen: boolean): Handle {
  if (!frozen) return { ...handle, holder: null, leftDirty: true, cameTorn: true };
  if (handle.holder === null) return handle;
  const { cameTorn: _, ...rest } = handle;
  return { ...rest, holder: null, leftDirty: false };
}

/** The attempt's records: decided, since the jump happened, and arrived. */
function engineRecords(content: ManifestContent, frozen: boolean): EngineRecord[] {
  const all = content.records
    .filter((record) => record.kind === 'engine')
    .map((record) => record.record as EngineRecord);
  const { attempt } = content;
  const records = all.filter((record) => record.attempt !== attempt || record.type !== 'aborting');
  const has = (type: EngineRecord['type']): boolean =>
    records.some((record) => record.attempt === attempt && record.type === type);
  if (!has('attempt')) throw new LuoError('MANIFEST_DAMAGED', `the manifest does not say what attempt ${attempt} was`);
  const v = JOURNAL_VERSION;
  if (!frozen && !has('freezing')) records.push({ v, type: 'freezing', attempt });
  if (!has('decided')) records.push({ v, type: 'decided', attempt, outcome: 'committed' });
  return [...records, { v, type: 'arrived', attempt }];
}

export function joinOf(content: ManifestContent, now: { realtimeMs: number; monotonicNs: bigint }): ClockJoin {
  const then = BigInt(content.clock.realtimeNs) - BigInt(content.clock.monotonicNs);
  const here = BigInt(now.realtimeMs) * 1_000_000n - now.monotonicNs;
  return { offsetNs: Number(here - then), uncertaintyMs: REALTIME_UNCERTAINTY_MS };
}
