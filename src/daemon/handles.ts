/**
 * The handles that luod knows: registered ones, waiting ones (their process is gone), and what successors declared for
 * after the commit. Values only: no fds (custody.ts has them) and no connections. Each change is a journal record, so
 * that a new luod reads the same table back.
 *
 * A handle is *held* by the participant that registered or claimed it, or *waits* (holder null). A successor's claims
 * and releases are kept beside, until the decision: `commit` moves them over, `abort` forgets them.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { handleKey } from '../base/words.js';
import type { Gap, Kind, Policy, Want } from '../base/words.js';
import type { HandleRecord } from '../engine/types.js';
import type { JournalRecord } from '../protocol/journal.js';
import type { HandleInfo, Waiting } from '../protocol/spec.js';

/** What is known of a handle. JSON, as it stands in the journal. */
export interface Handle {
  readonly key: string;
  readonly owner: string;
  readonly kind: Kind;
  readonly name: string;
  readonly compatible: string;
  readonly policy: Policy;
  readonly wants: Readonly<Record<Gap, Want>>;
  readonly requested: boolean | null;
  readonly type: string;
  readonly sizeBytes: number | null;
  readonly viable: Readonly<Record<Gap, { readonly ok: boolean; readonly reason: string }>>;
  readonly dependencies: readonly string[];
  /** Its fd's last page is a memory mark. */
  readonly marked: boolean;
  /** An fd of it lies in the keeper under `handle/KEY`. */
  readonly hasFd: boolean;
  /** Over kexec its owner preserves and retrieves it by itself. */
  readonly delegate?: boolean;
  /** Over kexec a digest of its content travels along. */
  readonly digest?: boolean;
  readonly meta?: unknown;
  readonly seq: number;
  /** Participant that holds it; null: it waits. */
  readonly holder: string | null;
  /** Its last holder died without having been frozen: without a mark this is all that is known. */
  readonly leftDirty: boolean;
  /** It came over a kexec as running memory, or altered. Whoever claims it is told, whatever its mark says. */
  readonly cameTorn?: true;
}

export type Claim = 'claimed' | 'released';

/**
 * How a participant that is gone left what it held. `clean`: it had stopped writing in good order; `dirty`: it could have been writing;
 * `same`: it never could, so that things are as it found them.
 */
export type Left = 'clean' | 'dirty' | 'same';

/** Name of a handle's entry in the keeper. */
export function handleEntryName(key: string): string {
  return `handle/${key}`;
}

export class Handles {
  readonly #handles = new Map<string, Handle>();
  readonly #perOwner = new Map<string, Set<string>>();
  readonly #perHolder = new Map<string, Set<string>>();
  /** Participant to what it declared, by key. */
  readonly #declared = new Map<string, Map<string, Handle>>();
  /** Participant to what it claimed or released, by key. */
  readonly #claims = new Map<string, Map<string, Claim>>();
  readonly #append: (record: JournalRecord) => void;
  #seq = 0;

  constructor(append: (record: JournalRecord) => void) {
    this.#append = append;
  }

  get size(): number {
    return this.#handles.size;
  }

  get(key: string): Handle | undefined {
    return this.#handles.get(key);
  }

  all(): Handle[] {
    return [...this.#handles.values()];
  }

  ofOwner(owner: string): Handle[] {
    return [...(this.#perOwner.get(owner) ?? [])].map((key) => this.#handles.get(key)!);
  }

  heldBy(participant: string): Handle[] {
    return [...(this.#perHolder.get(participant) ?? [])].map((key) => this.#handles.get(key)!);
  }

  nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  /** Refuse what would be one too many. @throws LuoError LIMIT_REACHED */
  checkRoom(owner: string, participant: string, added: number): void {
    const own = (this.#perOwner.get(owner)?.size ?? 0) + (this.#declared.get(participant)?.size ?? 0);
    if (own + added > LIMITS.handlesPerOwnerMax) throw limit('handlesPerOwnerMax', `'${owner}' has ${own} handles`);
    if (this.#handles.size + added > LIMITS.handlesMax)
      throw limit('handlesMax', `luod has ${this.#handles.size} handles`);
  }

  /** Take in a finished handle as a registration. */
  register(handle: Handle): void {
    this.#record({ kind: 'handle', handle });
  }

  /** Keep what a successor declares until the decision. */
  declare(participant: string, handle: Handle): void {
    this.#record({ kind: 'handle.declared', participant, handle });
  }

  declared(participant: string): Handle[] {
    return [...(this.#declared.get(participant)?.values() ?? [])];
  }

  isDeclared(participant: string, key: string): boolean {
    return this.#declared.get(participant)?.has(key) === true;
  }

  claims(participant: string): ReadonlyMap<string, Claim> {
    return this.#claims.get(participant) ?? new Map();
  }

  /** Participants that claimed or declared this key. */
  claimers(key: string): string[] {
    const claimed = [...this.#claims].filter(([, claims]) => claims.get(key) === 'claimed');
    const declared = [...this.#declared].filter(([, handles]) => handles.has(key));
    return [...claimed, ...declared].map(([participant]) => participant);
  }

  /** A successor claims or releases what its predecessor still holds, or a restarted process what waits. */
  claim(participant: string, key: string, claim: Claim): void {
    this.#record({ kind: 'handle.claim', participant, key, claim });
  }

  update(key: string, change: Partial<Handle>): Handle {
    const handle = this.#handles.get(key);
    if (!handle) throw new LuoError('HANDLE_UNKNOWN', `there is no handle '${key}'`, { handle: key });
    const updated = { ...handle, ...change };
    this.#record({ kind: 'handle', handle: updated });
    return updated;
  }

  remove(key: string): void {
    if (this.#handles.has(key)) this.#record({ kind: 'handle.gone', key });
  }

  /** Nothing of this participant's claims and declarations holds any more. @returns the declared ones, whose fds go */
  abort(participant: string): Handle[] {
    const declared = this.declared(participant);
    if (declared.length > 0 || this.#claims.has(participant)) this.#record({ kind: 'handle.abort', participant });
    return declared;
  }

  /**
   * A successor takes over: its claims and declarations become registrations. What the old one held and the new one
   * neither claimed nor released waits. @returns the released ones: they go at finish
   */
  commit(predecessor: string | null, successor: string): string[] {
    const released: string[] = [];
    const claims = this.claims(successor);
    for (const [key, claim] of claims) if (claim === 'released' && this.#handles.has(key)) released.push(key);
    this.#record({ kind: 'handle.commit', predecessor, successor });
    return released;
  }

  /** A participant is gone; what it held waits. */
  orphan(participant: string, left: Left): void {
    this.#record({ kind: 'handle.orphan', participant, left });
  }

  /** What a process of this owner that starts now finds waiting: nobody holds it, or `predecessor` does. */
  waitingFor(owner: string, predecessor: string | null): Handle[] {
    return this.ofOwner(owner).filter((handle) => handle.holder === null || handle.holder === predecessor);
  }

  /** Take in a record of the journal. @returns whether it was one of ours */
  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'handle':
        this.#set(record.handle as Handle);
        return true;
      case 'handle.gone':
        this.#delete(record.key as string);
        return true;
      case 'handle.declared': {
        const participant = record.participant as string;
        const handle = record.handle as Handle;
        mapOf(this.#declared, participant).set(handle.key, handle);
        this.#seq = Math.max(this.#seq, handle.seq);
        return true;
      }
      case 'handle.claim': {
        const participant = record.participant as string;
        mapOf(this.#claims, participant).set(record.key as string, record.claim as Claim);
        return true;
      }
      case 'handle.abort':
        this.#claims.delete(record.participant as string);
        this.#declared.delete(record.participant as string);
        return true;
      case 'handle.commit': {
        const successor = record.successor as string;
        const predecessor = record.predecessor as string | null;
        const claims = this.claims(successor);
        if (predecessor !== null) {
          for (const handle of this.heldBy(predecessor)) this.#set(passedOn(handle, null, 'clean'));
        }
        for (const [key, claim] of claims) {
          const handle = this.#handles.get(key);
          if (handle && claim === 'claimed') this.#set(passedOn(handle, successor, 'clean'));
        }
        for (const handle of this.declared(successor)) this.#set({ ...handle, holder: successor });
        this.#claims.delete(successor);
        this.#declared.delete(successor);
        return true;
      }
      case 'handle.orphan': {
        const participant = record.participant as string;
        const left = record.left as Left;
        for (const handle of this.heldBy(participant)) this.#set(passedOn(handle, null, left));
        this.#claims.delete(participant);
        this.#declared.delete(participant);
        return true;
      }
      default:
        return false;
    }
  }

  /** The records that bring a new journal to where this is. */
  snapshot(): JournalRecord[] {
    const records: JournalRecord[] = this.all().map((handle) => ({ kind: 'handle', handle }));
    for (const [participant, handles] of this.#declared) {
      for (const handle of handles.values()) records.push({ kind: 'handle.declared', participant, handle });
    }
    for (const [participant, claims] of this.#claims) {
      for (const [key, claim] of claims) records.push({ kind: 'handle.claim', participant, key, claim });
    }
    return records;
  }

  /** As the engine's registry wants it. @param standIn participant id under which waiting handles of an owner go */
  engineRecords(standIn: (owner: string) => string): HandleRecord[] {
    return this.all().map((handle) => ({
      owner: handle.owner,
      kind: handle.kind,
      name: handle.name,
      key: handle.key,
      participant: handle.holder ?? standIn(handle.owner),
      compatible: handle.compatible,
      dependencies: handle.dependencies,
      viable: handle.viable,
      wants: handle.wants,
      requested: handle.requested,
      policy: handle.policy,
      seq: handle.seq,
    }));
  }

  #record(record: JournalRecord): void {
    this.#append(record);
    this.replay(record);
  }

  #set(handle: Handle): void {
    this.#unindex(handle.key);
    this.#handles.set(handle.key, handle);
    this.#seq = Math.max(this.#seq, handle.seq);
    setOf(this.#perOwner, handle.owner).add(handle.key);
    if (handle.holder !== null) setOf(this.#perHolder, handle.holder).add(handle.key);
  }

  #delete(key: string): void {
    if (!this.#unindex(key)) return;
    this.#handles.delete(key);
    for (const claims of this.#claims.values()) claims.delete(key);
  }

  /** Take a handle out of the indexes; a set that became empty goes, so that nothing grows with what came and went. */
  #unindex(key: string): boolean {
    const handle = this.#handles.get(key);
    if (!handle) return false;
    removeFrom(this.#perOwner, handle.owner, key);
    if (handle.holder !== null) removeFrom(this.#perHolder, handle.holder, key);
    return true;
  }
}

/** That it came torn was told to whoever could write since: he vouches for what is there now. */
function passedOn(handle: Handle, holder: string | null, left: Left): Handle {
  if (left === 'same') return { ...handle, holder };
  const { cameTorn: _, ...rest } = handle;
  return { ...rest, holder, leftDirty: left === 'dirty' };
}

function setOf(sets: Map<string, Set<string>>, name: string): Set<string> {
  let set = sets.get(name);
  if (!set) sets.set(name, (set = new Set()));
  return set;
}

function removeFrom(sets: Map<string, Set<string>>, name: string, key: string): void {
  const set = sets.get(name);
  set?.delete(key);
  if (set?.size === 0) sets.delete(name);
}

function mapOf<V>(maps: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let map = maps.get(key);
  if (!map) maps.set(key, (map = new Map()));
  return map;
}

function limit(name: keyof typeof LIMITS, have: string): LuoError {
  return new LuoError('LIMIT_REACHED', `${have}; the limit ${name} is ${LIMITS[name]}`, { data: { limit: name } });
}

/** A handle as status and plan show it. */
export function handleInfo(handle: Handle, torn: boolean): HandleInfo {
  return {
    owner: handle.owner,
    kind: handle.kind,
    name: handle.name,
    compatible: handle.compatible,
    policy: handle.policy,
    wants: { ...handle.wants },
    requested: handle.requested === true,
    type: handle.type,
    sizeBytes: handle.sizeBytes,
    viable: { handover: { ...handle.viable.handover }, kexec: { ...handle.viable.kexec } },
    dependencies: [...handle.dependencies],
    claimed: handle.holder !== null,
    torn,
    ...(handle.meta === undefined ? {} : { meta: handle.meta }),
  };
}

/** A handle as the one who may claim it sees it. */
export function waitingInfo(handle: Handle, torn: boolean): Waiting {
  return {
    kind: handle.kind,
    name: handle.name,
    compatible: handle.compatible,
    type: handle.type,
    sizeBytes: handle.sizeBytes,
    torn,
    hasFd: handle.hasFd,
    ...(handle.meta === undefined ? {} : { meta: handle.meta }),
  };
}

/** Key of a dependency as a participant writes it: its own owner unless it names another. */
export function dependencyKey(owner: string, dependency: { owner?: string; kind: Kind; name: string }): string {
  return handleKey({ owner: dependency.owner ?? owner, kind: dependency.kind, name: dependency.name });
}
