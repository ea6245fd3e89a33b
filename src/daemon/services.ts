/**
 * Supervision of services: their processes start, are watched, restart by policy, and end. The keeper starts and reaps
 * them, so that they outlive luod; here is what is wanted of them. An update is the orchestrator's: it asks for a
 * successor (`startSuccessor`), then says `promote` or ends it.
 *
 * Happy path: run -> spawned -> spoke (hello or a notification) -> ready. Unhappy: a process that ends by itself is
 * started again after a delay that doubles, unless the engine has it in hand or the policy says no; after ten failures
 * in a row the service is `failed` and waits for the operator, its state kept.
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join, resolve } from 'node:path';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import type { Role } from '../base/words.js';
import type { JournalRecord } from '../protocol/journal.js';
import type { LuodParams, ServiceStatus } from '../protocol/spec.js';
import { closeAll, datagramListen, pidfdSendSignal } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import { checkName } from './check-name.js';
import type { Custody } from './custody.js';
import { Instance } from './instance.js';
import { openAppend, rotate } from './log-file.js';
import type { Logger } from './logger.js';
import { NotifySocket } from './notify.js';
import type { NotifyMessage } from './notify-message.js';
import { BACK_OFF, backOffMs, ownerOf, runWord, wantsRestart } from './service.js';
import type { Exit, InstanceRecord, ServiceCommand, ServiceRecord } from './service.js';

/** How long a program may take to say its first word before it is taken for one that speaks no protocol. */
const SPEAK_MS = 3000;
/** Between two tries of a ready check. */
const CHECK_EVERY_MS = 100;
/** Bytes of a unix socket's path. @source unix(7), sun_path */
const SOCKET_PATH_BYTES_MAX = 107;
const READY_MS = 60_000;
const LOG_CHECK_MS = 30_000;

export interface ServicesHost {
  readonly dir: string;
  readonly uid: number;
  readonly socketPath: string;
  readonly log: Logger;
  readonly custody: Custody;
  append(record: JournalRecord): void;
  /** Fds and names that a program without the protocol is given at its start. Borrowed. */
  listenFds(owner: string): { readonly names: string[]; readonly fds: number[] };
  /** State of this owner waits in the keeper. */
  hasKept(owner: string): boolean;
  /** A notification with fds to keep or to remove. Takes the fds. */
  onFdStore(instance: Instance, message: NotifyMessage, takenFds: OwnedFd[]): void;
  /** This new process was given what `listenFds` said. */
  onGivenFds(instance: Instance): void;
  /** Resolves when what a dead process had sent was read. */
  settle(instance: string): Promise<void>;
  /** A process is gone. @returns true if the engine takes care of what follows */
  onGone(instance: Instance, exit: Exit): boolean;
  /** Something that status shows has changed. */
  changed(service: string): void;
}

/** A process that ended while there was no luod. */
export interface DeadInstance {
  readonly record: InstanceRecord;
  readonly exit: Exit;
}

interface Running {
  record: ServiceRecord;
  current: Instance | undefined;
  successor: Instance | undefined;
  /** Ends or serves no more; kept until gone. */
  readonly others: Set<Instance>;
  failures: number;
  restartTimer: NodeJS.Timeout | undefined;
}

export class Services {
  readonly #host: ServicesHost;
  readonly #services = new Map<string, Running>();
  readonly #bySecret = new Map<string, Instance>();
  readonly #byId = new Map<string, Instance>();
  readonly #instanceRecords = new Map<string, InstanceRecord>();
  readonly #spawning = new Map<string, Promise<Instance>>();
  /** Services whose current process is being started: asked for, and not there yet. */
  readonly #starting = new Map<string, Promise<Instance>>();
  #logTimer: NodeJS.Timeout | undefined;
  #closing = false;

  constructor(host: ServicesHost) {
    this.#host = host;
    this.#logTimer = setInterval(() => this.#rotateLogs(), LOG_CHECK_MS);
    this.#logTimer.unref();
  }

  // -------------------------------------------------------------------------------------------- asking

  names(): string[] {
    return [...this.#services.keys()];
  }

  has(name: string): boolean {
    return this.#services.has(name);
  }

  /** @throws LuoError SERVICE_UNKNOWN */
  record(name: string): ServiceRecord {
    return this.#get(name).record;
  }

  current(name: string): Instance | undefined {
    return this.#services.get(name)?.current;
  }

  successor(name: string): Instance | undefined {
    return this.#services.get(name)?.successor;
  }

  /** The instance whose secret this is. */
  bySecret(secret: string): Instance | undefined {
    return this.#bySecret.get(secret);
  }

  byId(id: string): Instance | undefined {
    return this.#byId.get(id);
  }

  /** Ids of all living processes. */
  instanceIds(): string[] {
    return [...this.#byId.keys()];
  }

  logPath(name: string): string {
    return join(this.#host.dir, 'logs', `${name}.log`);
  }

  status(name: string): ServiceStatus {
    const { record, current, successor, restartTimer } = this.#get(name);
    return {
      name,
      argv: [...record.command.argv],
      cwd: record.command.cwd,
      pid: current?.record.pid ?? null,
      run:
        !current && this.#starting.has(name)
          ? 'starting'
          : runWord(record, current?.record, successor?.record, restartTimer !== undefined),
      protocol: current?.record.protocol ?? 'unknown',
      generation: record.generation,
      restarts: record.restarts,
      restart: record.restart,
      log: this.logPath(name),
      ...(current?.statusText === undefined ? {} : { statusText: current.statusText }),
      ...(record.lastExit === null ? {} : { lastExit: { ...record.lastExit } }),
      ...(current === undefined ? {} : { startedAt: current.record.startedAt }),
      ...(record.previous === null ? {} : { previous: [...record.previous.argv] }),
    };
  }

  statuses(): ServiceStatus[] {
    return this.names().map((name) => this.status(name));
  }

  // -------------------------------------------------------------------------------------------- verbs

  /** Start a new service, or one that is not running with a new command. Resolves when it serves. */
  async run(params: LuodParams<'run'>): Promise<ServiceStatus> {
    checkName(params.name);
    const known = this.#services.get(params.name);
    if (known?.current || known?.restartTimer || this.#starting.has(params.name)) {
      throw new LuoError('SERVICE_EXISTS', `service '${params.name}' is running`, {
        remedy: `luoctl update ${params.name} -- NEWCMD replaces it without losing its state; luoctl stop ${params.name} ends it`,
      });
    }
    if (!known && this.#services.size >= LIMITS.servicesMax) {
      throw new LuoError('LIMIT_REACHED', `there are ${this.#services.size} services already`, {
        data: { limit: 'servicesMax' },
      });
    }
    const command = { argv: params.argv, cwd: params.cwd, env: params.env };
    checkCommand(params.name, command);
    this.#setRecord({
      name: params.name,
      owner: ownerOf(this.#host.uid, params.name),
      command,
      previous: known?.record.previous ?? null,
      next: null,
      restart: params.restart ?? 'on-failure',
      readyCheck: params.readyCheck ?? null,
      readyMs: params.readyMs ?? READY_MS,
      stopMs: params.stopMs ?? 10_000,
      generation: known?.record.generation ?? 0,
      restarts: 0,
      instances: known?.record.instances ?? 0,
      lastExit: null,
      wanted: 'running',
      failed: false,
    });
    await this.startCurrent(params.name);
    return this.status(params.name);
  }

  /** Start a parked, ended or failed service on its kept state. */
  async start(name: string): Promise<ServiceStatus> {
    const service = this.#get(name);
    if (service.current || this.#starting.has(name))
      throw new LuoError('SERVICE_RUNNING', `service '${name}' is running`);
    this.#change(name, { wanted: 'running', failed: false });
    this.#cancelRestart(service);
    await this.startCurrent(name);
    return this.status(name);
  }

  /** End a service and keep its state. */
  async stop(name: string, timeoutMs?: number): Promise<ServiceStatus> {
    const service = this.#get(name);
    this.#change(name, { wanted: 'parked' });
    this.#cancelRestart(service);
    await this.#starting.get(name)?.catch(() => undefined);
    const instances = [service.current, service.successor, ...service.others].filter((one) => one !== undefined);
    await Promise.all(instances.map((one) => this.end(one, 'SIGTERM', timeoutMs ?? service.record.stopMs)));
    return this.status(name);
  }

  /** Forget a service that is not running. Its handles and fds are the caller's to drop. */
  forget(name: string): void {
    const service = this.#get(name);
    if (service.current || service.successor || service.others.size > 0) {
      throw new LuoError('SERVICE_RUNNING', `service '${name}' is running`, {
        remedy: `luoctl stop ${name} ends it first`,
      });
    }
    this.#cancelRestart(service);
    this.#host.append({ kind: 'service.gone', name });
    this.#services.delete(name);
    rmSync(this.logPath(name), { force: true });
    rmSync(`${this.logPath(name)}.1`, { force: true });
    this.#host.changed(name);
  }

  /** What the next successor runs; null: nothing, the update is over. */
  setNext(name: string, next: ServiceCommand | null): void {
    if (next) checkCommand(name, next);
    this.#change(name, { next });
  }

  /** Change the command without any process: what an update of a service that does not run comes to. */
  replaceCommand(name: string, command: ServiceCommand, previous: ServiceCommand | null): void {
    this.#change(name, { command, previous, next: null });
  }

  /**
   * Start the command of a service as its current process, and wait until it serves.
   * @throws LuoError SERVICE_START_FAILED; the policy goes on trying
   */
  async startCurrent(name: string, deadlineMs?: number): Promise<Instance> {
    const service = this.#get(name);
    this.#cancelRestart(service);
    const role: Role = this.#host.hasKept(service.record.owner) ? 'restart' : 'first';
    const starting = this.#spawn(service, role, service.record.command);
    this.#starting.set(name, starting);
    const instance = await starting.finally(() => this.#starting.delete(name));
    await this.#untilReady(service, instance, deadlineMs ?? service.record.readyMs);
    return instance;
  }

  /** The process itself, when it serves. @throws LuoError SERVICE_START_FAILED it ended; SUCCESSOR_TIMEOUT */
  async whenServing(instance: Instance, deadlineMs: number): Promise<Instance> {
    await instance.when('ready', deadlineMs, () => lateError(instance, 'was not ready', deadlineMs));
    return instance;
  }

  /**
   * Start the next command beside the current process.
   * @param until `standby`: it speaks luo; `ready`: it does not, and its predecessor is gone
   */
  async startSuccessor(
    name: string,
    until: 'standby' | 'ready',
    deadlineMs: number,
    onSpawned: (instance: Instance) => void,
  ): Promise<Instance> {
    const service = this.#get(name);
    const spawning = this.#spawn(service, 'successor', service.record.next ?? service.record.command);
    this.#spawning.set(name, spawning);
    const instance = await spawning.finally(() => this.#spawning.delete(name));
    onSpawned(instance);
    if (until === 'ready') await this.#untilReady(service, instance, deadlineMs);
    else await instance.when('standby', deadlineMs, () => lateError(instance, 'did not say standby', deadlineMs));
    return instance;
  }

  /** A successor whose process may not be there yet is not wanted any more. Resolves when there is none. */
  async abandonStart(name: string): Promise<void> {
    const instance = await this.#spawning.get(name)?.catch(() => undefined);
    if (instance) await this.end(instance, null, 0);
  }

  /** The old process stays, although its successor was promoted. */
  reinstate(name: string, instanceId: string): void {
    const service = this.#get(name);
    const old = this.#byId.get(instanceId);
    if (!old) return;
    service.others.delete(old);
    this.#setInstance(old, { ending: false });
    service.current = old;
    const { command, previous } = service.record;
    this.#change(name, { command: previous ?? command, previous: command });
  }

  /** @throws LuoError SERVICE_NOT_RUNNING, PROTO_INVALID */
  signal(name: string, signal: string): void {
    const { current } = this.#get(name);
    if (!current) throw new LuoError('SERVICE_NOT_RUNNING', `service '${name}' is not running`);
    if (!Object.hasOwn(osConstants.signals, signal)) {
      throw new LuoError('PROTO_INVALID', `there is no signal '${signal}'`);
    }
    current.signal(signal as NodeJS.Signals);
  }

  /** The update is decided: the successor is the service, its command too. A second time it changes nothing. */
  promote(name: string): void {
    const service = this.#get(name);
    const { record, current, successor } = service;
    if (record.next === null) return;
    if (current) {
      service.others.add(current);
      this.#setInstance(current, { ending: true });
    }
    service.current = successor;
    service.successor = undefined;
    service.failures = 0;
    if (successor) this.#setInstance(successor, { promoted: true });
    this.#change(name, {
      command: record.next ?? record.command,
      previous: record.command,
      next: null,
      generation: record.generation + 1,
      failed: false,
    });
  }

  /** The update is off. The successor's end is the orchestrator's. */
  demote(name: string): void {
    const service = this.#services.get(name);
    if (!service) return;
    if (service.successor) {
      service.others.add(service.successor);
      this.#setInstance(service.successor, { ending: true });
      service.successor = undefined;
    }
    this.#change(name, { next: null });
  }

  /** End a process: `signal`, then SIGKILL after `graceMs`. Resolves when it is gone. */
  async end(instance: Instance, signal: 'SIGTERM' | null, graceMs: number): Promise<void> {
    if (instance.exit) return;
    this.setEnding(instance);
    if (signal) instance.signal(signal);
    if (await instance.goneWithin(graceMs)) return;
    instance.signal('SIGKILL');
    await instance.whenGone();
  }

  /** Its end is wanted: no restart follows. */
  setEnding(instance: Instance): void {
    this.#setInstance(instance, { ending: true });
  }

  /** It serves. */
  markReady(instance: Instance): void {
    if (instance.exit) return;
    this.#setInstance(instance, { ready: true });
    for (const milestone of ['spoke', 'standby', 'ready'] as const) instance.reach(milestone);
    this.#host.changed(instance.record.service);
  }

  /** It said its first word in this protocol. */
  markSpoke(instance: Instance, protocol: 'luo' | 'sd_notify'): void {
    if (instance.record.protocol !== 'luo' && instance.record.protocol !== protocol) {
      this.#setInstance(instance, { protocol });
    }
    instance.reach('spoke');
  }

  /** The engine gave a service back that has no process: the policy decides. */
  reviveIfWanted(name: string): void {
    const service = this.#services.get(name);
    if (!service || service.current || service.restartTimer || service.record.failed) return;
    if (service.record.wanted === 'running') this.#scheduleRestart(service);
  }

  /** After luod's own restart: a service without a process is started if its policy says so of its last end. */
  reviveIfDue(name: string): void {
    const record = this.#services.get(name)?.record;
    if (!record) return;
    const { restart, lastExit } = record;
    if (lastExit === null ? restart !== 'no' : wantsRestart(restart, lastExit)) this.reviveIfWanted(name);
  }

  // -------------------------------------------------------------------------------------------- over luod's death

  replay(record: JournalRecord): boolean {
    switch (record.kind) {
      case 'service': {
        const service = record.service as ServiceRecord;
        const known = this.#services.get(service.name);
        if (known) known.record = service;
        else this.#services.set(service.name, newRunning(service));
        return true;
      }
      case 'service.gone':
        this.#services.delete(record.name as string);
        return true;
      case 'instance':
        this.#instanceRecords.set((record.instance as InstanceRecord).id, record.instance as InstanceRecord);
        return true;
      case 'instance.gone':
        this.#instanceRecords.delete(record.id as string);
        return true;
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    return [
      ...[...this.#services.values()].map(({ record }) => ({ kind: 'service', service: record })),
      ...[...this.#instanceRecords.values()].map((instance) => ({ kind: 'instance', instance })),
    ];
  }

  /** Take the living processes of an earlier luod over. @returns the dead ones: each is to be told to `bury` */
  async adopt(): Promise<DeadInstance[]> {
    const children = await this.#host.custody.children();
    const dead: DeadInstance[] = [];
    for (const record of [...this.#instanceRecords.values()]) {
      const service = this.#services.get(record.service);
      const child = children.get(record.pid);
      const pidfd = child?.pidfd ?? this.#host.custody.openOrphan(record.pid, record.startedAt);
      if (!service || !pidfd) {
        this.#instanceRecords.delete(record.id);
        this.#host.append({ kind: 'instance.gone', id: record.id });
        if (service) dead.push({ record, exit: child?.exit ?? { code: null, signal: null, unknown: true } });
        continue;
      }
      children.delete(record.pid);
      // Its old notification socket went with luod and keeper, when both died.
      if (!this.#host.custody.get(notifyEntry(record.id))) await this.#listenNotify(record.id, service.record.owner);
      const instance = this.#attach(service, record, pidfd);
      if (record.ending) service.others.add(instance);
      else if (record.role === 'successor' && record.promoted !== true) service.successor = instance;
      else service.current = instance;
      if (service.current === instance && !record.ready) this.#awaitAdopted(service, instance);
    }
    for (const { name, pidfd } of children.values()) {
      // Started for an earlier luod that died before it could write it down: nobody knows its secret.
      if (pidfd && name.includes('#')) pidfdSendSignal(pidfd.fd, 'SIGKILL');
      pidfd?.close();
    }
    this.#sweepNotify();
    return dead;
  }

  /** Notification sockets of processes that are gone, or that never came to be. */
  #sweepNotify(): void {
    const { custody, dir } = this.#host;
    const entries = custody.withPrefix(notifyEntry('')).map(({ name }) => name);
    custody.drop(entries.filter((name) => !this.#byId.has(name.slice(notifyEntry('').length))));
    const folder = join(dir, 'notify');
    if (!existsSync(folder)) return;
    const used = new Set([...this.#byId.keys()].map((id) => this.#notifyPath(id)));
    for (const file of readdirSync(folder))
      if (!used.has(join(folder, file))) rmSync(join(folder, file), { force: true });
  }

  /** What follows the end of a process that `adopt` found dead. @param taken the engine takes care of it */
  bury({ record, exit }: DeadInstance, taken: boolean): void {
    const service = this.#services.get(record.service);
    if (service && !taken) this.#afterGone(service, record, exit);
  }

  /** No attempt is open: what an earlier luod was about to start is not wanted any more. */
  forgetNext(): void {
    for (const { record } of this.#services.values()) if (record.next !== null) this.setNext(record.name, null);
  }

  /** An earlier luod was waiting for it to serve: somebody has to go on with that. */
  #awaitAdopted(service: Running, instance: Instance): void {
    this.#untilReady(service, instance, service.record.readyMs).catch((error: unknown) => {
      this.#host.log.warn({ service: service.record.name, error: messageOf(error) }, 'service is not ready');
      // Its end comes to #afterGone, which tries again.
      if (service.current === instance) instance.signal('SIGKILL');
    });
  }

  /** luod ends and leaves the services running. */
  detach(): void {
    this.#closing = true;
    clearInterval(this.#logTimer);
    for (const service of this.#services.values()) this.#cancelRestart(service);
    for (const instance of this.#byId.values()) instance.detach();
  }

  /** End every process: luod ends for good. */
  async stopAll(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#logTimer);
    for (const service of this.#services.values()) this.#cancelRestart(service);
    await Promise.all(
      [...this.#byId.values()].map((instance) =>
        this.end(instance, 'SIGTERM', this.#services.get(instance.record.service)?.record.stopMs ?? 10_000),
      ),
    );
  }

  // -------------------------------------------------------------------------------------------- inside

  #get(name: string): Running {
    const service = this.#services.get(name);
    if (!service) {
      throw new LuoError('SERVICE_UNKNOWN', `there is no service '${name}'`, {
        remedy: 'luoctl status shows the services',
      });
    }
    return service;
  }

  #setRecord(record: ServiceRecord): void {
    this.#host.append({ kind: 'service', service: record });
    const known = this.#services.get(record.name);
    if (known) known.record = record;
    else this.#services.set(record.name, newRunning(record));
    this.#host.changed(record.name);
  }

  #change(name: string, change: Partial<ServiceRecord>): void {
    this.#setRecord({ ...this.#get(name).record, ...change });
  }

  #setInstance(instance: Instance, change: Partial<InstanceRecord>): void {
    instance.record = { ...instance.record, ...change };
    this.#instanceRecords.set(instance.id, instance.record);
    this.#host.append({ kind: 'instance', instance: instance.record });
  }

  async #spawn(service: Running, role: Role, command: ServiceCommand): Promise<Instance> {
    const { name, owner } = service.record;
    checkProgram(command);
    const number = service.record.instances + 1;
    this.#change(name, { instances: number });
    const id = `${name}#${number}`;
    const secret = randomBytes(16).toString('hex');
    const listen = this.#host.listenFds(owner);
    const notifyPath = await this.#listenNotify(id, owner);
    const logFd = openAppend(this.logPath(name));
    try {
      const { pid, pidfd } = await this.#host.custody.spawn(
        {
          name: id,
          argv: [...command.argv],
          cwd: command.cwd,
          env: {
            ...command.env,
            ...passedOn(),
            LUO_SOCKET: this.#host.socketPath,
            LUO_SERVICE: name,
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
      const record: InstanceRecord = {
        id,
        service: name,
        secret,
        pid,
        role,
        command,
        startedAt: new Date().toISOString(),
        protocol: 'unknown',
        ready: false,
        ending: false,
      };
      this.#host.append({ kind: 'instance', instance: record });
      const instance = this.#attach(service, record, pidfd);
      if (role === 'successor') service.successor = instance;
      else service.current = instance;
      if (listen.fds.length > 0) this.#host.onGivenFds(instance);
      this.#host.log.info({ service: name, instance: id, pid, role }, 'process started');
      this.#host.changed(name);
      return instance;
    } catch (error) {
      this.#host.custody.drop([notifyEntry(id)]);
      rmSync(notifyPath, { force: true });
      throw new LuoError('SERVICE_START_FAILED', `'${command.argv[0]}' cannot be started: ${messageOf(error)}`, {
        participant: id,
        cause: error,
        remedy: `check the command and its directory '${command.cwd}'`,
      });
    } finally {
      logFd.close();
    }
  }

  /** A notification socket for this process, kept like everything else. @returns its path */
  async #listenNotify(id: string, owner: string): Promise<string> {
    mkdirSync(join(this.#host.dir, 'notify'), { recursive: true, mode: 0o700 });
    const path = this.#notifyPath(id);
    rmSync(path, { force: true });
    await this.#host.custody.put(notifyEntry(id), owner, {}, [datagramListen(path)]);
    return path;
  }

  /** `DIR/notify/ID`, or under a digest of the id where that is too long for a socket. */
  #notifyPath(id: string): string {
    const path = join(this.#host.dir, 'notify', id);
    if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
    return join(this.#host.dir, 'notify', createHash('sha256').update(id).digest('hex').slice(0, 16));
  }

  #attach(service: Running, record: InstanceRecord, pidfd: OwnedFd): Instance {
    const instance = new Instance(record, pidfd, () => void this.#dead(instance));
    this.#byId.set(record.id, instance);
    this.#bySecret.set(record.secret, instance);
    this.#instanceRecords.set(record.id, record);
    const notifyFd = this.#host.custody.get(notifyEntry(record.id))?.fds[0];
    if (notifyFd) {
      instance.notify = new NotifySocket(this.#notifyPath(record.id), notifyFd.fd, (message, fds) => {
        this.#notified(service, instance, message, fds);
      });
    }
    return instance;
  }

  /** Resolves when the process serves, by the first of the signs that there are. */
  async #untilReady(service: Running, instance: Instance, deadlineMs: number): Promise<void> {
    const { readyCheck } = service.record;
    const late = (): LuoError => lateError(instance, 'was not ready', deadlineMs);
    if (readyCheck !== null) {
      await this.#pollCheck(service, instance, readyCheck, deadlineMs);
      this.markReady(instance);
      return;
    }
    // One whose state is kept has spoken before, and will: on a slow machine that may take longer.
    const speakMs = this.#host.hasKept(service.record.owner) ? deadlineMs : Math.min(SPEAK_MS, deadlineMs);
    try {
      await instance.when('spoke', speakMs, () => new LuoError('PROTO_TIMEOUT', 'silent'));
    } catch (error) {
      if (!(error instanceof LuoError) || error.code !== 'PROTO_TIMEOUT') throw error;
      // It speaks no protocol, as far as can be seen: it lives, and that has to be enough.
      if (instance.record.protocol === 'unknown') this.#setInstance(instance, { protocol: 'none' });
      this.markReady(instance);
      return;
    }
    await instance.when('ready', deadlineMs, late);
  }

  async #pollCheck(service: Running, instance: Instance, check: string, deadlineMs: number): Promise<void> {
    const until = Date.now() + deadlineMs;
    for (;;) {
      if (instance.exit) return instance.when('ready', 1, () => lateError(instance, 'was not ready', deadlineMs));
      // It may have ended while the check ran, and the check may not notice: the next turn says so.
      if ((await checkPasses(check, service.record.command, instance.record.pid)) && !instance.exit) return;
      if (Date.now() >= until) throw lateError(instance, `did not pass its ready check '${check}'`, deadlineMs);
      await new Promise((resolve) => setTimeout(resolve, CHECK_EVERY_MS));
    }
  }

  #notified(service: Running, instance: Instance, message: NotifyMessage, fds: OwnedFd[]): void {
    this.markSpoke(instance, 'sd_notify');
    if (message.status !== undefined) instance.statusText = message.status;
    if (message.fdStore || message.fdStoreRemove) this.#host.onFdStore(instance, message, fds);
    else closeAll(fds);
    if (message.ready && instance.record.protocol === 'sd_notify') this.markReady(instance);
    this.#host.changed(service.record.name);
  }

  /** Its pidfd says that it is dead; the status comes from the keeper, if there is one that knows it. */
  async #dead(instance: Instance): Promise<void> {
    const exit = await this.#host.custody.exitOf(instance.record.pid);
    await this.#host.settle(instance.id);
    this.#finish(instance, exit);
  }

  #finish(instance: Instance, exit: Exit): void {
    if (instance.exit) return;
    const service = this.#services.get(instance.record.service);
    this.#byId.delete(instance.id);
    this.#bySecret.delete(instance.record.secret);
    this.#instanceRecords.delete(instance.id);
    this.#host.append({ kind: 'instance.gone', id: instance.id });
    instance.notify?.close();
    this.#host.custody.drop([notifyEntry(instance.id)]);
    instance.ended(exit);
    if (!service) return;
    if (service.current === instance) service.current = undefined;
    if (service.successor === instance) service.successor = undefined;
    service.others.delete(instance);
    const level = instance.record.ending || exit.code === 0 ? 'info' : 'warn';
    this.#host.log[level]({ service: instance.record.service, instance: instance.id, ...exit }, 'process ended');
    const taken = this.#host.onGone(instance, exit);
    if (!taken) this.#afterGone(service, instance.record, exit);
    this.#host.changed(instance.record.service);
  }

  /** The policy: what follows the end of a process that nobody else takes care of. */
  #afterGone(service: Running, record: InstanceRecord, exit: Exit): void {
    if (record.role === 'successor' && !record.ready) return;
    this.#change(record.service, { lastExit: exit });
    if (record.ending || service.current || this.#closing || service.record.wanted === 'parked') return;
    if (!wantsRestart(service.record.restart, exit)) return;
    if (Date.now() - Date.parse(record.startedAt) > BACK_OFF.steadyMs) service.failures = 0;
    this.#scheduleRestart(service);
  }

  #scheduleRestart(service: Running): void {
    const { name } = service.record;
    if (this.#closing || service.restartTimer) return;
    if (service.failures >= BACK_OFF.attemptsMax) {
      this.#change(name, { failed: true });
      this.#host.log.error(
        { service: name, failures: service.failures },
        `service '${name}' failed ${service.failures} times in a row and is not started again; its state is kept`,
      );
      return;
    }
    service.restartTimer = setTimeout(() => {
      service.restartTimer = undefined;
      this.#change(name, { restarts: service.record.restarts + 1 });
      this.startCurrent(name).then(
        (instance) => {
          // Only a process that stays up clears the count: one that is ready and crashes is still a crash loop.
          setTimeout(() => {
            if (!instance.exit) service.failures = 0;
          }, BACK_OFF.steadyMs).unref();
        },
        (error: unknown) => {
          this.#host.log.warn({ service: name, error: messageOf(error) }, 'restart failed');
          // A process that lives and is not ready in time is ended; its end comes back here by #afterGone.
          const current = service.current;
          if (current && !current.record.ready) current.signal('SIGKILL');
          else if (!current) this.reviveIfWanted(name);
        },
      );
    }, backOffMs(service.failures));
    service.failures += 1;
    this.#host.changed(name);
  }

  #cancelRestart(service: Running): void {
    clearTimeout(service.restartTimer);
    service.restartTimer = undefined;
  }

  /** Bound each log, now and then. */
  #rotateLogs(): void {
    for (const path of [...this.names().map((name) => this.logPath(name)), join(this.#host.dir, 'logs', 'luod.log')]) {
      try {
        rotate(path, LIMITS.logBytesMax);
      } catch (error) {
        this.#host.log.warn({ path, error: messageOf(error) }, 'log not rotated, continuing without');
      }
    }
  }
}

function newRunning(record: ServiceRecord): Running {
  return {
    record,
    current: undefined,
    successor: undefined,
    others: new Set(),
    failures: 0,
    restartTimer: undefined,
  };
}

function notifyEntry(id: string): string {
  return `notify/${id}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function lateError(instance: Instance, what: string, ms: number): LuoError {
  return new LuoError('SUCCESSOR_TIMEOUT', `'${instance.id}' ${what} within ${ms} ms`, {
    participant: instance.id,
    remedy: `read its log: luoctl logs ${instance.record.service}`,
  });
}

/** @throws LuoError LIMIT_REACHED */
function checkCommand(name: string, command: ServiceCommand): void {
  const bytes = Buffer.byteLength(JSON.stringify([command.argv, command.env]));
  if (bytes > LIMITS.serviceBytesMax) {
    throw new LuoError('LIMIT_REACHED', `command and environment of '${name}' take ${bytes} bytes`, {
      data: { limit: 'serviceBytesMax' },
    });
  }
}

/**
 * Asked here, since the keeper starts a service through a shell, whose own words would be all that is left of it.
 * @throws LuoError SERVICE_START_FAILED
 */
function checkProgram({ argv, cwd }: ServiceCommand): void {
  const program = argv[0]!;
  if (!program.includes('/')) return;
  try {
    accessSync(resolve(cwd, program), constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'no such program or folder' : String(code);
    throw new LuoError('SERVICE_START_FAILED', `'${program}' cannot be started in '${cwd}': ${what}`, {
      cause: error,
      ...(code === undefined ? {} : { errno: code }),
    });
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

function checkPasses(check: string, command: ServiceCommand, pid: number): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(
      '/bin/sh',
      ['-c', check],
      { cwd: command.cwd, env: { ...command.env, MAINPID: String(pid) }, timeout: 10_000, killSignal: 'SIGKILL' },
      (error) => resolve(error === null),
    );
  });
}
