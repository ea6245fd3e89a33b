/**
 * The virtual machine: a processor, memory that belongs to somebody else, and one device, a clock whose tick is an interrupt.
 *
 * It runs the guest in slices, so that the event loop has its turns: a slice ends when its time is up (by a signal, wherever the
 * guest is), or when the guest sleeps. `stop` halts the interrupts and brings the guest to the end of an instruction;
 * an interrupt that was raised and not yet injected is forgotten. `start` makes up for it: it begins with one spurious interrupt,
 * upon which the guest looks what is the matter, as after every interrupt. So no interrupt needs to be carried across
 * a gap. What the device has to say (a tick is due) is state, and is carried.
 *
 * A guest that cannot go on (triple fault, sleeps with interrupts off) is told to `onDead`; it is not started again by itself.
 */
import { Kvm, SliceTimer, VCPU_EVENTS, type Exit, type Vcpu } from './kvm.js';
import { VECTOR, checkMemorySize, installGuest, isGuest } from './guest-memory.js';
import { bootProcessor, restoreProcessor, saveProcessor, type SavedProcessor } from './processor.js';
import { PORT } from './program.js';

/** Longest time for which the guest runs without the event loop having a turn. */
const SLICE_MS = 10;
/** Long beside a round of a small guest under an emulated processor, so that it sleeps in between. */
const TICK_MS = 500;
/** Wrong words after which no more are named; the guest counts on. */
const WRONG_TOLD_MAX = 10;
/** Raised by one when an older monitor could not read what a newer one saves. */
const FORMAT = 1;

/** Memory of this process that the guest gets. */
export interface GuestMemory {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly buffer: ArrayBuffer;
}

/** Everything of a stopped machine that is not in its memory. A type, not an interface: it is JSON. */
export type SavedMachine = {
  readonly format: number;
  readonly processor: SavedProcessor;
  readonly isHalted: boolean;
  readonly isTickDue: boolean;
  readonly counters: Counters;
};

export type Counters = {
  /** Interrupts that the guest got since it was booted. */
  readonly injected: number;
  /** Those of them that were injected because the machine was started again. */
  readonly spurious: number;
  /** How often the machine was built around the memory of a guest that lives. */
  readonly rebuilds: number;
  /** Times that the guest let the monitor know how far it is. */
  readonly reports: number;
};

export class Machine {
  readonly #memory: GuestMemory;
  readonly #vcpu: Vcpu;
  readonly #onDead: (why: string) => void;
  readonly #timer = new SliceTimer(SLICE_MS);
  #cpuid: Uint8Array;
  #hasState = false;
  #hasRun = false;
  #isRunning = false;
  #isHalted = false;
  #isTickDue = false;
  /** The interrupt line of the device: goes up with a tick, down when the guest asks for it. */
  #isRaised = false;
  /** One interrupt that no device wants. */
  #isSpuriousWanted = false;
  #toldWrong = 0;
  #ticker: NodeJS.Timeout | undefined;
  #next: NodeJS.Immediate | undefined;
  #counters: Counters = { injected: 0, spurious: 0, rebuilds: 0, reports: 0 };

  /**
   * Build the machine; nothing of the memory is touched.
   * @throws RangeError memory of this size; Error ENOENT, EACCES of /dev/kvm; KvmError
   */
  constructor(options: { readonly memory: GuestMemory; readonly onDead: (why: string) => void }) {
    checkMemorySize(options.memory.sizeBytes);
    this.#memory = options.memory;
    this.#onDead = options.onDead;
    const kvm = new Kvm();
    this.#cpuid = kvm.supportedCpuid();
    const vm = kvm.createVm();
    kvm.close();
    vm.setMemory(options.memory);
    this.#vcpu = vm.createVcpu();
  }

  /** Whether there is a guest in it, that was booted here or came from elsewhere. */
  get hasState(): boolean {
    return this.#hasState;
  }

  get counters(): Counters {
    return this.#counters;
  }

  get isHalted(): boolean {
    return this.#isHalted;
  }

  /** Interrupts that are injected and have not reached the guest's code yet: 0 or 1. */
  get inFlight(): number {
    return this.#vcpu.get(VCPU_EVENTS)[8]!;
  }

  /** Switch it on: what is in the memory is overwritten, which must be writable. */
  boot(): void {
    installGuest(this.#memory.buffer);
    bootProcessor(this.#vcpu, this.#cpuid);
    this.#hasState = true;
  }

  /** Take over a guest that was stopped elsewhere; its memory is this one's. @throws Error that it cannot be done, and why */
  restore(saved: SavedMachine): void {
    if (saved.format !== FORMAT)
      throw new Error(`a machine saved in format ${saved.format} cannot be read here: this is format ${FORMAT}`);
    if (!isGuest(this.#memory.buffer)) throw new Error('there is a saved processor, but no guest in the memory');
    this.#cpuid = restoreProcessor(this.#vcpu, saved.processor);
    // The kernel says now whether an interrupt can be injected.
    this.#vcpu.settle();
    this.#isHalted = saved.isHalted;
    this.#isTickDue = saved.isTickDue;
    this.#counters = { ...saved.counters, rebuilds: saved.counters.rebuilds + 1 };
    this.#hasState = true;
    this.#hasRun = true;
  }

  /** Of a stopped machine. */
  save(): SavedMachine {
    if (this.#isRunning || !this.#hasState) throw new Error('a machine is saved when it is stopped');
    return {
      format: FORMAT,
      processor: saveProcessor(this.#vcpu, this.#cpuid),
      isHalted: this.#isHalted,
      isTickDue: this.#isTickDue,
      counters: this.#counters,
    };
  }

  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#ticker = setInterval(() => {
      this.#isTickDue = true;
      this.#isRaised = true;
      this.#schedule();
    }, TICK_MS);
    // It may have missed an interrupt since it was stopped.
    this.#isSpuriousWanted = this.#hasRun;
    this.#hasRun = true;
    this.#schedule();
  }

  /** From now on the guest does not run and its memory does not change. */
  stop(): void {
    if (!this.#isRunning) return;
    this.#halt();
    this.#vcpu.settle();
  }

  #halt(): void {
    this.#isRunning = false;
    clearInterval(this.#ticker);
    clearImmediate(this.#next);
    this.#next = undefined;
    this.#isRaised = false;
    this.#isSpuriousWanted = false;
    this.#vcpu.wantsWindow = false;
  }

  #tellWrong(address: number): void {
    this.#toldWrong += 1;
    if (this.#toldWrong > WRONG_TOLD_MAX) return;
    console.error(`the guest found the word at 0x${address.toString(16)} not as it had left it`);
  }

  #schedule(): void {
    if (this.#isRunning) this.#next ??= setImmediate(() => this.#slice());
  }

  #slice(): void {
    this.#next = undefined;
    const end = performance.now() + SLICE_MS;
    this.#timer.arm();
    try {
      do {
        this.#offerInterrupt();
        // It sleeps until the next interrupt.
        if (this.#isHalted) return;
        const dead = this.#serve(this.#vcpu.run());
        if (dead !== undefined) {
          this.#halt();
          this.#onDead(dead);
          return;
        }
      } while (performance.now() < end);
    } finally {
      this.#timer.disarm();
    }
    this.#schedule();
  }

  #offerInterrupt(): void {
    const isWanted = this.#isRaised || this.#isSpuriousWanted;
    this.#vcpu.wantsWindow = isWanted && !this.#vcpu.isReady;
    if (!isWanted || !this.#vcpu.isReady) return;
    this.#vcpu.interrupt(VECTOR);
    const { injected, spurious } = this.#counters;
    const more = this.#isSpuriousWanted ? 1 : 0;
    this.#counters = { ...this.#counters, injected: injected + 1, spurious: spurious + more };
    this.#isRaised = false;
    this.#isSpuriousWanted = false;
    this.#isHalted = false;
  }

  /** @returns why the guest cannot go on */
  #serve(exit: Exit): string | undefined {
    switch (exit.kind) {
      case 'out':
        this.#counters = { ...this.#counters, reports: this.#counters.reports + 1 };
        if (exit.port === PORT.wrong) this.#tellWrong(exit.value);
        return undefined;
      case 'in':
        this.#vcpu.answer(exit.port === PORT.tick && this.#isTickDue ? 1 : 0);
        this.#isTickDue = false;
        this.#isRaised = false;
        return undefined;
      case 'halted':
        if (!this.#vcpu.isReady) return 'it sleeps, and nothing can wake it: its interrupts are off';
        this.#isHalted = true;
        return undefined;
      case 'window':
      case 'interrupted':
        return undefined;
      case 'dead':
        return exit.why;
    }
  }
}
