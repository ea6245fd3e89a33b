/** The emulator of /dev/liveupdate as the command line sees it. Types only; src/bin gives src/emulator for it. */

/** One condition that the emulator needs of this machine. */
export interface EmulatorCheck {
  /** Short and stable: `listener`, `memory of programs`. */
  readonly check: string;
  /** `warn`: it works, with what the reason says. */
  readonly result: 'pass' | 'warn' | 'fail';
  readonly reason: string;
  /** What to do about it; null when there is nothing to do. */
  readonly remedy: string | null;
}

export interface EmulateRequest {
  readonly argv: readonly string[];
  /** A shell command that is started after each simulated kexec; null: `argv` again. */
  readonly init: string | null;
  readonly strict: boolean;
  readonly trace: 'text' | 'json' | null;
  /** As typed. */
  readonly faults: readonly string[];
  /** Lines for people and for tools, whole, without their end. */
  readonly tell: (line: string) => void;
}

/** How a program ended: one of the two is null. */
export interface EmulatedEnd {
  readonly code: number | null;
  /** Number of the signal. */
  readonly signal: number | null;
}

export interface EmulatorPort {
  /** Look at the machine, and try. Leaves nothing behind. */
  check(): Promise<readonly EmulatorCheck[]>;
  /**
   * Run a program under an emulated kernel until it ends; so do its successors after each simulated kexec.
   * @throws LuoError EMULATOR_UNABLE; EMULATOR_PROGRAM; EMULATOR_LOST; EMULATOR_STUCK; those of a fault that cannot be read
   */
  run(request: EmulateRequest): Promise<EmulatedEnd>;
  /** End this process as the program ended: with its exit code, or by its signal. If it comes back: the exit code to end with. */
  endLike(end: EmulatedEnd): number;
  /**
   * A simulated kexec of a running emulator, of the one around this process or of the only one; its pid.
   * @throws LuoError EMULATOR_UNKNOWN, EMULATOR_KEXEC, STATE_BUSY
   */
  kexec(pid: number | undefined): Promise<number>;
}
