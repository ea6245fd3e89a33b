/**
 * The processes that joined. A supervised one has its instance's id and outlives its connection; another one has its
 * owner's, and its membership is a lease of its connection while luod lives (after luod's own restart it has a while to
 * come back). Each is in the journal, so that a new luod knows whom to expect.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import type { Role } from '../base/words.js';
import type { ParticipantRecord as EngineParticipant } from '../engine/types.js';
import type { JournalRecord } from '../protocol/journal.js';
import { eventLoop, isSysError, pidfdOpen } from '../sys/index.js';
import type { OwnedFd, Watch } from '../sys/index.js';
import type { Peer } from '../transport/index.js';

/** JSON, as it stands in the journal. */
export interface ParticipantRecord {
  readonly id: string;
  readonly owner: string;
  readonly uid: number;
  readonly pid: number;
  /** Supervised service; null: luod only knows what it says of itself. */
  readonly supervised: string | null;
  readonly role: Role;
  readonly seq: number;
  /** Its first go was acknowledged. */
  readonly acting: boolean;
}

export class Participant {
  record: ParticipantRecord;
  peer: Peer | undefined;
  /** Where it says it stands; for status. */
  phase = 'running';
  /** It answered freeze and was not told to go on since. */
  frozen = false;
  #pidfd: OwnedFd | undefined;
  #watch: Watch | undefined;

  constructor(record: ParticipantRecord) {
    this.record = record;
  }

  get id(): string {
    return this.record.id;
  }

  get owner(): string {
    return this.record.owner;
  }

  get connected(): boolean {
    return this.peer?.isOpen === true;
  }

  /** Watch a process that nobody supervises. @returns false if it is dead already */
  watch(onDead: () => void): boolean {
    try {
      this.#pidfd = pidfdOpen(this.record.pid);
    } catch (error) {
      if (isSysError(error, 'ESRCH')) return false;
      throw error;
    }
    this.#watch = eventLoop().watch(this.#pidfd.fd, { readable: true, writable: false }, () => {
      this.unwatch();
      onDead();
    });
    return true;
  }

  unwatch(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#pidfd?.close();
    this.#pidfd = undefined;
  }
}

export class Participants {
  readonly #participants = new Map<string, Participant>();
  readonly #append: (record: JournalRecord) => void;
  #seq = 0;

  constructor(append: (record: JournalRecord) => void) {
    this.#append = append;
  }

  get size(): number {
    return this.#participants.size;
  }

  get(id: string): Participant | undefined {
    return this.#participants.get(id);
  }

  all(): Participant[] {
    return [...this.#participants.values()];
  }

  /** @throws LuoError LIMIT_REACHED */
  add(record: Omit<ParticipantRecord, 'seq' | 'acting'>): Participant {
    if (this.#participants.size >= LIMITS.participantsMax) {
      throw new LuoError('LIMIT_REACHED', `there are ${this.#participants.size} participants already`, {
        data: { limit: 'participantsMax' },
      });
    }
    this.#seq += 1;
    const participant = new Participant({ ...record, seq: this.#seq, acting: false });
    this.#participants.set(record.id, participant);
    this.#append({ kind: 'participant', participant: participant.record });
    return participant;
  }

  change(participant: Participant, change: Partial<ParticipantRecord>): void {
    participant.record = { ...participant.record, ...change };
    this.#append({ kind: 'participant', participant: participant.record });
  }

  remove(participant: Participant): void {
    participant.unwatch();
    if (this.#participants.get(participant.id) !== participant) return;
    this.#participants.delete(participant.id);
    this.#append({ kind: 'participant.gone', id: participant.id });
  }

  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'participant': {
        const known = record.participant as ParticipantRecord;
        this.#seq = Math.max(this.#seq, known.seq);
        this.#participants.set(known.id, new Participant(known));
        return true;
      }
      case 'participant.gone':
        this.#participants.delete(record.id as string);
        return true;
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    return this.all().map((participant) => ({ kind: 'participant', participant: participant.record }));
  }

  detach(): void {
    for (const participant of this.#participants.values()) participant.unwatch();
  }
}

/** As the engine's plan reads it. */
export function engineParticipant(participant: Participant): EngineParticipant {
  return {
    id: participant.id,
    owner: participant.owner,
    seq: participant.record.seq,
    alive: true,
    protocol: 'luo',
  };
}
