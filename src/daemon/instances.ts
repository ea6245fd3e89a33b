/**
 * The processes of all services: started by the keeper, which also reaps them, known by id and by secret, written down, and
 * taken over from an earlier luod. Which of them is a service's current one, and what follows an end, is services.ts's.
 *
 * Happy path: spawn -> attached -> spoke -> ready -> ended. Unhappy: one that ended while there was no luod is told to the caller
 * of `adopt`; one that no journal knows is killed, since nobody has its secret.
 */
import { randomBytes } from 'node:crypto';
import { LuoError } from '../base/errors.js';
import type { Role } from '../base/words.js';
import type { JournalRecord } from '../protocol/journal.js';
import { closeAll, pidfdSendSignal } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Custody } from './custody.js';
import { Instance } from './instance.js';
import { openAppend } from './log-file.js';
import type { Logger } from './logger.js';
import type { NotifyMessage } from './notify-message.js';
import { NotifySockets } from './notify-sockets.js';
import type { Exit, InstanceRecord, ServiceCommand } from './service.js';

export interface InstancesHost {
  readonly dir: string;
  readonly socketPath: string;
  readonly log: Logger;
  readonly custody: Custody;
  append(record: JournalRecord): void;
  /** Fds and names that a program without the protocol is given at its start. Borrowed. */
  listenFds(owner: string): { readonly names: string[]; readonly fds: number[] };
  /** A notification with fds to keep or to remove. Takes the fds. */
  onFdStore(instance: Instance, message: NotifyMessage, takenFds: OwnedFd[]): void;
  /** This new process was given what `listenFds` said. */
  onGivenFds(instance: Instance): void;
  /** Resolves when what a dead process had sent was read. */
  settle(instance: string): Promise<void>;
  /** From now on there is this process: started, or an earlier luod's. */
  onAttached(instance: Instance): void;
  /** It has ended; it is not known by its id any more. */
  onEnded(instance: Instance, exit: Exit): void;
  /** Something that status shows has changed. */
  changed(service: string): void;
}

/** What is started. */
export interface Spawned {
  /** `SERVICE#n` */
  readonly id: string;
  readonly service: string;
  readonly owner: string;
  readonly role: Role;
  readonly command: ServiceCommand;
  /** Its output is appended there. */
  readonly logPath: string;
}

/** A process that ended while there was no luod. */
export interface DeadInstance {
  readonly record: InstanceRecord;
  readonly exit: Exit;
}

export class Instances {
  readonly #host: InstancesHost;
  readonly #notifySockets: NotifySockets;
  readonly #bySecret = new Map<string, Instance>();
  readonly #byId = new Map<string, Instance>();
  readonly #records = new Map<string, InstanceRecord>();

  constructor(host: InstancesHost) {
    this.#host = host;
    this.#notifySockets = new NotifySockets(host.dir, host.custody);
  }

  /** All living ones. */
  all(): Instance[] {
    return [...this.#byId.values()];
  }

  byId(id: string): Instance | undefined {
    return this.#byId.get(id);
  }

  /** The instance whose secret this is. */
  bySecret(secret: string): Instance | undefined {
    return this.#bySecret.get(secret);
  }

  // -------------------------------------------------------------------------------------------- start and end

  /** Start a process. @throws LuoError SERVICE_START_FAILED */
  async spawn(spawned: Spawned): Promise<Instance> {
    const { id, service, owner, role, command, logPath } = spawned;
    const host = this.#host;
    const secret = randomBytes(16).toString('hex');
    const listen = host.listenFds(owner);
    const notifyPath = await this.#notifySockets.listen(id, owner);
    const logFd = openAppend(logPath);
    try {
      const { pid, pidfd } = await host.custody.spawn(
        {
          name: id,
          argv: [...command.argv],
          cwd: command.cwd,
          env: {
            ...command.env,
            ...passedOn(),
            LUO_SOCKET: host.socketPath,
            LUO_SERVICE: service,
            LUO_SECRET: secret,
            NOTIFY_SOCKET: notifyPath,
            ...(listen.fds.length === 0
              ? {}
              : { LISTEN_FDS: String(listen.fds.length), LISTEN_FDNAMES: listen.names.join(':') }),
          },
          ...(listen.fds.length === 0 ? {} : { listenFds: true }),
        },
        logFd.fd,
        listen.fds,
      );
      const startedAt = new Date().toISOString();
      const fresh = { startedAt, protocol: 'unknown', ready: false, ending: false } as const;
      const record: InstanceRecord = { id, service, secret, pid, role, command, ...fresh };
      host.append({ kind: 'instance', instance: record });
      const instance = this.#attach(record, pidfd);
      if (listen.fds.length > 0) host.onGivenFds(instance);
      host.log.info({ service, instance: id, pid, role }, 'process started');
      host.changed(service);
      return instance;
    } catch (error) {
      this.#notifySockets.remove(id);
      const message = error instanceof Error ? error.message : String(error);
      throw new LuoError('SERVICE_START_FAILED', `'${command.argv[0]}' cannot be started: ${message}`, {
        participant: id,
        cause: error,
        remedy: `check the command and its directory '${command.cwd}'`,
      });
    } finally {
      logFd.close();
    }
  }

  /** End a process: `signal`, then SIGKILL after `graceMs`. Resolves when it is gone. */
  async end(instance: Instance, signal: 'SIGTERM' | null, graceMs: number): Promise<void> {
    if (instance.exit) return;
    this.change(instance, { ending: true });
    if (signal) instance.signal(signal);
    if (await instance.goneWithin(graceMs)) return;
    instance.signal('SIGKILL');
    await instance.whenGone();
  }

  #attach(record: InstanceRecord, pidfd: OwnedFd): Instance {
    const instance = new Instance(record, pidfd, () => void this.#dead(instance));
    this.#byId.set(record.id, instance);
    this.#bySecret.set(record.secret, instance);
    this.#records.set(record.id, record);
    instance.notify = this.#notifySockets.open(record.id, (message, fds) => this.#notified(instance, message, fds));
    this.#host.onAttached(instance);
    return instance;
  }

  /** Its pidfd says that it is dead; the status comes from the keeper, if there is one that knows it. */
  async #dead(instance: Instance): Promise<void> {
    const exit = await this.#host.custody.exitOf(instance.record.pid);
    await this.#host.settle(instance.id);
    if (instance.exit) return;
    this.#byId.delete(instance.id);
    this.#bySecret.delete(instance.record.secret);
    this.#forget(instance.id);
    instance.notify?.close();
    this.#notifySockets.remove(instance.id);
    instance.ended(exit);
    this.#host.onEnded(instance, exit);
  }

  // -------------------------------------------------------------------------------------------- what is known of it

  /** Write down what is so of it now. With `ending` its end is wanted: no restart follows. */
  change(instance: Instance, change: Partial<InstanceRecord>): void {
    instance.record = { ...instance.record, ...change };
    this.#records.set(instance.id, instance.record);
    this.#host.append({ kind: 'instance', instance: instance.record });
  }

  /** It serves. */
  markReady(instance: Instance): void {
    if (instance.exit) return;
    this.change(instance, { ready: true });
    for (const milestone of ['spoke', 'standby', 'ready'] as const) instance.reach(milestone);
    this.#host.changed(instance.record.service);
  }

  /** It said its first word in this protocol. */
  markSpoke(instance: Instance, protocol: 'luo' | 'sd_notify'): void {
    if (instance.record.protocol !== 'luo' && instance.record.protocol !== protocol)
      this.change(instance, { protocol });
    instance.reach('spoke');
  }

  /** It speaks no protocol, as far as can be seen: it lives, and that has to be enough. */
  markSilent(instance: Instance): void {
    if (instance.record.protocol === 'unknown') this.change(instance, { protocol: 'none' });
    this.markReady(instance);
  }

  #notified(instance: Instance, message: NotifyMessage, takenFds: OwnedFd[]): void {
    this.markSpoke(instance, 'sd_notify');
    if (message.status !== undefined) instance.statusText = message.status;
    if (message.fdStore || message.fdStoreRemove) this.#host.onFdStore(instance, message, takenFds);
    else closeAll(takenFds);
    if (message.ready && instance.record.protocol === 'sd_notify') this.markReady(instance);
    this.#host.changed(instance.record.service);
  }

  // -------------------------------------------------------------------------------------------- over luod's death

  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'instance':
        this.#records.set((record.instance as InstanceRecord).id, record.instance as InstanceRecord);
        return true;
      case 'instance.gone':
        this.#records.delete(record.id as string);
        return true;
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    return [...this.#records.values()].map((instance) => ({ kind: 'instance', instance }));
  }

  /**
   * Take the living processes of an earlier luod over.
   * @param ownerOf of a service; undefined: there is no such service @returns the dead ones, of services that there are
   */
  async adopt(ownerOf: (service: string) => string | undefined): Promise<DeadInstance[]> {
    const { custody } = this.#host;
    const children = await custody.children();
    const dead: DeadInstance[] = [];
    for (const record of [...this.#records.values()]) {
      const owner = ownerOf(record.service);
      const child = children.get(record.pid);
      const pidfd = child?.pidfd ?? custody.openOrphan(record.pid, record.startedAt);
      if (owner === undefined || !pidfd) {
        this.#forget(record.id);
        const exit = child?.exit ?? { code: null, signal: null, unknown: true };
        if (owner !== undefined) dead.push({ record, exit });
        continue;
      }
      children.delete(record.pid);
      // Its old notification socket went with luod and keeper, when both died.
      if (!this.#notifySockets.has(record.id)) await this.#notifySockets.listen(record.id, owner);
      this.#attach(record, pidfd);
    }
    for (const { name, pidfd } of children.values()) {
      // Started for an earlier luod that died before it could write it down: nobody knows its secret.
      if (pidfd && name.includes('#')) pidfdSendSignal(pidfd.fd, 'SIGKILL');
      pidfd?.close();
    }
    this.#notifySockets.sweep(this.#byId.keys());
    return dead;
  }

  /** luod ends and leaves them running. */
  detach(): void {
    for (const instance of this.#byId.values()) instance.detach();
  }

  /** Nothing of it is in the journal any more. */
  #forget(id: string): void {
    this.#records.delete(id);
    this.#host.append({ kind: 'instance.gone', id });
  }
}

/** Variables of luod's own that its services need in tests: which run they belong to, and which faults are armed. */
function passedOn(): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of ['LUO_TEST_ID', 'LUO_FAULT_DIR']) {
    const value = process.env[name];
    if (value !== undefined) passed[name] = value;
  }
  return passed;
}
