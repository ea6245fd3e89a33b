/** A keeper as a process with a puppet as its luod: the test holds the puppet's channel and speaks for it. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KeeperChild } from '../../src/protocol/spec.js';
import { kill, processExists, type OwnedFd } from '../../src/sys/index.js';
import { KeeperClient, Listener, Peer } from '../../src/transport/index.js';
import { until } from '../sys/support.js';

const puppetPath = fileURLToPath(new URL('./puppet.js', import.meta.url));
export const keeperWithDevicePath = fileURLToPath(new URL('./keeper-with-device.js', import.meta.url));
export const keeperPath = fileURLToPath(new URL('../../src/bin/keeper.js', import.meta.url));

/** One luod that reported: its process and its channel. */
export interface Luod {
  readonly pid: number;
  readonly label: string;
  readonly client: KeeperClient;
  readonly exits: KeeperChild[];
}

export interface StartOptions {
  readonly env?: Record<string, string>;
  readonly nofile?: number;
  /** By default the published one. */
  readonly program?: string;
  readonly args?: readonly string[];
}

/** One keeper in a folder of its own. */
export class Harness {
  readonly folder = mkdtempSync(join(tmpdir(), 'luo-keeper-'));
  readonly dir = join(this.folder, 'dir');
  readonly luods: Luod[] = [];
  keeper: ChildProcess | undefined;
  exit: { code: number | null; signal: string | null } | undefined;
  stderr = '';
  #listener: Listener | undefined;
  readonly #peers: Peer[] = [];
  #taken = 0;

  /** Wait for puppets, without a keeper. */
  async listen(): Promise<void> {
    this.#listener = await Listener.listen(join(this.folder, 'test.sock'), 0o600, {
      onConnection: (fd, _credentials, release) => {
        const peer: Peer = new Peer(fd, { onClose: release, onEvent: (_name, data, fds) => this.#luod(data, fds) });
        this.#peers.push(peer);
      },
    });
  }

  /** Start the keeper with a puppet of that label. */
  async start(label = 'luod', options: StartOptions = {}): Promise<void> {
    await this.listen();
    const { program = keeperPath, args = [] } = options;
    const argv = [process.execPath, program, '--dir', this.dir, ...args, '--', ...this.argv(label)];
    const shell = options.nofile === undefined ? 'exec "$@"' : `ulimit -n ${options.nofile}; exec "$@"`;
    this.keeper = spawn('/bin/sh', ['-c', shell, 'sh', ...argv], {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.keeper.stdout!.on('data', (data) => assert.fail(`the keeper printed '${String(data)}'`));
    this.keeper.stderr!.on('data', (data) => (this.stderr += String(data)));
    this.keeper.once('exit', (code, signal) => (this.exit = { code, signal }));
  }

  /** Command of a puppet. */
  argv(label: string): string[] {
    return [process.execPath, puppetPath, join(this.folder, 'test.sock'), label];
  }

  /** The next luod that reports. */
  async next(): Promise<Luod> {
    const index = this.#taken++;
    await until(() => this.luods.length > index, `luod number ${index}; ${this.stderr}`);
    return this.luods[index]!;
  }

  /** Kill a luod as nobody can prepare for. */
  killLuod(luod: Luod): void {
    kill(luod.pid, 'SIGKILL');
  }

  async ended(): Promise<{ code: number | null; signal: string | null }> {
    await until(() => this.exit !== undefined, 'the keeper to end');
    return this.exit!;
  }

  /** Whatever still runs with this folder in its command line or environment. */
  leftovers(): number[] {
    return readdirSync('/proc').flatMap((name) => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
      try {
        const text = readFileSync(`/proc/${name}/cmdline`, 'utf8') + readFileSync(`/proc/${name}/environ`, 'utf8');
        return text.includes(this.folder) ? [Number(name)] : [];
      } catch {
        return [];
      }
    });
  }

  /** End everything and remove the folder. */
  async stop(): Promise<void> {
    for (const luod of this.luods) luod.client.close();
    for (const peer of this.#peers) peer.close();
    this.#listener?.close();
    await until(() => {
      for (const pid of this.leftovers()) if (processExists(pid)) killQuietly(pid);
      return this.leftovers().length === 0;
    }, 'every process to end');
    await Promise.all([...this.luods.map((luod) => luod.client.closed), ...this.#peers.map((peer) => peer.closed)]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #luod(data: unknown, fds: OwnedFd[]): void {
    const { pid, label } = data as { pid: number; label: string };
    const exits: KeeperChild[] = [];
    this.luods.push({ pid, label, exits, client: new KeeperClient(fds[0]!, { onExit: (child) => exits.push(child) }) });
  }
}

/** Run `use` with a started keeper and its first luod. */
export async function withKeeper(
  use: (harness: Harness, luod: Luod) => Promise<void>,
  options: StartOptions & { label?: string } = {},
): Promise<void> {
  const harness = new Harness();
  try {
    await harness.start(options.label ?? 'luod', options);
    await use(harness, await harness.next());
  } finally {
    await harness.stop();
  }
}

function killQuietly(pid: number): void {
  try {
    kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
