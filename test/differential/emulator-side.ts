/** The emulator, with the performer under it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Emulator } from '../../src/emulator/emulator.js';
import { readInheritance } from '../../src/emulator/launch/inheritance.js';
import { performerProgram } from './performer.js';
import { parsePerformed, performerInput } from './sequence.js';
import type { Part, Side } from './side.js';

const PERFORM_MS = 600_000;
const LOOK_MS = 20;
/** tmpfs on every machine that has one: what is made there without a name is shared memory. */
const TMPFS = '/dev/shm';

export class EmulatorSide implements Side {
  readonly name: string;
  readonly #emulator: Emulator;
  /** Input and output, and what has a name. */
  readonly #folder = mkdtempSync(join(tmpdir(), 'luo-differential-'));
  readonly #files = mkdtempSync(join(TMPFS, 'luo-differential-'));

  private constructor(emulator: Emulator, strict: boolean) {
    this.#emulator = emulator;
    this.name = strict ? 'the emulator, --strict' : 'the emulator';
  }

  static async start(strict: boolean): Promise<EmulatorSide> {
    const inheritance = { ...readInheritance(undefined), fileLimit: 1024 };
    return new EmulatorSide(await Emulator.start({ strict, inheritance, ownsProcess: false }), strict);
  }

  async perform(parts: readonly Part[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const [input, output] = [join(this.#folder, 'in'), join(this.#folder, 'out')];
    writeFileSync(input, performerInput(parts));
    writeFileSync(output, '');
    const argv = [performerProgram(), input, output, this.#files];
    const program = await this.#emulator.run({ argv, env: [], cwd: '/', searchPath: null });
    let over = false;
    void program.ended.then(() => (over = true));
    for (const end = Date.now() + PERFORM_MS; ;) {
      const last = over;
      const text = readFileSync(output, 'latin1');
      if (text.endsWith('END\n')) return parsePerformed(text);
      if (last)
        throw new Error(`the performer ended early: ${JSON.stringify(await program.ended)} ${text.slice(-300)}`);
      if (Date.now() > end) throw new Error(`the performer did not end within ${PERFORM_MS} ms; ${text.slice(-300)}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  jump(): Promise<void> {
    return this.#emulator.kexec();
  }

  async stop(): Promise<void> {
    try {
      await this.#emulator.close();
    } finally {
      for (const folder of [this.#folder, this.#files]) rmSync(folder, { recursive: true, force: true });
    }
  }
}
