/**
 * What the last kernel left: sessions that the keeper retrieved, and for each handle in them whether it was taken. An fd is
 * taken out of its session when its owner claims it, and not before: whoever takes it is charged for its memory.
 *
 * Happy path: `retrieve` at each claim, `finish` when every handle of the session is decided. Unhappy: an error of a retrieve
 * is the answer for ever and the data is gone (CLAIM_LOST); a memory limit would get luod killed inside the call, so it is looked
 * at before (CLAIM_MEMORY: raise it and claim again). What is decided is journalled; a new luod takes nothing twice.
 */
import { LuoError } from '../../base/errors.js';
import type { WireError } from '../../base/errors.js';
import type { Backend, Session } from '../../ports/index.js';
import type { JournalRecord } from '../../protocol/journal.js';
import { MANIFEST_SESSION } from '../../protocol/manifest.js';
import { faultPoint, OwnedFd } from '../../sys/index.js';
import type { Preserved } from './outgoing.js';

export interface IncomingSession {
  readonly name: string;
  readonly owner: string;
  readonly preserved: readonly Preserved[];
}

/** A device that an owner had in the last kernel. Nothing of it is in a session: it is there, or it is not. */
export interface IncomingDevice {
  readonly key: string;
  /** Below /sys. */
  readonly path: string;
}

/** What is known of the last kernel. JSON, as it stands in the journal. */
export interface Arrival {
  readonly attempt: number;
  /** Release of the last kernel. */
  readonly from: string;
  /** The jump came without freeze: running memory was carried. */
  readonly torn: boolean;
  /** Wall clock of the arrival, ms since the epoch. */
  readonly atMs: number;
  /** How long participants may take to claim, ms. */
  readonly claimMs: number;
  readonly sessions: readonly IncomingSession[];
  readonly devices?: readonly IncomingDevice[];
  readonly error?: WireError;
}

/**
 * `delegated`: its owner has the session's fd and takes it by itself. `left`: a device that nobody claimed and whose handle waits
 * on.
 */
export type Taken = 'retrieved' | 'delegated' | 'dropped' | 'left' | 'lost';

export class IncomingSessions {
  readonly #backend: Backend;
  readonly #append: (record: JournalRecord) => void;
  #arrival: Arrival | undefined;
  readonly #byKey = new Map<string, { session: IncomingSession; preserved: Preserved }>();
  readonly #devices = new Map<string, IncomingDevice>();
  readonly #taken = new Map<string, { taken: Taken; error?: WireError }>();
  readonly #finished = new Set<string>();
  readonly #sessions = new Map<string, Session>();
  readonly #retrieving = new Map<string, Promise<OwnedFd>>();

  constructor(backend: Backend, append: (record: JournalRecord) => void) {
    this.#backend = backend;
    this.#append = append;
  }

  async adopt(): Promise<void> {
    for (const session of await this.#backend.recover()) {
      if (session.direction === 'incoming') this.#sessions.set(session.name, session);
    }
  }

  get arrival(): Arrival | undefined {
    return this.#arrival;
  }

  /** Is it in a session, and has nobody taken it? */
  isWaiting(key: string): boolean {
    return this.#find(key) !== undefined && !this.#taken.has(key);
  }

  /** Why it cannot be had any more. */
  errorOf(key: string): WireError | undefined {
    return this.#taken.get(key)?.error;
  }

  stateOf(key: string): Taken | 'waiting' | undefined {
    if (!this.#isKnown(key)) return undefined;
    return this.#taken.get(key)?.taken ?? 'waiting';
  }

  isDevice(key: string): boolean {
    return this.#devices.has(key);
  }

  /** Devices that no process has claimed. */
  unclaimedDevices(): IncomingDevice[] {
    return [...this.#devices.values()].filter(({ key }) => this.#taken.get(key)?.taken !== 'retrieved');
  }

  preservedOf(key: string): Preserved | undefined {
    return this.#find(key)?.preserved;
  }

  /** Keys of an owner that nobody has taken. */
  waiting(owner: string): string[] {
    return (this.#arrival?.sessions ?? [])
      .filter((session) => session.owner === owner)
      .flatMap((session) => session.preserved.map((one) => one.key).filter((key) => !this.#taken.has(key)));
  }

  /**
   * Take a handle's fd out of its session; once. The caller owns it.
   * @param chargeProblem what a memory limit would do to it
   * @throws LuoError CLAIM_LOST, CLAIM_MEMORY
   */
  retrieve(key: string, chargeProblem: (sizeBytes: number) => string | null): Promise<OwnedFd> {
    const known = this.#retrieving.get(key);
    if (known) return known.then(() => this.retrieve(key, chargeProblem));
    const retrieving = this.#retrieve(key, chargeProblem).finally(() => this.#retrieving.delete(key));
    this.#retrieving.set(key, retrieving);
    return retrieving;
  }

  async #retrieve(key: string, chargeProblem: (sizeBytes: number) => string | null): Promise<OwnedFd> {
    const found = this.#find(key);
    const taken = this.#taken.get(key);
    if (!found || taken?.taken === 'lost') throw lost(key, taken?.error);
    const problem = chargeProblem(found.preserved.sizeBytes ?? 0);
    if (problem !== null) {
      throw new LuoError('CLAIM_MEMORY', `'${key}' cannot be taken now: ${problem}`, {
        handle: key,
        remedy: 'raise the limit and claim again; nothing is lost yet',
      });
    }
    try {
      const held = await this.#session(found.session.name).retrieve(BigInt(found.preserved.token));
      faultPoint('luod.claim.retrieved');
      return new OwnedFd(held.take());
    } catch (error) {
      const wire = LuoError.from(error).toWire();
      this.take(key, 'lost', wire);
      throw lost(key, wire);
    }
  }

  /** It was taken, or let go of. */
  take(key: string, taken: Taken, error?: WireError): void {
    if (!this.#isKnown(key) || this.#taken.get(key)?.taken === taken) return;
    this.#record({ kind: 'kexec.taken', key, taken, ...(error === undefined ? {} : { error }) });
  }

  /** Session and token of a handle that its owner takes by itself. @throws LuoError HANDLE_UNKNOWN */
  delegate(key: string): { session: string; token: string } {
    const found = this.#find(key);
    if (!found) throw new LuoError('HANDLE_UNKNOWN', `'${key}' is in no session`, { handle: key });
    this.take(key, 'delegated');
    return { session: found.session.name, token: found.preserved.token };
  }

  /** Tell the kernel that everything of this owner is decided; what was not taken is gone. */
  async finish(owner: string): Promise<void> {
    for (const session of this.#arrival?.sessions ?? []) {
      if (session.owner !== owner || this.#finished.has(session.name)) continue;
      const open = this.#sessions.get(session.name);
      await open?.finish();
      this.#record({ kind: 'kexec.finished', name: session.name });
      await open?.close();
      this.#sessions.delete(session.name);
      faultPoint(session.name === MANIFEST_SESSION ? 'luod.manifest.finished' : 'luod.session.finished');
    }
  }

  /** Owners with a session that is not finished. */
  unfinished(): string[] {
    return (this.#arrival?.sessions ?? [])
      .filter((session) => !this.#finished.has(session.name))
      .map((session) => session.owner);
  }

  /** All is finished and settled. */
  forget(): void {
    if (this.#arrival) this.#record({ kind: 'kexec.settled' });
  }

  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'kexec.arrival':
        this.#set(record.arrival as Arrival);
        return true;
      case 'kexec.taken':
        this.#taken.set(record.key as string, {
          taken: record.taken as Taken,
          ...(record.error === undefined ? {} : { error: record.error as WireError }),
        });
        return true;
      case 'kexec.finished':
        this.#finished.add(record.name as string);
        return true;
      case 'kexec.settled':
        if (this.#arrival) this.#set({ ...this.#arrival, sessions: [], devices: [] });
        return true;
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    if (!this.#arrival) return [];
    const records: JournalRecord[] = [{ kind: 'kexec.arrival', arrival: this.#arrival }];
    for (const [key, { taken, error }] of this.#taken) {
      records.push({ kind: 'kexec.taken', key, taken, ...(error === undefined ? {} : { error }) });
    }
    for (const name of this.#finished) records.push({ kind: 'kexec.finished', name });
    return records;
  }

  // -------------------------------------------------------------------------------------------- inside

  #set(arrival: Arrival): void {
    this.#arrival = arrival;
    this.#taken.clear();
    this.#finished.clear();
    this.#byKey.clear();
    this.#devices.clear();
    for (const device of arrival.devices ?? []) this.#devices.set(device.key, device);
    for (const session of arrival.sessions) {
      for (const preserved of session.preserved) this.#byKey.set(preserved.key, { session, preserved });
    }
  }

  #isKnown(key: string): boolean {
    return this.#byKey.has(key) || this.#devices.has(key);
  }

  #find(key: string): { session: IncomingSession; preserved: Preserved } | undefined {
    return this.#byKey.get(key);
  }

  #session(name: string): Session {
    const session = this.#sessions.get(name);
    if (session) return session;
    throw new LuoError('SESSION_MISSING', `the keeper does not hold the session '${name}' of the last kernel`);
  }

  #record(record: JournalRecord): void {
    this.#append(record);
    this.replay(record);
  }
}

function lost(key: string, error: WireError | undefined): LuoError {
  return new LuoError(
    'CLAIM_LOST',
    `'${key}' did not come over: ${error?.message ?? 'it is in no session of the last kernel'}`,
    {
      handle: key,
      ...(error?.errno === undefined ? {} : { errno: error.errno }),
      remedy: `the kernel gives no second try; luoctl discard ${key} lets the update finish without it`,
    },
  );
}
