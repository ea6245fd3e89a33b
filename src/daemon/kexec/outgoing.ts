/**
 * What is preserved for the next kernel while an update across the kexec gap is prepared: one session for each owner, its
 * fds under tokens that count up, and the session `luod` with the manifest. The sessions lie in the keeper; here is which
 * handle is under which token, journalled, so that a new luod knows it too.
 *
 * Happy path: `sessionOf`, `preserve` for each fd, at the end the manifest; the jump. Unhappy: a cancel drops sessions, by
 * which the kernel unpreserves. A delegate got a duplicate of its session's fd: if it keeps it, the memory stays pinned
 * and would travel with the next kexec, so that is checked (`hasCopy`), not believed.
 */
import { randomBytes } from 'node:crypto';
import { LuoError } from '../../base/errors.js';
import type { Backend, Session } from '../../ports/index.js';
import type { JournalRecord } from '../../protocol/journal.js';
import { faultPoint } from '../../sys/index.js';

/** Tokens from here up are a delegate's own. */
export const DELEGATE_TOKEN_MIN = 1n << 63n;

/** A preserved fd. JSON, as it stands in journal and manifest. */
export interface Preserved {
  readonly key: string;
  /** u64 in decimal. */
  readonly token: string;
  readonly sizeBytes: number | null;
  /** sha256 of the content at the freeze, where it was asked for. */
  readonly digest?: string;
}

interface Outgoing {
  readonly name: string;
  readonly owner: string;
  readonly attempt: number;
  readonly preserved: Map<string, Preserved>;
  next: bigint;
  /** A participant has a duplicate of its fd. */
  delegated: boolean;
}

export class OutgoingSessions {
  readonly #backend: Backend;
  readonly #append: (record: JournalRecord) => void;
  readonly #sessions = new Map<string, Outgoing>();
  /** Owner to its session's name, of which a cancelled delegate may still have a copy. */
  readonly #copies = new Map<string, string>();
  readonly #handles = new Map<string, Session>();
  readonly #creating = new Map<string, Promise<Outgoing>>();

  constructor(backend: Backend, append: (record: JournalRecord) => void) {
    this.#backend = backend;
    this.#append = append;
  }

  /** After a start: the sessions that the keeper holds, as objects. */
  async adopt(): Promise<void> {
    for (const session of await this.#backend.recover()) {
      if (session.direction === 'outgoing') this.#handles.set(session.name, session);
    }
  }

  all(): readonly { readonly name: string; readonly owner: string; readonly preserved: readonly Preserved[] }[] {
    return [...this.#sessions.values()].map(({ name, owner, preserved }) => ({
      name,
      owner,
      preserved: [...preserved.values()],
    }));
  }

  has(owner: string): boolean {
    return this.#sessions.has(owner);
  }

  /** The name of the owner's session, made if there is none. @param name by default a random one */
  async open(owner: string, attempt: number, name?: string): Promise<string> {
    const known = this.#sessions.get(owner) ?? (await this.#creating.get(owner));
    if (known) return known.name;
    const creating = this.#create(owner, attempt, name ?? `luo-${randomBytes(8).toString('hex')}`);
    this.#creating.set(owner, creating);
    try {
      return (await creating).name;
    } finally {
      this.#creating.delete(owner);
    }
  }

  /**
   * Preserve one fd (borrowed).
   * @param token by default the next one
   * @throws LuoError HANDLE_UNVIABLE with the kernel's errno
   */
  async preserve(
    owner: string,
    key: string,
    fd: number,
    options: { readonly sizeBytes: number | null; readonly token?: bigint },
  ): Promise<void> {
    const outgoing = this.#get(owner);
    if (outgoing.preserved.has(key)) return;
    const token = options.token ?? outgoing.next;
    if (options.token === undefined) outgoing.next += 1n;
    try {
      await this.#session(outgoing.name).preserve(fd, token);
    } catch (error) {
      const { errno, message } = LuoError.from(error);
      throw new LuoError('HANDLE_UNVIABLE', `the kernel does not preserve '${key}': ${explain(errno, message)}`, {
        handle: key,
        ...(errno === undefined ? {} : { errno }),
        cause: error,
      });
    }
    this.#note(owner, { key, token: String(token), sizeBytes: options.sizeBytes });
    faultPoint('luod.session.preserved');
  }

  /** A delegate said that it preserved this by itself. */
  note(owner: string, preserved: Preserved): void {
    if (BigInt(preserved.token) < DELEGATE_TOKEN_MIN) {
      throw new LuoError('PROTO_INVALID', `token ${preserved.token} of '${preserved.key}' is not a delegate's`, {
        handle: preserved.key,
        remedy: `tokens of a delegate begin at ${DELEGATE_TOKEN_MIN}`,
      });
    }
    this.#note(owner, preserved);
  }

  setDigest(owner: string, key: string, digest: string): void {
    const known = this.#get(owner).preserved.get(key);
    if (known) this.#note(owner, { ...known, digest });
  }

  /** The fd (borrowed) of an owner's session, for a duplicate that goes to a delegate. */
  delegate(owner: string, fdOf: (name: string) => number): number {
    const outgoing = this.#get(owner);
    if (!outgoing.delegated) this.#record({ kind: 'kexec.delegated', owner });
    return fdOf(outgoing.name);
  }

  /** Unpreserve everything of an owner. @throws LuoError SESSION_COPY_LEFT its delegate keeps a copy of the session */
  async drop(owner: string): Promise<void> {
    const outgoing = this.#sessions.get(owner);
    if (!outgoing) return;
    await this.#session(outgoing.name)?.close();
    this.#handles.delete(outgoing.name);
    this.#record({ kind: 'kexec.dropped', owner, copy: outgoing.delegated ? outgoing.name : null });
    if (outgoing.delegated && (await this.#hasCopy(owner))) {
      throw new LuoError(
        'SESSION_COPY_LEFT',
        `'${owner}' keeps the fd of its session: what it preserved stays pinned and would travel with the next kexec`,
        { participant: owner, remedy: `end its process: luoctl stop ${owner.slice(owner.indexOf(':') + 1)}` },
      );
    }
  }

  /** Whatever is left of an attempt that is over. @returns owners whose delegates keep a copy */
  async dropAll(): Promise<string[]> {
    const left: string[] = [];
    for (const owner of [...this.#sessions.keys()]) {
      await this.drop(owner).catch(() => left.push(owner));
    }
    return left;
  }

  /** Owners whose delegates keep a copy of a session that was cancelled; asked of the kernel anew. */
  async copies(): Promise<string[]> {
    const left: string[] = [];
    for (const owner of [...this.#copies.keys()]) if (await this.#hasCopy(owner)) left.push(owner);
    return left;
  }

  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'kexec.session': {
        const { owner, name, attempt } = record as unknown as { owner: string; name: string; attempt: number };
        this.#sessions.set(owner, { name, owner, attempt, preserved: new Map(), next: 1n, delegated: false });
        return true;
      }
      case 'kexec.preserved': {
        const { owner, preserved } = record as unknown as { owner: string; preserved: Preserved };
        const outgoing = this.#sessions.get(owner);
        if (!outgoing) return true;
        outgoing.preserved.set(preserved.key, preserved);
        const token = BigInt(preserved.token);
        if (token < DELEGATE_TOKEN_MIN && token >= outgoing.next) outgoing.next = token + 1n;
        return true;
      }
      case 'kexec.delegated': {
        const outgoing = this.#sessions.get(record.owner as string);
        if (outgoing) outgoing.delegated = true;
        return true;
      }
      case 'kexec.dropped':
        this.#sessions.delete(record.owner as string);
        if (record.copy) this.#copies.set(record.owner as string, record.copy as string);
        else this.#copies.delete(record.owner as string);
        return true;
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    const records: JournalRecord[] = [];
    for (const { owner, name, attempt, preserved, delegated } of this.#sessions.values()) {
      records.push({ kind: 'kexec.session', owner, name, attempt });
      for (const one of preserved.values()) records.push({ kind: 'kexec.preserved', owner, preserved: one });
      if (delegated) records.push({ kind: 'kexec.delegated', owner });
    }
    for (const [owner, copy] of this.#copies) records.push({ kind: 'kexec.dropped', owner, copy });
    return records;
  }

  // -------------------------------------------------------------------------------------------- inside

  async #create(owner: string, attempt: number, name: string): Promise<Outgoing> {
    const session = await this.#backend.create(name);
    this.#handles.set(name, session);
    this.#record({ kind: 'kexec.session', owner, name, attempt });
    return this.#get(owner);
  }

  /** Creating the same name again succeeds only if nobody has the session any more. */
  async #hasCopy(owner: string): Promise<boolean> {
    const name = this.#copies.get(owner)!;
    try {
      await (await this.#backend.create(name)).close();
    } catch (error) {
      if (error instanceof LuoError && error.errno === 'EEXIST') return true;
      throw error;
    }
    this.#record({ kind: 'kexec.dropped', owner, copy: null });
    return false;
  }

  #note(owner: string, preserved: Preserved): void {
    this.#get(owner);
    this.#record({ kind: 'kexec.preserved', owner, preserved });
  }

  /** What a record does is written in one place: now, and when a later luod reads it. */
  #record(record: JournalRecord): void {
    this.#append(record);
    this.replay(record);
  }

  #get(owner: string): Outgoing {
    const outgoing = this.#sessions.get(owner);
    if (!outgoing) throw new LuoError('SESSION_MISSING', `no session is open for '${owner}'`, { participant: owner });
    return outgoing;
  }

  #session(name: string): Session {
    const session = this.#handles.get(name);
    if (!session) throw new LuoError('SESSION_MISSING', `the keeper does not hold the session '${name}'`);
    return session;
  }
}

/** @source errnos of LIVEUPDATE_SESSION_PRESERVE_FD, kernel/liveupdate/luo_file.c, mm/memfd_luo.c */
function explain(errno: string | undefined, message: string): string {
  switch (errno) {
    case 'ENOENT':
      return 'it has no handler for this kind of file (of memory: only memfds of ordinary pages)';
    case 'EBUSY':
      return 'this file is preserved already, or came from the last kernel and its session is not finished';
    case 'EOPNOTSUPP':
      return 'it has a seal that this kernel does not know how to carry';
    case 'EFBIG':
      return 'it is too large';
    case 'ENOMEM':
      return 'there is not enough memory to pin it';
    case 'ENOSPC':
      return 'the session is full';
    default:
      return message;
  }
}
