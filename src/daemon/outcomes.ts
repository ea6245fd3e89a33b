/**
 * What the outcome of an attempt means for its members' services and handles: at the decision the successor is the service and
 * holds what it claimed, or its declarations vanish; at the end what was released or may be discarded goes.
 *
 * Unhappy: committed and the successor dead, while the old process had thawed by itself: the old one stays the service. A
 * service that has no process at the end is started again by its policy.
 */
import type { Outcome } from '../base/words.js';
import type { JournalRecord as EngineRecord, Plan } from '../engine/types.js';
import type { Custody } from './custody.js';
import { handleEntryName } from './handles.js';
import type { Handles } from './handles.js';
import { OWN_MEMBER } from './kexec/crossing.js';
import type { Kexec } from './kexec/kexec.js';
import type { Logger } from './logger.js';
import type { MemberProcesses } from './member-processes.js';
import type { Membership } from './membership.js';
import { ownerOf, serviceOf } from './service.js';
import type { Services } from './services.js';
import type { Timelines } from './timeline.js';
import type { Settled } from './waiters.js';

export interface OutcomesParts {
  readonly uid: number;
  readonly log: Logger;
  readonly services: Services;
  readonly handles: Handles;
  readonly custody: Custody;
  readonly membership: Membership;
  readonly processes: MemberProcesses;
  readonly kexec: Kexec;
  readonly timelines: Timelines;
}

export class Outcomes {
  readonly #parts: OutcomesParts;

  constructor(parts: OutcomesParts) {
    this.#parts = parts;
  }

  /** The decision is known. @param successors by member */
  decided(plan: Plan, outcome: Outcome, successors: ReadonlyMap<number, string>): void {
    // No successors: whoever is started again in the next kernel has the command that it had.
    if (plan.gap === 'kexec') return;
    for (const { member, replaced, participant } of plan.members) {
      if (!replaced) continue;
      if (outcome === 'committed') this.#commit(participant, successors.get(member));
      else this.#abort(participant, successors.get(member));
    }
  }

  #commit(participant: string, successor: string | undefined): void {
    const { handles, services } = this.#parts;
    if (successor !== undefined) {
      const released = handles.commit(participant, successor);
      for (const key of released) handles.update(key, { policy: 'discard' });
    }
    services.promote(serviceOf(participant));
  }

  #abort(participant: string, successor: string | undefined): void {
    const { handles, services, custody } = this.#parts;
    if (successor !== undefined) custody.drop(handles.abort(successor).map((handle) => handleEntryName(handle.key)));
    services.demote(serviceOf(participant));
  }

  /** Committed was decided, but the successor is dead and the old process had thawed by itself: it stays. */
  keptOld(plan: Plan, member: number, successors: ReadonlyMap<number, string>): void {
    const { handles, services } = this.#parts;
    const { participant, owner } = plan.members[member]!;
    services.reinstate(serviceOf(participant), participant);
    const successor = successors.get(member);
    for (const handle of handles.ofOwner(owner)) {
      if (handle.holder === null || handle.holder === successor) handles.update(handle.key, { holder: participant });
    }
  }

  /** An attempt rests in normal. */
  over(plan: Plan, settled: Settled): void {
    const { services, processes, kexec, log } = this.#parts;
    if (plan.gap === 'kexec') void kexec.over(settled.outcome ?? 'aborted');
    for (const member of plan.members) {
      if (!member.replaced || member.participant === OWN_MEMBER) continue;
      if (settled.outcome === 'committed') this.#dropUnwanted(member.owner);
      const service = serviceOf(member.participant);
      if (!processes.areReplaced(service)) services.reviveIfWanted(service);
    }
    for (const { participant, method, error } of settled.errors) {
      log.warn({ participant, method, code: error.code }, `${method} of '${participant}': ${error.message}`);
    }
  }

  /** The last attempt had come to rest when the earlier luod died, which had not yet said so everywhere. */
  closeSettled(records: readonly EngineRecord[]): void {
    const { timelines, uid } = this.#parts;
    const last = timelines.last();
    if (!last || last.endNs !== null) return;
    const settled = records.findLast((one) => one.type === 'settled' && one.attempt === last.attempt);
    const outcome = settled?.type === 'settled' ? settled.outcome : 'aborted';
    const done = outcome === 'committed';
    const error = { code: 'UPDATE_FAILED', message: 'luod died when it had rolled the update back; why is in its log' };
    timelines.end(last.attempt, done ? 'done' : 'rolled-back', outcome, done ? undefined : error);
    if (!done) return;
    for (const participant of last.scope) this.#dropUnwanted(ownerOf(uid, serviceOf(participant)));
  }

  /** At finish: what nobody claimed, and was released or may be discarded. */
  #dropUnwanted(owner: string): void {
    const { handles, membership, log } = this.#parts;
    const unwanted = handles
      .ofOwner(owner)
      .filter((handle) => handle.holder === null && handle.policy === 'discard')
      .map((handle) => handle.key);
    if (unwanted.length > 0) log.info({ handles: unwanted }, 'handles discarded at finish');
    membership.drop(unwanted);
  }
}
