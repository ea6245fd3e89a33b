/**
 * The state of the emulated kernel's live update: the model, and the files that it says to keep. A generation is what one
 * boot knows; a jump makes the next one of it.
 *
 * Happy path: `step`; files that the model lets go of are closed in its order.
 * Unhappy path: a refused op changes nothing but what the kernel would change too (see the model).
 * Never here: a program, an fd in one, a fault.
 */
import {
  PROFILES,
  emptyModel,
  inOrder,
  sessionsInOrder,
  step,
  type Effect,
  type Errno,
  type ModelState,
  type Op,
  type PreservedFile,
  type Ref,
  type Result,
  type SessionId,
  type SessionState,
} from '../../model/index.js';
import { fstat, type OwnedFd } from '../../sys/index.js';
import {
  carriedOver,
  carryErrno,
  factsOf,
  frozen,
  hold,
  identityOf,
  release,
  type HeldFile,
  type PreserveFacts,
} from './memfd.js';

/** What is held for a ref: of this kernel, of the last one (not retrieved yet), or what was made of that. */
interface Held {
  readonly held: HeldFile;
  /** It comes from the last kernel and has not been made anew. */
  readonly waiting: boolean;
}

export interface Asked {
  readonly result: Result;
  /** null: the fd is not open. */
  readonly facts: PreserveFacts | null;
}

export class Sessions {
  #state: ModelState = emptyModel(PROFILES['7.3']);
  readonly #held = new Map<Ref, Held>();
  /** Those of this kernel's own outgoing sessions. */
  readonly #frozen = new Set<Ref>();
  #nextRef: Ref = 1;

  get state(): ModelState {
    return this.#state;
  }

  /** How many files are held. */
  get heldCount(): number {
    return this.#held.size;
  }

  session(id: SessionId): SessionState | undefined {
    return this.#state.sessions.get(id);
  }

  step(op: Op): Result {
    const { state, result, effects } = step(this.#state, op);
    this.#state = state;
    this.#apply(effects);
    return result;
  }

  /** What `op` would be answered; nothing changes. */
  wouldAnswer(op: Op): Result {
    return step(this.#state, op).result;
  }

  /** Every open fails from now on, until the next boot. */
  breakDown(): void {
    this.#state = { ...this.#state, broken: true };
  }

  /** A retrieved session whose descriptor reached nobody: as if nobody had asked for it. */
  unretrieve(id: SessionId): void {
    const session = this.#state.sessions.get(id);
    if (session === undefined) return;
    this.#state = { ...this.#state, sessions: this.#state.sessions.with(id, { ...session, held: false }) };
  }

  /** True if the file of that identity is preserved and not retrieved: its size cannot be changed. */
  isFrozen(identity: string): boolean {
    const ref = this.#state.identities.get(identity);
    return ref !== undefined && this.#frozen.has(ref);
  }

  /** True if any file's size cannot be changed. */
  get anyFrozen(): boolean {
    return this.#frozen.size > 0;
  }

  /** What PRESERVE_FD of `file` would be answered. @param file borrowed; null: the fd is not open */
  ask(session: SessionId, token: bigint, file: OwnedFd | null): Asked {
    const facts = file === null ? null : factsOf(file);
    const result = this.wouldAnswer({
      op: 'preserveFd',
      session,
      token,
      file: facts === null ? null : { ...facts, ref: this.#nextRef },
    });
    return { result, facts };
  }

  /** PRESERVE_FD, after `ask` has said yes. The file is taken. */
  preserve(session: SessionId, token: bigint, takenFile: OwnedFd, { facts }: Asked): Result {
    const ref = this.#nextRef;
    try {
      this.#held.set(ref, { held: hold(takenFile, facts!.attributes!), waiting: false });
    } catch (error) {
      return { ok: false, errno: carryErrno(error) };
    }
    this.#nextRef += 1;
    this.#frozen.add(ref);
    return this.step({ op: 'preserveFd', session, token, file: { ...facts!, ref } });
  }

  /** The file of a token that RETRIEVE_FD would give, made now if it has to be; an errno is remembered for ever. */
  retrieve(request: {
    readonly session: SessionId;
    readonly token: bigint;
    readonly replyFault: boolean;
    readonly fault: Errno | undefined;
  }): Result {
    const { session, token, replyFault, fault } = request;
    const op: Op = { op: 'retrieveFd', session, token, ...(replyFault ? { replyFault } : {}) };
    const found = this.#state.sessions.get(session)?.files.get(token);
    if (found?.retrieved !== 'untried') return this.step(op);
    if (fault !== undefined) return this.step({ ...op, handlerErrno: fault });
    const waiting = this.#held.get(found.ref)!.held;
    let made: OwnedFd;
    try {
      made = carriedOver(waiting);
    } catch (error) {
      return this.step({ ...op, handlerErrno: carryErrno(error) });
    }
    release(waiting);
    this.#held.set(found.ref, { held: { ...waiting, file: made }, waiting: false });
    return this.step({ ...op, identity: identityOf(fstat(made.fd)) });
  }

  /** Borrowed. */
  file(ref: Ref): OwnedFd {
    return this.#held.get(ref)!.held.file;
  }

  /**
   * reboot(2) into the next kernel.
   * @param freezeFailure asked for each file in the kernel's order
   */
  jump(freezeFailure: (session: SessionState, file: PreservedFile) => Errno | undefined): Result {
    const failure = this.#freezeFailure(freezeFailure);
    const result = this.step({ op: 'kexec', ...(failure === undefined ? {} : { freezeFailure: failure }) });
    if (!result.ok) return result;
    for (const [ref, { held, waiting }] of this.#held)
      if (!waiting) this.#held.set(ref, { held: frozen(held), waiting: true });
    this.#frozen.clear();
    return result;
  }

  /** A jump that carries nothing: into a kernel that was loaded without its handover data, or by any other reboot. */
  jumpEmpty(): void {
    this.close();
    this.#state = { ...emptyModel(PROFILES['7.3']), nextSession: this.#state.nextSession };
  }

  /** Let go of everything. */
  close(): void {
    for (const { held } of this.#held.values()) release(held);
    this.#held.clear();
    this.#frozen.clear();
  }

  #freezeFailure(
    asked: (session: SessionState, file: PreservedFile) => Errno | undefined,
  ): { session: SessionId; token: bigint; errno: Errno } | undefined {
    for (const session of sessionsInOrder(this.#state, 'outgoing')) {
      for (const file of inOrder(session)) {
        const errno = asked(session, file);
        if (errno !== undefined) return { session: session.id, token: file.token, errno };
      }
    }
    return undefined;
  }

  #apply(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.effect !== 'release') continue;
      const held = this.#held.get(effect.ref);
      this.#held.delete(effect.ref);
      this.#frozen.delete(effect.ref);
      if (held !== undefined) release(held.held);
    }
  }
}
