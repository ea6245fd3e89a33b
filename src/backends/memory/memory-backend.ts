/**
 * A backend for tests and simulation: sessions live in this process, and the gap is a call. With `gap: 'kexec'` it
 * accepts what the kernel accepts, and what comes back is what the kernel would hand back: another memfd with the content
 * of the jump. With `gap: 'handover'` it accepts every fd, and the same open file comes back.
 *
 * Not simulated: a preserved memfd cannot be resized under the kernel; here it can. See `whilePreservedErrno` in src/model.
 * Unhappy path: `fail` makes the next calls fail as handlers in the kernel can.
 */
import type { LuoError } from '../../base/errors.js';
import type { Gap } from '../../base/words.js';
import { Carrier, nameFromText, PROFILES, refusal, sessionsInOrder, inOrder } from '../../model/index.js';
import type { MemfdAttributes, Ref, SessionId } from '../../model/index.js';
import type { Backend, BackendCapabilities, Direction, HeldFd, Session } from '../../ports/index.js';
import type { OwnedFd } from '../../sys/index.js';
import { attributesOf, copyAcrossKexec, files } from './files.js';

/** Failures that handlers of the kernel can give, by session name and token. */
export interface MemoryFailures {
  /** The answer of the handler to the first retrieve of a token; sticks. */
  retrieve?: (session: string, token: bigint) => string | undefined;
  /** True: finish is refused with EBUSY. */
  vetoFinish?: (session: string, token: bigint) => boolean;
  /** Asked in the order of freezing: the errno with which the jump is refused. */
  freeze?: (session: string, token: bigint) => string | undefined;
}

export class MemoryBackend implements Backend {
  readonly gap: Gap;
  readonly capabilities: BackendCapabilities;
  /** May be changed at any time. */
  readonly fail: MemoryFailures = {};
  readonly #carrier: Carrier<OwnedFd>;
  readonly #preserved = new Map<Ref, MemfdAttributes>();
  #sessions: MemorySession[] = [];

  constructor(options: { readonly gap: Gap }) {
    this.gap = options.gap;
    this.capabilities = { files: options.gap === 'kexec' ? 'memfd' : 'any', listable: true };
    this.#carrier = new Carrier(options.gap === 'kexec' ? PROFILES['7.3'] : PROFILES.any, files);
  }

  async create(name: string): Promise<Session> {
    const value = this.#carrier.apply({ op: 'createSession', name: checkedName(name, 'createSession') });
    return this.#session(value.kind === 'session' ? value.session : -1, name, 'outgoing');
  }

  async retrieve(name: string): Promise<Session> {
    const value = this.#carrier.apply({ op: 'retrieveSession', name: checkedName(name, 'retrieveSession') });
    return this.#session(value.kind === 'session' ? value.session : -1, name, 'incoming');
  }

  async recover(): Promise<readonly Session[]> {
    return this.#sessions.filter((session) => !session.gone);
  }

  /**
   * Jump into the next kernel: outgoing sessions become incoming, incoming ones end, every session object is dead.
   * @throws LuoError SYS what `fail.freeze` said; then nothing has changed
   */
  kexec(): void {
    const { state } = this.#carrier;
    const outgoing = sessionsInOrder(state, 'outgoing');
    const freezing = outgoing.flatMap((session) => inOrder(session).map((file) => ({ session, file })));
    const refused = freezing
      .map(({ session, file }) => ({
        session: session.id,
        token: file.token,
        errno: this.fail.freeze?.(this.#nameOf(session.id), file.token),
      }))
      .find((each): each is { session: SessionId; token: bigint; errno: string } => each.errno !== undefined);
    this.#carrier.apply({ op: 'kexec', ...(refused === undefined ? {} : { freezeFailure: refused }) });
    for (const { file } of freezing) {
      const copy = copyAcrossKexec(this.#carrier.file(file.ref).fd, this.#preserved.get(file.ref)!);
      this.#carrier.replace(file.ref, copy);
    }
    this.#preserved.clear();
    this.#carrier.apply({ op: 'openDevice' });
    this.#endSessions(() => true);
  }

  /**
   * Hand over to the next program: the named outgoing sessions (by default all) become incoming, their objects are dead.
   * @throws LuoError SYS EEXIST an incoming session waits under one of the names; ENOENT no such outgoing session
   */
  handover(names?: readonly string[]): void {
    const { state } = this.#carrier;
    const sessions = names?.map((name) => state.outgoing.get(nameFromText(name)));
    if (sessions?.includes(undefined)) throw refusal('handover', 'ENOENT');
    const crossing = (sessions as SessionId[] | undefined) ?? sessionsInOrder(state, 'outgoing').map(({ id }) => id);
    this.#carrier.apply({ op: 'handover', sessions: crossing });
    this.#endSessions((session) => crossing.includes(session.id));
  }

  /** Cross the gap that this backend is for. */
  cross(): void {
    if (this.gap === 'kexec') this.kexec();
    else this.handover();
  }

  /** Files that are kept now. */
  get heldCount(): number {
    return this.#carrier.heldCount;
  }

  /** Let go of everything. */
  close(): void {
    this.#endSessions(() => true);
    this.#carrier.close();
  }

  #preserve(session: MemorySession, fd: number, token: bigint): void {
    const ref = this.#carrier.preserve(session.id, fd, token);
    if (this.gap === 'kexec') this.#preserved.set(ref, attributesOf(this.#carrier.file(ref).fd));
  }

  #retrieve(session: MemorySession, token: bigint): OwnedFd {
    return this.#carrier.retrieve(session.id, token, this.fail.retrieve?.(session.name, token));
  }

  #end(session: MemorySession, op: 'finish' | 'closeSession'): void {
    const found = this.#carrier.state.sessions.get(session.id);
    const vetoes = [...(found?.files.values() ?? [])]
      .map((file) => file.token)
      .filter((token) => this.fail.vetoFinish?.(session.name, token) ?? false);
    this.#carrier.apply({ op, session: session.id, vetoes });
    if (op === 'closeSession') this.#sessions = this.#sessions.filter((each) => each !== session);
  }

  #session(id: SessionId, name: string, direction: Direction): MemorySession {
    const session: MemorySession = new MemorySession(id, name, direction, {
      preserve: (fd, token) => this.#preserve(session, fd, token),
      retrieve: (token) => this.#retrieve(session, token),
      end: (op) => this.#end(session, op),
    });
    this.#sessions.push(session);
    return session;
  }

  #endSessions(which: (session: MemorySession) => boolean): void {
    for (const session of this.#sessions) if (which(session)) session.gone = true;
    this.#sessions = this.#sessions.filter((session) => !session.gone);
  }

  #nameOf(id: SessionId): string {
    return this.#sessions.find((session) => session.id === id)?.name ?? '';
  }
}

/** What a session asks of its backend. */
interface SessionCalls {
  preserve(fd: number, token: bigint): void;
  retrieve(token: bigint): OwnedFd;
  end(op: 'finish' | 'closeSession'): void;
}

class MemorySession implements Session {
  readonly id: SessionId;
  readonly name: string;
  readonly direction: Direction;
  /** It was closed, or belongs to the time before the gap. */
  gone = false;
  readonly #calls: SessionCalls;

  constructor(id: SessionId, name: string, direction: Direction, calls: SessionCalls) {
    this.#calls = calls;
    this.id = id;
    this.name = name;
    this.direction = direction;
  }

  async preserve(fd: number, token: bigint): Promise<void> {
    this.#assertOpen('preserveFd');
    this.#calls.preserve(fd, token);
  }

  async retrieve(token: bigint): Promise<HeldFd> {
    this.#assertOpen('retrieveFd');
    return this.#calls.retrieve(token);
  }

  async finish(): Promise<void> {
    this.#assertOpen('finish');
    this.#calls.end('finish');
  }

  async close(): Promise<void> {
    if (this.gone) return;
    this.gone = true;
    this.#calls.end('closeSession');
  }

  #assertOpen(op: 'preserveFd' | 'retrieveFd' | 'finish'): void {
    if (this.gone) throw closed(op);
  }
}

function closed(op: 'preserveFd' | 'retrieveFd' | 'finish'): LuoError {
  return refusal(op, 'EBADF');
}

/** A name is cut at its NUL by the kernel without a word; here it is refused. So is text that is no Unicode. */
function checkedName(name: string, op: 'createSession' | 'retrieveSession'): string {
  if (name.includes('\0') || /\p{Surrogate}/u.test(name))
    throw refusal(op, op === 'createSession' ? 'EINVAL' : 'ENOENT');
  return nameFromText(name);
}
