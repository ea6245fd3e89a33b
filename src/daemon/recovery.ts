/**
 * A luod takes up what an earlier one left, in this kernel or the last: its processes, the open attempt, what it had not come to
 * the end of. The journal is replayed already; after this, whoever is dead is known to be, and the engine goes on. A fresh
 * start is the same with nothing to take up.
 *
 * Unhappy: luod and keeper had died together (`fromRemains`): what they alone held is missing until it is given again.
 */
import type { Boxes } from './boxes.js';
import type { Handles } from './handles.js';
import type { ArrivedMembers } from './kexec/arrived-members.js';
import { OWN_MEMBER } from './kexec/crossing.js';
import type { Kexec } from './kexec/kexec.js';
import type { Logger } from './logger.js';
import type { MemberProcesses } from './member-processes.js';
import type { Orchestrator } from './orchestrator.js';
import type { Outcomes } from './outcomes.js';
import type { Participants } from './participants.js';
import type { Presence } from './presence.js';
import type { Records } from './records.js';
import type { Remains } from './remains.js';
import { serviceOf } from './service.js';
import type { Services } from './services.js';

export interface RecoveryParts {
  readonly dir: string;
  readonly log: Logger;
  readonly records: Records;
  readonly participants: Participants;
  readonly handles: Handles;
  readonly services: Services;
  readonly boxes: Boxes;
  readonly remains: Remains;
  readonly orchestrator: Orchestrator;
  readonly kexec: Kexec;
  readonly arrived: ArrivedMembers;
  readonly processes: MemberProcesses;
  readonly outcomes: Outcomes;
  readonly presence: Presence;
}

export class Recovery {
  readonly #parts: RecoveryParts;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** Call once, before anybody else is answered. @param isRecovery a luod of this kernel had done so before */
  async takeUp(isRecovery: boolean, fromRemains: boolean): Promise<void> {
    const { records, services, orchestrator, kexec, presence, processes } = this.#parts;
    const dead = await services.adopt();
    if (fromRemains) this.#takeUpRemains();
    await kexec.begin();
    this.#thawManifest();
    // No waiting between the two: a death in between would be told to an engine that knows of no attempt.
    orchestrator.recover(records.engine, (id) => services.successor(serviceOf(id))?.id, isRecovery);
    if (orchestrator.isIdle) {
      services.forgetNext();
      this.#parts.outcomes.closeSettled(records.engine);
      void kexec.settle();
    } else if (fromRemains) orchestrator.dispatch({ type: 'keeperLost' });
    for (const one of dead) services.bury(one, presence.processGone(one.record.id));
    this.#tellDeaths();
    if (fromRemains) orchestrator.unknownSuccessorsDied();
    presence.giveLostUp();
    processes.resumePlain();
    this.#resumeOwn();
    for (const name of services.names()) if (!processes.areReplaced(name)) services.reviveIfDue(name);
  }

  /** What luod and keeper alone held is missing from now on, until it is given again. */
  #takeUpRemains(): void {
    const { participants, services, boxes, remains, log, dir } = this.#parts;
    const ids = [...participants.all().map(({ id }) => id), ...services.instances.all().map(({ id }) => id)];
    const lost = boxes.forgetEmpty().map((box) => `box/${box}`);
    remains.begin(new Set(ids), lost);
    log.error(
      { dir, boxes: lost },
      'luod and keeper had died together; what their processes still have is taken up, what lay in boxes is lost',
    );
  }

  /** An earlier luod of this boot may have died between the frozen manifest and the jump: nobody is to find that. */
  #thawManifest(): void {
    const { records, kexec } = this.#parts;
    const begun = records.engine.findLast((record) => record.type === 'attempt');
    if (begun?.type !== 'attempt' || begun.plan.gap !== 'kexec') return;
    if (kexec.incoming?.arrival?.attempt === begun.attempt) return;
    if (kexec.available) kexec.crossing.thawManifest(begun.attempt);
  }

  /** Those that died while there was no luod, and what they held. */
  #tellDeaths(): void {
    const { participants, services, handles, orchestrator, presence } = this.#parts;
    for (const participant of participants.all()) {
      const { supervised } = participant.record;
      const alive =
        supervised === null
          ? participant.watch(() => presence.gone(participant))
          : services.instances.byId(participant.id);
      if (!alive) presence.gone(participant);
    }
    // Programs without the protocol join nothing: what a dead one of them held waits from now on.
    for (const { holder } of handles.all()) {
      if (holder === null || participants.get(holder) || services.instances.byId(holder)) continue;
      handles.orphan(holder, 'clean');
    }
    // Those that were gone before the earlier luod died, too: the engine's records do not tell. After a jump that is whoever has
    // no process in this kernel: one that is being started again is not harmed by it, one that had its go and died is waited for no more.
    for (const id of [...orchestrator.actors, ...orchestrator.stuck]) {
      if (id === OWN_MEMBER) continue;
      if (!participants.get(id) && !services.instances.byId(id)) orchestrator.died(id);
    }
  }

  /** luod is a member of its own plan: this one stands where the earlier one stood. */
  #resumeOwn(): void {
    const { orchestrator, arrived } = this.#parts;
    const { attempt } = orchestrator.shown;
    if (attempt === null || orchestrator.plan?.gap !== 'kexec') return;
    orchestrator.resumed(OWN_MEMBER, arrived.areOpen ? 'running' : 'prepared', attempt);
  }
}
