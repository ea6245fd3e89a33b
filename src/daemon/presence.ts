/**
 * Who is there: what follows when a participant joins or comes back, when its connection ends, and when its process does.
 *
 * Happy path: joined -> gives again what luod lost -> serves. Unhappy: what a dead one held waits for its service's next
 * process, or is nobody's where nobody starts one; what nobody living has is lost. The engine hears of every death. One
 * that nobody supervises is gone with its connection, unless an open attempt needs it: then when that is over.
 */
import type { LuodParams } from '../protocol/spec.js';
import type { Custody } from './custody.js';
import { handleEntryName } from './handles.js';
import type { Handles } from './handles.js';
import type { Logger } from './logger.js';
import type { MemberCalls } from './member-calls.js';
import type { Membership } from './membership.js';
import type { Orchestrator } from './orchestrator.js';
import type { Participant, Participants } from './participants.js';
import type { Remains } from './remains.js';

/** What those say of themselves that have had their go and are not frozen. */
const ACTING_PHASES: readonly string[] = ['running', 'thawed', 'gone-on'];
/** How long a participant may take to give what luod and keeper have lost, before it is dealt with all the same. */
const REFILL_MS = 5_000;
/** How long the last words of a dead process may take to be read. */
const DRAIN_MS = 500;

export interface PresenceParts {
  readonly log: Logger;
  readonly participants: Participants;
  readonly handles: Handles;
  readonly custody: Custody;
  readonly orchestrator: Orchestrator;
  readonly calls: MemberCalls;
  readonly membership: Membership;
  readonly remains: Remains;
  /** luod ends: a connection that ends means nothing any more. */
  readonly isEnding: () => boolean;
  /** Something that status shows has changed. */
  readonly changed: () => void;
  /** Something that a participant's word on the finish may hang on has changed. */
  readonly news: () => void;
}

export class Presence {
  readonly #parts: PresenceParts;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  // -------------------------------------------------------------------------------------------- it comes

  joined(participant: Participant, resume: LuodParams<'hello'>['resume'], resumed: boolean): void {
    const { remains, participants, isEnding } = this.#parts;
    if (remains.owed(participant).length === 0) return this.#resumed(participant, resume, resumed);
    // What follows may be its end: nobody else may have what it is about to give.
    const { peer } = participant;
    void remains.whenGiven(participant, REFILL_MS).then(() => {
      const isThere = participants.get(participant.id) === participant && participant.peer === peer;
      if (isThere && participant.connected && !isEnding()) this.#resumed(participant, resume, resumed);
    });
  }

  #resumed(participant: Participant, resume: LuodParams<'hello'>['resume'], resumed: boolean): void {
    const { orchestrator, membership, news } = this.#parts;
    if (resumed && resume) {
      orchestrator.resumed(participant.id, resume.phase, resume.attempt);
      if (resume.phase === 'frozen') participant.frozen = true;
      // Its go, or its thaw, may have been the last word of an earlier luod, or the keeper's: it serves.
      if (ACTING_PHASES.includes(resume.phase)) this.#servesAgain(participant);
      // An earlier luod had accepted its ready, and died, or left, before its go: nobody else will say that.
      const isOutside = orchestrator.actorOf(participant.id) === undefined;
      if (resume.phase === 'ready' && isOutside && participant.record.role !== 'successor') {
        membership.bringUp(participant);
      }
    }
    news();
  }

  /** What an earlier luod would have done after the go's answer; in an open attempt the engine sees to it. */
  #servesAgain(participant: Participant): void {
    const { calls, orchestrator, membership, handles } = this.#parts;
    calls.acts(participant);
    if (orchestrator.plan?.members.some((member) => member.owner === participant.owner)) return;
    calls.dropKept(participant.owner);
    membership.dropReleased(participant.id, handles.claims(participant.id));
  }

  // -------------------------------------------------------------------------------------------- it leaves

  /** Its connection is gone. */
  left(participant: Participant): void {
    const { orchestrator, isEnding, changed } = this.#parts;
    if (isEnding()) return;
    orchestrator.hangup(participant.id);
    if (participant.record.supervised === null && !orchestrator.actorOf(participant.id)) this.gone(participant);
    changed();
  }

  /** The process is dead, or the lease of one that nobody supervises is over. A second time it changes nothing. */
  gone(participant: Participant): void {
    const { participants, handles, custody, orchestrator, news } = this.#parts;
    if (participants.get(participant.id) !== participant) return;
    participant.peer?.close();
    participants.remove(participant);
    custody.drop(handles.abort(participant.id).map((handle) => handleEntryName(handle.key)));
    if (participant.record.supervised === null) {
      // Nobody will start it again: what it held is nobody's.
      const keys = handles.heldBy(participant.id).map((handle) => handle.key);
      for (const key of keys) handles.remove(key);
      custody.drop(keys.map(handleEntryName));
    } else {
      const left = participant.frozen ? 'clean' : participant.record.acting ? 'dirty' : 'same';
      handles.orphan(participant.id, left);
    }
    this.giveLostUp();
    orchestrator.died(participant.id);
    news();
  }

  /** A process of a service is gone. @returns whether the engine takes care of what follows */
  processGone(id: string): boolean {
    const { participants, handles, orchestrator, calls } = this.#parts;
    const engineCares = orchestrator.handlesDeath(id);
    const participant = participants.get(id);
    if (participant) this.gone(participant);
    else {
      handles.orphan(id, 'clean');
      if (calls.isEnding(id)) setImmediate(() => orchestrator.died(id));
      else orchestrator.died(id);
    }
    return engineCares;
  }

  /** Resolves when what a dead process had sent was read. */
  async drained(id: string): Promise<void> {
    const peer = this.#parts.participants.get(id)?.peer;
    if (!peer) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([peer.closed, new Promise((resolve) => (timer = setTimeout(resolve, DRAIN_MS)))]);
    clearTimeout(timer);
  }

  /** Of what luod and keeper lost, that which no living participant has. */
  giveLostUp(): void {
    const { remains, participants, membership, log } = this.#parts;
    const lost = remains.giveUp((id) => participants.get(id) !== undefined);
    if (lost.length === 0) return;
    log.error({ handles: lost }, 'handles lost: luod, keeper and all who held them are dead');
    membership.drop(lost);
  }

  /** After luod's own restart: participants that nobody supervises and that did not come back are gone. */
  expireAbsent(): void {
    for (const participant of this.#absent()) {
      if (!this.#parts.orchestrator.actorOf(participant.id)) this.gone(participant);
    }
  }

  /** An attempt is over, which some had left that nobody supervises. */
  expireLeft(): void {
    for (const participant of this.#absent()) {
      setImmediate(() => {
        if (!participant.connected) this.gone(participant);
      });
    }
  }

  /** Those without a connection whose membership is nothing but that. */
  #absent(): Participant[] {
    return this.#parts.participants.all().filter((one) => one.record.supervised === null && !one.connected);
  }
}
