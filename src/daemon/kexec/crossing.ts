/**
 * An update across the kexec gap, as far as it is luod's own: what is done with sessions and manifest around the calls to the
 * participants. The order is the engine's. luod itself is a member of such a plan (`OWN_MEMBER`): its prepare comes last
 * and preserves what no process answers for, then the manifest; its freeze takes digests; its finish is the last word
 * about a session that nobody else finishes.
 *
 * Happy path before the jump: `prepared` after each member's prepare, `own('prepare')`, `own('freeze')`, `jump`. Unhappy:
 * whatever fails is an error of that call, so that the engine undoes everything: `cancelled` drops a member's session.
 * Happy path after it: arrival.ts has made the journal; handles are claimed; `finished`. What nobody claims is decided
 * by its policy (unclaimed.ts).
 */
import { LuoError } from '../../base/errors.js';
import { parseHandleKey } from '../../base/words.js';
import type { CallEffect, Plan, PlanMember, PlanStep } from '../../engine/types.js';
import type { KexecMachine } from '../../ports/index.js';
import { MANIFEST_SESSION, MANIFEST_TOKEN } from '../../protocol/manifest.js';
import type { JournalRecord } from '../../protocol/journal.js';
import type { CallParams, CallResult } from '../../protocol/spec.js';
import { faultPoint, fstat } from '../../sys/index.js';
import type { Custody } from '../custody.js';
import { digestOf } from '../digest.js';
import { handleEntryName } from '../handles.js';
import type { Handles } from '../handles.js';
import type { Logger } from '../logger.js';
import type { IncomingSessions } from './incoming.js';
import type { ManifestContent } from './manifest-content.js';
import { ManifestFile, MANIFEST_ENTRY } from './manifest-file.js';
import { DELEGATE_TOKEN_MIN } from './outgoing.js';
import type { OutgoingSessions } from './outgoing.js';
import type { Sessions } from './sessions.js';

/** luod as a participant of a plan across the kexec gap. */
export const OWN_MEMBER = 'luod';

export interface CrossingParts {
  readonly machine: KexecMachine;
  readonly custody: Custody;
  readonly sessions: Sessions;
  readonly outgoing: OutgoingSessions;
  readonly incoming: IncomingSessions;
  readonly handles: Handles;
  /** Owner of what is luod's own. */
  readonly ownOwner: string;
  readonly version: string;
  readonly log: Logger;
  /** Everything that a new luod needs, as records of the journal. */
  readonly snapshot: () => JournalRecord[];
  /** Names in the keeper of what is luod's own and crosses: entries of boxes. */
  readonly ownEntries: () => readonly { readonly name: string; readonly sizeBytes: number | null }[];
  /** How long participants may take to claim in the next kernel, ms. */
  readonly claimMs: () => number;
  /** What veto there is against finishing: handles that nobody has decided. */
  readonly undecided: () => string[];
  /** What luod itself has to do when the update is finished. */
  readonly finish: () => Promise<void>;
}

export class Crossing {
  readonly #parts: CrossingParts;
  #manifest: ManifestFile | undefined;

  constructor(parts: CrossingParts) {
    this.#parts = parts;
    const kept = parts.custody.get(MANIFEST_ENTRY)?.fds[0];
    if (kept && parts.outgoing.has(parts.ownOwner)) this.#manifest = ManifestFile.open(kept.fd);
  }

  /** The plan with luod as its last member. */
  withOwnMember(plan: Plan): Plan {
    const globals = plan.steps.filter((step) => step.kind === 'global').map((step) => step.step);
    const member: PlanMember = {
      member: plan.members.length,
      participant: OWN_MEMBER,
      owner: this.#parts.ownOwner,
      replaced: true,
      alive: true,
      protocol: 'luo',
      steps: [plan.steps.length],
    };
    const step: PlanStep = {
      step: plan.steps.length,
      member: member.member,
      kind: 'global',
      handles: [],
      after: globals,
      cycles: [],
    };
    return {
      ...plan,
      members: [...plan.members, member],
      steps: [...plan.steps, step],
      go: [...plan.go, { rank: 0, after: [] }],
    };
  }

  // -------------------------------------------------------------------------------------------- before the jump

  /** What a delegate gets with its prepare: the session that it is to fill; the fd is borrowed. */
  async delegate(
    plan: Plan,
    step: PlanStep,
    attempt: number,
  ): Promise<{ params: NonNullable<CallParams<'prepare'>['delegate']>; fd: number } | undefined> {
    const delegated = step.handles.filter((key) => this.#parts.handles.get(key)?.delegate === true);
    if (delegated.length === 0) return undefined;
    const { owner } = plan.members[step.member]!;
    const session = await this.#parts.outgoing.open(owner, attempt);
    return {
      params: {
        session,
        tokenMin: String(DELEGATE_TOKEN_MIN),
        handles: delegated.map((key) => {
          const { kind, name } = parseHandleKey(key)!;
          return { kind, name };
        }),
      },
      fd: this.#parts.outgoing.delegate(owner, (name) => this.#fdOf(name)),
    };
  }

  /** A member has answered prepare: preserve what it holds. @throws LuoError HANDLE_UNVIABLE, PROTO_INVALID */
  async prepared(
    plan: Plan,
    step: PlanStep,
    attempt: number,
    preserved: CallResult<'prepare'>['preserved'] = [],
  ): Promise<void> {
    const { owner, participant } = plan.members[step.member]!;
    const reported = new Map(
      preserved.map((one) => [
        `${owner}/${one.kind}:${one.name}`,
        { token: one.token, sizeBytes: one.sizeBytes ?? null },
      ]),
    );
    for (const key of step.handles) {
      if (this.#parts.handles.get(key)?.delegate !== true) {
        await this.#preserve(owner, key, attempt);
        continue;
      }
      const own = reported.get(key);
      if (!own) {
        throw new LuoError(
          'HANDLE_UNVIABLE',
          `'${participant}' did not preserve '${key}', which it wants to do itself`,
          {
            handle: key,
            participant,
          },
        );
      }
      this.#parts.outgoing.note(owner, { key, ...own });
    }
  }

  /** A member was told that the attempt is off. @throws LuoError SESSION_COPY_LEFT */
  cancelled(plan: Plan, member: number): Promise<void> {
    return this.#parts.outgoing.drop(plan.members[member]!.owner);
  }

  /** A member was told that the update is finished: so is its session. */
  finished(plan: Plan, member: number): Promise<void> {
    return this.#parts.incoming.finish(plan.members[member]!.owner);
  }

  /** A call to luod itself. */
  async own(effect: CallEffect, plan: Plan | undefined): Promise<void> {
    switch (effect.method) {
      case 'prepare':
        return this.#ownPrepare(effect.attempt, plan!);
      case 'freeze':
        return this.#ownFreeze(effect.attempt);
      case 'cancel':
        return this.#ownCancel();
      case 'canFinish': {
        const undecided = this.#parts.undecided();
        if (undecided.length === 0) return;
        const list = undecided.map((key) => `'${key}'`).join(', ');
        throw new LuoError('FINISH_VETO', `nobody has claimed ${list}`, {
          data: { handles: undecided },
          remedy: 'start who shall claim it, or let go of it: luoctl discard HANDLE',
        });
      }
      case 'finish':
        return this.#parts.finish();
      case 'restore':
      case 'go':
      case 'retire':
        return;
    }
  }

  /**
   * Leave this kernel. Comes back only if that failed; then the manifest says again that nothing is frozen.
   * @returns why
   */
  jump(attempt: number): LuoError {
    try {
      this.#write(attempt, true);
      faultPoint('luod.manifest.frozen');
      faultPoint('luod.jump');
      return this.#parts.machine.jump();
    } catch (error) {
      this.thawManifest(attempt);
      return LuoError.from(error, 'KEXEC_RETURNED');
    }
  }

  /** Nobody is frozen (any more): what would be carried now is running memory. */
  thawManifest(attempt: number): void {
    if (this.#manifest?.frozen === true) this.#write(attempt, false);
  }

  /** The attempt is over: nothing of it may stay pinned. */
  async sweep(): Promise<void> {
    for (const owner of await this.#parts.outgoing.dropAll()) {
      this.#parts.log.warn({ owner }, 'a participant keeps the fd of its cancelled session: its memory stays pinned');
    }
    this.#closeManifest();
  }

  // -------------------------------------------------------------------------------------------- inside

  async #ownPrepare(attempt: number, plan: Plan): Promise<void> {
    const { outgoing, custody, machine, ownOwner } = this.#parts;
    // Handles of processes that are gone: nobody answers for them, and they were chosen like the others.
    for (const step of plan.steps) {
      const member = plan.members[step.member]!;
      if (member.participant === OWN_MEMBER || member.alive) continue;
      for (const key of step.handles) await this.#preserve(member.owner, key, attempt);
    }
    await outgoing.open(ownOwner, attempt, MANIFEST_SESSION);
    for (const { name, sizeBytes } of this.#parts.ownEntries()) {
      const fd = custody.get(name)?.fds[0];
      if (fd) await outgoing.preserve(ownOwner, name, fd.fd, { sizeBytes });
    }
    const names = outgoing.all().map((session) => session.name);
    const body = this.#body(attempt, false);
    await custody.put(MANIFEST_ENTRY, ownOwner, {}, [ManifestFile.create(names, body, plan.members.length)], true);
    this.#manifest = ManifestFile.open(custody.get(MANIFEST_ENTRY)!.fds[0]!.fd);
    await outgoing.preserve(ownOwner, MANIFEST_ENTRY, this.#manifest.fd, {
      sizeBytes: this.#manifest.sizeBytes,
      token: MANIFEST_TOKEN,
    });
    faultPoint('luod.manifest.preserved');
    machine.sync();
  }

  /** Everybody is frozen: what is in memory now is what will arrive. @throws LuoError MANIFEST_FULL */
  async #ownFreeze(attempt: number): Promise<void> {
    const { outgoing, handles, custody } = this.#parts;
    for (const { owner, preserved } of outgoing.all()) {
      for (const { key } of preserved) {
        if (handles.get(key)?.digest !== true) continue;
        const fd = custody.get(handleEntryName(key))?.fds[0];
        if (fd) outgoing.setDigest(owner, key, await digestOf(fd.fd));
      }
    }
    this.#manifest?.checkRoom(this.#body(attempt, true));
  }

  async #ownCancel(): Promise<void> {
    await this.#parts.outgoing.drop(this.#parts.ownOwner);
    this.#closeManifest();
  }

  #closeManifest(): void {
    if (!this.#manifest) return;
    this.#manifest = undefined;
    this.#parts.custody.drop([MANIFEST_ENTRY]);
  }

  async #preserve(owner: string, key: string, attempt: number): Promise<void> {
    const { handles, custody, outgoing } = this.#parts;
    if (handles.get(key)?.hasFd !== true) return;
    const fd = custody.get(handleEntryName(key))?.fds[0];
    if (!fd) return;
    await outgoing.open(owner, attempt);
    await outgoing.preserve(owner, key, fd.fd, { sizeBytes: fstat(fd.fd).sizeBytes });
  }

  #write(attempt: number, frozen: boolean): void {
    if (!this.#manifest) throw new LuoError('INTERNAL', 'there is no manifest to write');
    this.#manifest.write(this.#body(attempt, frozen), frozen);
  }

  #body(attempt: number, frozen: boolean): ManifestContent {
    const { outgoing, custody, machine, version } = this.#parts;
    return {
      format: 1,
      writer: { version, release: machine.release, bootId: machine.bootId },
      attempt,
      gap: 'kexec',
      frozen,
      claimMs: this.#parts.claimMs(),
      clock: { realtimeNs: String(BigInt(Date.now()) * 1_000_000n), monotonicNs: String(process.hrtime.bigint()) },
      sessions: outgoing.all().map(({ name, owner, preserved }) => ({ name, owner, handles: [...preserved] })),
      records: this.#parts.snapshot(),
      parcels: custody.withPrefix('parcel/').map(({ name, owner, meta }) => ({ name, owner, meta })),
    };
  }

  #fdOf(session: string): number {
    const found = this.#parts.sessions.list().find((one) => one.name === session && one.direction === 'outgoing');
    if (!found) throw new LuoError('SESSION_MISSING', `the keeper does not hold the session '${session}'`);
    return found.fd;
  }
}
