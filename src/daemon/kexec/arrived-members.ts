/**
 * The members of an attempt that came over from the last kernel. Their processes are gone: here is which process of this kernel
 * stands for which of them, how it is started, and whether it serves. luod, the last member of the plan, stands for itself.
 *
 * Unhappy: a service that does not start is left to its restart policy, and waited for until the time for claims is over.
 */
import { LuoError } from '../../base/errors.js';
import type { Plan } from '../../engine/types.js';
import type { Logger } from '../logger.js';
import type { Orchestrator } from '../orchestrator.js';
import type { Participants } from '../participants.js';
import { serviceOf } from '../service.js';
import type { Services } from '../services.js';
import { OWN_MEMBER } from './crossing.js';
import type { Kexec } from './kexec.js';

export interface ArrivedMembersParts {
  readonly log: Logger;
  readonly kexec: Kexec;
  readonly services: Services;
  readonly participants: Participants;
  readonly orchestrator: Orchestrator;
}

export class ArrivedMembers {
  readonly #parts: ArrivedMembersParts;

  constructor(parts: ArrivedMembersParts) {
    this.#parts = parts;
  }

  /** Is the open attempt theirs? */
  get areOpen(): boolean {
    const { attempt } = this.#parts.orchestrator.shown;
    return attempt !== null && this.#parts.kexec.incoming?.arrival?.attempt === attempt;
  }

  /** What stands for a restart of a member. Resolves with its id when it serves. @throws LuoError CALL_TIMEOUT */
  async start(plan: Plan, member: number, deadlineMs: number): Promise<string> {
    const { kexec, services, log } = this.#parts;
    const { participant, owner } = plan.members[member]!;
    if (participant === OWN_MEMBER) {
      const parked = plan.steps.filter((step) => plan.members[step.member]!.alive === false);
      await kexec.restoreOwn(
        owner,
        parked.flatMap((step) => step.handles),
      );
      return OWN_MEMBER;
    }
    const service = serviceOf(participant);
    if (services.has(service) && !services.current(service)) {
      services.startCurrent(service, deadlineMs).catch((error: unknown) => {
        const { code, message } = LuoError.from(error);
        log.warn({ service, code }, `'${service}' did not start after the jump: ${message}`);
        services.reviveIfWanted(service);
      });
    }
    await kexec.whenServing(owner);
    return this.#currentOf(participant) ?? participant;
  }

  /** Whether a process of this owner has what came over and acts. Of one that speaks luo only its go says that. */
  serves(owner: string): boolean {
    const { orchestrator, services, participants } = this.#parts;
    const member = orchestrator.plan?.members.find((one) => one.owner === owner);
    const speaksLuo = member?.protocol === 'luo';
    const service = owner.slice(owner.indexOf(':') + 1);
    if (!speaksLuo && services.has(service) && services.record(service).owner === owner) {
      return services.current(service)?.record.ready === true;
    }
    return participants.all().some((one) => one.owner === owner && one.record.acting && (one.connected || !speaksLuo));
  }

  /** Everything that came over is decided: where finish was vetoed before, it is tried again. @returns whether it was tried */
  finish(): boolean {
    const { orchestrator } = this.#parts;
    const { state, phase, stage } = orchestrator.shown;
    if (!this.areOpen || state !== 'updated' || phase !== null || stage !== 'updated') return false;
    orchestrator.finish().catch(() => undefined);
    return true;
  }

  /** The process that stands for a participant of the last kernel. */
  #currentOf(participant: string): string | undefined {
    const { services, participants } = this.#parts;
    const service = serviceOf(participant);
    if (services.has(service)) return services.current(service)?.id;
    return participants.get(participant)?.id;
  }
}
