/** The kernel itself, in a virtual machine that jumps into the same kernel again. */
import { kernels, type Kernel } from '../vm/bed/kernels.js';
import { Vm } from '../vm/bed/vm.js';
import { performerProgram } from './performer.js';
import { parsePerformed, performerInput } from './sequence.js';
import type { Part, Side } from './side.js';

const PERFORM_MS = 400_000;
const PROGRAM = '/opt/performer';
const IMAGE = '/boot/next';
const FILES = '/dev/shm';

export class KernelSide implements Side {
  readonly name: string;
  readonly #vm: Vm;

  private constructor(vm: Vm, kernel: Kernel) {
    this.#vm = vm;
    this.name = `Linux ${kernel.version}`;
  }

  /** @param version `7.3.4`; without it the newest that there is. @throws Error there is no such kernel */
  static async start(version?: string): Promise<KernelSide> {
    const { from, to } = kernels();
    const kernel = [to, from].find((each) => version === undefined || each.version === version);
    if (kernel === undefined) throw new Error(`there is no kernel ${version}, but ${from.version} and ${to.version}`);
    const vm = await Vm.start({
      kernel,
      memoryMiB: 1536,
      // A busy host is late with the interrupts that this check counts, and the kernel panics.
      append: 'no_timer_check',
      files: { [PROGRAM]: performerProgram(), [IMAGE]: kernel.path },
    });
    return new KernelSide(vm, kernel);
  }

  async perform(parts: readonly Part[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const [input, output, said] = ['/run/performer.in', '/run/performer.out', '/run/performer.said'] as const;
    await this.#vm.write(input, performerInput(parts));
    const pid = await this.#vm.spawn([PROGRAM, input, output, FILES], said);
    const text = await this.#vm.until(
      'the end of the sequences',
      async () => {
        const last = await this.#vm.must(['tail', '-n', '1', output]);
        if (last === 'END\n') return this.#vm.read(output);
        if (!(await this.#vm.ps()).some((each) => each.pid === pid))
          throw new Error(`the performer is gone: ${await this.#vm.read(said)}`);
        return undefined;
      },
      PERFORM_MS,
    );
    return parsePerformed(text);
  }

  async jump(): Promise<void> {
    await this.#vm.run('test/vm/guest/load.js', 'load', [IMAGE]);
    const jumped = this.#vm.jumped(this.#vm.hello);
    await this.#vm.run('test/vm/guest/memfds.js', 'jump');
    await jumped;
  }

  stop(failed: boolean): Promise<void> {
    return this.#vm.stop(failed);
  }
}
