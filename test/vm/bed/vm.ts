/**
 * A virtual machine under test: QEMU with software emulation, a root image with this package, and a channel of messages to an
 * agent in it. The channel stays over a kexec: after the jump the agent of the next kernel says hello.
 *
 * Every wait has a deadline, and its error says what was waited for and what the console showed last. The console is only
 * looked at for a panic, and kept when something fails.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { rootImage } from './image.js';
import type { Kernel } from './kernels.js';
import { root } from './root.js';

export interface VmOptions {
  readonly kernel: Kernel | string;
  /** Added to the command line. */
  readonly append?: string;
  /** Without it the kernel is booted as everywhere, without live update. Default true. */
  readonly liveupdate?: boolean;
  /** Files in the image besides the package, path in the image to path here; the kernels to jump into, above all. */
  readonly files?: Readonly<Record<string, string>>;
  readonly memoryMiB?: number;
  readonly cpus?: number;
  /** More arguments of QEMU: devices. */
  readonly qemu?: readonly string[];
  /** Folder for luod, started in every kernel before the agent. */
  readonly luod?: string;
  readonly bootMs?: number;
}

export interface Hello {
  readonly release: string;
  readonly bootId: string;
  readonly uptimeS: number;
  readonly cmdline: string;
  /** The host's clock when it came, ms. */
  readonly atMs: number;
}

export interface ExecResult {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly late: boolean;
}

export interface ExecOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string | Uint8Array;
  readonly timeoutMs?: number;
  readonly uid?: number;
}

const BOOT_MS = 120_000;
const EXEC_MS = 60_000;
const PANIC = /Kernel panic - not syncing: (.*)/;
const LAST_LINES = 40;

export class Vm {
  readonly #qemu: ChildProcess;
  readonly #folder: string;
  readonly #serial: string;
  #socket: Socket | undefined;
  #rest = '';
  #id = 0;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #hellos: Hello[] = [];
  #onHello: (() => void) | undefined;
  #ended: string | undefined;
  readonly #exit: Promise<void>;

  private constructor(options: VmOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), 'luo-vm-'));
    this.#serial = join(this.#folder, 'serial.log');
    const kernel = typeof options.kernel === 'string' ? options.kernel : options.kernel.path;
    const image = rootImage(options.files ?? {});
    const append = [
      'console=ttyS0 panic=-1 root=/dev/vda rootfstype=erofs ro init=/init quiet loglevel=4',
      ...(options.liveupdate === false ? [] : ['liveupdate=on']),
      ...(options.luod === undefined ? [] : [`bed.luod=${options.luod}`]),
      ...(options.append === undefined ? [] : [options.append]),
    ].join(' ');
    this.#qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-machine', 'q35', '-cpu', 'max', '-accel', 'tcg,thread=multi', '-nographic', '-nodefaults', '-no-reboot'],
        ...['-m', `${options.memoryMiB ?? 1024}`, '-smp', `${options.cpus ?? 2}`],
        ...['-serial', `file:${this.#serial}`, '-kernel', kernel, '-append', append],
        ...['-drive', `file=${image},format=raw,if=virtio,readonly=on`],
        ...[
          '-device',
          'virtio-serial-pci',
          '-chardev',
          `socket,path=${join(this.#folder, 'port')},server=on,wait=off,id=bed`,
        ],
        ...['-device', 'virtserialport,chardev=bed,name=luo.bed'],
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
    const { env, cwd, uid } = options;
    return (await this.#ask('exec', { argv, env, cwd, uid, stdin, timeoutMs }, timeoutMs + 5000)) as ExecResult;
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
    return ((await this.#ask('spawn', { argv, env, cwd, uid, output }, 10_000)) as { pid: number }).pid;
  }

  /** Call a function of a module of this package inside the machine, `test/vm/guest/x.js`. JSON goes in and out. */
  run<T>(module: string, name: string, args: readonly unknown[] = [], timeoutMs = EXEC_MS): Promise<T> {
    return this.#ask('run', { module, export: name, args }, timeoutMs) as Promise<T>;
  }

  read(path: string): Promise<string> {
    return this.#ask('read', { path }, 10_000) as Promise<string>;
  }

  async write(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    await this.#ask('write', { path, base64: Buffer.from(content as Uint8Array).toString('base64'), mode }, 10_000);
  }

  async kill(pid: number, signal: NodeJS.Signals): Promise<void> {
    await this.#ask('kill', { pid, signal }, 10_000);
  }

  /** The guest's real-time clock less the host's, ms, and by how much that may be wrong. */
  async clockOffset(): Promise<{ offsetMs: number; uncertaintyMs: number }> {
    let best = { offsetMs: 0, uncertaintyMs: Infinity };
    for (let round = 0; round < 5; round += 1) {
      const before = Date.now();
      const { realtimeMs } = (await this.#ask('clock', {}, 10_000)) as { realtimeMs: number };
      const after = Date.now();
      const uncertaintyMs = (after - before) / 2 + 1;
      if (uncertaintyMs < best.uncertaintyMs) best = { offsetMs: realtimeMs - (before + after) / 2, uncertaintyMs };
    }
    return best;
  }

  /** What the console showed last. */
  console(lines = LAST_LINES): string {
    if (!existsSync(this.#serial)) return '(nothing)';
    return readFileSync(this.#serial, 'utf8').split('\n').slice(-lines).join('\n');
  }

  /** End it. @param failed the console is kept, and where it is, is said */
  async stop(failed = false): Promise<void> {
    this.#qemu.kill('SIGKILL');
    await this.#exit;
    this.#socket?.destroy();
    if (failed && existsSync(this.#serial)) {
      const kept = join(root, '.cache/vm-logs', `${basename(this.#folder)}.log`);
      mkdirSync(join(root, '.cache/vm-logs'), { recursive: true });
      cpSync(this.#serial, kept);
      process.stderr.write(`the console of the virtual machine is in ${kept}\n`);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  // -------------------------------------------------------------------------------------------- inside

  #end(why: string, done: () => void): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    for (const { reject } of this.#waiting.values()) reject(this.#error(why));
    this.#waiting.clear();
    this.#onHello?.();
    done();
  }

  #error(message: string): Error {
    const panic = PANIC.exec(this.console(400));
    const head = panic ? `${message}: the kernel panicked: ${panic[1]}` : message;
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
    this.#socket.on('data', (chunk) => this.#received(String(chunk)));
  }

  #received(chunk: string): void {
    this.#rest += chunk;
    for (let end = this.#rest.indexOf('\n'); end >= 0; end = this.#rest.indexOf('\n')) {
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + 1);
      // A line that the kernel before left unfinished stands in front of the next hello.
      const at = line.lastIndexOf('{"hello"');
      this.#told(at > 0 ? line.slice(at) : line);
    }
  }

  #told(line: string): void {
    let message: { hello?: Omit<Hello, 'atMs'>; re?: number; result?: unknown; error?: string };
    try {
      message = JSON.parse(line) as typeof message;
    } catch {
      return;
    }
    if (message.hello) {
      const again = this.#hellos.at(-1)?.bootId === message.hello.bootId;
      const gone = this.#error(again ? 'the agent was started again' : 'the kernel was replaced');
      for (const { reject } of this.#waiting.values()) reject(gone);
      this.#waiting.clear();
      if (!again) this.#hellos.push({ ...message.hello, atMs: Date.now() });
      this.#onHello?.();
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
      if (PANIC.test(this.console(400))) throw this.#error(what);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 250);
        this.#onHello = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  #ask(op: string, params: object, timeoutMs: number): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#error(this.#ended));
    const id = (this.#id += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(this.#error(`'${op}' was not answered within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#socket!.write(`${JSON.stringify({ id, op, ...params })}\n`);
    });
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
