/**
 * After luod's death: rebuild the attempt from what the journal holds, and go on. Nothing else is believed; every
 * process counts as away until it reconnects (`resumed`) or is known to be dead (`died`). A process in role `restart`
 * is in the journal once it acts. Before: the deaths that led to it are told again, and the restart that is asked for again
 * finds it.
 *
 * A freeze that was never sent: undo. Sent, without a decision: ask the keeper for `aborted` and go by its answer.
 * Decided: go on with go and retire, or with the undo; a kexec that was committed is undone too, since only the luod that
 * decided it may jump. Arrived in the next kernel: nobody lives there, so every member is started again on what was
 * preserved. Damaged or too new: an error, and nothing is done.
 */
import { LuoError, type WireError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import { writeAborting, writeReturned } from './decision.js';
import { wireError } from './errors.js';
import { enterFinishing } from './finish.js';
import { freshAttempt, freshMember } from './forward.js';
import { endOlds, enterArrived, enterGoing } from './going.js';
import type { Step } from './machine.js';
import { initialState, type Attempt, type MemberState } from './state.js';
import { Dictionary, Table } from './table.js';
import { JOURNAL_VERSION, type JournalRecord, type StuckRecord } from './types.js';
import { enterUndo } from './undo.js';
import { Work } from './work.js';

const RECORD_TYPES: ReadonlySet<string> = new Set<JournalRecord['type']>([
  'attempt',
  'standby',
  'freezing',
  'deciding',
  'aborting',
  'decided',
  'acked',
  'arrived',
  'returned',
  'finishing',
  'settled',
  'unstuck',
]);

/** What the lines of one attempt say. */
interface Found {
  readonly record: JournalRecord & { readonly type: 'attempt' };
  readonly successors: Map<number, string>;
  readonly acked: Map<number, JournalRecord & { readonly type: 'acked' }>;
  freezing: boolean;
  deciding: boolean;
  aborting: WireError | null;
  decided: Outcome | null;
  returned: WireError | null;
  arrived: boolean;
  finishing: boolean;
}

/**
 * A value from the journal as a record.
 * @throws LuoError JOURNAL_TOO_NEW written by a newer luo; JOURNAL_DAMAGED anything else that is not a record
 */
export function parseRecord(value: unknown): JournalRecord {
  const record = value as Partial<JournalRecord> | null;
  if (typeof record !== 'object' || record === null || typeof record.v !== 'number') {
    throw new LuoError('JOURNAL_DAMAGED', 'a line of the journal is no record');
  }
  if (record.v > JOURNAL_VERSION) {
    throw new LuoError(
      'JOURNAL_TOO_NEW',
      `the journal has version ${record.v}, this luod reads up to ${JOURNAL_VERSION}`,
    );
  }
  if (typeof record.attempt !== 'number' || typeof record.type !== 'string' || !RECORD_TYPES.has(record.type)) {
    throw new LuoError('JOURNAL_DAMAGED', `a line of the journal has the unknown type '${String(record.type)}'`);
  }
  return record as JournalRecord;
}

/**
 * Go on from a journal; an empty one gives the initial state.
 * @throws LuoError JOURNAL_DAMAGED the records contradict each other
 */
export function recover(records: readonly JournalRecord[]): Step {
  const stuck = new Map<string, StuckRecord>();
  let lastAttempt = 0;
  let retired: readonly string[] = [];
  let found: Found | null = null;
  for (const record of records) {
    lastAttempt = Math.max(lastAttempt, record.attempt);
    if (record.type === 'attempt') {
      found = begun(record);
      continue;
    }
    if (record.type === 'unstuck') {
      stuck.delete(record.participant);
      continue;
    }
    // What was written for an attempt after its end (a late acknowledgement) says nothing of a later one.
    if (found === null || record.attempt !== found.record.attempt) continue;
    note(found, record);
    if (record.type === 'arrived') {
      // Processes of the last kernel: none of them is left that could be asked, or ended.
      stuck.clear();
      retired = [];
    }
    if (record.type === 'settled') {
      for (const one of record.stuck) stuck.set(one.participant, one);
      retired = record.retired;
      found = null;
    }
  }
  const draft = Dictionary.empty<string, StuckRecord>().draft();
  for (const [participant, record] of stuck) draft.set(participant, record);
  const state = { ...initialState(), lastAttempt, stuck: draft.done() };
  const w = new Work(state);
  // Whether they are gone is not written down: asking for the end of one that is gone does no harm.
  for (const participant of retired) w.endParticipant(participant, true);
  if (found !== null) {
    w.begin(rebuilt(found));
    w.lastAttempt = lastAttempt;
    goOn(w, found);
  }
  return { state: w.done(), effects: w.effects };
}

function begun(record: JournalRecord & { readonly type: 'attempt' }): Found {
  return {
    record,
    successors: new Map(),
    acked: new Map(),
    freezing: false,
    deciding: false,
    aborting: null,
    decided: null,
    returned: null,
    arrived: false,
    finishing: false,
  };
}

function note(found: Found, record: JournalRecord): void {
  switch (record.type) {
    case 'standby':
      found.successors.set(record.member, record.participant);
      return;
    case 'freezing':
      found.freezing = true;
      return;
    case 'deciding':
      found.deciding = true;
      return;
    case 'aborting':
      found.aborting = record.error;
      return;
    case 'decided':
      if (found.decided !== null && found.decided !== record.outcome) {
        throw new LuoError('JOURNAL_DAMAGED', `attempt ${record.attempt} is both committed and aborted`);
      }
      found.decided = record.outcome;
      return;
    case 'acked':
      found.acked.set(record.member, record);
      return;
    case 'arrived':
      found.arrived = true;
      return;
    case 'returned':
      found.returned = record.error;
      return;
    case 'finishing':
      found.finishing = true;
      return;
    case 'attempt':
    case 'settled':
    case 'unstuck':
      return;
  }
}

/** A jump that came back, or that luod outlived, is undone although it was committed. */
function isUndone(found: Found): boolean {
  const { plan } = found.record;
  if (found.decided === null) return !found.freezing;
  return found.decided === 'aborted' || (plan.gap === 'kexec' && !found.arrived);
}

function rebuilt(found: Found): Attempt {
  const { record } = found;
  const { plan } = record;
  const fresh = freshAttempt(record);
  return {
    ...fresh,
    recovered: true,
    stage: 'cancelling',
    rests: found.freezing && found.decided !== 'aborted' ? 'frozen' : 'normal',
    members: Table.of(plan.members.length, (member) => rebuiltMember(found, member)),
    freezeSent: found.freezing,
    commitSent: found.deciding,
    abortLine: found.aborting !== null,
    decision: found.decided,
    record: 'open',
    cause:
      found.decided === 'committed' && !isUndone(found)
        ? null
        : (found.returned ?? found.aborting ?? wireError('UPDATE_FAILED', 'luod was restarted during the update')),
  };
}

function rebuiltMember(found: Found, member: number): MemberState {
  const { plan } = found.record;
  const planned = plan.members[member]!;
  const fresh = freshMember(planned.alive);
  const hasSuccessor = planned.replaced && plan.gap === 'handover';
  const acked = found.acked.get(member);
  const base: MemberState = {
    ...fresh,
    old: planned.alive ? oldWord(found) : 'absent',
    oldAway: planned.alive && !found.arrived,
    next: hasSuccessor ? 'unknown' : 'none',
    nextAway: hasSuccessor,
    successor: found.successors.get(member) ?? null,
  };
  if (acked === undefined) return base;
  const { participant } = acked;
  if (acked.side === 'new') return { ...base, next: 'went', acts: true, successor: participant ?? base.successor };
  const word = isUndone(found) ? 'back' : 'went';
  // A replaced member whose old process acts after a commit was kept: it has no successor any more.
  return {
    ...base,
    old: word,
    oldAway: true,
    acts: true,
    next: word === 'went' ? 'none' : base.next,
    standIn: participant ?? null,
  };
}

/** What is known of an old process that has not been heard of. No process comes over into another kernel. */
function oldWord(found: Found): MemberState['old'] {
  if (found.arrived) return 'dead';
  return found.freezing ? 'frozen' : 'called';
}

function goOn(w: Work, found: Found): void {
  for (const member of found.acked.keys()) w.dropParcels(w.a.attempt, member);
  if (found.decided === null && found.freezing) {
    w.stage('cancelling');
    writeAborting(w, 'decide-aborted');
    return;
  }
  if (isUndone(found)) {
    w.stage('cancelling');
    if (found.decided === 'committed' && found.returned === null) {
      writeReturned(w);
    } else if (found.decided === null && found.aborting === null) writeAborting(w, 'undo');
    else enterUndo(w);
    return;
  }
  if (!found.finishing) {
    if (found.arrived) enterArrived(w);
    else enterGoing(w);
    return;
  }
  w.a.rests = 'updated';
  w.stage('finishing');
  endOlds(w);
  enterFinishing(w);
}
