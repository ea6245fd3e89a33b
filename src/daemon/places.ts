/**
 * Who stands where in the open attempt: each of its members has an old side, and a new one when its successor is there. A process
 * that was started again stands in the place of the one before it.
 */
import type { Actor, Plan, PlanMember } from '../engine/types.js';

export class Places {
  /** Participant to its place. */
  readonly #actors = new Map<string, Actor>();
  /** The other way round; key `member/side`. */
  readonly #participants = new Map<string, string>();
  readonly #successors = new Map<number, string>();

  /** Everybody who has a place. */
  get all(): string[] {
    return [...this.#actors.keys()];
  }

  /** By member. */
  get successors(): ReadonlyMap<number, string> {
    return this.#successors;
  }

  of(participant: string): Actor | undefined {
    return this.#actors.get(participant);
  }

  at(actor: Actor): string | null {
    return this.#participants.get(`${actor.member}/${actor.side}`) ?? null;
  }

  /** An attempt begins: the participants of its plan stand on the old side. */
  begin(plan: Plan): void {
    this.clear();
    for (const { member, participant } of plan.members) this.put(participant, { member, side: 'old' });
  }

  put(participant: string, actor: Actor): void {
    this.#actors.set(participant, actor);
    this.#participants.set(`${actor.member}/${actor.side}`, participant);
    if (actor.side === 'new') this.#successors.set(actor.member, participant);
  }

  /** Another process than the one in the plan stands on the old side. */
  replaceOld({ member, participant }: PlanMember, current: string): void {
    this.#actors.delete(participant);
    this.put(current, { member, side: 'old' });
  }

  /** It is dead; nobody else stands in its place yet. */
  leave(participant: string): void {
    this.#actors.delete(participant);
  }

  /** The attempt is over. */
  clear(): void {
    this.#actors.clear();
    this.#participants.clear();
    this.#successors.clear();
  }
}
