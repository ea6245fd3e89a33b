/**
 * Supervision of services: which there are, what is wanted of each, and which process is its current one, so that they start,
 * restart by policy, and end. An update is the orchestrator's: it asks for a successor (`startSuccessor`), then says `promote` or ends
 * it. The processes themselves are instances.ts's, when one serves is readiness.ts's, when the next try is due is back-off.ts's.
 *
 * Happy path: run -> spawned -> spoke (hello or a notification) -> ready. Unhappy: a process that ends by itself is
 * started again after a delay that doubles, unless the engine has it in hand or the policy says no; after ten failures
 * in a row the service is `failed` and waits for the operator, its state kept.
 */
import { rmSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import type { Role } from '../base/words.js';
import type { JournalRecord } from '../protocol/journal.js';
import type { LuodParams, ServiceStatus } from '../protocol/spec.js';
import { BackOff } from './back-off.js';
import { checkCommand, checkProgram } from './check-command.js';
import { checkName } from './check-name.js';
import type { Instance } from './instance.js';
import { Instances } from './instances.js';
import type { DeadInstance, InstancesHost } from './instances.js';
import { LogRotation } from './log-rotation.js';
import { untilReady, whenStandby } from './readiness.js';
import { BACK_OFF, ownerOf, runWord, wantsRestart } from './service.js';
import type { Exit, InstanceRecord, ServiceCommand, ServiceRecord } from './service.js';

const READY_MS = 60_000;
const STOP_MS = 10_000;

export interface ServicesHost extends Omit<InstancesHost, 'onAttached' | 'onEnded'> {
  readonly uid: number;
  /** State of this owner waits in the keeper. */
  hasKept(owner: string): boolean;
  /** A process is gone. @returns true if the engine takes care of what follows */
  onGone(instance: Instance, exit: Exit): boolean;
}

interface Running {
  record: ServiceRecord;
  current: Instance | undefined;
  successor: Instance | undefined;
  /** Ends or serves no more; kept until gone. */
  readonly others: Set<Instance>;
}

export class Services {
  readonly instances: Instances;
  readonly #host: ServicesHost;
  readonly #backOff: BackOff;
  readonly #logRotation: LogRotation;
  readonly #services = new Map<string, Running>();
  readonly #spawning = new Map<string, Promise<Instance>>();
  /** Services whose current process is being started: asked for, and not there yet. */
  readonly #starting = new Map<string, Promise<Instance>>();
  #closing = false;

  constructor(host: ServicesHost) {
    this.#host = host;
    this.instances = new Instances({
      ...host,
      onAttached: (instance) => this.#place(instance),
      onEnded: (instance, exit) => this.#ended(instance, exit),
    });
    this.#backOff = new BackOff({
      restart: (name) => {
        this.#change(name, { restarts: this.#get(name).record.restarts + 1 });
        return this.startCurrent(name);
      },
      onFailed: (name, error) => this.#restartFailed(name, error),
      onGivenUp: (name, failures) => this.#givenUp(name, failures),
    });
    this.#logRotation = new LogRotation(
      () => [...this.names().map((name) => this.logPath(name)), join(host.dir, 'logs', 'luod.log')],
      host.log,
    );
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

  logPath(name: string): string {
    return join(this.#host.dir, 'logs', `${name}.log`);
  }

  status(name: string): ServiceStatus {
    const { record, current, successor } = this.#get(name);
    return {
      name,
      argv: [...record.command.argv],
      cwd: record.command.cwd,
      pid: current?.record.pid ?? null,
      run:
        !current && this.#starting.has(name)
          ? 'starting'
          : runWord(record, current?.record, successor?.record, this.#backOff.isPending(name)),
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
    if (known?.current || this.#backOff.isPending(params.name) || this.#starting.has(params.name)) {
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
      stopMs: params.stopMs ?? STOP_MS,
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
    this.#backOff.cancel(name);
    await this.startCurrent(name);
    return this.status(name);
  }

  /** End a service and keep its state. */
  async stop(name: string, timeoutMs?: number): Promise<ServiceStatus> {
    const service = this.#get(name);
    this.#change(name, { wanted: 'parked' });
    this.#backOff.cancel(name);
    await this.#starting.get(name)?.catch(() => undefined);
    const instances = [service.current, service.successor, ...service.others].filter((one) => one !== undefined);
    await Promise.all(instances.map((one) => this.instances.end(one, 'SIGTERM', timeoutMs ?? service.record.stopMs)));
    return this.status(name);
  }

  /** Forget a service that is not running. Its handles and fds are the caller's to drop. */
  forget(name: string): void {
    const service = this.#get(name);
    if (service.current || service.successor || service.others.size > 0 || this.#starting.has(name)) {
      throw new LuoError('SERVICE_RUNNING', `service '${name}' is running`, {
        remedy: `luoctl stop ${name} ends it first`,
      });
    }
    this.#backOff.forget(name);
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
    this.#backOff.cancel(name);
    const role: Role = this.#host.hasKept(service.record.owner) ? 'restart' : 'first';
    const starting = this.#spawn(service, role, service.record.command);
    this.#starting.set(name, starting);
    const instance = await starting.finally(() => this.#starting.delete(name));
    await this.#untilReady(service, instance, deadlineMs ?? service.record.readyMs);
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
    else await whenStandby(instance, deadlineMs);
    return instance;
  }

  /** A successor whose process may not be there yet is not wanted any more. Resolves when there is none. */
  async abandonStart(name: string): Promise<void> {
    const instance = await this.#spawning.get(name)?.catch(() => undefined);
    if (instance) await this.instances.end(instance, null, 0);
  }

  /** The old process stays, although its successor was promoted. */
  reinstate(name: string, instanceId: string): void {
    const service = this.#get(name);
    const old = this.instances.byId(instanceId);
    if (!old) return;
    service.others.delete(old);
    this.instances.change(old, { ending: false });
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
      this.instances.change(current, { ending: true });
    }
    service.current = successor;
    service.successor = undefined;
    this.#backOff.clear(name);
    if (successor) this.instances.change(successor, { promoted: true });
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
      this.instances.change(service.successor, { ending: true });
      service.successor = undefined;
    }
    this.#change(name, { next: null });
  }

  /** The engine gave a service back that has no process: the policy decides. */
  reviveIfWanted(name: string): void {
    const service = this.#services.get(name);
    if (!service || service.current || this.#backOff.isPending(name) || service.record.failed) return;
    if (service.record.wanted === 'running') this.#scheduleRestart(name);
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
      default:
        return false;
    }
  }

  snapshot(): JournalRecord[] {
    return [...this.#services.values()].map(({ record }) => ({ kind: 'service', service: record }));
  }

  /** Take the living processes of an earlier luod over. @returns the dead ones: each is to be told to `bury` */
  async adopt(): Promise<DeadInstance[]> {
    const dead = await this.instances.adopt((name) => this.#services.get(name)?.record.owner);
    for (const service of this.#services.values()) {
      if (service.current && !service.current.record.ready) this.#awaitAdopted(service, service.current);
    }
    return dead;
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
    this.#close();
    this.instances.detach();
  }

  /** End every process: luod ends for good. */
  async stopAll(): Promise<void> {
    this.#close();
    const stopMs = ({ record }: Instance): number => this.#services.get(record.service)?.record.stopMs ?? STOP_MS;
    const instances = this.instances.all();
    await Promise.all(instances.map((one) => this.instances.end(one, 'SIGTERM', stopMs(one))));
  }

  /** Nothing is started again any more. */
  #close(): void {
    this.#closing = true;
    this.#logRotation.close();
    this.#backOff.close();
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

  async #spawn({ record }: Running, role: Role, command: ServiceCommand): Promise<Instance> {
    const { name, owner } = record;
    checkProgram(command);
    const number = record.instances + 1;
    this.#change(name, { instances: number });
    const id = `${name}#${number}`;
    return this.instances.spawn({ id, service: name, owner, role, command, logPath: this.logPath(name) });
  }

  /** What this process is to its service. */
  #place(instance: Instance): void {
    const { service: name, ending, role, promoted } = instance.record;
    const service = this.#services.get(name);
    if (!service) return;
    if (ending) service.others.add(instance);
    else if (role === 'successor' && promoted !== true) service.successor = instance;
    else service.current = instance;
  }

  #untilReady({ record }: Running, instance: Instance, deadlineMs: number): Promise<void> {
    const isKnownToSpeak = this.#host.hasKept(record.owner);
    return untilReady(this.instances, instance, record, { deadlineMs, isKnownToSpeak });
  }

  #ended(instance: Instance, exit: Exit): void {
    const service = this.#services.get(instance.record.service);
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
    const { service: name } = record;
    if (record.role === 'successor' && !record.ready) return;
    this.#change(name, { lastExit: exit });
    if (record.ending || service.current || this.#closing || service.record.wanted === 'parked') return;
    if (!wantsRestart(service.record.restart, exit)) return;
    if (Date.now() - Date.parse(record.startedAt) > BACK_OFF.steadyMs) this.#backOff.clear(name);
    this.#scheduleRestart(name);
  }

  #scheduleRestart(name: string): void {
    if (this.#backOff.schedule(name)) this.#host.changed(name);
  }

  #restartFailed(name: string, error: unknown): void {
    this.#host.log.warn({ service: name, error: messageOf(error) }, 'restart failed');
    // A process that lives and is not ready in time is ended; its end comes back here by #afterGone.
    const current = this.current(name);
    if (current && !current.record.ready) current.signal('SIGKILL');
    else if (!current) this.reviveIfWanted(name);
  }

  #givenUp(name: string, failures: number): void {
    this.#change(name, { failed: true });
    this.#host.log.error(
      { service: name, failures },
      `service '${name}' failed ${failures} times in a row and is not started again; its state is kept`,
    );
  }
}

function newRunning(record: ServiceRecord): Running {
  return {
    record,
    current: undefined,
    successor: undefined,
    others: new Set(),
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
