/**
 * The emulated kernel: it answers the trapped calls of any number of programs, each of them under a listener of its own.
 *
 * Happy path: `adopt` a listener; its calls are answered until its last program ends; a program calls reboot(2), the owner
 * ends the process tree and calls `boot`, and the next generation finds the sessions.
 * Unhappy path: a program may die at any moment, and takes nothing with it; when this is closed, calls that wait fail with
 * ENOSYS. From a jump until `boot` nobody is answered: in the kernel they would wait for ever.
 * Never here: starting or ending a program.
 * @source kernel/liveupdate (Linux 7.3); seccomp_unotify(2)
 */
import { errnoNumber } from '../../abi/errno.js';
import { nameOfCall } from '../../abi/index.js';
import { inOrder, sessionsInOrder } from '../../model/index.js';
import {
  NotificationReader,
  eventLoop,
  getFileLimit,
  pollNow,
  setFileLimit,
  type OwnedFd,
  type Watch,
} from '../../sys/index.js';
import { answerAttributes } from './attributes.js';
import { Call, NATIVE, NONE, errno, type Answer } from './call.js';
import { FaultPlan, type Fault } from './faults.js';
import type { LoadedImage, RebootKind } from './image.js';
import { answerIoctl } from './ioctl.js';
import { Machine } from './machine.js';
import { answerOpen, opensDevice } from './open.js';
import { answerKexecFileLoad, answerKexecLoad, answerReboot, jump } from './reboot.js';
import { answerResize } from './resize.js';
import { TargetGone } from './target.js';
import { nameText, type TraceEvent } from './trace.js';

export interface EmulatedKernelOptions {
  /** Opens of every kind, stat and access are trapped too, and find a character device. */
  readonly strict: boolean;
  readonly trace?: (event: TraceEvent) => void;
  readonly faults?: readonly Fault[];
  /**
   * A program has called reboot(2), and the machine leaves this kernel: end the process tree, then call `boot`.
   * It is told in a later turn.
   */
  readonly onReboot: (kind: RebootKind) => void;
  /** The emulator's own death, ordered by a fault; by default it kills its process. */
  readonly onDeath?: () => never;
}

/** What `inspect` says of a session. */
export interface SessionInfo {
  readonly name: string;
  readonly direction: 'outgoing' | 'incoming';
  /** A program has it. */
  readonly held: boolean;
  /** Closed while finish was refused: nobody can have it any more. */
  readonly leaked: boolean;
  readonly files: readonly {
    readonly token: bigint;
    readonly kind: string;
    readonly retrieved: 'untried' | 'taken' | { readonly errno: string };
  }[];
}

export interface KernelInfo {
  readonly generation: number;
  readonly deviceOpen: boolean;
  /** What came over the last jump cannot be read: every open is EIO. */
  readonly broken: boolean;
  readonly image: LoadedImage | null;
  readonly sessions: readonly SessionInfo[];
  /** Files that this kernel holds. */
  readonly filesHeld: number;
  readonly listeners: number;
  /** Faults that can still act, as they were ordered. */
  readonly faults: readonly string[];
}

const LEAVES: Readonly<Record<RebootKind, string>> = {
  kexec: 'the next kernel finds the sessions',
  restart: 'the next kernel finds nothing',
  powerOff: 'there is no next kernel',
};

/** Calls of one listener that are answered before the others get their turn. */
const CALLS_PER_TURN = 64;
const POLL_IN = 1;

interface Listener {
  readonly fd: OwnedFd;
  readonly reader: NotificationReader;
  readonly watch: Watch;
}

export class EmulatedKernel {
  readonly #options: EmulatedKernelOptions;
  readonly #faults: FaultPlan;
  readonly #listeners = new Set<Listener>();
  readonly #delays = new Set<NodeJS.Timeout>();
  readonly #startedMs = performance.now();
  readonly #machine: Machine;
  #generation = 0;
  /** Between a jump and the boot after it nobody is answered. */
  #leaving: RebootKind | null = null;
  #isClosed = false;

  constructor(options: EmulatedKernelOptions) {
    this.#options = options;
    this.#faults = new FaultPlan(options.faults);
    const { soft, hard } = getFileLimit();
    // Each session and each preserved file is a descriptor of this process.
    if (soft < hard) setFileLimit({ soft: hard, hard });
    this.#machine = new Machine({
      strict: options.strict,
      faults: this.#faults,
      note: (text, call) => this.#note(text, call),
      die: options.onDeath ?? dieNow,
      reboot: (kind, call) => this.#leave(kind, call),
      isLeaving: () => this.#leaving !== null,
    });
  }

  /** Answer the calls of the programs under `takenListener` (a seccomp listener) from now on. */
  adopt(takenListener: OwnedFd): void {
    if (this.#isClosed) {
      takenListener.close();
      throw new TypeError('this kernel is closed');
    }
    const reader = new NotificationReader(takenListener.fd);
    const watch = eventLoop().watch(
      takenListener.fd,
      { readable: true, writable: false },
      (_readable, _writable, hangup) => this.#serve(listener, hangup),
    );
    const listener: Listener = { fd: takenListener, reader, watch };
    this.#listeners.add(listener);
  }

  /** Order a fault. */
  addFault(fault: Fault): void {
    this.#faults.add(fault);
  }

  /**
   * As if a program had loaded an image and called reboot(LINUX_REBOOT_CMD_KEXEC): freeze and serialise. The caller ends the
   * process tree and calls `boot`.
   * @returns null, or the errno of a file that refuses to freeze: then nothing has changed
   */
  jump(): string | null {
    this.#machine.objects.drain();
    this.#machine.image ??= { carries: true, commandLine: '' };
    const failure = jump(this.#machine);
    if (failure === null) this.#leaving = this.#machine.image.carries ? 'kexec' : 'restart';
    return failure;
  }

  /** The next kernel, after the programs of this one have ended. What is left of their listeners is dropped. */
  boot(): void {
    if (this.#leaving === null) throw new TypeError('no jump has been made');
    for (const listener of [...this.#listeners]) this.#drop(listener);
    for (const delay of this.#delays) clearTimeout(delay);
    this.#delays.clear();
    this.#machine.objects.forgetAll();
    if (this.#leaving !== 'kexec') this.#machine.sessions.jumpEmpty();
    this.#machine.boot();
    this.#leaving = null;
    this.#generation += 1;
  }

  inspect(): KernelInfo {
    if (this.#leaving === null) this.#machine.objects.drain();
    const { sessions, image } = this.#machine;
    const { deviceOpen, broken } = sessions.state;
    return {
      generation: this.#generation,
      deviceOpen,
      broken,
      image,
      filesHeld: sessions.heldCount,
      listeners: this.#listeners.size,
      faults: this.#faults.faults.map(({ text }) => text),
      sessions: (['outgoing', 'incoming'] as const).flatMap((direction) =>
        sessionsInOrder(sessions.state, direction).map((session) => ({
          name: nameText(session.name),
          direction,
          held: session.held,
          leaked: session.leaked,
          files: inOrder(session).map(({ token, kind, retrieved }) => ({ token, kind, retrieved })),
        })),
      ),
    };
  }

  /** Let go of everything. Programs that still run have dead files, and their trapped calls fail with ENOSYS. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const listener of [...this.#listeners]) this.#drop(listener);
    for (const delay of this.#delays) clearTimeout(delay);
    this.#machine.close();
  }

  #serve(listener: Listener, hangup: boolean): void {
    if (this.#leaving === null) {
      for (let count = 0; count < CALLS_PER_TURN && this.#listeners.has(listener); count += 1) {
        if (count > 0 && (pollNow(listener.fd.fd, POLL_IN) & POLL_IN) === 0) break;
        if (count === 0 && hangup && (pollNow(listener.fd.fd, POLL_IN) & POLL_IN) === 0) break;
        if (listener.reader.receive()) this.#answerNext(listener.reader);
        if (this.#leaving !== null) break;
      }
    }
    // The last program under this filter is gone.
    if (hangup && this.#listeners.has(listener)) this.#drop(listener);
  }

  #answerNext(reader: NotificationReader): void {
    const name = nameOfCall(reader.arch, reader.callNumber);
    if (name === undefined) {
      reader.proceed(reader.id);
      return;
    }
    this.#handle(new Call(reader, name));
  }

  /** A program of the machine's 32-bit architecture: the kernel's device has no ioctl for it, and this one no open. */
  #answerForeign(call: Call): Answer {
    if (!call.isValid) return NONE;
    switch (call.name) {
      case 'open':
      case 'openat':
      case 'openat2':
      case 'creat':
        if (!opensDevice(this.#machine, call)) return NATIVE;
        break;
      case 'reboot':
      case 'kexec_load':
      case 'kexec_file_load':
      case 'io_uring_setup':
        break;
      default:
        return NATIVE;
    }
    this.#note(`${call.name} of a 32-bit program cannot be emulated: it is told ENOSYS`, call);
    return errno('ENOSYS');
  }

  #handle(call: Call): void {
    let answer: Answer;
    try {
      // All closes that came before this call are known before it is answered.
      this.#machine.objects.drain();
      answer = call.isNative ? this.#answerOf(call) : this.#answerForeign(call);
    } catch (error) {
      if (!(error instanceof TargetGone)) throw error;
      answer = NONE;
    }
    this.#send(call, answer);
  }

  #answerOf(call: Call): Answer {
    switch (call.name) {
      case 'ioctl':
        return answerIoctl(this.#machine, call);
      case 'open':
      case 'openat':
      case 'openat2':
      case 'creat':
        return answerOpen(this.#machine, call);
      case 'ftruncate':
      case 'truncate':
      case 'fallocate':
        return answerResize(this.#machine, call);
      case 'kexec_file_load':
        return answerKexecFileLoad(this.#machine, call);
      case 'kexec_load':
        return answerKexecLoad(this.#machine, call);
      case 'reboot':
        return answerReboot(this.#machine, call);
      case 'io_uring_setup':
        this.#note(
          'io_uring could open the device and nobody would see it: the program is told that there is none',
          call,
        );
        return errno('ENOSYS');
      default:
        // Of whatever else is trapped only strict mode knows: what the path looks like.
        return answerAttributes(this.#machine, call);
    }
  }

  #send(call: Call, answer: Answer): void {
    switch (answer.kind) {
      case 'value':
        call.reader.answer(call.id, answer.value);
        break;
      case 'errno':
        call.reader.answer(call.id, 0, errnoNumber(answer.errno)!);
        break;
      case 'native':
        call.reader.proceed(call.id);
        return;
      case 'later':
        this.#postpone(call, answer.delayMs);
        return;
      case 'sent':
        break;
      case 'none':
        return;
    }
    if (this.#options.trace !== undefined) this.#traceCall(call, answer);
  }

  #postpone(call: Call, delayMs: number): void {
    call.wasDelayed = true;
    const delay = setTimeout(() => {
      this.#delays.delete(delay);
      if (this.#leaving === null && call.isValid) this.#handle(call);
    }, delayMs);
    this.#delays.add(delay);
  }

  #leave(kind: RebootKind, call: Call): void {
    this.#note(`reboot(2) went through: ${LEAVES[kind]}`, call);
    this.#leaving = kind;
    setImmediate(() => {
      if (!this.#isClosed) this.#options.onReboot(kind);
    });
  }

  #drop(listener: Listener): void {
    this.#listeners.delete(listener);
    listener.watch.close();
    listener.reader.free();
    listener.fd.close();
  }

  #traceCall(call: Call, answer: Extract<Answer, { kind: 'value' | 'errno' | 'sent' }>): void {
    const now = performance.now();
    const result =
      answer.kind === 'value' ? answer.value : answer.kind === 'sent' ? answer.fd : -errnoNumber(answer.errno)!;
    this.#options.trace!({
      event: 'call',
      atMs: now - this.#startedMs,
      tookUs: (now - call.startedMs) * 1000,
      generation: this.#generation,
      pid: call.target.threadId,
      program: call.target.program,
      ...call.details,
      result,
      ...(answer.kind === 'errno' ? { errno: answer.errno } : {}),
    });
  }

  #note(note: string, call?: Call): void {
    this.#options.trace?.({
      event: 'note',
      atMs: performance.now() - this.#startedMs,
      generation: this.#generation,
      ...(call === undefined ? {} : { pid: call.target.threadId, program: call.target.program }),
      note,
    });
  }
}

function dieNow(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('SIGKILL did not end this process');
}
