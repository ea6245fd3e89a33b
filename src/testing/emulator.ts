/**
 * An emulated kernel inside a test: run programs against its /dev/liveupdate, start its next kernel, look into it, let calls fail.
 *
 * Happy path: `startEmulator`, `run` or `start` programs, `kexec`, look at `inspect()`, `close` (or `await using`).
 * Unhappy: LuoError EMULATOR_UNABLE the machine does not allow it: `luoctl emulate --check` says why. Programs never outlive the emulator;
 * if the test's process dies, they are ended with it.
 */
import { Socket } from 'node:net';
import { LuoError } from '../base/errors.js';
import { MFD, O } from '../abi/linux.js';
import { Emulator } from '../emulator/emulator.js';
import { parseFault, type KernelInfo, type RebootKind, type TraceEvent } from '../emulator/kernel/index.js';
import type { Program } from '../emulator/launch/launcher.js';
import { memfdCreate, openFile, pipe, pwriteFully, signalName, type OwnedFd } from '../sys/index.js';

export interface TestEmulatorOptions {
  /** The path looks like a device to stat, access and every open too. */
  readonly strict?: boolean;
  /** As `luoctl emulate --fault`: `preserve:3:ENOMEM`. */
  readonly faults?: readonly string[];
  readonly trace?: (event: TraceEvent) => void;
}
export interface ProgramOptions {
  /** Its whole environment; by default that of this process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** What it reads from standard input; by default nothing. */
  readonly input?: string | Uint8Array;
}

/** One boot after the first. */
export interface Boot {
  readonly kind: RebootKind;
  readonly generation: number;
}

/** How a program ended, and what it wrote. */
export interface ProgramResult {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** A program that runs. */
export interface TestProgram {
  readonly pid: number;
  /** What it has written so far. */
  readonly out: string;
  readonly err: string;
  /** False: it has ended. */
  signal(signal: NodeJS.Signals): boolean;
  /** Resolves when its standard output holds `text`; rejects when it ends before. */
  outHas(text: string): Promise<void>;
  /** When it and whoever has its output have ended. */
  readonly ended: Promise<ProgramResult>;
}

/** @throws LuoError EMULATOR_UNABLE; FAULT_INVALID */
export async function startEmulator(options: TestEmulatorOptions = {}): Promise<TestEmulator> {
  return TestEmulator.start(options);
}

export class TestEmulator implements AsyncDisposable {
  readonly #emulator: Emulator;
  readonly #boots: Boot[];
  readonly #waiting: Set<() => void>;

  private constructor(emulator: Emulator, boots: Boot[], waiting: Set<() => void>) {
    this.#emulator = emulator;
    this.#boots = boots;
    this.#waiting = waiting;
  }

  /** See {@link startEmulator}. */
  static async start({ strict, faults, trace }: TestEmulatorOptions): Promise<TestEmulator> {
    const boots: Boot[] = [];
    const waiting = new Set<() => void>();
    const emulator = await Emulator.start({
      strict: strict === true,
      ownsProcess: false,
      inheritance: { fileLimit: 1024, ignored: 0n, blocked: 0n, fds: [0, 1, 2], blocking: [] },
      faults: (faults ?? []).map(parseFault),
      trace,
      onBoot: (kind, generation) => {
        boots.push({ kind, generation });
        for (const look of waiting) look();
      },
    });
    return new TestEmulator(emulator, boots, waiting);
  }

  /** Start a program. @throws LuoError EMULATOR_PROGRAM it cannot be executed */
  async start(argv: readonly string[], options: ProgramOptions = {}): Promise<TestProgram> {
    const env = Object.entries(options.env ?? process.env).filter(([, value]) => value !== undefined);
    const input = inputFile(options.input);
    const [outRead, outWrite] = pipe();
    const [errRead, errWrite] = pipe();
    try {
      const program = await this.#emulator.run({
        argv: argv.map(bytes),
        env: env.map(([name, value]) => bytes(`${name}=${value!}`)),
        cwd: options.cwd === undefined ? null : bytes(options.cwd),
        searchPath: Object.fromEntries(env).PATH ?? null,
        stdio: [input.fd, outWrite.fd, errWrite.fd],
      });
      return new RunningProgram(program, new Gathered(outRead), new Gathered(errRead));
    } catch (error) {
      outRead.close();
      errRead.close();
      throw error;
    } finally {
      for (const fd of [input, outWrite, errWrite]) fd.close();
    }
  }

  /** Run a program to its end; a simulated kexec ends it by SIGKILL. */
  async run(argv: readonly string[], options: ProgramOptions = {}): Promise<ProgramResult> {
    return (await this.start(argv, options)).ended;
  }

  /**
   * A simulated kexec: every program is ended, the sessions go over to the next kernel.
   * @throws LuoError EMULATOR_KEXEC a file refused to freeze: nothing has changed; STATE_BUSY
   */
  kexec(): Promise<void> {
    return this.#emulator.kexec();
  }

  /** Resolves when kernel number `generation` (the first is 0) has booted, after a program's own reboot(2) too. */
  booted(generation: number): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!this.#boots.some((boot) => boot.generation >= generation)) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Every boot after the first. */
  get boots(): readonly Boot[] {
    return this.#boots;
  }

  /** Sessions, files and faults of the kernel as it is now. */
  inspect(): KernelInfo {
    return this.#emulator.inspect();
  }

  /** Let a call fail from now on. @throws LuoError FAULT_INVALID */
  addFault(fault: string): void {
    this.#emulator.addFault(parseFault(fault));
  }

  /** End every program and the kernel. */
  close(): Promise<void> {
    return this.#emulator.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class RunningProgram implements TestProgram {
  readonly pid: number;
  readonly ended: Promise<ProgramResult>;
  readonly #program: Program;
  readonly #out: Gathered;
  readonly #err: Gathered;

  constructor(program: Program, out: Gathered, err: Gathered) {
    this.pid = program.pid;
    this.#program = program;
    this.#out = out;
    this.#err = err;
    this.ended = Promise.all([program.ended, out.ended, err.ended]).then(([{ code, signal }]) => ({
      code,
      signal: signal === null ? null : signalName(signal),
      out: out.text,
      err: err.text,
    }));
  }

  get out(): string {
    return this.#out.text;
  }

  get err(): string {
    return this.#err.text;
  }

  signal(signal: NodeJS.Signals): boolean {
    return this.#program.signal(signal);
  }

  outHas(text: string): Promise<void> {
    return this.#out.has(text);
  }
}

/** What comes out of a pipe. */
class Gathered {
  text = '';
  readonly ended: Promise<void>;
  readonly #waiting = new Set<() => void>();

  constructor(takenFd: OwnedFd) {
    const socket = new Socket({ fd: takenFd.take(), readable: true, writable: false });
    socket.setEncoding('utf8');
    socket.on('data', (piece: string) => {
      this.text += piece;
      for (const look of this.#waiting) look();
    });
    socket.on('error', () => {});
    this.ended = new Promise((resolve) => socket.once('close', () => resolve()));
  }

  has(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (!this.text.includes(text)) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
      void this.ended.then(() =>
        reject(new LuoError('EMULATOR_PROGRAM', `the program ended without writing '${text}': ${this.text}`)),
      );
    });
  }
}

function inputFile(input: string | Uint8Array | undefined): OwnedFd {
  if (input === undefined) return openFile('/dev/null', O.RDONLY | O.CLOEXEC);
  const file = memfdCreate('luo-input', MFD.CLOEXEC);
  pwriteFully(file.fd, Buffer.from(input), 0);
  return file;
}

/** As the launcher takes text: one character per byte. */
function bytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
