/**
 * luod: puts its parts together, starts them from the journal, and ends them. Nothing here decides about updates.
 *
 * Start: the keeper's channel -> what it holds -> the journal's records -> living processes -> the engine takes up what was
 * open -> the socket -> confirm. A fresh start is the same with an empty journal; so is the start after a SIGKILL, and
 * the start of a new version of luod. End: SIGTERM stops every service and ends the keeper; `updateLuod` and a lost keeper
 * end luod alone and leave everything running.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Describers } from '../ports/index.js';
import type { JournalRecord } from '../protocol/journal.js';
import { ARRIVING_FILE } from '../protocol/manifest.js';
import { KEEPER_METHODS, LUOD_METHODS, MEMBER_CALLS } from '../protocol/spec.js';
import type { LuodParams } from '../protocol/spec.js';
import { compileMethods } from '../protocol/validate.js';
import { dupFd } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import { Boxes } from './boxes.js';
import { Custody, REFILLING_ENTRY } from './custody.js';
import { FdStore } from './fd-store.js';
import { Globals } from './globals.js';
import { Handles } from './handles.js';
import type { Instance } from './instance.js';
import { JOURNAL_ENTRY } from './journal.js';
import { ArrivedMembers } from './kexec/arrived-members.js';
import { Kexec } from './kexec/kexec.js';
import type { KexecOptions } from './kexec/kexec.js';
import type { Logger } from './logger.js';
import { MemberCalls } from './member-calls.js';
import { MemberProcesses } from './member-processes.js';
import { Membership } from './membership.js';
import { openJournal } from './open-journal.js';
import type { OpenedJournal } from './open-journal.js';
import { Operator } from './operator.js';
import { Orchestrator } from './orchestrator.js';
import { Outcomes } from './outcomes.js';
import { Participants } from './participants.js';
import { Presence } from './presence.js';
import { Records } from './records.js';
import { Recovery } from './recovery.js';
import { Remains } from './remains.js';
import { Requests } from './requests.js';
import { SelfUpdate } from './self-update.js';
import { Server } from './server.js';
import { ownerOf } from './service.js';
import { Services } from './services.js';
import { StateFiles } from './state-files.js';
import { StateView } from './state-view.js';
import { Timelines } from './timeline.js';

const LISTEN_ENTRY = 'luod/listen';
/** How long participants that nobody supervises may take to come back after luod's own restart. */
const RETURN_MS = 15_000;

export interface DaemonOptions {
  readonly dir: string;
  readonly uid: number;
  readonly version: string;
  readonly log: Logger;
  /** The channel to the keeper, owned from now on. */
  readonly channel: OwnedFd;
  /** Command line of this luod, and of a keeper that adopts it. */
  readonly luodArgv: readonly string[];
  readonly keeperArgv: readonly string[];
  readonly describers: Describers;
  readonly readMark: (fd: number) => boolean | undefined;
  readonly sealContent: (fd: number) => void;
  readonly kexec: KexecOptions;
  /** How the service that runs the hooks of global handles is started; undefined: there are none. */
  readonly globals: () => LuodParams<'run'> | undefined;
  /** From now on each line of the log goes there too. */
  readonly teeLog: (write: (line: string) => void) => void;
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #custody: Custody;
  readonly #records: Records;
  readonly #timelines: Timelines;
  readonly #handles: Handles;
  readonly #participants: Participants;
  readonly #services: Services;
  readonly #presence: Presence;
  readonly #orchestrator: Orchestrator;
  readonly #calls: MemberCalls;
  readonly #processes: MemberProcesses;
  readonly #outcomes: Outcomes;
  readonly #membership: Membership;
  readonly #boxes: Boxes;
  readonly #kexec: Kexec;
  readonly #arrived: ArrivedMembers;
  readonly #fdStore: FdStore;
  readonly #globals: Globals;
  readonly #remains: Remains;
  readonly #recovery: Recovery;
  readonly #operator: Operator;
  readonly #server: Server;
  readonly #stateFiles: StateFiles;
  readonly #view: StateView;
  readonly #selfUpdate: SelfUpdate;
  #isEnding = false;
  #resolveEnded: (code: number) => void = () => undefined;
  readonly ended = new Promise<number>((resolve) => (this.#resolveEnded = resolve));

  /** Puts the parts together. What a part needs of one that comes after it, it gets as a function. */
  private constructor(options: DaemonOptions, custody: Custody, { journal, records }: OpenedJournal) {
    this.#options = options;
    this.#custody = custody;
    const { dir, uid, log, version } = options;
    const keeperSocket = join(dir, 'keeper.sock');
    const ownOwner = ownerOf(uid, '(luod)');
    const isEnding = (): boolean => this.#isEnding;
    const changed = (): void => this.#view.changed();
    // Something that a participant's word on the finish may hang on has changed.
    const news = (): void => {
      this.#kexec.mayFinish();
      changed();
    };
    const isSuccessor = (instance: Instance): boolean => this.#services.successor(instance.record.service) === instance;

    // What is kept.
    this.#records = new Records(journal, {
      mayCompact: () => this.#orchestrator.isIdle && !this.#isEnding,
      replaceJournal: (takenFd) => custody.put(JOURNAL_ENTRY, ownOwner, {}, [takenFd], true),
    });
    const append = (record: JournalRecord): void => this.#records.append(record);
    this.#timelines = new Timelines(append);
    this.#handles = new Handles(append);
    this.#participants = new Participants(append);
    this.#boxes = new Boxes(
      custody,
      ownerOf(uid, '(boxes)'),
      { describe: options.describers.fd, sealContent: options.sealContent },
      append,
    );
    this.#remains = new Remains(this.#handles, custody, options.describers.fd, append);
    this.#kexec = new Kexec(options.kexec, {
      version,
      log,
      custody,
      handles: this.#handles,
      ownOwner,
      append,
      snapshot: () => this.#records.snapshot(),
      ownEntries: () => this.#boxes.entries(),
      plan: () => this.#operator.kexecPlan(),
      run: (plan, until, limits) => this.#operator.runKexec(plan, until, limits),
      chargedPid: (of) => this.#participants.all().find((one) => one.owner === of)?.record.pid ?? null,
      predictMs: (scope) => this.#timelines.predictMs(scope, 'kexec'),
      serves: (of) => this.#arrived.serves(of),
      drop: (keys) => this.#membership.drop(keys),
      finish: () => this.#arrived.finish(),
      arrivalOver: () => rmSync(join(dir, ARRIVING_FILE), { force: true }),
      changed,
    });

    // The processes of services.
    this.#fdStore = new FdStore(this.#handles, custody, options.describers.fd);
    this.#services = new Services({
      dir,
      uid,
      socketPath: join(dir, 'luod.sock'),
      log,
      custody,
      append,
      listenFds: (of) => this.#fdStore.listenFds(of),
      hasKept: (of) => this.#hasKept(of),
      onFdStore: (instance, message, fds) =>
        this.#fdStore.told(instance, ownerOf(uid, instance.record.service), message, fds, isSuccessor(instance)),
      onGivenFds: (instance) =>
        this.#fdStore.claimAll(instance, ownerOf(uid, instance.record.service), isSuccessor(instance)),
      settle: (id) => this.#presence.drained(id),
      onGone: (instance) => this.#presence.processGone(instance.id),
      changed: (service) => {
        if (this.#services.has(service)) this.#server.tell('service', this.#services.status(service));
        changed();
      },
    });
    this.#globals = new Globals({
      command: options.globals,
      ownerOf: (service) => ownerOf(uid, service),
      has: (service) => this.#services.has(service),
      run: (params) => this.#services.run(params),
      acts: (of) => this.#participants.all().some((one) => one.owner === of && one.record.acting),
      log,
    });
    this.#records.replay(records, [
      this.#services,
      this.#services.instances,
      this.#participants,
      this.#handles,
      this.#boxes,
      this.#kexec,
      this.#remains,
      this.#timelines,
    ]);

    // An attempt, its effects on members.
    this.#orchestrator = new Orchestrator(
      {
        log,
        custody,
        timelines: this.#timelines,
        append: ({ record }) => {
          this.#timelines.flush();
          this.#records.appendEngine(record);
        },
        standby: (plan, member, deadlineMs) => this.#processes.standby(plan, member, deadlineMs),
        call: (effect, participant, plan, key) => this.#calls.call(effect, participant, plan, key),
        endProcess: (participant, actor, graceMs) => this.#processes.endProcess(participant, actor?.member, graceMs),
        restart: (plan, member, deadlineMs) => this.#processes.restart(plan, member, deadlineMs),
        decided: (plan, outcome, successors) => {
          const { generation, generationAttempt: attempt } = this.#orchestrator;
          if (outcome === 'committed') this.#records.appendGeneration({ generation, attempt });
          this.#outcomes.decided(plan, outcome, successors);
          changed();
        },
        keptOld: (plan, member, successors) => this.#outcomes.keptOld(plan, member, successors),
        jump: (attempt) => this.#kexec.crossing.jump(attempt),
        over: (plan, settled) => {
          this.#outcomes.over(plan, settled);
          this.#presence.expireLeft();
          setImmediate(() => {
            void this.#records.compactIfDue();
            this.#selfUpdate.whenIdle();
          });
          changed();
        },
        changed,
      },
      this.#records.generation.generation,
      this.#records.generation.attempt,
    );
    this.#arrived = new ArrivedMembers({
      log,
      kexec: this.#kexec,
      services: this.#services,
      participants: this.#participants,
      orchestrator: this.#orchestrator,
    });
    this.#processes = new MemberProcesses({
      services: this.#services,
      orchestrator: this.#orchestrator,
      arrived: this.#arrived,
    });
    this.#calls = new MemberCalls({
      participants: this.#participants,
      instances: this.#services.instances,
      custody,
      keeperSocket,
      kexec: this.#kexec,
      onLate: (id, ok) => this.#orchestrator.dispatch({ type: 'late', id, ok }),
      successorOf: (member) => this.#orchestrator.successorOf(member),
    });
    this.#membership = new Membership({
      participants: this.#participants,
      handles: this.#handles,
      services: this.#services,
      custody,
      orchestrator: this.#orchestrator,
      calls: this.#calls,
      describers: options.describers,
      kexec: this.#kexec,
      needed: (dependencies) => this.#globals.needed(dependencies),
      remains: this.#remains,
      readMark: options.readMark,
      onGone: (participant) => this.#presence.gone(participant),
      changed: news,
    });
    this.#outcomes = new Outcomes({
      uid,
      log,
      services: this.#services,
      handles: this.#handles,
      custody,
      membership: this.#membership,
      processes: this.#processes,
      kexec: this.#kexec,
      timelines: this.#timelines,
    });
    this.#presence = new Presence({
      log,
      participants: this.#participants,
      handles: this.#handles,
      custody,
      orchestrator: this.#orchestrator,
      calls: this.#calls,
      membership: this.#membership,
      remains: this.#remains,
      isEnding,
      changed,
      news,
    });
    this.#recovery = new Recovery({
      dir,
      log,
      records: this.#records,
      participants: this.#participants,
      handles: this.#handles,
      services: this.#services,
      boxes: this.#boxes,
      remains: this.#remains,
      orchestrator: this.#orchestrator,
      kexec: this.#kexec,
      arrived: this.#arrived,
      processes: this.#processes,
      outcomes: this.#outcomes,
      presence: this.#presence,
    });
    this.#selfUpdate = new SelfUpdate({
      log,
      custody,
      orchestrator: this.#orchestrator,
      luodArgv: options.luodArgv,
      isEnding,
      leave: () => this.leave(0),
    });

    // What is asked and shown.
    this.#operator = new Operator({
      uid,
      version,
      dir,
      startedAt: new Date().toISOString(),
      participants: this.#participants,
      handles: this.#handles,
      services: this.#services,
      custody,
      orchestrator: this.#orchestrator,
      membership: this.#membership,
      calls: this.#calls,
      boxes: this.#boxes,
      remains: this.#remains,
      kexec: this.#kexec,
      timelines: this.#timelines,
      append,
      connections: () => this.#server.connectionCount,
      changed: news,
    });
    this.#server = new Server({
      log,
      uid,
      version,
      keeperSocket,
      membership: this.#membership,
      operator: new Requests({
        dir,
        services: this.#services,
        operator: this.#operator,
        boxes: this.#boxes,
        kexec: this.#kexec,
        globals: this.#globals,
        orchestrator: this.#orchestrator,
        updateLuod: (argv) => this.#selfUpdate.request(argv),
        shutdown: () => void this.shutdown(),
      }),
      state: () => {
        const { state, attempt } = this.#orchestrator.shown;
        return { state, generation: this.#orchestrator.generation, attempt };
      },
      onJoined: (participant, resume, resumed) => this.#presence.joined(participant, resume, resumed),
      onLeft: (participant) => this.#presence.left(participant),
    });
    this.#stateFiles = new StateFiles(dir, (error) => log.warn({ error: String(error) }, 'state files not written'));
    this.#view = new StateView({
      orchestrator: this.#orchestrator,
      handles: this.#handles,
      participants: this.#participants,
      server: this.#server,
      files: this.#stateFiles,
      onShown: () => this.#kexec.poke(),
    });
    this.#orchestrator.onProgress((progress) => this.#server.tell('update', progress));
  }

  /** Start luod on what the keeper holds. @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED: nothing was touched */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const box: { daemon?: Daemon; hasBegun?: true; isKeeperNew?: true } = {};
    const custody = await Custody.open(options.channel, {
      log: options.log,
      keeperArgv: options.keeperArgv,
      onKeeperReplaced: () => {
        box.isKeeperNew = true;
        // Before, there is no attempt yet that could be told.
        if (box.hasBegun && box.daemon) box.daemon.#selfUpdate.keeperReplaced();
      },
      onFatal: (error) => {
        options.log.fatal({ code: error.code }, error.message);
        box.daemon?.leave(1);
      },
    });
    const opened = await openJournal(custody, options);
    const daemon = new Daemon(options, custody, opened);
    box.daemon = daemon;
    await daemon.#begin(opened);
    // If an earlier luod died while it refilled the keeper, what it had not given is known to be missing now.
    custody.drop([REFILLING_ENTRY]);
    box.hasBegun = true;
    if (box.isKeeperNew) daemon.#selfUpdate.keeperReplaced();
    return daemon;
  }

  async #begin({ isRecovery, fromRemains }: OpenedJournal): Promise<void> {
    const { dir, log } = this.#options;
    await this.#stateFiles.adopt();
    await this.#recovery.takeUp(isRecovery, fromRemains);
    this.#globals.needed(this.#handles.all().flatMap((handle) => handle.dependencies));
    writeFileSync(join(dir, 'luod.pid'), `${process.pid}\n`);
    // Whoever is answered finds the files; after a death they are there, and nothing may wait for them.
    this.#view.showFiles();
    if (!isRecovery) await this.#stateFiles.flush();
    await this.#listen();
    await this.#custody.confirm();
    void this.#kexec.keepLog().then((ring) => {
      if (ring && !this.#isEnding) this.#options.teeLog((line) => ring.write(line));
    });
    if (isRecovery) setTimeout(() => this.#presence.expireAbsent(), RETURN_MS).unref();
    // The first update after a start must not wait for this.
    setImmediate(() => {
      compileMethods(LUOD_METHODS, 'params');
      compileMethods(MEMBER_CALLS, 'result');
      compileMethods(KEEPER_METHODS, 'result');
    });
    log.info(
      { dir, recovered: isRecovery, handles: this.#handles.size },
      isRecovery ? 'luod is back' : 'luod is ready',
    );
  }

  /** On the socket of an earlier luod, if there was one, so that no client is refused meanwhile. */
  async #listen(): Promise<void> {
    const { dir, uid } = this.#options;
    const listening = this.#custody.get(LISTEN_ENTRY)?.fds[0];
    if (listening) return this.#server.adopt(listening.dup());
    const fd = await this.#server.listen(join(dir, 'luod.sock'));
    await this.#custody.put(LISTEN_ENTRY, ownerOf(uid, '(luod)'), {}, [dupFd(fd)]);
  }

  /** SIGTERM: stop all services, end the keeper, leave nothing behind. */
  async shutdown(): Promise<void> {
    if (!this.#startEnding()) return;
    this.#options.log.info('shutting down: stopping all services');
    await this.#services.stopAll();
    this.#server.close();
    await this.#stateFiles.remove();
    this.#records.close();
    for (const name of ['luod.sock', 'luod.pid', 'journal', 'notify']) {
      rmSync(join(this.#options.dir, name), { force: true, recursive: true });
    }
    await this.#custody.shutdown();
    this.#resolveEnded(0);
  }

  /** End this luod alone; services, sockets and state stay for the next one. */
  leave(code: number): void {
    if (!this.#startEnding()) return;
    this.#participants.detach();
    this.#kexec.detach();
    this.#services.detach();
    this.#server.close();
    this.#timelines.flush();
    this.#records.close();
    this.#custody.close();
    this.#resolveEnded(code);
  }

  /** @returns false: it has ended, or is about to */
  #startEnding(): boolean {
    if (this.#isEnding) return false;
    this.#isEnding = true;
    this.#view.close();
    this.#orchestrator.detach();
    return true;
  }

  /** State of this owner waits for its next process. */
  #hasKept(owner: string): boolean {
    const waits = this.#handles.ofOwner(owner).some((handle) => handle.holder === null);
    return waits || this.#custody.withPrefix('parcel/').some((entry) => entry.owner === owner);
  }
}
