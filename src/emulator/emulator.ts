/**
 * An emulated kernel with programs under it: the kernel half (kernel/) answers the calls, the launch half (launch/) starts the
 * programs, and here they go through a simulated kexec together.
 *
 * Happy path: `start`, `run` any number of programs, and `kexec` from outside, or a program that calls reboot(2): the kernel
 * freezes and serialises, every process ends, the kernel boots with one generation more, and `onBoot` starts what the next
 * kernel would start. `close` ends everything.
 * Unhappy: a file that refuses to freeze fails the kexec, and nothing has changed. If the launcher process dies, the programs
 * die with it and `onLost` is called; if this process dies, the launcher process ends them.
 */
import { LuoError } from '../base/errors.js';
import { EmulatedKernel, type Fault, type KernelInfo, type RebootKind, type TraceEvent } from './kernel/index.js';
import type { Inheritance } from './launch/inheritance.js';
import { Launcher, type Program, type ProgramRequest } from './launch/launcher.js';

export interface EmulatorOptions {
  readonly strict: boolean;
  readonly inheritance: Inheritance;
  /** See LauncherOptions. */
  readonly ownsProcess: boolean;
  readonly faults?: readonly Fault[] | undefined;
  readonly trace?: ((event: TraceEvent) => void) | undefined;
  /** The machine has left its kernel; `powerOff`: nothing comes after it. */
  readonly onBoot?: ((kind: RebootKind, generation: number) => void) | undefined;
  /** All programs were ended, since the launcher process is gone or some would not end. */
  readonly onLost?: ((why: LuoError) => void) | undefined;
}

export class Emulator {
  readonly #options: EmulatorOptions;
  readonly #kernel: EmulatedKernel;
  #launcher!: Launcher;
  #jump: Promise<void> | undefined;

  private constructor(options: EmulatorOptions) {
    this.#options = options;
    this.#kernel = new EmulatedKernel({
      strict: options.strict,
      ...(options.trace === undefined ? {} : { trace: options.trace }),
      ...(options.faults === undefined ? {} : { faults: options.faults }),
      onReboot: (kind) => void this.#leave(kind).catch((error: unknown) => this.#lost(error)),
    });
  }

  /** @throws LuoError EMULATOR_UNABLE */
  static async start(options: EmulatorOptions): Promise<Emulator> {
    const emulator = new Emulator(options);
    const { strict, inheritance, ownsProcess } = options;
    try {
      emulator.#launcher = await Launcher.start({
        strict,
        inheritance,
        ownsProcess,
        onLost: () => emulator.#lost(new LuoError('EMULATOR_LOST', 'the launcher process of the emulator was killed')),
      });
    } catch (error) {
      emulator.#kernel.close();
      throw error;
    }
    emulator.#kernel.adopt(emulator.#launcher.listener());
    return emulator;
  }

  /** Of the process that starts the programs. */
  get launcherPid(): number {
    return this.#launcher.pid;
  }

  get launcher(): Launcher {
    return this.#launcher;
  }

  /** A jump is going on, or has been asked for by a program. */
  get isJumping(): boolean {
    return this.#jump !== undefined;
  }

  /** Start a program under this kernel. @throws LuoError EMULATOR_PROGRAM, EMULATOR_LOST */
  async run(request: ProgramRequest): Promise<Program> {
    await this.#jump;
    return this.#launcher.spawn(request);
  }

  /**
   * The simulated kexec, from outside: resolves when the next kernel has booted.
   * @throws LuoError EMULATOR_KEXEC a file refused to freeze, with its errno: programs go on; STATE_BUSY a jump is going on
   */
  async kexec(): Promise<void> {
    if (this.#jump !== undefined) throw new LuoError('STATE_BUSY', 'a simulated kexec is going on already');
    const refused = this.#kernel.jump();
    if (refused !== null) {
      throw new LuoError('EMULATOR_KEXEC', `the kernel did not start the next one: ${refused}`, { errno: refused });
    }
    await this.#leave('kexec');
  }

  inspect(): KernelInfo {
    return this.#kernel.inspect();
  }

  addFault(fault: Fault): void {
    this.#kernel.addFault(fault);
  }

  /** End every program and the kernel. */
  async close(): Promise<void> {
    try {
      await this.#launcher.close();
    } finally {
      this.#kernel.close();
    }
  }

  #leave(kind: RebootKind): Promise<void> {
    this.#jump ??= this.#changeKernel(kind).finally(() => (this.#jump = undefined));
    return this.#jump;
  }

  async #changeKernel(kind: RebootKind): Promise<void> {
    await this.#launcher.endAll();
    this.#kernel.boot();
    this.#kernel.adopt(this.#launcher.listener());
    // What `onBoot` starts must not wait for the jump that it is a part of.
    queueMicrotask(() => queueMicrotask(() => this.#options.onBoot?.(kind, this.#kernel.inspect().generation)));
  }

  #lost(error: unknown): void {
    this.#options.onLost?.(LuoError.from(error));
  }
}
