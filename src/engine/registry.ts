/**
 * Who is there and what they hold: participants and handles, as the plan reads them. Registering saves nothing and
 * orders nothing; it checks what can be checked at once (names, directions, limits). All of a request or none.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { GAPS, KINDS, type Gap, type Kind, type Policy, type Want } from '../base/words.js';
import { handleKey } from '../base/words.js';
import type { HandleRecord, ParticipantRecord, Viability } from './types.js';

/** What the plan reads; {@link Registry} is one. */
export interface RegistryView {
  readonly participants: ReadonlyMap<string, ParticipantRecord>;
  readonly handles: ReadonlyMap<string, HandleRecord>;
}

/** A handle as it is asked for. */
export interface Registration {
  readonly kind: Kind;
  readonly name: string;
  readonly compatible: string;
  readonly viable: Readonly<Record<Gap, Viability>>;
  readonly wants?: Readonly<Record<Gap, Want>>;
  readonly policy?: Policy;
  /** Keys of handles; they need not be registered yet. */
  readonly dependencies?: readonly string[];
}

const RANK: Readonly<Record<Kind, number>> = { fd: 0, device: 1, global: 2 };

/**
 * May a handle of kind `from` depend on one of kind `to`? Inside a kind, from fd to device or global, from device to
 * global; never back.
 */
export function mayDepend(from: Kind, to: Kind): boolean {
  return RANK[from] <= RANK[to];
}

/** The kind in a handle key, undefined when it is none. */
export function kindOfKey(key: string): Kind | undefined {
  return KINDS.find((kind) => key.includes(`/${kind}:`));
}

function limitReached(limit: 'handlesPerOwnerMax' | 'handlesMax' | 'dependenciesMax' | 'participantsMax'): LuoError {
  return new LuoError('LIMIT_REACHED', `the limit ${limit} (${LIMITS[limit]}) is reached`, { data: { limit } });
}

/** Participants and handles. It is changed in place: only the daemon's one thread has it. */
export class Registry implements RegistryView {
  readonly #participants = new Map<string, ParticipantRecord>();
  readonly #handles = new Map<string, HandleRecord>();
  readonly #perOwner = new Map<string, number>();
  #seq = 0;

  get participants(): ReadonlyMap<string, ParticipantRecord> {
    return this.#participants;
  }

  get handles(): ReadonlyMap<string, HandleRecord> {
    return this.#handles;
  }

  /**
   * @throws LuoError LIMIT_REACHED participantsMax; HANDLE_EXISTS that id is there
   */
  addParticipant(participant: {
    readonly id: string;
    readonly owner: string;
    readonly alive?: boolean;
    readonly protocol?: 'luo' | 'plain';
  }): ParticipantRecord {
    if (this.#participants.has(participant.id)) {
      throw new LuoError('HANDLE_EXISTS', `participant '${participant.id}' is there already`);
    }
    if (this.#participants.size >= LIMITS.participantsMax) throw limitReached('participantsMax');
    const record: ParticipantRecord = {
      id: participant.id,
      owner: participant.owner,
      seq: (this.#seq += 1),
      alive: participant.alive ?? true,
      protocol: participant.protocol ?? 'luo',
    };
    this.#participants.set(record.id, record);
    return record;
  }

  /** Change what may change of a participant; an unknown one is left alone. */
  updateParticipant(id: string, change: { readonly alive?: boolean; readonly protocol?: 'luo' | 'plain' }): void {
    const record = this.#participants.get(id);
    if (record !== undefined) this.#participants.set(id, { ...record, ...change });
  }

  /** Forget a participant and every handle that it holds. */
  removeParticipant(id: string): void {
    this.#participants.delete(id);
    for (const handle of this.#handles.values()) if (handle.participant === id) this.remove(handle.key);
  }

  /** The handles of `from` go on under `to` (at commit, or when a process was started again). */
  moveHandles(from: string, to: string): void {
    for (const handle of this.#handles.values()) {
      if (handle.participant === from) this.#handles.set(handle.key, { ...handle, participant: to });
    }
  }

  /**
   * Would these be accepted? Nothing is changed.
   * @throws LuoError HANDLE_EXISTS, PLAN_DIRECTION, LIMIT_REACHED (with `data.limit`), HANDLE_UNKNOWN no such participant
   */
  validateRegistration(participantId: string, wanted: readonly Registration[]): void {
    const participant = this.#participants.get(participantId);
    if (participant === undefined) throw new LuoError('HANDLE_UNKNOWN', `no participant '${participantId}'`);
    const { owner } = participant;
    if (this.#handles.size + wanted.length > LIMITS.handlesMax) throw limitReached('handlesMax');
    if ((this.#perOwner.get(owner) ?? 0) + wanted.length > LIMITS.handlesPerOwnerMax) {
      throw limitReached('handlesPerOwnerMax');
    }
    const names = new Set<string>();
    for (const handle of wanted) {
      const key = handleKey({ owner, kind: handle.kind, name: handle.name });
      if (this.#handles.has(key) || names.has(key)) {
        throw new LuoError('HANDLE_EXISTS', `handle '${key}' is registered already`, { handle: key });
      }
      names.add(key);
      this.#validateDependencies(key, handle);
    }
  }

  #validateDependencies(key: string, handle: Registration): void {
    const dependencies = handle.dependencies ?? [];
    if (dependencies.length > LIMITS.dependenciesMax) throw limitReached('dependenciesMax');
    for (const dependency of dependencies) {
      const kind = kindOfKey(dependency);
      if (kind === undefined || !mayDepend(handle.kind, kind)) {
        throw new LuoError(
          'PLAN_DIRECTION',
          `'${key}' cannot depend on '${dependency}': dependencies point inside a kind, from fd to device or global, or from device to global`,
          { handle: key },
        );
      }
    }
  }

  /** Register, all or none. @throws LuoError as {@link validateRegistration} */
  register(participantId: string, wanted: readonly Registration[]): HandleRecord[] {
    this.validateRegistration(participantId, wanted);
    const { owner } = this.#participants.get(participantId)!;
    this.#perOwner.set(owner, (this.#perOwner.get(owner) ?? 0) + wanted.length);
    return wanted.map((handle) => {
      const record: HandleRecord = {
        owner,
        kind: handle.kind,
        name: handle.name,
        key: handleKey({ owner, kind: handle.kind, name: handle.name }),
        participant: participantId,
        compatible: handle.compatible,
        dependencies: this.#sameStrings(new Set(handle.dependencies)),
        viable: handle.viable,
        wants: handle.wants ?? (Object.fromEntries(GAPS.map((gap) => [gap, 'keep'])) as Record<Gap, Want>),
        requested: null,
        policy: handle.policy ?? 'fail',
        seq: (this.#seq += 1),
      };
      this.#handles.set(record.key, record);
      return record;
    });
  }

  /** A key that is known already is kept as that very string, which is found again without comparing letters. */
  #sameStrings(keys: Iterable<string>): string[] {
    return Array.from(keys, (key) => this.#handles.get(key)?.key ?? key);
  }

  /** The operator's selection: true, false, or null for the owner's own wish. @throws LuoError HANDLE_UNKNOWN */
  request(key: string, requested: boolean | null): HandleRecord {
    const handle = this.#handles.get(key);
    if (handle === undefined) throw new LuoError('HANDLE_UNKNOWN', `no handle '${key}'`, { handle: key });
    const record = { ...handle, requested };
    this.#handles.set(key, record);
    return record;
  }

  /** Forget a handle; one that is not there is passed over. */
  remove(key: string): void {
    const handle = this.#handles.get(key);
    if (handle === undefined) return;
    this.#handles.delete(key);
    const left = (this.#perOwner.get(handle.owner) ?? 1) - 1;
    if (left === 0) this.#perOwner.delete(handle.owner);
    else this.#perOwner.set(handle.owner, left);
  }
}
