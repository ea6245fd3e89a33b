/**
 * A scenario: something that happens before a kernel is replaced, and what must be so after it. It is written once, as code that
 * runs on the machine whose kernel is replaced, and knows nothing of how: what makes the gap runs it. Between both sides
 * only that is carried which `before` returned, and what luo carries; variables, files and processes are not.
 *
 *   export const scenario: Scenario<{ pid: number }> = {
 *     async before(machine) { ...; return { pid }; },
 *     async after(machine, { pid }) { assert... },
 *   };
 *
 * `runScenario` runs one in a virtual machine, over a kexec. A failure on either side is its error, with what it had logged.
 */
import { kernels, type Kernel } from './kernels.js';
import { Vm, type Hello, type VmOptions } from './vm.js';
import type { ProgramOptions, ProgramResult } from './programs.js';

/** What a scenario may use of the machine that it runs on. */
export interface Machine {
  /** luod's folder: where its socket is. */
  readonly luodFolder: string;
  /** For what is gone with the kernel: /run, or what stands for it. */
  readonly runFolder: string;
  /** The package: programs are below its `dist/`. */
  readonly packageFolder: string;
  /** Empty at the begin of each side, writable; what is in it does not get over the gap. */
  readonly workFolder: string;
  /** Run a program to its end; it must end with 0. @returns what it wrote to stdout */
  must(argv: readonly string[], options?: MachineRunOptions): Promise<string>;
  /** Run a program to its end. */
  exec(argv: readonly string[], options?: MachineRunOptions): Promise<ProgramResult>;
  /** luoctl with --json; it must end with 0. @returns its last line */
  luoctl<T>(args: readonly string[], options?: MachineRunOptions): Promise<T>;
  /** Start a program that goes on until the gap. @returns its pid */
  start(argv: readonly string[], options?: ProgramOptions): Promise<number>;
  /** Wait until `check` gives something. @throws Error with `what`, when that takes too long */
  until<T>(what: string, check: () => Promise<T | undefined> | T | undefined, timeoutMs?: number): Promise<T>;
  /** Shown when the scenario fails. */
  log(text: string): void;
}

export interface MachineRunOptions extends ProgramOptions {
  readonly stdin?: Uint8Array;
  /** Then it is killed, and the result says so. */
  readonly timeoutMs?: number;
}

/** Carried is JSON. */
export interface Scenario<Carried = unknown> {
  before(machine: Machine): Promise<Carried>;
  after(machine: Machine, carried: Carried): Promise<void>;
}

export interface ScenarioResult<Carried = unknown> {
  readonly before: Hello;
  readonly after: Hello;
  readonly carried: Carried;
}

export interface ScenarioOptions extends Partial<Omit<VmOptions, 'kernel'>> {
  /** Default: those of `kernels()`. */
  readonly from?: Kernel;
  readonly to?: Kernel;
  /** How this kernel is left for the one in `target`; without it by luoctl load and kexec of a luod that runs from the start. */
  readonly leave?: (vm: Vm, target: string) => Promise<void>;
  /** For each side. */
  readonly timeoutMs?: number;
}

const INSIDE = 'test/vm/bed/scenario-inside.js';
const LUOD = '/run/luo';
const TARGET = '/boot/to';
const SIDE_MS = 300_000;

/**
 * Run the scenario that `module` exports as `scenario`, in a machine of its own.
 * @param module below dist/: `test/vm/scenarios/x.js`
 * @throws Error one side failed, the jump did not come, a kernel panicked
 */
export async function runScenario<Carried = unknown>(
  module: string,
  options: ScenarioOptions = {},
): Promise<ScenarioResult<Carried>> {
  const { from, to, leave, timeoutMs = SIDE_MS, files, ...machine } = options;
  const found = from && to ? { from, to } : { ...kernels(), ...(from && { from }), ...(to && { to }) };
  const vm = await Vm.start({
    ...(leave ? {} : { luod: LUOD }),
    ...machine,
    kernel: found.from,
    files: { [TARGET]: found.to.path, ...files },
  });
  let failed = true;
  try {
    const before = vm.hello;
    if (!leave) await vm.untilState('normal');
    const carried = await vm.run<Carried>(INSIDE, 'runBefore', [module, LUOD], timeoutMs);
    if (leave) {
      const jumped = vm.jumped(before);
      const never = new Promise<never>(() => undefined);
      // Whoever leaves a kernel gets no answer from it: only without a jump it is an error.
      const stayed = leave(vm, TARGET).then(
        () => never,
        (error: unknown) => (vm.hello === before ? Promise.reject(error as Error) : never),
      );
      jumped.catch(() => undefined);
      await Promise.race([jumped, stayed]);
    } else {
      await vm.kexec(TARGET);
    }
    await vm.run(INSIDE, 'runAfter', [module, LUOD, carried], timeoutMs);
    failed = false;
    return { before, after: vm.hello, carried };
  } finally {
    await vm.stop(failed);
  }
}
