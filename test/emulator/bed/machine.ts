/**
 * A machine for luod that is emulated: programs under `startEmulator` in strict mode, a folder that is its /run, empty at each
 * boot, and an init that starts luod there. Its kernel is replaced by a simulated kexec.
 *
 * Happy path: `start`, `run` functions of this package inside, `kexec`, look, `close`.
 * Unhappy: what fails inside is the error of the call, with what luod had said; `close` ends every process and removes the folder.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultPoint } from '../../../src/base/fault-points.js';
import { startEmulator, type TestEmulator, type TestProgram } from '../../../src/testing/emulator.js';
import type { LuodStatus } from '../../vm/bed/vm.js';
import { root } from '../../vm/bed/root.js';
import { ask } from '../../vm/guest/luod.js';
import { imageBytes } from './image.js';

/** Enough for any machine. */
const LIMIT_MS = 180_000;
const LOOK_MS = 50;
/** Of luod's log, in an error. */
const SAID_LINES = 20;
/** Checks of the machine that this one cannot pass: the emulator asks for no right, and tests run in containers. */
export const FORCED: readonly string[] = ['reboot-right', 'pid-namespace'];

export interface MachineOptions {
  /** Start luod at each boot. */
  readonly luod: boolean;
}

export type Arms = Readonly<Partial<Record<FaultPoint, string>>>;

export class EmulatedMachine {
  readonly emulator: TestEmulator;
  /** Stays over the jumps, as a disk does. */
  readonly folder = mkdtempSync(join(tmpdir(), 'luo-machine-'));
  readonly runFolder = join(this.folder, 'run');
  readonly luodFolder = join(this.runFolder, 'luo');
  readonly image = join(this.folder, 'image');
  readonly #options: MachineOptions;
  readonly #env: NodeJS.ProcessEnv;
  #luod: TestProgram | undefined;

  private constructor(emulator: TestEmulator, options: MachineOptions) {
    this.emulator = emulator;
    this.#options = options;
    const { PATH = '/usr/bin:/bin' } = process.env;
    this.#env = {
      PATH: `${join(root, 'bin')}:${dirname(process.execPath)}:${PATH}`,
      HOME: this.folder,
      TMPDIR: this.runFolder,
      LUO_FAULT_DIR: join(this.runFolder, 'faults'),
    };
    writeFileSync(this.image, imageBytes());
  }

  /** @throws LuoError EMULATOR_UNABLE; Error luod did not answer */
  static async start(options: MachineOptions): Promise<EmulatedMachine> {
    const machine = new EmulatedMachine(await startEmulator({ strict: true }), options);
    try {
      await machine.#boot({});
      return machine;
    } catch (error) {
      await machine.close();
      throw error;
    }
  }

  /** Number of the kernel that runs: 0 is the first. */
  get gap(): number {
    return this.emulator.inspect().generation;
  }

  bootId(): Promise<string> {
    return this.run<string>('test/emulator/bed/looks.js', 'bootId', []);
  }

  /** Call an exported function inside, JSON in and out; its process stays. @throws Error it failed */
  async run<T>(module: string, name: string, args: readonly unknown[]): Promise<T> {
    const program = await this.emulator.start(
      [process.execPath, join(root, 'dist/test/emulator/bed/inside.js'), module, name, JSON.stringify(args)],
      { env: this.#env, cwd: this.folder },
    );
    await this.until(`the answer of ${module} ${name}`, () => program.out.includes('\n') || undefined, [program]);
    const { result, error } = JSON.parse(program.out) as { result: T; error?: string };
    if (error !== undefined) throw new Error(this.#with(error));
    return result;
  }

  /** luoctl inside, to its end. */
  luoctl(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
    return this.emulator.run([join(root, 'bin/luoctl'), '--dir', this.luodFolder, ...args], {
      env: this.#env,
      cwd: this.folder,
    });
  }

  status(): Promise<LuodStatus> {
    return ask(this.luodFolder, 'status', {}) as Promise<unknown> as Promise<LuodStatus>;
  }

  /** Start a luod, as an init does. */
  async startLuod(): Promise<void> {
    const argv = [join(root, 'bin/luod'), '--dir', this.luodFolder, '--kexec', '--log-level', 'debug'];
    this.#luod = await this.emulator.start(argv, { env: this.#env, cwd: this.folder });
  }

  /** Let one process that passes `point` in this kernel do `action`. */
  arm(arms: Arms): void {
    const folder = join(this.runFolder, 'faults');
    mkdirSync(folder, { recursive: true });
    for (const [point, action] of Object.entries(arms)) writeFileSync(join(folder, point), action);
  }

  /** Fault points that were passed in this kernel, with the pid of who did. */
  hits(): { readonly point: string; readonly pid: number }[] {
    const text = readQuietly(join(this.runFolder, 'faults/hits'));
    return text.split('\n').flatMap((line) => {
      const [point = '', pid] = line.split(' ');
      return point === '' ? [] : [{ point, pid: Number(pid) }];
    });
  }

  /** luoctl load. @throws Error it failed: with what it said */
  async load(): Promise<void> {
    const { code, err } = await this.luoctl(['load', this.image, '--cmdline', 'root=/dev/vda liveupdate=on kho=on']);
    if (code !== 0) throw new Error(this.#with(`luoctl load: ${err}`));
  }

  /**
   * luoctl load and luoctl kexec, and the next kernel's boot.
   * @param arms of the next kernel
   * @returns names of the fault points that were passed in the kernel that was left
   * @throws Error luoctl came back: with what it said
   */
  async kexec(arms: Arms = {}): Promise<string[]> {
    const next = this.gap + 1;
    await this.load();
    const force = FORCED.flatMap((check) => ['--force', check]);
    const back = this.luoctl(['kexec', '--direct', '--blackout-max', '60000', ...force]).then(({ code, out, err }) => {
      // Whoever leaves a kernel is ended with it.
      if (code !== null) throw new Error(this.#with(`luoctl kexec came back with ${code}: ${out}${err}`));
    });
    return this.#jumped(next, back, arms);
  }

  /** A kexec that comes back, or that is asked of a luod which is killed. @throws Error there was a jump */
  async kexecInVain(): Promise<void> {
    const { gap } = this;
    await this.load();
    // Whoever asks is connected to the one that is killed.
    await this.#askForKexec().catch(() => 'aborted');
    if (this.gap !== gap) throw new Error(this.#with('there was a jump'));
  }

  /**
   * A kexec that may come back; in the next kernel nothing is armed.
   * @returns whether there was a jump, and names of the fault points that were passed before
   */
  async kexecOrBack(): Promise<{ jumped: boolean; passed: string[] }> {
    const booted = this.emulator.booted(this.gap + 1).then(() => true);
    await this.load();
    const never = new Promise<never>(() => undefined);
    const jumped = await Promise.race([
      booted,
      this.#askForKexec().then(
        () => false,
        () => never,
      ),
    ]);
    const passed = this.hits().map(({ point }) => point);
    if (jumped) await this.#boot({});
    return { jumped, passed };
  }

  /** Leave by what `leave` does: it resolves when nothing else is to be done for it. */
  async leaveBy(leave: () => Promise<unknown>): Promise<void> {
    await this.#jumped(this.gap + 1, leave(), {});
  }

  /** @throws Error with `what`, when that takes too long, a program of `needed` ends, or `check` throws at the end still */
  async until<T>(
    what: string,
    check: () => Promise<T | undefined> | T | undefined,
    needed: readonly TestProgram[] = [],
  ): Promise<T> {
    let ended = '';
    for (const program of needed) {
      void program.ended.then(({ code, signal, err }) => (ended = `a program ended with ${signal ?? code}: ${err}`));
    }
    for (const end = performance.now() + LIMIT_MS; ;) {
      let last: unknown = 'nothing yet';
      const isLast = ended !== '';
      try {
        const found = await check();
        if (found !== undefined) return found;
      } catch (error) {
        last = error;
      }
      if (isLast || performance.now() > end)
        throw new Error(this.#with(`${what} did not come: ${ended} ${String(last)}`));
      await sleep(LOOK_MS);
    }
  }

  async close(): Promise<void> {
    await this.emulator.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #jumped(generation: number, leaving: Promise<unknown>, arms: Arms): Promise<string[]> {
    const never = new Promise<never>(() => undefined);
    await Promise.race([this.emulator.booted(generation), leaving.then(() => never)]);
    leaving.catch(() => undefined);
    const passed = this.hits().map(({ point }) => point);
    await this.#boot(arms);
    return passed;
  }

  async #askForKexec(): Promise<void> {
    await ask(this.luodFolder, 'kexec', { direct: true, limits: { blackoutMs: 60_000 }, force: [...FORCED] });
  }

  async #boot(arms: Arms): Promise<void> {
    rmSync(this.runFolder, { recursive: true, force: true });
    mkdirSync(this.runFolder, { mode: 0o700 });
    this.arm(arms);
    if (!this.#options.luod) return;
    await this.startLuod();
  }

  #with(text: string): string {
    const log = readQuietly(join(this.luodFolder, 'logs/luod.log'));
    const said = `${this.#luod?.out ?? ''}${this.#luod?.err ?? ''}${log}`.trim().split('\n');
    return `${text}\nluod had said at last:\n${said.slice(-SAID_LINES).join('\n')}`;
  }
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
