/**
 * A virtual machine under test: QEMU with software emulation, a root image with this package, and a channel of messages to an
 * agent in it. The channel stays over a kexec: after the jump the agent of the next kernel says hello.
 *
 * Every wait has a deadline, and its error says what was waited for and what the console showed last. The console is only
 * looked at for a panic, which ends the machine at once, and is kept when something fails. QEMU ends with the process that
 * started it, whatever way that ends; what such a one left in the folder for temporary files goes at the next start.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { diskArguments, pciArguments, type Disk, type PciDevice } from './hardware.js';
import { inPath, layers, type Files } from './image.js';
import type { Kernel } from './kernels.js';
import { Lines } from './lines.js';
import type { Process, ProgramOptions, ProgramResult } from './programs.js';
import { root } from './root.js';

export interface VmOptions {
  readonly kernel: Kernel | string;
  /** Added to the command line. */
  readonly append?: string;
  /** Without it the kernel is booted as everywhere, without live update. Default true. */
  readonly liveupdate?: boolean;
  /** Files in the image besides the package: the kernels to jump into, above all; AUTOSTART, if PID 1 shall run one. */
  readonly files?: Files;
  readonly memoryMiB?: number;
  readonly cpus?: number;
  /** QEMU's name of the processor; `max` is everything that it can emulate, SVM among it. */
  readonly cpuModel?: string;
  /** Trees of PCI devices, beside those that every machine has. */
  readonly pci?: readonly PciDevice[];
  readonly disks?: readonly Disk[];
  /** The kernel says everything on the console. */
  readonly kernelDebug?: boolean;
  /** More arguments of QEMU. */
  readonly qemu?: readonly string[];
  /** Folder for luod, started in every kernel before the agent. */
  readonly luod?: string;
  readonly bootMs?: number;
}

export interface Hello {
  /** How many kernels there were before it. */
  readonly gap: number;
  /** The agent's own name: another one after each start of it. */
  readonly agent: string;
  readonly release: string;
  readonly bootId: string;
  readonly uptimeS: number;
  readonly cmdline: string;
  /** The host's clock when it came, ms. */
  readonly atMs: number;
}

export type ExecResult = ProgramResult;

/** What `luoctl status --json` says, as far as tests look at it. */
export interface LuodStatus {
  readonly state: string;
  readonly phase: string | null;
  readonly generation: number;
  readonly luod: { readonly pid: number; readonly restarts: number };
  readonly keeper: { readonly pid: number; readonly fds: number; readonly entries: number };
  readonly services: readonly {
    readonly name: string;
    readonly run: string;
    readonly pid: number | null;
    readonly argv: readonly string[];
  }[];
  readonly handles: readonly {
    readonly owner: string;
    readonly kind: string;
    readonly name: string;
    readonly claimed: boolean;
    readonly torn: boolean;
    readonly sizeBytes: number | null;
  }[];
  readonly stuck: readonly string[];
  readonly kexec: {
    readonly imageLoaded: boolean;
    readonly arrived: {
      readonly from: string;
      readonly attempt: number;
      readonly torn: boolean;
      readonly error?: { readonly code: string };
    } | null;
    readonly unclaimed: readonly {
      readonly handle: string;
      readonly owner: string;
      readonly policy: string;
      readonly sizeBytes: number | null;
      readonly ageMs: number;
      readonly error?: { readonly code: string };
    }[];
    readonly resets?: readonly {
      readonly handle: string;
      readonly method: string | null;
      readonly busMasterOff: boolean;
      readonly error?: { readonly code: string };
    }[];
  };
}

export interface ExecOptions extends ProgramOptions {
  readonly stdin?: string | Uint8Array;
  readonly timeoutMs?: number;
  /** Told of what it writes as it comes. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', text: string) => void;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onOutput: ExecOptions['onOutput'];
}

/** Software emulation on whatever machine this is, shared with whomever: what comes within these has not hung. */
const BOOT_MS = 300_000;
const EXEC_MS = 180_000;
const PANIC = /Kernel panic - not syncing: (.*)/;
const LAST_LINES = 60;
const LOGS_MAX = 20;
const PANIC_LOOK_MS = 500;
/** Deadlines for luoctl update and kexec: the product's own are for real processors. */
export const PATIENT = ['--prepare-max', '5m', '--blackout-max', '5m'] as const;
const FOLDER = /^luo-vm-(\d+)-/;

export class Vm {
  readonly #qemu: ChildProcess;
  readonly #folder: string;
  readonly #serial: string;
  #socket: Socket | undefined;
  readonly #lines = new Lines((line) => this.#received(line));
  #id = 0;
  #agent = '';
  readonly #waiting = new Map<number, Waiting>();
  readonly #hellos: Hello[] = [];
  #onHello: (() => void) | undefined;
  #ended: string | undefined;
  readonly #look: NodeJS.Timeout;
  readonly #kill = (): unknown => this.#qemu.kill('SIGKILL');
  readonly #exit: Promise<void>;

  private constructor(options: VmOptions) {
    sweep();
    this.#folder = mkdtempSync(join(tmpdir(), `luo-vm-${process.pid}-`));
    this.#serial = join(this.#folder, 'serial.log');
    const kernel = typeof options.kernel === 'string' ? options.kernel : options.kernel.path;
    const disks = [...layers(options.files ?? {}), ...(options.disks ?? [])];
    const append = [
      'console=ttyS0 panic=-1 root=/dev/vda rootfstype=erofs ro init=/init',
      // A busy host may be late with the timer interrupts that the kernel counts at its start, and it would panic. What
      // protects real processors from each other's secrets only costs time in an emulated one.
      'no_timer_check mitigations=off',
      options.kernelDebug === true ? 'ignore_loglevel' : 'quiet loglevel=4',
      ...(options.liveupdate === false ? [] : ['liveupdate=on']),
      ...(options.luod === undefined ? [] : [`bed.luod=${options.luod}`]),
      ...(options.append === undefined ? [] : [options.append]),
    ].join(' ');
    // Without it QEMU lives on when this process is killed.
    const leash = inPath('setpriv') ? ['setpriv', '--pdeathsig', 'KILL'] : [];
    const [program = '', ...args] = [...leash, 'qemu-system-x86_64'];
    this.#qemu = spawn(
      program,
      [
        ...args,
        ...[
          '-machine',
          'q35',
          '-cpu',
          options.cpuModel ?? 'max',
          '-accel',
          'tcg,thread=multi',
          '-nographic',
          '-nodefaults',
          '-no-reboot',
        ],
        ...['-m', `${options.memoryMiB ?? 1024}`, '-smp', `${options.cpus ?? 2}`],
        ...['-serial', `file:${this.#serial}`, '-kernel', kernel, '-append', append],
        // First, so that the first of them is /dev/vda.
        ...diskArguments(disks),
        ...[
          '-device',
          'virtio-serial-pci',
          '-chardev',
          `socket,path=${join(this.#folder, 'port')},server=on,wait=off,id=bed`,
        ],
        ...['-device', 'virtserialport,chardev=bed,name=luo.bed'],
        ...pciArguments(options.pci ?? []),
        ...(options.qemu ?? []),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let words = '';
    this.#qemu.stderr!.on('data', (chunk: Buffer) => (words += String(chunk)));
    this.#exit = new Promise((resolve) => {
      this.#qemu.on('error', (error) => this.#end(`QEMU cannot be started: ${error.message}`, resolve));
      this.#qemu.on('exit', (code, signal) => this.#end(`QEMU ended (${signal ?? code}) ${words.trim()}`, resolve));
    });
    this.#look = setInterval(() => this.panic === undefined || this.#qemu.kill('SIGKILL'), PANIC_LOOK_MS);
    process.once('exit', this.#kill);
  }

  /** Boot; resolves when the agent says hello. */
  static async start(options: VmOptions): Promise<Vm> {
    const vm = new Vm(options);
    try {
      await vm.#connect();
      await vm.#untilHello(1, options.bootMs ?? BOOT_MS, 'the first boot');
      return vm;
    } catch (error) {
      await vm.stop(true);
      throw error;
    }
  }

  /** Where its files are while it runs. */
  get folder(): string {
    return this.#folder;
  }

  /** What the agents said, one for each boot. */
  get hellos(): readonly Hello[] {
    return this.#hellos;
  }

  get hello(): Hello {
    return this.#hellos.at(-1)!;
  }

  /** Wait for the next kernel's agent. */
  async jumped(from: Hello, timeoutMs = BOOT_MS): Promise<Hello> {
    const index = this.#hellos.indexOf(from);
    await this.#untilHello(index + 2, timeoutMs, 'the jump');
    return this.hello;
  }

  /** Run a program to its end. */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const timeoutMs = options.timeoutMs ?? EXEC_MS;
    const stdin = options.stdin === undefined ? undefined : Buffer.from(options.stdin as Uint8Array).toString('base64');
    const { env, cwd, uid, onOutput } = options;
    const request = { argv, env, cwd, uid, stdin, timeoutMs, stream: onOutput !== undefined };
    return (await this.#ask('exec', request, timeoutMs + 5000, onOutput)) as ExecResult;
  }

  /** Run a program to its end; it must end with 0. @returns what it wrote */
  async must(argv: readonly string[], options: ExecOptions = {}): Promise<string> {
    const result = await this.exec(argv, options);
    if (result.code === 0) return result.stdout;
    throw new Error(
      `${argv.join(' ')} ended with ${result.signal ?? result.code}${result.late ? ' (late)' : ''}:\n${result.stdout}${result.stderr}`,
    );
  }

  async luoctl(args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return this.exec(['luoctl', '--dir', '/run/luo', ...args], options);
  }

  /** Start a program that goes on. @param output file for what it writes */
  async spawn(argv: readonly string[], output: string, options: ExecOptions = {}): Promise<number> {
    const { env, cwd, uid } = options;
    return ((await this.#ask('spawn', { argv, env, cwd, uid, output }, 60_000)) as { pid: number }).pid;
  }

  /** Call a function of a module of this package inside the machine, `test/vm/guest/x.js`. JSON goes in and out. */
  run<T>(module: string, name: string, args: readonly unknown[] = [], timeoutMs = EXEC_MS): Promise<T> {
    return this.#ask('run', { module, export: name, args }, timeoutMs) as Promise<T>;
  }

  read(path: string): Promise<string> {
    return this.#ask('read', { path }, 60_000) as Promise<string>;
  }

  async write(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    await this.#ask('write', { path, base64: Buffer.from(content as Uint8Array).toString('base64'), mode }, 60_000);
  }

  /** Every process of the machine, zombies too. */
  ps(): Promise<readonly Process[]> {
    return this.#ask('ps', {}, 60_000) as Promise<readonly Process[]>;
  }

  async kill(pid: number, signal: NodeJS.Signals): Promise<void> {
    await this.#ask('kill', { pid, signal }, 60_000);
  }

  /** What to add to this kernel's CLOCK_MONOTONIC, in ms, to get the host's, and by how much that may be wrong. */
  async clockOffset(): Promise<{ offsetMs: number; uncertaintyMs: number }> {
    let best = { offsetMs: 0, uncertaintyMs: Infinity };
    for (let round = 0; round < 8; round += 1) {
      const before = Number(process.hrtime.bigint()) / 1e6;
      const { monotonicNs } = (await this.#ask('clock', {}, 60_000)) as { monotonicNs: string };
      const after = Number(process.hrtime.bigint()) / 1e6;
      const uncertaintyMs = (after - before) / 2;
      const offsetMs = (before + after) / 2 - Number(BigInt(monotonicNs)) / 1e6;
      if (uncertaintyMs < best.uncertaintyMs) best = { offsetMs, uncertaintyMs };
    }
    return best;
  }

  /** Wait until `check` gives something. @throws Error with what it said last, when that takes too long */
  async until<T>(what: string, check: () => Promise<T | undefined>, timeoutMs = 300_000): Promise<T> {
    let last = '';
    for (const end = Date.now() + timeoutMs; ;) {
      try {
        const found = await check();
        if (found !== undefined) return found;
      } catch (error) {
        last = error instanceof Error ? error.message : String(error);
      }
      if (Date.now() > end)
        throw this.#error(`${what} did not come within ${timeoutMs} ms${last === '' ? '' : `: ${last}`}`);
      await sleep(200);
    }
  }

  /** luoctl with --json; it must end with 0. @returns its last line */
  async luoctlJson<T>(args: readonly string[], options: ExecOptions = {}): Promise<T> {
    const out = await this.must(['luoctl', '--dir', '/run/luo', '--json', ...args], options);
    return JSON.parse(out.trim().split('\n').at(-1)!) as T;
  }

  /** A request to luod from the machine's agent: no program is started for it. @throws Error with the code of luod's refusal */
  ask<T>(method: string, params: object = {}, timeoutMs = EXEC_MS): Promise<T> {
    return this.run<T>('test/vm/guest/luod.js', 'ask', ['/run/luo', method, params], timeoutMs);
  }

  status(): Promise<LuodStatus> {
    return this.ask<LuodStatus>('status');
  }

  /** Wait until luod answers with this state and nothing is under way. */
  untilState(state: string, timeoutMs = 300_000): Promise<LuodStatus> {
    return this.until(
      `the state ${state}`,
      async () => {
        const status = await this.status();
        return status.state === state && status.phase === null ? status : undefined;
      },
      timeoutMs,
    );
  }

  /**
   * `luoctl load` and `luoctl kexec`, with deadlines for an emulated machine unless `args` has others; wait for the next kernel.
   * @throws Error luoctl came back: with what it said
   */
  async kexec(
    kernel: string,
    options: { readonly load?: readonly string[]; readonly args?: readonly string[] } = {},
  ): Promise<Hello> {
    await this.must(['luoctl', '--dir', '/run/luo', 'load', kernel, ...(options.load ?? [])]);
    const from = this.hello;
    const jumped = this.jumped(from);
    const args = ['kexec', ...PATIENT, '--claim-max', '5m', ...(options.args ?? [])];
    const said = this.luoctl(args, { timeoutMs: 900_000 }).then(
      (result) =>
        result.code === 0
          ? new Promise<never>(() => undefined)
          : Promise.reject(new Error(`kexec ended with ${result.code}: ${result.stdout}${result.stderr}`)),
      // The agent is gone with its kernel.
      () => new Promise<never>(() => undefined),
    );
    jumped.catch(() => undefined);
    return Promise.race([jumped, said]);
  }

  /** What the kernel said when it panicked. */
  get panic(): string | undefined {
    return existsSync(this.#serial) ? PANIC.exec(readFileSync(this.#serial, 'latin1'))?.[1]?.trim() : undefined;
  }

  /** Switch it off, and wait for its end. */
  async powerOff(timeoutMs = 30_000): Promise<void> {
    await this.#ask('poweroff', {}, 10_000);
    await this.ended(timeoutMs);
  }

  /** Wait until it has ended by itself: switched off, or panicked. @returns the panic's words, if it was one */
  async ended(timeoutMs: number): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#error(`its end did not come within ${timeoutMs} ms`)), timeoutMs);
    });
    await Promise.race([this.#exit, late]).finally(() => clearTimeout(timer));
    return this.panic;
  }

  /** What the console showed last. */
  console(lines = LAST_LINES): string {
    if (!existsSync(this.#serial)) return '(nothing)';
    return readFileSync(this.#serial, 'utf8').split('\n').slice(-lines).join('\n');
  }

  /** End it. @param failed the console is kept, and where it is, is said */
  async stop(failed = false): Promise<void> {
    this.#kill();
    await this.#exit;
    process.off('exit', this.#kill);
    if (failed && existsSync(this.#serial)) {
      const kept = join(root, '.cache/vm-logs', `${basename(this.#folder)}.log`);
      mkdirSync(join(root, '.cache/vm-logs'), { recursive: true });
      forgetOldLogs();
      cpSync(this.#serial, kept);
      process.stderr.write(`the console of the virtual machine is in ${kept}\n`);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  // -------------------------------------------------------------------------------------------- inside

  #end(why: string, done: () => void): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    clearInterval(this.#look);
    this.#socket?.destroy();
    this.#forget(why);
    this.#onHello?.();
    done();
  }

  #error(message: string): Error {
    const { panic } = this;
    const head = panic === undefined ? message : `${message}: the kernel panicked: ${panic}`;
    return new Error(`${head}\nthe console's last lines:\n${this.console()}`);
  }

  async #connect(): Promise<void> {
    const path = join(this.#folder, 'port');
    for (const end = Date.now() + 10_000; ;) {
      try {
        this.#socket = await new Promise<Socket>((resolve, reject) => {
          const socket = createConnection(path, () => resolve(socket));
          socket.on('error', reject);
        });
        break;
      } catch (error) {
        if (this.#ended !== undefined || Date.now() > end) throw this.#error(this.#ended ?? String(error));
        await sleep(20);
      }
    }
    this.#socket.setEncoding('utf8');
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk) => this.#lines.push(String(chunk)));
  }

  #received(line: string): void {
    // A line that the kernel before left unfinished stands in front of the next hello.
    const at = line.lastIndexOf('{"hello"');
    this.#told(at > 0 ? line.slice(at) : line);
  }

  #told(line: string): void {
    let message: {
      hello?: Omit<Hello, 'atMs' | 'gap'>;
      ask?: number;
      agent?: string;
      progress?: number;
      from?: 'stdout' | 'stderr';
      said?: string;
      re?: number;
      result?: unknown;
      error?: string;
    };
    try {
      message = JSON.parse(line) as typeof message;
    } catch {
      return;
    }
    if (message.hello) {
      const again = this.#hellos.at(-1)?.bootId === message.hello.bootId;
      this.#forget(again ? 'the agent was started again' : 'the kernel was replaced');
      this.#agent = message.hello.agent;
      if (!again) this.#hellos.push({ ...message.hello, gap: this.#hellos.length, atMs: Date.now() });
      this.#onHello?.();
      return;
    }
    if (message.ask !== undefined) {
      const monotonicNs = String(process.hrtime.bigint());
      this.#send({ answer: message.ask, agent: message.agent, monotonicNs, realtimeMs: Date.now() });
      return;
    }
    if (message.progress !== undefined) {
      this.#waiting.get(message.progress)?.onOutput?.(message.from!, message.said!);
      return;
    }
    const waiting = this.#waiting.get(message.re ?? 0);
    this.#waiting.delete(message.re ?? 0);
    if (message.error !== undefined) waiting?.reject(new Error(`in the machine: ${message.error}`));
    else waiting?.resolve(message.result);
  }

  async #untilHello(count: number, timeoutMs: number, what: string): Promise<void> {
    for (const end = Date.now() + timeoutMs; this.#hellos.length < count;) {
      if (this.#ended !== undefined) throw this.#error(`${what}: ${this.#ended}`);
      if (Date.now() > end) throw this.#error(`${what} did not come within ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 250);
        this.#onHello = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  #ask(op: string, params: object, timeoutMs: number, onOutput?: ExecOptions['onOutput']): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#error(this.#ended));
    const id = (this.#id += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(this.#error(`'${op}' was not answered within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, {
        onOutput,
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#send({ id, agent: this.#agent, op, ...params });
    });
  }

  #send(message: object): void {
    this.#socket!.write(`${JSON.stringify(message)}\n`);
  }

  /** Nobody answers what is open. */
  #forget(why: string): void {
    if (this.#waiting.size === 0) return;
    const error = this.#error(why);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** Room for one more console. */
function forgetOldLogs(): void {
  const folder = join(root, '.cache/vm-logs');
  const logs = readdirSync(folder)
    .map((name) => ({ path: join(folder, name), ms: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => b.ms - a.ms);
  for (const { path } of logs.slice(LOGS_MAX - 1)) rmSync(path, { force: true });
}

/** Remove the folders of processes that were killed before they could. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = FOLDER.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
