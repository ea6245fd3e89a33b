/**
 * The keeper: a small process that outlives luod. It holds named fds and the decision of the running attempt, starts and
 * reaps luod and all services, and starts luod again when it ends. It parses nothing of what it holds and is not replaced
 * while it holds state.
 *
 * Happy: start; luod is served over its channel; `shutdown`, luod ends, everything that is left is ended, files removed.
 * Unhappy: luod killed: its channel closes, entries stay, it is started again. The keeper killed: luod starts a new one with
 * `adoptFd` and fills it again; that one knows no decision until luod writes it.
 */
import { mkdirSync, openSync, closeSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LuoError } from '../base/errors.js';
import { noDecisions } from '../protocol/decision.js';
import { KEEPER_METHODS } from '../protocol/spec.js';
import { compileMethods } from '../protocol/validate.js';
import { OwnedFd, becomeSubreaper, getFileLimit, getPeerCredentials, setProcessName } from '../sys/index.js';
import { Peer, type Listener } from '../transport/index.js';
import { Children } from './children.js';
import { arrive, kernelDevice } from './liveupdate.js';
import type { LiveupdateDevice } from './liveupdate.js';
import { decideIn, handle, type KeeperParts } from './methods.js';
import { listenForDecide } from './public-socket.js';
import { Store, storeLimits } from './store.js';
import { Supervisor } from './supervisor.js';

export interface KeeperOptions {
  /** luo's folder; made if it is not there. */
  readonly dir: string;
  readonly luodArgv: readonly string[];
  /** Environment of luod. */
  readonly env: Readonly<Record<string, string>>;
  /** The channel to a living luod that started this keeper, owned by the keeper. */
  readonly adoptFd?: number;
  /** Take what the last kernel left, before luod is started. */
  readonly kexec?: boolean;
  /** By default the kernel's. */
  readonly device?: LiveupdateDevice;
}

/** A keeper that runs. */
export interface RunningKeeper {
  /** Ask luod to end (SIGTERM), and end with it; a second time, or after 15 s, by force. */
  terminate(): void;
  /** Settles when everything is ended and removed; with an error if luod could not be made to work. */
  readonly ended: Promise<LuoError | undefined>;
}

const forceMs = 15_000;
const killMs = 5_000;

/** Start a keeper in this process. @throws LuoError LUOD_RUNNING another keeper answers in `dir`; SysError */
export async function startKeeper(options: KeeperOptions): Promise<RunningKeeper> {
  setProcessName('luo-keeper');
  becomeSubreaper();
  mkdirSync(join(options.dir, 'logs'), { recursive: true, mode: 0o700 });
  const keeper = new Keeper(options);
  await keeper.start();
  return keeper;
}

class Keeper implements RunningKeeper {
  readonly ended: Promise<LuoError | undefined>;
  readonly #options: KeeperOptions;
  readonly #parts: KeeperParts;
  readonly #logFd: number;
  #resolveEnded: (error: LuoError | undefined) => void = () => {};
  #listener: Listener | undefined;
  #luod: Peer | undefined;
  #force: NodeJS.Timeout | undefined;
  #ending = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    this.#logFd = openSync(join(options.dir, 'logs', 'luod.log'), 'a', 0o600);
    const store = new Store(storeLimits(getFileLimit().soft));
    const children = new Children();
    const supervisor = new Supervisor({
      argv: options.luodArgv,
      env: options.env,
      cwd: process.cwd(),
      logFd: this.#logFd,
      children,
      onChannel: (takenFd) => this.#serve(takenFd),
      isNeeded: () => store.list().some((entry) => !entry.name.startsWith('luod/')),
      onEnd: (error) => void this.#end(error),
    });
    this.#parts = {
      store,
      children,
      supervisor,
      device: options.device ?? kernelDevice,
      onChildExit: (child) => this.#luod?.event('exit', child),
      decisions: noDecisions,
    };
  }

  async start(): Promise<void> {
    // The first question after a death must not wait for this.
    setImmediate(() => compileMethods(KEEPER_METHODS, 'params'));
    const { dir, adoptFd } = this.#options;
    try {
      this.#listener = await listenForDecide(join(dir, 'keeper.sock'), (params) => decideIn(this.#parts, params));
    } catch (error) {
      this.#parts.children.close();
      closeSync(this.#logFd);
      throw error;
    }
    writeFileSync(join(dir, 'keeper.pid.new'), `${process.pid}\n`);
    renameSync(join(dir, 'keeper.pid.new'), join(dir, 'keeper.pid'));
    if (adoptFd === undefined) {
      if (this.#options.kexec === true) await arrive(this.#parts.store, this.#parts.device, dir);
      return this.#parts.supervisor.start();
    }
    // A socketpair names the process that made it, which is the living luod.
    this.#parts.supervisor.adopt(getPeerCredentials(adoptFd).pid, new OwnedFd(adoptFd));
  }

  terminate(): void {
    if (this.#force !== undefined) return void this.#forceEnd();
    this.#force = setTimeout(() => this.#forceEnd(), forceMs);
    this.#parts.supervisor.stop('SIGTERM');
  }

  #serve(takenFd: OwnedFd): void {
    this.#luod?.close();
    const peer = new Peer(takenFd, {
      serves: KEEPER_METHODS,
      // luod is trusted and pipelines: what it may leave open is bounded by what it may send.
      requestsMax: 65_536,
      onRequest: (method, params, fds, reply) => {
        if (method === 'shutdown') this.#force ??= setTimeout(() => this.#forceEnd(), killMs);
        return handle(this.#parts, method, params, fds, reply);
      },
      onClose: () => {
        if (this.#luod === peer) this.#luod = undefined;
      },
    });
    this.#luod = peer;
  }

  #forceEnd(): void {
    this.#parts.supervisor.stop('SIGKILL');
  }

  /** luod is gone for good: end what is left of the children, let go of everything. */
  async #end(error: LuoError | undefined): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    clearTimeout(this.#force);
    const { store, children, supervisor } = this.#parts;
    this.#luod?.close();
    await children.killAll(killMs);
    supervisor.close();
    children.close();
    store.clear();
    this.#listener?.close();
    rmSync(join(this.#options.dir, 'keeper.sock'), { force: true });
    rmSync(join(this.#options.dir, 'keeper.pid'), { force: true });
    closeSync(this.#logFd);
    this.#resolveEnded(error);
  }
}
