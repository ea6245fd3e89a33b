/**
 * What one case works with: the device, sessions, files and memory, all of which are closed when the case is over, in the
 * reverse order of their making. A call gives its outcome as a word, `ok` or the errno's name, to be compared.
 *
 * Never here: what is right. The cases say that.
 */
import { readFileSync } from 'node:fs';
import { LIVEUPDATE_IOCTL, LIVEUPDATE_SESSION, decodeFd, decodeName } from '../../../abi/liveupdate.js';
import { MFD, O } from '../../../abi/linux.js';
import {
  OwnedFd,
  SysError,
  dupFd,
  getFileLimit,
  ioctl,
  memfdCreate,
  openFile,
  openLiveupdate,
  pread,
  setFileLimit,
  write,
} from '../../../sys/index.js';
import { argumentMemory, fdArgument, finishArgument, nameArgument, sessionArgument, type Fault } from './argument.js';
import { Skip, expect } from './verdict.js';
import { Child } from './child-process.js';

/** `ok`, or the name of the errno. */
export type Outcome = string;

export interface Answer {
  readonly outcome: Outcome;
  /** The argument's memory after the call. */
  readonly reply: Buffer;
}

/** Plain memory that comes back as it went. */
export const MEMFD_FLAGS = MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.EXEC;

export class Bench {
  /** Of the device. */
  readonly path: string;
  /** Of this case's sessions. */
  readonly #prefix: string;
  readonly #ends: (() => unknown)[] = [];
  readonly #kept: OwnedFd[] = [];
  readonly #created: Buffer[] = [];
  #device: OwnedFd | undefined;

  constructor(path: string, prefix: string) {
    this.path = path;
    this.#prefix = prefix;
  }

  /** The name of a session of this case, which no other case has. */
  name(label: string): string {
    return `${this.#prefix} ${label}`;
  }

  /** The device, opened when it is first asked for. */
  get device(): number {
    this.#device ??= this.openDevice();
    return this.#device.fd;
  }

  /** The device by itself. @throws SysError */
  openDevice(): OwnedFd {
    return this.own(openLiveupdate(this.path));
  }

  closeDevice(): void {
    this.#device?.close();
    this.#device = undefined;
  }

  /** Close `fd` at the end of the case, if nobody has by then. */
  own(takenFd: OwnedFd): OwnedFd {
    this.#ends.push(() => takenFd.close());
    return takenFd;
  }

  /** Do `end` at the end of the case. */
  atEnd(end: () => unknown): void {
    this.#ends.push(end);
  }

  /** Leave a copy of `fd` to the process that holds what is to cross. */
  keep(fd: OwnedFd): OwnedFd {
    this.#kept.push(fd.dup());
    return fd;
  }

  /** What `keep` gathered; the caller closes it. */
  takeKept(): readonly OwnedFd[] {
    return this.#kept.splice(0);
  }

  /** The names of all sessions that were created. */
  get created(): readonly Buffer[] {
    return this.#created;
  }

  /** What the case leaves undone: nothing, whatever became of it. */
  async close(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end();
    for (const fd of this.takeKept()) fd.close();
  }

  skip(reason: string): never {
    throw new Skip(reason);
  }

  // ------------------------------------------------------------------------------------------ calls

  /** Any command, with `bytes` in memory of this kind; or with an address where nothing is. */
  ask(fd: number, command: number, bytes: Uint8Array | 'unmapped', fault: Fault = 'none'): Answer {
    if (bytes === 'unmapped') return { outcome: outcomeOf(() => ioctl(fd, command, 8n)), reply: Buffer.alloc(0) };
    const memory = argumentMemory(bytes, fault);
    try {
      const outcome = outcomeOf(() => ioctl(fd, command, memory.address));
      return { outcome, reply: memory.read() };
    } finally {
      memory.free();
    }
  }

  /** The same, of `session` or the device, in a process that can have no further fd. */
  askWithoutFds(command: number, bytes: Uint8Array, session?: OwnedFd): Outcome {
    const fd = session?.fd ?? this.device;
    const memory = argumentMemory(bytes, 'none');
    const limit = getFileLimit();
    const lowestFree = dupFd(fd);
    const soft = lowestFree.fd;
    lowestFree.close();
    try {
      setFileLimit({ soft, hard: limit.hard });
      return outcomeOf(() => ioctl(fd, command, memory.address));
    } finally {
      setFileLimit(limit);
      memory.free();
    }
  }

  /** Try to open the device again. @returns the outcome; what was opened is closed */
  reopen(): Outcome {
    return outcomeOf(() => openLiveupdate(this.path).close());
  }

  /** @returns the outcome, and the session if there is one */
  tryCreate(name: string | Uint8Array): { outcome: Outcome; session: OwnedFd | null } {
    const made = this.#session(LIVEUPDATE_IOCTL.CREATE_SESSION, name);
    if (made.session !== null) this.#created.push(Buffer.from(name as string));
    return made;
  }

  tryRetrieve(name: string | Uint8Array): { outcome: Outcome; session: OwnedFd | null } {
    return this.#session(LIVEUPDATE_IOCTL.RETRIEVE_SESSION, name);
  }

  #session(command: number, name: string | Uint8Array): { outcome: Outcome; session: OwnedFd | null } {
    const { outcome, reply } = this.ask(this.device, command, sessionArgument(name));
    return { outcome, session: outcome === 'ok' ? this.own(new OwnedFd(decodeFd(reply))) : null };
  }

  /** @throws Mismatch it cannot be created */
  create(label: string): OwnedFd {
    return this.#made('creating a session', this.tryCreate(this.name(label)));
  }

  /** A session of this case as the last kernel left it. @throws Mismatch */
  retrieve(label: string): OwnedFd {
    return this.#made(`retrieving the session '${label}'`, this.tryRetrieve(this.name(label)));
  }

  #made(what: string, { outcome, session }: { outcome: Outcome; session: OwnedFd | null }): OwnedFd {
    expect(what, outcome, 'ok');
    return session!;
  }

  preserve(session: OwnedFd, fd: OwnedFd | number, token: bigint): Outcome {
    const number = typeof fd === 'number' ? fd : fd.fd;
    return this.ask(session.fd, LIVEUPDATE_SESSION.PRESERVE_FD, fdArgument(number, token)).outcome;
  }

  tryTake(session: OwnedFd, token: bigint): { outcome: Outcome; file: OwnedFd | null } {
    const { outcome, reply } = this.ask(session.fd, LIVEUPDATE_SESSION.RETRIEVE_FD, fdArgument(-1, token));
    return { outcome, file: outcome === 'ok' ? this.own(new OwnedFd(decodeFd(reply))) : null };
  }

  /** The file under `token`. @throws Mismatch */
  take(session: OwnedFd, token: bigint): OwnedFd {
    const { outcome, file } = this.tryTake(session, token);
    expect(`retrieving the fd of token ${token}`, outcome, 'ok');
    return file!;
  }

  finish(session: OwnedFd): Outcome {
    return this.ask(session.fd, LIVEUPDATE_SESSION.FINISH, finishArgument()).outcome;
  }

  /** The session's name, or the errno's. */
  nameOf(session: OwnedFd): string {
    const { outcome, reply } = this.ask(session.fd, LIVEUPDATE_SESSION.GET_NAME, nameArgument());
    return outcome === 'ok' ? decodeName(reply) : outcome;
  }

  // ------------------------------------------------------------------------------------------ files

  /** A memfd with `text` written to it, its position behind that. */
  memfd(text: string, flags: number = MEMFD_FLAGS): OwnedFd {
    const file = this.own(memfdCreate('conformance', flags));
    if (text !== '') write(file.fd, Buffer.from(text));
    return file;
  }

  open(path: string, flags: number = O.RDWR): OwnedFd {
    return this.own(openFile(path, flags));
  }

  /** Another process, with `fds` as its 3, 4, ... */
  child(words: readonly string[], fds: readonly OwnedFd[]): Child {
    const child = new Child(words, fds);
    this.atEnd(() => child.end());
    return child;
  }
}

/** @throws what is no answer of the kernel */
export function outcomeOf(call: () => unknown): Outcome {
  try {
    call();
    return 'ok';
  } catch (error) {
    if (error instanceof SysError) return error.errnoName;
    throw error;
  }
}

/** All of a small file, from its beginning. */
export function contentOf(file: OwnedFd): string {
  const bytes = Buffer.alloc(4096);
  return bytes.toString('utf8', 0, pread(file.fd, bytes, 0));
}

/** A number of /proc/self/fdinfo: `pos` is decimal, `flags` octal. */
export function fdinfoOf(file: OwnedFd, field: 'pos' | 'flags'): number {
  const found = new RegExp(`^${field}:\\s*(\\d+)$`, 'm').exec(readFileSync(`/proc/self/fdinfo/${file.fd}`, 'utf8'));
  return parseInt(found?.[1] ?? 'NaN', field === 'pos' ? 10 : 8);
}
