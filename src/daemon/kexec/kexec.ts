/**
 * The kexec gap as luod's parts see it: one object that is there on every machine. Where this luod cannot cross (not root, no
 * device, a private directory), every request says so, and nothing else is any different.
 *
 * Requests: load, unload, preflight, kexec, blobs, status. The calls to participants of such an update go through
 * crossing.ts; after the jump `startMember` stands for the engine's restart of a member: it waits until that member's
 * process serves, whoever starts it, or until the time for claims is over.
 */
import { LuoError } from '../../base/errors.js';
import { DEADLINES } from '../../base/limits.js';
import type { Plan as EnginePlan } from '../../engine/types.js';
import type {
  Backend,
  DeviceResetter,
  KernelBackendFactory,
  KexecMachine,
  LoadedImage,
  PreflightReport,
} from '../../ports/index.js';
import type { JournalRecord } from '../../protocol/journal.js';
import type { KexecStatus, LuodParams, UpdateResult } from '../../protocol/spec.js';
import type { OwnedFd } from '../../sys/index.js';
import type { Custody } from '../custody.js';
import { digestOf } from '../digest.js';
import { handleEntryName } from '../handles.js';
import type { Handle, Handles } from '../handles.js';
import type { Logger } from '../logger.js';
import { Blobs } from './blobs.js';
import type { LogRing } from './log-ring.js';
import { Crossing } from './crossing.js';
import { Devices } from './devices.js';
import { FinishAgain } from './finish-again.js';
import { IncomingSessions } from './incoming.js';
import { OutgoingSessions } from './outgoing.js';
import { Sessions } from './sessions.js';
import { Unclaimed } from './unclaimed.js';

export interface KexecOptions {
  /** Undefined: this luod cannot cross the gap; `reason` says why. */
  readonly machine: KexecMachine | undefined;
  readonly backend: KernelBackendFactory | undefined;
  readonly reason: string;
  /** What is done to devices that nobody claimed. */
  readonly resetter: DeviceResetter;
}

export interface KexecHost {
  readonly version: string;
  readonly log: Logger;
  readonly custody: Custody;
  readonly handles: Handles;
  readonly ownOwner: string;
  append(record: JournalRecord): void;
  snapshot(): JournalRecord[];
  ownEntries(): readonly { readonly name: string; readonly sizeBytes: number | null; readonly viable: boolean }[];
  /** The plan of an update of everything, without luod's own part. */
  plan(): EnginePlan;
  /** Prepare, or go on from prepared, to the end. */
  run(plan: EnginePlan, until: 'prepared' | 'finished', limits: LuodParams<'kexec'>['limits']): Promise<UpdateResult>;
  /** Pid whose control group will be charged when this owner's memory comes back; null: luod's own. */
  chargedPid(owner: string): number | null;
  predictMs(scope: readonly string[]): number | null;
  serves(owner: string): boolean;
  drop(keys: readonly string[]): void;
  /** Nothing of what came over is held any more. */
  arrivalOver(): void;
  /** Try to finish. False: it is not the time, since something is under way or nothing is open. */
  finish(): boolean;
  changed(): void;
}

/** A session that is made and let go of, to see whether that works. */
const PROBE_SESSION = 'luo-probe';

export class Kexec {
  readonly #options: KexecOptions;
  readonly #host: KexecHost;
  readonly sessions: Sessions;
  readonly outgoing: OutgoingSessions | undefined;
  readonly incoming: IncomingSessions | undefined;
  readonly #blobs: Blobs | undefined;
  readonly #unclaimed: Unclaimed | undefined;
  readonly #devices: Devices;
  readonly #finishAgain: FinishAgain;
  readonly #backend: Backend | undefined;
  #crossing: Crossing | undefined;
  #image: LoadedImage | null = null;
  readonly #waiters = new Set<() => void>();
  #claimTimer: NodeJS.Timeout | undefined;
  #timeIsOver = false;
  #claimMs: number = DEADLINES.claimMs;
  #deciding = false;
  #clearing: Promise<void> = Promise.resolve();

  constructor(options: KexecOptions, host: KexecHost) {
    this.#options = options;
    this.#host = host;
    this.sessions = new Sessions(host.custody);
    this.#devices = new Devices(options.resetter, host.log, (record) => host.append(record));
    this.#finishAgain = new FinishAgain(() => host.finish());
    if (!options.machine || !options.backend) return;
    const backend = options.backend(this.sessions);
    this.#backend = backend;
    this.outgoing = new OutgoingSessions(backend, (record) => host.append(record));
    this.incoming = new IncomingSessions(backend, (record) => host.append(record));
    this.#blobs = new Blobs(host.custody, backend, host.ownOwner);
    this.#unclaimed = new Unclaimed({
      handles: host.handles,
      incoming: this.incoming,
      log: host.log,
      retrieve: (handle) => this.retrieve(handle),
      drop: (keys) => host.drop(keys),
      serves: (owner) => host.serves(owner),
      changed: () => host.changed(),
    });
  }

  get available(): boolean {
    return this.#backend !== undefined;
  }

  /** @throws LuoError LIVEUPDATE_MISSING this luod cannot cross the gap */
  get crossing(): Crossing {
    if (this.#crossing) return this.#crossing;
    throw this.#unavailable();
  }

  /** Call once, after the journal was read. */
  async begin(): Promise<void> {
    const host = this.#host;
    const { machine } = this.#options;
    if (!this.outgoing || !this.incoming || !machine) return;
    await this.outgoing.adopt();
    await this.incoming.adopt();
    this.#crossing = new Crossing({
      machine,
      custody: host.custody,
      sessions: this.sessions,
      outgoing: this.outgoing,
      incoming: this.incoming,
      handles: host.handles,
      ownOwner: host.ownOwner,
      version: host.version,
      log: host.log,
      snapshot: () => host.snapshot(),
      ownEntries: () => host.ownEntries().filter((entry) => entry.viable),
      claimMs: () => this.#claimMs,
      undecided: () => this.undecided(),
      finish: () => this.#devices.resetAll(this.incoming?.unclaimedDevices() ?? []),
    });
    const { arrival } = this.incoming;
    if (arrival && arrival.sessions.length > 0) {
      const leftMs = arrival.atMs + arrival.claimMs - Date.now();
      this.#claimTimer = setTimeout(() => this.#claimsOver(), Math.min(arrival.claimMs, Math.max(0, leftMs)));
      this.#claimTimer.unref();
    }
  }

  /** Where luod's log goes besides, so that the next kernel has it. Undefined: it cannot cross, or the device is not to be had. */
  async keepLog(): Promise<LogRing | undefined> {
    try {
      return await this.#blobs?.keepLog();
    } catch (error) {
      const { code, message } = LuoError.from(error);
      this.#host.log.warn({ code }, `this log is not kept for the next kernel: ${message}`);
      return undefined;
    }
  }

  detach(): void {
    clearTimeout(this.#claimTimer);
    this.#finishAgain.stop();
  }

  replay(record: JournalRecord): boolean {
    if (record.kind === 'kexec.image') {
      this.#image = record.image as LoadedImage | null;
      return true;
    }
    if (!record.kind.startsWith('kexec.')) return false;
    // A luod that cannot cross reads them and goes on: they stay in the journal of one that can.
    const parts = [this.outgoing, this.incoming, this.#devices];
    return parts.filter((part) => part?.replay(record) === true).length > 0 || !this.available;
  }

  snapshot(): JournalRecord[] {
    return [
      ...(this.#image ? [{ kind: 'kexec.image', image: this.#image }] : []),
      ...(this.outgoing?.snapshot() ?? []),
      ...(this.incoming?.snapshot() ?? []),
      ...this.#devices.snapshot(),
    ];
  }

  // -------------------------------------------------------------------------------------------- requests

  async load(params: LuodParams<'load'>): Promise<{ image: LoadedImage }> {
    const image = await this.#machine().load(params);
    this.#setImage(image);
    this.#host.log.info({ kernel: image.kernel, release: image.release }, 'kernel image loaded');
    return { image };
  }

  async unload(): Promise<Record<string, never>> {
    await this.#machine().unload();
    this.#setImage(null);
    return {};
  }

  /** Changes nothing. A plan that cannot be is a finding like any other, and so is what the last kernel left and nobody could read. */
  async preflight(params: LuodParams<'preflight'>): Promise<PreflightReport> {
    const report = await this.#preflightOfPlan(params);
    const error = this.incoming?.arrival?.error;
    // What is lost already is no reason to wait.
    if (!error || error.code === 'ARRIVAL_LOST') return report;
    const check = {
      check: 'arrival',
      result: 'fail' as const,
      reason: `what the last kernel left could not be read, and would be lost: ${error.message} [${error.code}]`,
      remedy: 'install the luod that can read it and type luoctl update luod; --force arrival gives it up',
    };
    return { ...report, ok: false, checks: [check, ...report.checks] };
  }

  async #preflightOfPlan(params: LuodParams<'preflight'>): Promise<PreflightReport> {
    try {
      return await this.#preflight(params, this.#host.plan());
    } catch (error) {
      if (!(error instanceof LuoError) || !error.code.startsWith('PLAN_')) throw error;
      const report = await this.#preflight(params, null);
      const check = {
        check: 'plan',
        result: 'fail' as const,
        reason: error.message,
        remedy: error.remedy ?? 'luoctl plan --gap kexec; luoctl unrequest HANDLE leaves one behind',
      };
      return { ...report, ok: false, checks: [check, ...report.checks] };
    }
  }

  #preflight(params: LuodParams<'preflight'>, made: EnginePlan | null): Promise<PreflightReport> {
    const machine = this.#machine();
    const { kernel, ...rest } = params;
    const plan = made ?? { steps: [], left: [], scope: [] };
    const planned = new Set(plan.steps.flatMap((step) => step.handles));
    const { custody, handles } = this.#host;
    const described = handles
      .all()
      .filter((handle) => planned.has(handle.key))
      .map((handle) => ({
        key: handle.key,
        owner: handle.owner,
        kind: handle.kind,
        type: handle.type,
        fd: custody.get(handleEntryName(handle.key))?.fds[0]?.fd ?? null,
        path: (handle.meta as { path?: string } | undefined)?.path ?? null,
        viable: handle.viable.kexec,
        chargedPid: handle.delegate === true ? this.#host.chargedPid(handle.owner) : null,
      }));
    const own = this.#host.ownEntries();
    const leftBehind = own
      .filter((entry) => !entry.viable)
      .map((entry) => ({
        handle: entry.name,
        reason: 'only memfds of ordinary pages cross the kexec gap',
      }));
    return machine.preflight({
      image: kernel === undefined ? null : { kernel, ...rest },
      loaded: this.#image,
      handles: [
        ...described,
        ...own
          .filter((entry) => entry.viable)
          .map((entry) => ({
            key: entry.name,
            owner: this.#host.ownOwner,
            kind: 'fd' as const,
            type: 'memfd',
            fd: custody.get(entry.name)?.fds[0]?.fd ?? null,
            path: null,
            viable: { ok: true, reason: '' },
            chargedPid: null,
          })),
      ],
      left: [...plan.left, ...leftBehind],
      sessions: new Set(described.map((handle) => handle.owner)).size + 1,
      keeper: { pid: custody.keeperPid, fds: custody.fdCount, fdsMax: custody.fdsMax },
      predictedBlackoutMs: this.#host.predictMs(plan.scope),
    });
  }

  /** Replace the kernel. Returns only if that did not happen. */
  async kexec(params: LuodParams<'kexec'>): Promise<UpdateResult> {
    const machine = this.#machine();
    if (machine.systemd && params.direct !== true) {
      throw new LuoError('KEXEC_REFUSED', 'systemd runs this machine: a direct kexec would not stop its services', {
        remedy: 'give --direct to do it all the same: whatever is not a participant ends as if the power had failed',
      });
    }
    await this.#clearing;
    await this.#checkCopies();
    await this.#checkDevice();
    if (!machine.isLoaded()) {
      throw new LuoError('IMAGE_MISSING', 'no kernel is loaded', { remedy: 'luoctl load KERNEL loads one' });
    }
    const report = await this.preflight({});
    const failed = report.checks.filter((one) => one.result === 'fail');
    const refused = failed.filter((one) => params.force?.includes(one.check) !== true);
    if (refused.length > 0) {
      throw new LuoError(
        'PREFLIGHT_FAILED',
        `preflight fails: ${refused.map((one) => `${one.check}: ${one.reason}`).join('; ')}`,
        {
          remedy: 'luoctl preflight shows all of it; --force CHECK overrides one',
          data: { checks: refused.map((one) => ({ ...one })) },
        },
      );
    }
    for (const check of failed) this.#host.log.warn({ check: check.check }, `preflight overridden: ${check.reason}`);
    this.#claimMs = params.limits?.claimMs ?? DEADLINES.claimMs;
    return this.#host.run(this.#plan(), 'finished', params.limits);
  }

  /** The plan of an update of everything, luod's own part included. */
  #plan(): EnginePlan {
    return this.crossing.withOwnMember(this.#host.plan());
  }

  async prepare(limits: LuodParams<'prepare'>['limits']): Promise<UpdateResult> {
    this.#machine();
    await this.#clearing;
    await this.#checkCopies();
    return this.#host.run(this.#plan(), 'prepared', limits);
  }

  blobs(): Blobs {
    if (this.#blobs) return this.#blobs;
    throw this.#unavailable();
  }

  status(): KexecStatus {
    const { machine } = this.#options;
    const imageLoaded = machine?.isLoaded() ?? false;
    const arrival = this.incoming?.arrival;
    return {
      available: this.available,
      reason: this.#options.reason,
      release: machine?.release ?? '',
      image: this.#image && imageLoaded ? { ...this.#image } : null,
      imageLoaded,
      arrived: arrival
        ? {
            from: arrival.from,
            attempt: arrival.attempt,
            torn: arrival.torn,
            ...(arrival.error === undefined ? {} : { error: arrival.error }),
          }
        : null,
      unclaimed: this.#unclaimed?.status() ?? [],
      resets: this.#devices.status(),
    };
  }

  // -------------------------------------------------------------------------------------------- claims

  isWaiting(key: string): boolean {
    return this.incoming?.isWaiting(key) === true || this.incoming?.stateOf(key) === 'lost';
  }

  /** Take a handle out of its session into the keeper. @throws LuoError CLAIM_LOST, CLAIM_MEMORY */
  async retrieve(handle: Handle): Promise<void> {
    const fd = await this.#takeOut(handle.key);
    try {
      if (await this.#differs(handle.key, fd)) this.#host.handles.update(handle.key, { cameTorn: true });
    } catch (error) {
      // Nothing is lost: the session gives it out again.
      fd.close();
      throw error;
    }
    await this.#keep(handle, fd);
  }

  /** A delegate, or luod, took it out: from now on it is like any other. @param takenFd custody's from now on */
  async #keep(handle: Handle, takenFd: OwnedFd): Promise<void> {
    await this.#host.custody.put(handleEntryName(handle.key), handle.owner, { key: handle.key }, [takenFd], true);
    this.#incoming().take(handle.key, 'retrieved');
  }

  /** luod is charged for its memory. @returns its fd, which the caller owns @throws LuoError CLAIM_LOST, CLAIM_MEMORY */
  #takeOut(key: string): Promise<OwnedFd> {
    return this.#incoming().retrieve(key, (sizeBytes) => this.#machine().chargeProblem(sizeBytes, process.pid));
  }

  /** A digest travelled along, and the content is another one. */
  async #differs(key: string, fd: OwnedFd): Promise<boolean> {
    const digest = this.#incoming().preservedOf(key)?.digest;
    if (digest === undefined || (await digestOf(fd.fd)) === digest) return false;
    this.#host.log.error({ handle: key }, 'the content is not what was frozen: its digest differs');
    return true;
  }

  /** Its owner takes it out of the session by itself; the fd (borrowed) is the session's. */
  delegateClaim(handle: Handle): { retrieve: { session: string; token: string }; fd: number } {
    const retrieve = this.#incoming().delegate(handle.key);
    const open = this.sessions.list().find((one) => one.name === retrieve.session && one.direction === 'incoming');
    if (!open) throw new LuoError('SESSION_MISSING', `the keeper does not hold the session '${retrieve.session}'`);
    return { retrieve, fd: open.fd };
  }

  /** @param takenFd what came out; none: it cannot travel, or `errno` says why there is nothing */
  async delegateRetrieved(handle: Handle, takenFd: OwnedFd | undefined, errno: string | undefined): Promise<void> {
    if (errno !== undefined) {
      takenFd?.close();
      const message = `its owner could not take it out of the session: ${errno}`;
      this.#incoming().take(handle.key, 'lost', { code: 'CLAIM_LOST', message, errno });
      this.#host.handles.update(handle.key, { holder: null });
    } else if (takenFd) {
      await this.#keep(handle, takenFd);
      this.#host.handles.update(handle.key, { hasFd: true });
    } else this.#incoming().take(handle.key, 'retrieved');
    this.mayFinish();
    this.poke();
  }

  /** A process has it from now on. What has an fd was taken out of its session on the way. */
  claimed(key: string): void {
    if (this.incoming?.isDevice(key)) this.incoming.take(key, 'retrieved');
  }

  dropped(keys: readonly string[]): void {
    for (const key of keys) this.incoming?.take(key, 'dropped');
    this.mayFinish();
    this.poke();
  }

  // -------------------------------------------------------------------------------------------- after the jump

  /** Keys that stand in the way of finish. */
  undecided(): string[] {
    return this.#unclaimed?.list().map((handle) => handle.key) ?? [];
  }

  /**
   * Everything that is luod's own is taken first: boxes, and what waited in the last kernel already.
   * @param parked keys of handles
   */
  async restoreOwn(owner: string, parked: readonly string[]): Promise<void> {
    const { incoming } = this;
    if (!incoming) return;
    for (const key of incoming.waiting(owner)) {
      if (!key.startsWith('box/')) {
        incoming.take(key, 'dropped');
        continue;
      }
      try {
        const fd = await this.#takeOut(key);
        const sizeBytes = incoming.preservedOf(key)?.sizeBytes ?? null;
        await this.#host.custody.put(key, owner, { type: 'memfd', sizeBytes }, [fd], true);
        incoming.take(key, 'retrieved');
      } catch (error) {
        const { code, message } = LuoError.from(error);
        this.#host.log.error({ entry: key, code }, `an entry of a box did not come over: ${message}`);
      }
    }
    for (const key of parked) {
      const handle = this.#host.handles.get(key);
      if (handle?.holder === null) await this.#unclaimed?.hold(handle);
    }
  }

  /** Resolves when a process of this owner serves. @throws LuoError CALL_TIMEOUT the time for claims is over */
  async whenServing(owner: string): Promise<void> {
    while (!this.#host.serves(owner)) {
      if (this.#timeIsOver) {
        throw new LuoError('CALL_TIMEOUT', `no process of '${owner}' came back in time after the jump`, {
          participant: owner,
        });
      }
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  /** Whoever vetoed the finish may see it differently now. */
  mayFinish(): void {
    this.#finishAgain.something();
  }

  /** Something changed that a waiter, a policy or finish may have waited for. */
  poke(): void {
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
    // Nothing came over, or all of it is settled: this is called at every change.
    if (!this.#unclaimed || this.#deciding || !this.incoming?.arrival?.sessions.length) return;
    this.#deciding = true;
    void this.#unclaimed.decide(this.#timeIsOver).finally(() => {
      this.#deciding = false;
      if (this.undecided().length === 0) this.#finishAgain.ask();
    });
  }

  /** No attempt is open: what an earlier luod had not come to the end of when it had finished the last one. */
  async settle(): Promise<void> {
    const { arrival } = this.incoming ?? {};
    if (!arrival || arrival.error) return;
    if (arrival.sessions.length > 0) await this.over('committed');
    else this.#host.arrivalOver();
  }

  /** An attempt of this gap is over. Another begins when what is left of this one is gone: before, the kernel takes none of it. */
  over(outcome: 'committed' | 'aborted'): Promise<void> {
    this.#clearing = this.#clear(outcome);
    return this.#clearing;
  }

  async #clear(outcome: 'committed' | 'aborted'): Promise<void> {
    if (outcome === 'aborted') return this.#crossing?.sweep();
    const { incoming } = this;
    if (!incoming?.arrival || incoming.arrival.error) return;
    clearTimeout(this.#claimTimer);
    await this.#devices.resetAll(incoming.unclaimedDevices());
    for (const owner of incoming.unfinished()) {
      await incoming.finish(owner).catch((error: unknown) => {
        this.#host.log.error({ owner, error: String(error) }, 'a session of the last kernel cannot be finished');
      });
    }
    incoming.forget();
    this.#host.arrivalOver();
  }

  // -------------------------------------------------------------------------------------------- inside

  #claimsOver(): void {
    this.#timeIsOver = true;
    const left = this.undecided();
    if (left.length > 0) {
      this.#host.log.warn({ handles: left.slice(0, 20), count: left.length }, 'unclaimed after the time for claims');
    }
    this.mayFinish();
    this.poke();
    this.#host.changed();
  }

  /** Can a session be made now? Better to know before anybody is asked to prepare. @throws LuoError LIVEUPDATE_HELD and others */
  async #checkDevice(): Promise<void> {
    await (await this.#backend!.create(PROBE_SESSION)).close();
  }

  async #checkCopies(): Promise<void> {
    const owners = (await this.outgoing?.copies()) ?? [];
    if (owners.length === 0) return;
    throw new LuoError(
      'STATE_STUCK',
      `${owners.map((one) => `'${one}'`).join(', ')} keeps the session of a cancelled update: its memory would travel along`,
      { data: { stuck: owners }, remedy: 'end that process: luoctl stop NAME' },
    );
  }

  #setImage(image: LoadedImage | null): void {
    this.#image = image;
    this.#host.append({ kind: 'kexec.image', image });
    this.#host.changed();
  }

  #incoming(): IncomingSessions {
    if (this.incoming) return this.incoming;
    throw this.#unavailable();
  }

  #machine(): KexecMachine {
    if (this.#options.machine && this.#backend) return this.#options.machine;
    throw this.#unavailable();
  }

  #unavailable(): LuoError {
    return new LuoError('LIVEUPDATE_MISSING', `this luod cannot cross the kexec gap: ${this.#options.reason}`, {
      remedy: 'luoctl doctor says what this machine lacks',
    });
  }
}
