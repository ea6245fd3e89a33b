/**
 * Sessions in the keeper: what the kernel's sessions are for the next kernel, these are for the next program. Any kind of
 * fd can be preserved, and the same open file comes back. Every fd has two holders, the keeper and this process: whichever dies,
 * the other one has it.
 *
 * Happy path: `open`, then as src/ports/backend.ts says. Each call is decided at once by the model in this process and told to
 * the keeper in the same turn, so that calls may be pipelined: what is sent afterwards arrives afterwards.
 * Unhappy path: what the keeper refuses is undone in the model (its limit is ENOSPC); a keeper that is gone is KEEPER_LOST,
 * and `refill` gives the next one everything from the copies here. After luod’s own restart `open` finds everything again.
 * Never here: an entry of the keeper that is not below `session/`.
 */
import { LuoError } from '../../base/errors.js';
import { LIMITS } from '../../base/limits.js';
import { Carrier, inOrder, nameFromText, PROFILES, refusal, sessionsInOrder } from '../../model/index.js';
import type { SessionId } from '../../model/index.js';
import type { Backend, BackendCapabilities, Direction, HeldFd, Session } from '../../ports/index.js';
import { closeAll, type OwnedFd } from '../../sys/index.js';
import type { KeeperClient } from '../../transport/index.js';
import { readEntries, sessionEntry, sessionMeta, SESSIONS_PREFIX, tokenEntry, tokenMeta } from './entries.js';
import { files } from './files.js';

/** What of the keeper is used here. */
export type SessionKeeper = Pick<KeeperClient, 'put' | 'putMany' | 'getMany' | 'drop' | 'list'>;

export interface HandoverBackendOptions {
  readonly keeper: SessionKeeper;
  /** Under whom the keeper counts the fds. */
  readonly owner: string;
}

/** A session of the keeper, as its objects and the model's ids belong together. */
interface Known {
  readonly id: SessionId;
  /** The number in its entries: unique over all restarts. */
  readonly number: number;
  readonly name: string;
  object: HandoverSession | undefined;
}

export class HandoverBackend implements Backend {
  readonly gap = 'handover';
  readonly capabilities: BackendCapabilities = { files: 'any', listable: true };
  readonly #owner: string;
  readonly #carrier = new Carrier(PROFILES.any, files);
  readonly #known = new Map<SessionId, Known>();
  #keeper: SessionKeeper;
  #nextNumber = 1;
  #unread: readonly string[] = [];

  private constructor(options: HandoverBackendOptions) {
    this.#keeper = options.keeper;
    this.#owner = options.owner;
  }

  /** With everything that the keeper has of sessions. @throws LuoError KEEPER_LOST; SYS EMFILE no room for the second copies */
  static async open(options: HandoverBackendOptions): Promise<HandoverBackend> {
    const backend = new HandoverBackend(options);
    await backend.#load();
    return backend;
  }

  /** Entries below `session/` that a newer version left, or that are damaged: kept, and not touched. */
  get unread(): readonly string[] {
    return this.#unread;
  }

  /** Fds that are held here, as second copies. */
  get heldCount(): number {
    return this.#carrier.heldCount;
  }

  async create(name: string): Promise<Session> {
    const id = this.#apply({ op: 'createSession', name: checkedName(name, 'createSession') });
    const known = this.#add(id, this.#nextNumber++, name);
    try {
      await this.#keeper.put(this.#sessionPut(known, 'outgoing', true), []);
    } catch (error) {
      this.#carrier.apply({ op: 'closeSession', session: id });
      this.#known.delete(id);
      throw asRefusal('createSession', error);
    }
    return this.#object(known, 'outgoing');
  }

  async retrieve(name: string): Promise<Session> {
    const id = this.#apply({ op: 'retrieveSession', name: checkedName(name, 'retrieveSession') });
    const known = this.#known.get(id)!;
    try {
      await this.#keeper.put({ ...this.#sessionPut(known, 'incoming', true), replace: true }, []);
    } catch (error) {
      // The next keeper is told by `refill`. The caller has the session: a second try would be EINVAL.
      if (!(error instanceof LuoError) || error.code !== 'KEEPER_LOST') throw error;
    }
    return this.#object(known, 'incoming');
  }

  async recover(): Promise<readonly Session[]> {
    return [...this.#known.values()].flatMap((known) => {
      const session = this.#carrier.state.sessions.get(known.id)!;
      return session.held ? [this.#object(known, session.direction)] : [];
    });
  }

  /** The names of incoming sessions that nobody has retrieved. */
  waiting(): string[] {
    return sessionsInOrder(this.#carrier.state, 'incoming')
      .filter((session) => !session.held)
      .map((session) => this.#known.get(session.id)!.name);
  }

  /**
   * Hand over: the named outgoing sessions (by default all) become incoming, and their objects here are dead.
   * Each session crosses by itself: when this process dies in the middle, the next one may simply cross again.
   * @throws LuoError SYS EEXIST an incoming session waits under one of the names; ENOENT no such outgoing session
   */
  async cross(names?: readonly string[]): Promise<void> {
    const { state } = this.#carrier;
    const ids = names?.map((name) => state.outgoing.get(nameFromText(name)));
    if (ids?.includes(undefined)) throw refusal('handover', 'ENOENT');
    const sessions = (ids as SessionId[] | undefined) ?? sessionsInOrder(state, 'outgoing').map(({ id }) => id);
    this.#carrier.apply({ op: 'handover', sessions });
    await Promise.all(
      sessions.map((id) => {
        const known = this.#known.get(id)!;
        known.object?.end();
        known.object = undefined;
        return this.#keeper.put({ ...this.#sessionPut(known, 'incoming', false), replace: true }, []);
      }),
    );
  }

  /** Give a new keeper everything that the old one had of sessions, and go on with it. @throws LuoError KEEPER_LOST, LIMIT_REACHED */
  async refill(keeper: SessionKeeper): Promise<void> {
    this.#keeper = keeper;
    for (const known of this.#known.values()) {
      const session = this.#carrier.state.sessions.get(known.id)!;
      await keeper.put({ ...this.#sessionPut(known, session.direction, session.held), replace: true }, []);
      const kept = inOrder(session).map((file) => ({
        fd: this.#carrier.file(file.ref).fd,
        entry: { name: tokenEntry(known.name, known.number, file.token), meta: tokenMeta(file.sequence) },
      }));
      for (const part of chunks(kept)) {
        const entries = part.map((each) => each.entry);
        const fds = part.map((each) => each.fd);
        await keeper.putMany(this.#owner, entries, fds, { replace: true });
      }
    }
  }

  /** Let go of the second copies. The keeper keeps what it has. */
  close(): void {
    for (const known of this.#known.values()) known.object?.end();
    this.#carrier.close();
  }

  async #load(): Promise<void> {
    const { entries } = await this.#keeper.list(SESSIONS_PREFIX);
    const { sessions, unread } = readEntries(entries);
    this.#unread = unread;
    const found = [];
    const taken: OwnedFd[] = [];
    try {
      for (const session of sessions) {
        const owned: OwnedFd[] = [];
        for (const part of chunks(session.tokens))
          for (const entry of await this.#keeper.getMany(part.map((each) => each.entry))) {
            taken.push(...entry.owned);
            owned.push(...entry.owned);
          }
        const tokens = session.tokens.map(({ token }, index) => ({ token, takenFile: owned[index]! }));
        found.push({ ...session, name: nameFromText(session.name), files: tokens });
      }
    } catch (error) {
      closeAll(taken);
      throw error;
    }
    const ids = this.#carrier.adopt(found);
    for (const [index, session] of sessions.entries()) this.#add(ids[index]!, session.number, session.name);
    this.#nextNumber = Math.max(0, ...sessions.map((session) => session.number)) + 1;
  }

  #apply(op: { op: 'createSession' | 'retrieveSession'; name: string }): SessionId {
    const value = this.#carrier.apply(op);
    return value.kind === 'session' ? value.session : -1;
  }

  #add(id: SessionId, number: number, name: string): Known {
    const known: Known = { id, number, name, object: undefined };
    this.#known.set(id, known);
    return known;
  }

  #object(known: Known, direction: Direction): Session {
    known.object ??= new HandoverSession(known.name, direction, {
      preserve: (fds, tokens) => this.#preserve(known, fds, tokens),
      retrieve: (token) => this.#retrieve(known, token),
      finish: () => this.#finish(known),
      close: () => this.#close(known),
    });
    return known.object;
  }

  /** All of them or none. The message is on its way when this returns its promise. */
  async #preserve(known: Known, fds: readonly number[], tokens: readonly bigint[]): Promise<void> {
    const kept: { token: bigint; sequence: number }[] = [];
    const undo = (): void => {
      // The session may have been closed in the meantime, and its tokens with it.
      const files = this.#carrier.state.sessions.get(known.id)?.files;
      for (const { token, sequence } of kept.reverse())
        if (files?.get(token)?.sequence === sequence)
          this.#carrier.apply({ op: 'undoPreserve', session: known.id, token });
    };
    try {
      for (const [index, token] of tokens.entries()) {
        this.#carrier.preserve(known.id, fds[index]!, token);
        const { sequence } = this.#carrier.state.sessions.get(known.id)!.files.get(token)!;
        kept.push({ token, sequence });
      }
      const entries = kept.map(({ token, sequence }) => ({
        name: tokenEntry(known.name, known.number, token),
        meta: tokenMeta(sequence),
      }));
      await this.#keeper.putMany(this.#owner, entries, fds);
    } catch (error) {
      undo();
      throw asRefusal('preserveFd', error);
    }
  }

  async #retrieve(known: Known, token: bigint): Promise<HeldFd> {
    return this.#carrier.retrieve(known.id, token);
  }

  async #finish(known: Known): Promise<void> {
    const tokens = [...(this.#carrier.state.sessions.get(known.id)?.files.values() ?? [])];
    this.#carrier.apply({ op: 'finish', session: known.id });
    if (tokens.length === 0) return;
    await this.#keeper.drop({ names: tokens.map(({ token }) => tokenEntry(known.name, known.number, token)) });
  }

  async #close(known: Known): Promise<void> {
    this.#carrier.apply({ op: 'closeSession', session: known.id });
    this.#known.delete(known.id);
    await this.#keeper.drop({ prefix: sessionEntry(known.name, known.number) });
  }

  #sessionPut(known: Known, direction: Direction, held: boolean): Parameters<SessionKeeper['put']>[0] {
    return {
      name: sessionEntry(known.name, known.number),
      owner: this.#owner,
      meta: sessionMeta(direction, held),
    };
  }
}

/** What a session asks of its backend. */
interface SessionCalls {
  preserve(fds: readonly number[], tokens: readonly bigint[]): Promise<void>;
  retrieve(token: bigint): Promise<HeldFd>;
  finish(): Promise<void>;
  close(): Promise<void>;
}

export class HandoverSession implements Session {
  readonly name: string;
  readonly direction: Direction;
  readonly #calls: SessionCalls;
  #ended = false;

  constructor(name: string, direction: Direction, calls: SessionCalls) {
    this.name = name;
    this.direction = direction;
    this.#calls = calls;
  }

  async preserve(fd: number, token: bigint): Promise<void> {
    return this.preserveMany([fd], [token]);
  }

  /**
   * Many at once, in one message: all of them or none. What thousands of fds should use.
   * @param fds borrowed, as in `preserve`
   */
  async preserveMany(fds: readonly number[], tokens: readonly bigint[]): Promise<void> {
    this.#assertOpen('preserveFd');
    return this.#calls.preserve(fds, tokens);
  }

  async retrieve(token: bigint): Promise<HeldFd> {
    this.#assertOpen('retrieveFd');
    return this.#calls.retrieve(token);
  }

  async finish(): Promise<void> {
    this.#assertOpen('finish');
    return this.#calls.finish();
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    return this.#calls.close();
  }

  /** It has crossed: whoever wants it retrieves it. */
  end(): void {
    this.#ended = true;
  }

  #assertOpen(op: 'preserveFd' | 'retrieveFd' | 'finish'): void {
    if (this.#ended) throw refusal(op, 'EBADF');
  }
}

/** A limit of the keeper is what ENOSPC is in the kernel; all else is told as it is. */
function asRefusal(op: 'createSession' | 'preserveFd', error: unknown): unknown {
  if (!(error instanceof LuoError) || error.code !== 'LIMIT_REACHED') return error;
  const { errno, data } = refusal(op, 'ENOSPC');
  return new LuoError('SYS', `the keeper has no room: ${error.message}`, {
    ...(errno === undefined ? {} : { errno }),
    data: { ...data, ...error.data },
    cause: error,
  });
}

/** A name is cut at its NUL by the kernel without a word; here it is refused. So is text that is no Unicode. */
function checkedName(name: string, op: 'createSession' | 'retrieveSession'): string {
  if (name.includes('\0') || /\p{Surrogate}/u.test(name))
    throw refusal(op, op === 'createSession' ? 'EINVAL' : 'ENOENT');
  return nameFromText(name);
}

function chunks<T>(all: readonly T[]): T[][] {
  const size = Math.min(LIMITS.messageFdsMax, 1024);
  return Array.from({ length: Math.ceil(all.length / size) }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );
}
