/**
 * The processes of an attempt's members: a successor is started beside the old process, one that is to act again is started
 * again, one that is not wanted is ended. When is the engine's to say; the processes themselves are services.ts's.
 */
import { DEADLINES } from '../base/limits.js';
import type { Plan } from '../engine/types.js';
import type { ArrivedMembers } from './kexec/arrived-members.js';
import type { Orchestrator } from './orchestrator.js';
import { whenReady } from './readiness.js';
import { serviceOf } from './service.js';
import type { Services } from './services.js';

export interface MemberProcessesParts {
  readonly services: Services;
  readonly orchestrator: Orchestrator;
  readonly arrived: ArrivedMembers;
}

export class MemberProcesses {
  readonly #parts: MemberProcessesParts;

  constructor(parts: MemberProcessesParts) {
    this.#parts = parts;
  }

  /** Start the successor of a member. Resolves with its id at its standby. @throws LuoError SERVICE_START_FAILED, SUCCESSOR_TIMEOUT */
  async standby(plan: Plan, member: number, deadlineMs: number): Promise<string> {
    const { services, orchestrator } = this.#parts;
    const { participant, protocol } = plan.members[member]!;
    const until = protocol === 'plain' ? 'ready' : 'standby';
    const started = await services.startSuccessor(serviceOf(participant), until, deadlineMs, (instance) =>
      orchestrator.successorStarted(member, instance.id),
    );
    return started.id;
  }

  /** Resolves when the process is gone; without its id, when a start for `member` that is under way has come to nothing. */
  async endProcess(participant: string | null, member: number | undefined, graceMs: number): Promise<void> {
    const { services, orchestrator } = this.#parts;
    const instance = participant === null ? undefined : services.instances.byId(participant);
    if (instance) return services.instances.end(instance, null, graceMs);
    if (participant === null && member !== undefined && orchestrator.plan) {
      // It may be between its start being asked for and its process being there.
      await services.abandonStart(serviceOf(orchestrator.plan.members[member]!.participant));
    }
  }

  /** Start the command of a member's service again on the kept state. Resolves with the id of its process when it acts. */
  async restart(plan: Plan, member: number, deadlineMs: number): Promise<string> {
    const { services, arrived } = this.#parts;
    if (plan.gap === 'kexec' && arrived.areOpen) return arrived.start(plan, member, deadlineMs);
    const service = serviceOf(plan.members[member]!.participant);
    // A process that an earlier luod had started for this and that it did not hear of: it may serve already.
    const left = services.current(service);
    if (!left) return (await services.startCurrent(service, deadlineMs)).id;
    await whenReady(left, deadlineMs);
    return left.id;
  }

  /** Does the open attempt replace this service? Then nobody else starts it. */
  areReplaced(service: string): boolean {
    const { orchestrator } = this.#parts;
    if (orchestrator.isIdle) return false;
    const members = orchestrator.plan?.members ?? [];
    return members.some((member) => member.replaced && serviceOf(member.participant) === service);
  }

  /**
   * Programs without the protocol do not come back to a new luod by themselves: where the living ones stand in the open
   * attempt is said for them.
   */
  resumePlain(): void {
    const { services, orchestrator } = this.#parts;
    const { attempt } = orchestrator.shown;
    for (const { member, participant, protocol } of orchestrator.plan?.members ?? []) {
      if (protocol !== 'plain') continue;
      const old = services.instances.byId(participant);
      // It was told to end, by the freeze or by the commit; either way its death is what comes next.
      if (old?.record.ending) void services.instances.end(old, null, DEADLINES.retireMs);
      else if (old) orchestrator.resumed(participant, 'running', attempt);
      const next = services.instances.byId(orchestrator.successorOf(member) ?? '');
      if (next) orchestrator.resumed(next.id, next.record.ready ? 'ready' : 'standby', attempt);
    }
  }
}
