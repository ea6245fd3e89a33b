/**
 * The machine of bench:kexec and the two ways over a kexec in it: by luo, with a service, and by the bare C program. Each jump leads
 * from the same kernel into itself, and each way begins from whatever the one before it left.
 *
 * Times before and after a jump are read from each kernel's own CLOCK_MONOTONIC, and joined by the host's clock, which goes on
 * (`clockOffset`). A jump that fails takes its machine along; the next one boots another.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AUTOSTART } from '../../test/vm/bed/init.js';
import { kernels } from '../../test/vm/bed/kernels.js';
import { root } from '../../test/vm/bed/root.js';
import { Vm } from '../../test/vm/bed/vm.js';
import type { ServiceReport } from './kexec-service.js';

const TARGET = '/boot/to';
const RAW = '/opt/kexec-raw';
const LUOD = '/run/luo';
const RAW_WORD = 'bed.raw';
const WAIT_MS = 300_000;
/** A second of CLOCK_MONOTONIC in the ticks of /proc/PID/stat. */
const TICKS = 100;

/** Parts of one jump, ms. */
export interface JumpTimes {
  /** From the freeze to reboot(2); of the C program: from its first call to reboot(2). */
  readonly before: number;
  /** From the program's start (luod's keeper, the C program) to the last memfd that its owner has back. */
  readonly after: number;
  /** Both and the kernel between them, by the host's clock. */
  readonly gap: number;
  /** What `before` and `after` are made of, in order; none of the C program. */
  readonly parts: Readonly<Record<string, number>>;
}

interface TimelineEvent {
  readonly ns: number;
  readonly what: string;
  readonly participant?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

interface RawTimes {
  readonly wrong: number;
  readonly count: number;
  readonly beganNs: number;
  readonly rebootNs: number;
  readonly againNs: number;
  readonly retrievedNs: number;
  readonly finishedNs: number;
}

export class KexecBed {
  readonly #sizes: readonly number[];
  readonly #folder = mkdtempSync(join(tmpdir(), 'luo-bench-kexec-'));
  readonly #raw = join(this.#folder, 'kexec-raw');
  #vm: Vm | undefined;
  #hasLuod = false;
  #hasService = false;

  /** @param sizes of the memfds, bytes. @throws Error there is no C compiler */
  constructor(sizes: readonly number[]) {
    this.#sizes = sizes;
    try {
      execFileSync('gcc', ['-O2', '-static', '-o', this.#raw, join(root, 'bench/lib/kexec-raw.c')], { stdio: 'pipe' });
    } catch (error) {
      rmSync(this.#folder, { recursive: true });
      throw new Error(`the C program cannot be compiled (Debian: gcc libc6-dev): ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async stop(isFailed = false): Promise<void> {
    await this.#forget(isFailed);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** One kexec by luo, with a service that has the memory. @throws Error what did not come, or came back wrong */
  byLuo(): Promise<JumpTimes> {
    return this.#orForget(async (vm) => {
      await this.#startLuod(vm);
      if (!this.#hasService) {
        const program = ['node', join('/luo/dist', 'bench/lib/kexec-service.js'), ...this.#sizes.map(String)];
        await must(vm, ['run', '--name', 'bench', '--', ...program]);
        await vm.until('the service', () => this.#report(vm), WAIT_MS);
        this.#hasService = true;
      }
      await must(vm, ['load', TARGET, '--cmdline', `${commandLine(vm)} bed.luod=${LUOD}`]);
      const from = vm.hello;
      const clockBefore = await vm.clockOffset();
      const jumped = vm.jumped(from, WAIT_MS);
      // Its answer does not come: the agent goes with its kernel. If it does, luoctl was refused.
      const back = vm.luoctl(['kexec'], { timeoutMs: WAIT_MS }).then(
        ({ code, stdout, stderr }) => Promise.reject(new Error(`luoctl kexec came back (${code}): ${stdout}${stderr}`)),
        () => jumped,
      );
      jumped.catch(() => undefined);
      await Promise.race([jumped, back]);
      const report = await vm.until('the service after the jump', () => this.#report(vm), WAIT_MS);
      if (report.created > 0 || report.wrong > 0 || report.regions !== this.#sizes.length)
        throw new Error(`the memory did not come over as it was: ${JSON.stringify(report)}`);
      const { keeper } = await vm.untilState('normal', WAIT_MS);
      const { events } = await vm.luoctlJson<{ events: TimelineEvent[] }>(['timeline', '--format', 'json']);
      const startedMs = (Number((await statOf(vm, keeper.pid))[19]) / TICKS) * 1000;
      return luoTimes(events, startedMs, clockBefore.offsetMs, (await vm.clockOffset()).offsetMs);
    });
  }

  /** The same by the C program, with luod ended. @throws Error what did not come, or came back wrong */
  byRaw(): Promise<JumpTimes> {
    return this.#orForget(async (vm) => {
      await this.#startLuod(vm);
      await must(vm, ['load', TARGET, '--cmdline', `${commandLine(vm)} ${RAW_WORD}`]);
      await must(vm, ['shutdown']);
      await vm.until('the end of luod', async () => {
        const running = (await vm.ps()).some(({ argv }) => argv.some((word) => word.endsWith('/luod.js')));
        return running ? undefined : true;
      });
      this.#hasLuod = this.#hasService = false;
      const from = vm.hello;
      const clockBefore = await vm.clockOffset();
      const jumped = vm.jumped(from, WAIT_MS);
      const back = vm.exec([RAW, 'preserve', ...this.#sizes.map(String)], { timeoutMs: WAIT_MS }).then(
        ({ code, stderr }) => Promise.reject(new Error(`the C program came back (${code}): ${stderr}`)),
        () => jumped,
      );
      jumped.catch(() => undefined);
      await Promise.race([jumped, back]);
      const said = await vm.read('/run/autostart.out');
      if (!said.startsWith('{')) throw new Error(`the C program after the jump: ${said}`);
      const times = JSON.parse(said) as RawTimes;
      if (times.wrong > 0 || times.count !== this.#sizes.length)
        throw new Error(`the memory did not come over as it was: ${said}`);
      const clockAfter = await vm.clockOffset();
      return {
        before: (times.rebootNs - times.beganNs) / 1e6,
        after: (times.retrievedNs - times.againNs) / 1e6,
        gap: times.retrievedNs / 1e6 + clockAfter.offsetMs - (times.beganNs / 1e6 + clockBefore.offsetMs),
        parts: {},
      };
    });
  }

  // -------------------------------------------------------------------------------------------- inside

  async #orForget<T>(work: (vm: Vm) => Promise<T>): Promise<T> {
    try {
      this.#vm ??= await this.#boot();
      return await work(this.#vm);
    } catch (error) {
      await this.#forget(true);
      throw error;
    }
  }

  async #boot(): Promise<Vm> {
    const kernel = kernels().to;
    return Vm.start({
      kernel,
      files: {
        [TARGET]: kernel.path,
        [RAW]: this.#raw,
        [AUTOSTART]: { text: `#!/bin/sh\ngrep -q ${RAW_WORD} /proc/cmdline && exec ${RAW} restore\n`, mode: 0o755 },
      },
      bootMs: WAIT_MS,
    });
  }

  async #forget(isFailed: boolean): Promise<void> {
    await this.#vm?.stop(isFailed);
    this.#vm = undefined;
    this.#hasLuod = this.#hasService = false;
  }

  async #startLuod(vm: Vm): Promise<void> {
    if (!this.#hasLuod) await vm.spawn(['luod', '--dir', LUOD, '--kexec', '--log-level', 'debug'], '/run/luod.out');
    this.#hasLuod = true;
    await vm.untilState('normal', WAIT_MS);
  }

  async #report(vm: Vm): Promise<ServiceReport> {
    return JSON.parse(await vm.read('/run/bench.json')) as ServiceReport;
  }
}

/** Without the words by which each way tells the next kernel what to start. */
function commandLine(vm: Vm): string {
  const words = vm.hello.cmdline.split(' ').filter((word) => word !== RAW_WORD && !word.startsWith('bed.luod='));
  return words.join(' ');
}

function must(vm: Vm, args: readonly string[]): Promise<string> {
  return vm.must(['luoctl', '--dir', LUOD, ...args], { timeoutMs: WAIT_MS });
}

/** Fields of /proc/PID/stat after the name: number 19 is when it was started. */
async function statOf(vm: Vm, pid: number): Promise<string[]> {
  const text = await vm.read(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Of the service: luod, a member of its own plan, is left out. */
function luoTimes(
  events: readonly TimelineEvent[],
  startedMs: number,
  offsetBefore: number,
  offsetAfter: number,
): JumpTimes {
  const found = (what: string): TimelineEvent => {
    const event = events.filter((one) => one.what === what && one.participant !== 'luod').at(-1);
    if (event === undefined)
      throw new Error(`the timeline has no '${what}': ${events.map((one) => one.what).join(' ')}`);
    return event;
  };
  const { offsetNs } = found('arrived').detail as { offsetNs: number };
  const old = (what: string): number => found(what).ns / 1e6;
  // Events of this kernel stand on the axis of the last one.
  const here = (what: string): number => (found(what).ns - offsetNs) / 1e6;
  const freeze = old('freeze.sent');
  const claimed = here('go.acked');
  return {
    before: old('jump') - freeze,
    after: claimed - startedMs,
    gap: claimed + offsetAfter - (freeze + offsetBefore),
    parts: {
      'freeze: the service stops and answers': old('freeze.acked') - freeze,
      'luod decides with the keeper, writes the manifest, calls reboot(2)': old('jump') - old('freeze.acked'),
      'keeper and luod start, all sessions are retrieved': here('arrived') - startedMs,
      'luod makes its journal, starts the service': here('restart.started') - here('arrived'),
      'the service starts, claims, and serves': claimed - here('restart.started'),
    },
  };
}
