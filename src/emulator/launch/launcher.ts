/**
 * Starts programs whose calls stop at a listener: the emulator's side of the launcher process (launcher-program.ts).
 *
 * Happy path: `start`, `listener` (somebody answers there from now on), then `spawn` as often as wanted; `endAll` at a
 * simulated kexec; `close`. A program that was started runs at once: have the listener answered before.
 * Unhappy: LuoError EMULATOR_UNABLE this machine or this process may not (the remedy says what to do); EMULATOR_PROGRAM there is no such
 * program, or it cannot be executed. If the launcher process dies, `onLost` is called once, after everything that it had
 * started was ended; programs that ran are told as ended by SIGKILL.
 */
import { assert } from '../../base/assert.js';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { LuoError } from '../../base/errors.js';
import { errnoName } from '../../abi/errno.js';
import { MFD, SOCK } from '../../abi/linux.js';
import type { OwnedFd } from '../../sys/index.js';
import {
  becomeSubreaper,
  dupFd,
  eventLoop,
  memfdCreate,
  posixSpawn,
  pwriteFully,
  socketpair,
  pidfdOpen,
  pidfdSendSignal,
  isSysError,
  waitPid,
  type Watch,
} from '../../sys/index.js';
import { Channel } from './channel.js';
import { INHERITANCE_VARIABLE, writeInheritance, type Inheritance } from './inheritance.js';
import type { FromLauncher, ProgramChange, ProgramText, ToLauncher } from './messages.js';
import { endDescendants, endTree } from './process-tree.js';
import type { CountedSignal } from './signals.js';
import { unable } from './unable.js';

export interface LauncherOptions {
  readonly strict: boolean;
  readonly inheritance: Inheritance;
  /** This process starts nothing else, so that every descendant of it, orphans too, is the launcher's. */
  readonly ownsProcess: boolean;
  /** The launcher process has died, by a signal or by a fault of its own. */
  readonly onLost?: (() => void) | undefined;
}

/** A program to start. Text is one character per byte. */
export interface ProgramRequest extends ProgramText {
  /** Becomes its 0, 1, 2; borrowed. Without it the program has the descriptors of `inheritance`. */
  readonly stdio?: readonly [number, number, number];
  /** Told when it stops (Ctrl-Z) and goes on. */
  readonly onPause?: (change: Exclude<ProgramChange, { kind: 'ended' }>) => void;
}

/** How a program ended: one of the two is null. */
export interface ProgramEnd {
  readonly code: number | null;
  /** Number of the signal. */
  readonly signal: number | null;
}

/** A program that was started. */
export class Program {
  readonly pid: number;
  /** Never rejects. */
  readonly ended: Promise<ProgramEnd>;
  readonly #pidfd: OwnedFd;

  /** Takes ownership of `takenPidfd`, which is closed when the program has ended. */
  constructor(pid: number, takenPidfd: OwnedFd, ended: Promise<ProgramEnd>) {
    this.pid = pid;
    this.#pidfd = takenPidfd;
    this.ended = ended.finally(() => takenPidfd.close());
  }

  /** Send a signal; false: it has ended. */
  signal(signal: NodeJS.Signals | number): boolean {
    if (!this.#pidfd.isOpen) return false;
    try {
      pidfdSendSignal(this.#pidfd.fd, signal);
      return true;
    } catch (error) {
      if (isSysError(error, 'ESRCH')) return false;
      throw error;
    }
  }
}

interface Running {
  readonly pid: number;
  readonly end: (end: ProgramEnd) => void;
  readonly onPause: ProgramRequest['onPause'];
}
interface Starting {
  readonly request: ProgramRequest;
  readonly resolve: (program: Program) => void;
  readonly reject: (error: Error) => void;
}

/** How long the end of all processes may take; they are killed, so that it is what the kernel needs to take their memory apart. */
const endDeadlineMs = 30_000;

/** The launcher process and what it has started. */
export class Launcher {
  /** Of the launcher process. */
  readonly pid: number;
  readonly #channel: Channel<ToLauncher, FromLauncher>;
  readonly #options: LauncherOptions;
  readonly #pidfd: OwnedFd;
  readonly #watch: Watch;
  readonly #starting = new Map<number, Starting>();
  readonly #running = new Map<number, Running>();
  readonly #answers = new Map<number, (answer: Answer | undefined) => void>();
  readonly #gone: Promise<void>;
  #tellGone: () => void = () => {};
  #ready: { resolve: (listener: OwnedFd) => void; reject: (error: Error) => void } | undefined;
  #listener: OwnedFd | undefined;
  #nextId = 1;
  #isClosing = false;
  #isGone = false;

  private constructor(options: LauncherOptions) {
    this.#options = options;
    this.#gone = new Promise((resolve) => (this.#tellGone = resolve));
    if (options.ownsProcess) becomeSubreaper();
    const [ours, theirs] = socketpair(SOCK.SEQPACKET);
    this.#channel = new Channel(ours, {
      onMessage: (message, fds) => this.#heard(message, fds),
      // Its end is told by its pidfd, which comes with it.
      onClose: () => {},
    });
    try {
      this.pid = startProcess(options, theirs.fd);
    } catch (error) {
      this.#channel.close();
      throw error;
    } finally {
      theirs.close();
    }
    this.#pidfd = pidfdOpen(this.pid);
    this.#watch = eventLoop().watch(this.#pidfd.fd, { readable: true, writable: false }, () => this.#died());
  }

  /** @throws LuoError EMULATOR_UNABLE */
  static async start(options: LauncherOptions): Promise<Launcher> {
    const launcher = new Launcher(options);
    try {
      launcher.#listener = await new Promise<OwnedFd>((resolve, reject) => (launcher.#ready = { resolve, reject }));
      return launcher;
    } catch (error) {
      await launcher.close();
      throw error;
    }
  }

  /** A descriptor, the caller's, of the listener at which the calls of all programs stop, now and later. */
  listener(): OwnedFd {
    assert(this.#listener?.isOpen, 'this launcher is closed');
    return this.#listener.dup();
  }

  /** Start a program. @throws LuoError EMULATOR_PROGRAM it cannot be executed; EMULATOR_LOST */
  spawn(request: ProgramRequest): Promise<Program> {
    const { argv, env, cwd, searchPath, stdio } = request;
    return new Promise((resolve, reject) => {
      if (this.#isGone) return reject(lost());
      const text = memfdCreate('luo-program', MFD.CLOEXEC);
      pwriteFully(text.fd, Buffer.from(JSON.stringify({ argv, env, cwd, searchPath } satisfies ProgramText)), 0);
      const id = this.#nextId++;
      this.#starting.set(id, { request, resolve, reject });
      this.#channel.send({ kind: 'spawn', id, stdio: stdio !== undefined }, [text, ...(stdio ?? []).map(dupFd)]);
    });
  }

  /**
   * End every program and whatever they left; resolves when all are gone and reaped.
   * @throws LuoError EMULATOR_STUCK some would not end, with their pids
   */
  async endAll(): Promise<void> {
    const answer = await this.#ask((id) => ({ kind: 'end-all', id, deadlineMs: endDeadlineMs }));
    if (answer?.kind !== 'ended-all' || answer.left.length === 0) return;
    throw new LuoError('EMULATOR_STUCK', `these processes would not end: ${answer.left.join(', ')}`, {
      data: { pids: answer.left },
    });
  }

  /** How often the launcher process has got `signal`; undefined: it is gone. */
  async countOf(signal: CountedSignal): Promise<number | undefined> {
    const answer = await this.#ask((id) => ({ kind: 'signals', id, signal }));
    return answer?.kind === 'signals' ? answer.count : undefined;
  }

  /** End everything. Twice does nothing. */
  async close(): Promise<void> {
    if (this.#isClosing) return this.#gone;
    this.#isClosing = true;
    try {
      if (this.#ready === undefined) await this.endAll();
    } finally {
      // The launcher process goes when its socket is closed.
      this.#channel.close();
      this.#listener?.close();
      await this.#gone;
    }
  }

  #ask(question: (id: number) => ToLauncher): Promise<Answer | undefined> {
    if (this.#isGone) return Promise.resolve(undefined);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#channel.send(question(id));
    });
  }

  #heard(message: FromLauncher, fds: OwnedFd[]): void {
    switch (message.kind) {
      case 'listening':
        this.#ready?.resolve(fds[0]!);
        this.#ready = undefined;
        return;
      case 'unable':
        return this.#ready?.reject(unable(message.errno, message.syscall));
      case 'spawned':
        return this.#started(message.id, message.pid, fds[0]!);
      case 'not-spawned': {
        const { request, reject } = this.#starting.get(message.id)!;
        this.#starting.delete(message.id);
        return reject(notExecuted(request.argv[0]!, message.path, message.errno));
      }
      case 'changed': {
        const running = this.#running.get(message.id);
        if (message.change.kind !== 'ended') return running?.onPause?.(message.change);
        this.#running.delete(message.id);
        return running?.end({ code: message.change.code, signal: message.change.signal });
      }
      case 'ended-all':
      case 'signals':
        this.#answers.get(message.id)?.(message);
        this.#answers.delete(message.id);
    }
  }

  #started(id: number, pid: number, takenPidfd: OwnedFd): void {
    const { request, resolve } = this.#starting.get(id)!;
    this.#starting.delete(id);
    const ended = new Promise<ProgramEnd>((end) => {
      this.#running.set(id, { pid, end, onPause: request.onPause });
    });
    resolve(new Program(pid, takenPidfd, ended));
  }

  /** The launcher process has ended: what it had started is ours to end now. */
  #died(): void {
    this.#isGone = true;
    this.#watch.close();
    this.#pidfd.close();
    waitPid(this.pid);
    this.#channel.close();
    if (!this.#isClosing) {
      if (this.#options.ownsProcess) endDescendants(endDeadlineMs, () => {});
      else for (const { pid } of this.#running.values()) endTree(pid);
    }
    for (const { end } of this.#running.values()) end({ code: null, signal: constants.signals.SIGKILL });
    this.#running.clear();
    for (const { reject } of this.#starting.values()) reject(lost());
    this.#starting.clear();
    for (const resolve of this.#answers.values()) resolve(undefined);
    this.#answers.clear();
    this.#ready?.reject(lost());
    this.#tellGone();
    if (!this.#isClosing) this.#options.onLost?.();
  }
}

type Answer = Extract<FromLauncher, { kind: 'ended-all' | 'signals' }>;

function lost(): LuoError {
  return new LuoError(
    'EMULATOR_LOST',
    'the launcher process of the emulator has died, and the programs were ended with it',
  );
}

function notExecuted(name: string, path: string, errno: number): LuoError {
  const code = errnoName(errno);
  const message =
    code === 'ENOENT' ? `there is no program '${name}'` : `the program '${path}' cannot be executed: ${code}`;
  return new LuoError('EMULATOR_PROGRAM', message, { errno: code });
}

/** Start the launcher process with the socket at `socketFd` (borrowed); its pid. */
function startProcess({ strict, inheritance }: LauncherOptions, socketFd: number): number {
  const { NODE_OPTIONS: _, [INHERITANCE_VARIABLE]: __, ...env } = process.env;
  const program = fileURLToPath(new URL('../../bin/emulator-launcher.js', import.meta.url));
  const words = [process.execPath, program, String(socketFd), strict ? 'strict' : 'default'];
  const kept = inheritance.fds.filter((fd) => fd !== socketFd);
  return posixSpawn({
    path: Buffer.from(process.execPath),
    argv: [...words, writeInheritance(inheritance)].map((word) => Buffer.from(word)),
    env: Object.entries(env).map(([name, value]) => Buffer.from(`${name}=${value}`)),
    // Node has made them close-on-exec at its start; a descriptor that is put in its own place is not.
    actions: [...kept, socketFd].map((fd) => ({ kind: 'dup', fd, to: fd })),
    blocked: 0n,
    defaults: (1n << 64n) - 1n,
  });
}
