/**
 * A carrier of sessions in one process: the model's state, and the open files that it says to keep. Both backends that
 * follow the model are made of it; what differs between them is where else the files are kept.
 *
 * Never here: a system call. Duplicating, comparing and closing come in with the constructor.
 * Unhappy path: a refusal is a LuoError SYS with the kernel's errno, and nothing has changed.
 */
import { LuoError } from '../base/errors.js';
import { FileIdentities, type FileQuestions } from './file-identity.js';
import type { Profile } from './profiles.js';
import { emptyModel, modelOf, step, type FoundSession } from './sessions.js';
import type { FileFacts, ModelState, Op, Ref, SessionId, Value } from './state.js';

/** An open file with one owner, as src/sys has it. */
interface Closable {
  readonly fd: number;
  close(): void;
}

export interface CarrierFiles<F extends Closable> extends FileQuestions {
  /** A second fd of the same open file, owned by the carrier. @param fd borrowed */
  dup(fd: number): F;
  /** The word for its kind that the profile knows. @param fd borrowed */
  kindOf(fd: number): string;
}

/** A file that was found again after a restart; the carrier takes it over. */
export interface FoundFile<F> {
  readonly token: bigint;
  readonly takenFile: F;
}

export class Carrier<F extends Closable> {
  readonly #files: CarrierFiles<F>;
  readonly #identities: FileIdentities;
  readonly #held = new Map<Ref, F>();
  #state: ModelState;
  #nextRef: Ref = 1;

  /** The device is open from the beginning: a carrier is its one agent. */
  constructor(profile: Profile, files: CarrierFiles<F>) {
    this.#files = files;
    this.#identities = new FileIdentities(files);
    this.#state = step(emptyModel(profile), { op: 'openDevice' }).state;
  }

  get state(): ModelState {
    return this.#state;
  }

  /** How many files are held. */
  get heldCount(): number {
    return this.#held.size;
  }

  /** @throws LuoError SYS */
  apply(op: Op): Value {
    const { state, result, effects } = step(this.#state, op);
    this.#state = state;
    for (const effect of effects) if (effect.effect === 'release') this.#release(effect.ref);
    if (!result.ok) throw refusal(op.op, result.errno);
    return result.value;
  }

  /** Keep the file of `fd`, borrowed for this call. @throws LuoError SYS */
  preserve(session: SessionId, fd: number, token: bigint): Ref {
    const ref = this.#nextRef;
    const facts = this.#factsOf(fd, ref);
    this.apply({ op: 'preserveFd', session, token, file: facts });
    try {
      this.#hold(ref, this.#files.dup(fd), facts!.identity);
    } catch (error) {
      this.apply({ op: 'undoPreserve', session, token });
      throw asRefusal('preserveFd', error);
    }
    this.#nextRef += 1;
    return ref;
  }

  /** The held file of `ref`: borrowed. */
  file(ref: Ref): F {
    return this.#held.get(ref)!;
  }

  /**
   * Another fd of a token's file, the caller's to close.
   * @param handlerErrno what its handler answers, if it is asked now for the first time
   * @throws LuoError SYS
   */
  retrieve(session: SessionId, token: bigint, handlerErrno?: string): F {
    const ref = this.#state.sessions.get(session)?.files.get(token)?.ref;
    const held = ref === undefined ? undefined : this.#held.get(ref);
    const op = { op: 'retrieveFd', session, token } as const;
    if (held === undefined) {
      this.apply(op);
      throw new TypeError(`the file of token ${token} is not held`);
    }
    let copy: F;
    try {
      copy = this.#files.dup(held.fd);
    } catch (error) {
      throw asRefusal('retrieveFd', error);
    }
    try {
      const identity = this.#identities.identify(held.fd);
      this.apply(handlerErrno === undefined ? { ...op, identity } : { ...op, identity, handlerErrno });
      return copy;
    } catch (error) {
      copy.close();
      throw error;
    }
  }

  /** Put another file in the place of a held one, which is closed: what comes back after a jump is not the same file. */
  replace(ref: Ref, takenFile: F): void {
    const identity = this.#identities.identify(takenFile.fd);
    this.#release(ref);
    this.#hold(ref, takenFile, identity);
  }

  /** Begin from what an earlier process left, in the order of creation; the ids of the sessions are given back. */
  adopt(
    found: readonly (Omit<FoundSession, 'files'> & { readonly files: readonly FoundFile<F>[] })[],
  ): readonly SessionId[] {
    const sessions = found.map((session) => ({
      ...session,
      files: session.files.map(({ token, takenFile }) => {
        const ref = this.#nextRef++;
        const identity = this.#identities.identify(takenFile.fd);
        this.#hold(ref, takenFile, identity);
        return { token, ref, kind: this.#files.kindOf(takenFile.fd), identity, retrieved: 'untried' as const };
      }),
    }));
    const { state, ids } = modelOf(this.#state.profile, sessions);
    this.#state = { ...state, deviceOpen: true };
    return ids;
  }

  /** Let go of every file, without a word to anybody: the process ends, or the test does. */
  close(): void {
    for (const ref of [...this.#held.keys()]) this.#release(ref);
  }

  /** null: the fd is not open, which the model has to say in its place among the checks. */
  #factsOf(fd: number, ref: Ref): FileFacts | null {
    try {
      return { ref, kind: this.#files.kindOf(fd), identity: this.#identities.identify(fd) };
    } catch (error) {
      if ((error as { errnoName?: unknown }).errnoName === 'EBADF') return null;
      throw asRefusal('preserveFd', error);
    }
  }

  #hold(ref: Ref, takenFile: F, identity: string): void {
    this.#held.set(ref, takenFile);
    this.#identities.hold(takenFile.fd, identity);
  }

  #release(ref: Ref): void {
    const file = this.#held.get(ref);
    if (file === undefined) return;
    this.#held.delete(ref);
    this.#identities.forget(file.fd);
    file.close();
  }
}

/** The words of the calls as a person knows them. */
const CALL_NAMES: Partial<Record<Op['op'], string>> = {
  openDevice: 'opening the device',
  createSession: 'creating a session',
  retrieveSession: 'retrieving a session',
  preserveFd: 'preserving an fd',
  retrieveFd: 'retrieving an fd',
  finish: 'finishing a session',
  closeSession: 'closing a session',
  kexec: 'the jump into the next kernel',
  handover: 'the handover',
};

/** A refusal in the one shape that callers of a backend see. */
export function refusal(op: Op['op'], errno: string): LuoError {
  return new LuoError('SYS', `${CALL_NAMES[op] ?? op} was refused: ${errno}`, { errno, data: { call: op } });
}

function asRefusal(op: Op['op'], error: unknown): unknown {
  const errno = (error as { errnoName?: unknown }).errnoName;
  return typeof errno === 'string' ? refusal(op, errno) : error;
}
