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
import { LuoError } from '../base/errors.js';
import { DEADLINES } from '../base/limits.js';
import type { Outcome } from '../base/words.js';
import type { Plan } from '../engine/types.js';
import type { JournalRecord as EngineRecord } from '../engine/types.js';
import type { Describers } from '../ports/index.js';
import type { JournalRecord } from '../protocol/journal.js';
import { ARRIVING_FILE } from '../protocol/manifest.js';
import { KEEPER_METHODS, LUOD_METHODS, MEMBER_CALLS } from '../protocol/spec.js';
import type { LuodMethod, LuodParams } from '../protocol/spec.js';
import { compileMethods } from '../protocol/validate.js';
import { closeAll, dupFd, faultPoint } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Responder } from '../transport/index.js';
import { Boxes } from './boxes.js';
import { Custody, REFILLING_ENTRY } from './custody.js';
import { FdStore } from './fd-store.js';
import { Globals } from './globals.js';
import { Handles } from './handles.js';
import { OWN_MEMBER } from './kexec/crossing.js';
import { Kexec } from './kexec/kexec.js';
import type { KexecOptions } from './kexec/kexec.js';
import { readArrival } from './kexec/read-arrival.js';
import { JOURNAL_ENTRY, Journal, createJournal, readJournal, writeRecords } from './journal.js';
import { openRead } from './log-file.js';
import type { Logger } from './logger.js';
import { MemberCalls } from './member-calls.js';
import { Membership } from './membership.js';
import { Operator } from './operator.js';
import { Orchestrator } from './orchestrator.js';
import type { Settled } from './orchestrator.js';
import { Participants } from './participants.js';
import type { Participant } from './participants.js';
import { Remains, readRemains } from './remains.js';
import { Server } from './server.js';
import type { Answered } from './server.js';
import { ownerOf } from './service.js';
import { Services } from './services.js';
import { StateFiles } from './state-files.js';
import { handleFiles, participantFiles } from './state-text.js';
import { Timelines } from './timeline.js';

const LISTEN_ENTRY = 'luod/listen';
/** How long participants that nobody supervises may take to come back after luod's own restart. */
const RETURN_MS = 15_000;
/** What those say of themselves that have had their go and are not frozen. */
const ACTING_PHASES: readonly string[] = ['running', 'thawed', 'gone-on'];
/** How long a participant may take to give what luod and keeper have lost, before it is dealt with all the same. */
const REFILL_MS = 5_000;
/** How long the last words of a dead process may take to be read. */
const DRAIN_MS = 500;
/** Updates of more members than this tell their stages only. */
const PROGRESS_MEMBERS_MAX = 64;
/** Lines after which nobody waits for luod any more. */
const BLACKOUT_ENDS: readonly EngineRecord['type'][] = ['acked', 'aborting', 'returned', 'settled'];
/** A freeze or commit that takes longer than this is shown in the files while it lasts. */
const SLOW_PHASE_MS = 100;
/** Changes of so long are shown as one. */
const FILES_MS = 10;

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
  readonly #journal: Journal;
  readonly #timelines: Timelines;
  readonly #handles: Handles;
  readonly #participants: Participants;
  readonly #services: Services;
  readonly #orchestrator: Orchestrator;
  readonly #calls: MemberCalls;
  readonly #membership: Membership;
  readonly #boxes: Boxes;
  readonly #kexec: Kexec;
  readonly #fdStore: FdStore;
  readonly #globals: Globals;
  readonly #remains: Remains;
  readonly #operator: Operator;
  readonly #server: Server;
  readonly #stateFiles: StateFiles;
  readonly #startedAt = new Date().toISOString();
  #engineRecords: EngineRecord[] = [];
  #generation = 0;
  #generationAttempt: number | null = null;
  #ended = false;
  #replaceSelf = false;
  #resolveEnded: (code: number) => void = () => undefined;
  readonly ended = new Promise<number>((resolve) => (this.#resolveEnded = resolve));

  private constructor(options: DaemonOptions, custody: Custody, journal: Journal, records: readonly JournalRecord[]) {
    this.#options = options;
    this.#custody = custody;
    this.#journal = journal;
    const { dir, uid, log } = options;
    const append = (record: JournalRecord): void => this.#append(record);
    this.#timelines = new Timelines(append);
    this.#handles = new Handles(append);
    this.#participants = new Participants(append);
    const owner = ownerOf(uid, '(boxes)');
    this.#boxes = new Boxes(
      custody,
      owner,
      { describe: options.describers.fd, sealContent: options.sealContent },
      append,
    );
    this.#kexec = new Kexec(options.kexec, {
      version: options.version,
      log,
      custody,
      handles: this.#handles,
      ownOwner: ownerOf(uid, '(luod)'),
      append,
      snapshot: () => this.#snapshot(),
      ownEntries: () => this.#boxes.entries(),
      plan: () => this.#operator.kexecPlan(),
      run: (plan, until, limits) => this.#operator.runKexec(plan, until, limits),
      chargedPid: (of) => this.#participants.all().find((one) => one.owner === of)?.record.pid ?? null,
      predictMs: (scope) => this.#timelines.predictMs(scope, 'kexec'),
      serves: (of) => this.#serves(of),
      drop: (keys) => this.#membership.drop(keys),
      finish: () => this.#finishArrived(),
      arrivalOver: () => rmSync(join(dir, ARRIVING_FILE), { force: true }),
      changed: () => this.#changed(),
    });
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
        this.#fdStore.told(
          instance,
          ownerOf(uid, instance.record.service),
          message,
          fds,
          this.#services.successor(instance.record.service) === instance,
        ),
      onGivenFds: (instance) =>
        this.#fdStore.claimAll(
          instance,
          ownerOf(uid, instance.record.service),
          this.#services.successor(instance.record.service) === instance,
        ),
      settle: (id) => this.#drained(id),
      onGone: (instance) => this.#processGone(instance.id),
      changed: (service) => this.#serviceChanged(service),
    });
    this.#globals = new Globals({
      command: options.globals,
      ownerOf: (service) => ownerOf(uid, service),
      has: (service) => this.#services.has(service),
      run: (params) => this.#services.run(params),
      acts: (of) => this.#participants.all().some((one) => one.owner === of && one.record.acting),
      log,
    });
    this.#remains = new Remains(this.#handles, custody, options.describers.fd, append);
    for (const record of records) this.#replay(record);
    this.#orchestrator = new Orchestrator(
      {
        log,
        custody,
        timelines: this.#timelines,
        append: (record) => this.#appendEngine(record.record),
        standby: (plan, member, deadlineMs) => this.#standby(plan, member, deadlineMs),
        call: (effect, participant, plan, key) => this.#calls.call(effect, participant, plan, key),
        endProcess: (participant, actor, graceMs) => this.#endProcess(participant, actor?.member, graceMs),
        restart: (plan, member, deadlineMs) => this.#restart(plan, member, deadlineMs),
        decided: (plan, outcome, successors) => this.#decided(plan, outcome, successors),
        keptOld: (plan, member, successors) => this.#keptOld(plan, member, successors),
        jump: (attempt) => this.#kexec.crossing.jump(attempt),
        over: (plan, settled, successors) => this.#over(plan, settled, successors),
        changed: () => this.#changed(),
      },
      this.#generation,
      this.#generationAttempt,
    );
    this.#calls = new MemberCalls({
      participants: this.#participants,
      services: this.#services,
      custody,
      keeperSocket: join(dir, 'keeper.sock'),
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
      onGone: (participant) => this.#participantGone(participant),
      changed: () => this.#news(),
    });
    this.#operator = new Operator({
      uid,
      version: options.version,
      dir,
      startedAt: this.#startedAt,
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
      changed: () => this.#news(),
    });
    this.#server = new Server({
      log,
      uid,
      version: options.version,
      keeperSocket: join(dir, 'keeper.sock'),
      membership: this.#membership,
      operator: { call: (method, params, fds, reply) => this.#call(method, params, fds, reply) },
      state: () => this.#stateWords(),
      onJoined: (participant, resume, resumed) => this.#joined(participant, resume, resumed),
      onLeft: (participant) => this.#left(participant),
    });
    this.#stateFiles = new StateFiles(dir, (error) => log.warn({ error: String(error) }, 'state files not written'));
    this.#orchestrator.onProgress((progress) => this.#server.tell('update', progress));
  }

  /** Start luod on what the keeper holds. @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED: nothing was touched */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const box: { daemon?: Daemon } = {};
    const custody = await Custody.open(options.channel, {
      log: options.log,
      keeperArgv: options.keeperArgv,
      onKeeperReplaced: () => box.daemon?.keeperReplaced(),
      onFatal: (error) => {
        options.log.fatal({ code: error.code }, error.message);
        box.daemon?.leave(1);
      },
    });
    const known = custody.get(JOURNAL_ENTRY)?.fds[0];
    const onError = (error: unknown): void => options.log.warn({ error: String(error) }, 'journal copy not written');
    const copy = join(options.dir, 'journal');
    // A keeper that was being refilled when luod died as well does not hold everything.
    const isWhole = custody.get(REFILLING_ENTRY) === undefined;
    let daemon: Daemon;
    let remains = !isWhole;
    const kept = known && readJournal(known.fd);
    if (kept && !isAboutNothing(kept.records)) {
      daemon = new Daemon(options, custody, new Journal(known, kept.sizeBytes, copy, onError), kept.records);
    } else {
      const fresh = createJournal();
      // The first start in this kernel: what the last one left is the journal's beginning.
      const arrived = readArrival(custody, options.log);
      const left = arrived || known ? undefined : readRemains(options.dir);
      remains = left !== undefined;
      writeRecords(fresh.fd, arrived?.records ?? left ?? []);
      const { records, sizeBytes } = readJournal(fresh.fd);
      // The journal comes last: whoever finds one does not look at the manifest any more.
      for (const { name, owner, meta } of arrived?.parcels ?? []) await custody.put(name, owner, meta, [], true);
      if (arrived) faultPoint('luod.arriving');
      await custody.put(JOURNAL_ENTRY, ownerOf(options.uid, '(luod)'), {}, [fresh], true);
      daemon = new Daemon(options, custody, new Journal(fresh, sizeBytes, copy, onError), records);
      if (arrived) faultPoint('luod.arrived');
    }
    box.daemon = daemon;
    await daemon.#begin(known !== undefined || remains, remains);
    if (!isWhole) custody.drop([REFILLING_ENTRY]);
    return daemon;
  }

  /** A new keeper was refilled. The engine opens its record there; luod replaces itself under it when it is idle. */
  keeperReplaced(): void {
    this.#orchestrator.dispatch({ type: 'keeperLost' });
    this.#replaceSelf = true;
    this.#replaceSelfWhenIdle();
  }

  /** SIGTERM: stop all services, end the keeper, leave nothing behind. */
  async shutdown(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.log.info('shutting down: stopping all services');
    this.#orchestrator.detach();
    await this.#services.stopAll();
    this.#server.close();
    await this.#stateFiles.remove();
    this.#journal.close();
    for (const name of ['luod.sock', 'luod.pid', 'journal', 'notify']) {
      rmSync(join(this.#options.dir, name), { force: true, recursive: true });
    }
    await this.#custody.shutdown();
    this.#resolveEnded(0);
  }

  /** End this luod alone; services, sockets and state stay for the next one. */
  leave(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#orchestrator.detach();
    this.#participants.detach();
    this.#kexec.detach();
    this.#services.detach();
    this.#server.close();
    this.#timelines.flush();
    this.#journal.close();
    this.#custody.close();
    this.#resolveEnded(code);
  }

  // -------------------------------------------------------------------------------------------- start

  #replay(record: JournalRecord): void {
    if (record.kind === 'engine') {
      this.#rememberEngine(record.record as EngineRecord);
      return;
    }
    if (record.kind === 'generation') {
      this.#generation = record.generation as number;
      this.#generationAttempt = (record.attempt as number | null | undefined) ?? null;
      return;
    }
    const kept = [this.#timelines, this.#handles, this.#participants, this.#services, this.#boxes, this.#kexec];
    if ([...kept, this.#remains].some((part) => part.replay(record))) return;
    throw new LuoError('JOURNAL_TOO_NEW', `the journal has a record '${record.kind}' that this luod does not know`, {
      remedy: 'start the luod that wrote it; nothing was touched',
    });
  }

  /** @param fromRemains luod and keeper had died together: the keeper is new, and lacks what they alone held */
  async #begin(isRecovery: boolean, fromRemains: boolean): Promise<void> {
    const { dir, log } = this.#options;
    await this.#stateFiles.adopt();
    const dead = await this.#services.adopt();
    if (fromRemains) this.#takeUpRemains();
    await this.#kexec.begin();
    this.#thawManifest();
    // No waiting between the two: a death in between would be told to an engine that knows of no attempt.
    this.#orchestrator.recover(
      this.#engineRecords,
      (id) => this.#services.successor(this.#serviceOf(id))?.id,
      isRecovery ? undefined : this.#timelines.join,
    );
    if (this.#orchestrator.isIdle) {
      this.#services.forgetNext();
      this.#closeSettled();
      void this.#kexec.settle();
    } else if (fromRemains) this.#orchestrator.dispatch({ type: 'keeperLost' });
    for (const one of dead) this.#services.bury(one, this.#processGone(one.record.id));
    for (const participant of this.#participants.all()) {
      const { supervised } = participant.record;
      const alive =
        supervised === null
          ? participant.watch(() => this.#participantGone(participant))
          : this.#services.byId(participant.id);
      if (!alive) this.#participantGone(participant);
    }
    // Programs without the protocol join nothing: what a dead one of them held waits from now on.
    for (const handle of this.#handles.all()) {
      const { holder } = handle;
      if (holder === null || this.#participants.get(holder) || this.#services.byId(holder)) continue;
      this.#handles.orphan(holder, 'clean');
    }
    // Those that were gone before the earlier luod died, too: the engine's records do not tell. After a jump that is whoever has
    // no process in this kernel: one that is being started again is not harmed by it, one that had its go and died is waited for no more.
    for (const id of this.#orchestrator.actors) {
      if (id === OWN_MEMBER) continue;
      if (!this.#participants.get(id) && !this.#services.byId(id)) this.#orchestrator.died(id);
    }
    this.#giveLostUp();
    this.#resumePlain();
    this.#resumeOwn();
    for (const name of this.#services.names()) if (!this.#isInAttempt(name)) this.#services.reviveIfDue(name);
    this.#globals.needed(this.#handles.all().flatMap((handle) => handle.dependencies));
    writeFileSync(join(dir, 'luod.pid'), `${process.pid}\n`);
    // Whoever is answered finds the files; after a death they are there, and nothing may wait for them.
    this.#showFiles();
    if (!isRecovery) await this.#stateFiles.flush();
    const listening = this.#custody.get(LISTEN_ENTRY)?.fds[0];
    if (listening) this.#server.adopt(listening.dup());
    else {
      const fd = await this.#server.listen(join(dir, 'luod.sock'));
      await this.#custody.put(LISTEN_ENTRY, ownerOf(this.#options.uid, '(luod)'), {}, [dupFd(fd)]);
    }
    await this.#custody.confirm();
    void this.#kexec.keepLog().then((ring) => {
      if (ring && !this.#ended) this.#options.teeLog((line) => ring.write(line));
    });
    if (isRecovery) setTimeout(() => this.#expireAbsent(), RETURN_MS).unref();
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

  /** What luod and keeper alone held is missing from now on, until it is given again. */
  #takeUpRemains(): void {
    const ids = [...this.#participants.all().map(({ id }) => id), ...this.#services.instanceIds()];
    const boxes = this.#boxes.forgetEmpty().map((box) => `box/${box}`);
    this.#remains.begin(new Set(ids), boxes);
    this.#options.log.error(
      { dir: this.#options.dir, boxes },
      'luod and keeper had died together; what their processes still have is taken up, what lay in boxes is lost',
    );
  }

  /** Of what is missing, that which no living participant has. */
  #giveLostUp(): void {
    const lost = this.#remains.giveUp((id) => this.#participants.get(id) !== undefined);
    if (lost.length === 0) return;
    this.#options.log.error({ handles: lost }, 'handles lost: luod, keeper and all who held them are dead');
    this.#membership.drop(lost);
  }

  /** The last attempt had come to rest when the earlier luod died, which had not yet said so everywhere. */
  #closeSettled(): void {
    const last = this.#timelines.last();
    if (!last || last.endNs !== null) return;
    const settled = this.#engineRecords.findLast((one) => one.type === 'settled' && one.attempt === last.attempt);
    const outcome = settled?.type === 'settled' ? settled.outcome : 'aborted';
    const done = outcome === 'committed';
    const error = { code: 'UPDATE_FAILED', message: 'luod died when it had rolled the update back; why is in its log' };
    this.#timelines.end(last.attempt, done ? 'done' : 'rolled-back', outcome, done ? undefined : error);
    if (!done) return;
    for (const participant of last.scope) {
      this.#dropUnwanted(ownerOf(this.#options.uid, this.#serviceOf(participant)));
    }
  }

  /** At finish: what nobody claimed, and was released or may be discarded. */
  #dropUnwanted(owner: string): void {
    const unwanted = this.#handles
      .ofOwner(owner)
      .filter((handle) => handle.holder === null && handle.policy === 'discard')
      .map((handle) => handle.key);
    if (unwanted.length > 0) this.#options.log.info({ handles: unwanted }, 'handles discarded at finish');
    this.#membership.drop(unwanted);
  }

  /** Programs without the protocol do not come back by themselves: where the living ones stand is said for them. */
  #resumePlain(): void {
    const { attempt } = this.#orchestrator.shown;
    for (const { member, participant, protocol } of this.#orchestrator.plan?.members ?? []) {
      if (protocol !== 'plain') continue;
      const old = this.#services.byId(participant);
      // It was told to end, by the freeze or by the commit; either way its death is what comes next.
      if (old?.record.ending) void this.#services.end(old, null, DEADLINES.retireMs);
      else if (old) this.#orchestrator.resumed(participant, 'running', attempt);
      const next = this.#services.byId(this.#orchestrator.successorOf(member) ?? '');
      if (next) this.#orchestrator.resumed(next.id, next.record.ready ? 'ready' : 'standby', attempt);
    }
  }

  /** After luod's own restart: participants that nobody supervises and that did not come back are gone. */
  #expireAbsent(): void {
    for (const participant of this.#participants.all()) {
      if (participant.record.supervised !== null || participant.connected) continue;
      if (!this.#orchestrator.actorOf(participant.id)) this.#participantGone(participant);
    }
  }

  // -------------------------------------------------------------------------------------------- participants

  #joined(participant: Participant, resume: LuodParams<'hello'>['resume'], resumed: boolean): void {
    if (this.#remains.owed(participant).length === 0) return this.#resumed(participant, resume, resumed);
    // What follows may be its end: nobody else may have what it is about to give.
    const { peer } = participant;
    void this.#remains.whenGiven(participant, REFILL_MS).then(() => {
      const isThere = this.#participants.get(participant.id) === participant && participant.peer === peer;
      if (isThere && participant.connected && !this.#ended) this.#resumed(participant, resume, resumed);
    });
  }

  #resumed(participant: Participant, resume: LuodParams<'hello'>['resume'], resumed: boolean): void {
    if (resumed && resume) {
      this.#orchestrator.resumed(participant.id, resume.phase, resume.attempt);
      if (resume.phase === 'frozen') participant.frozen = true;
      // Its go, or its thaw, may have been the last word of an earlier luod, or the keeper's: it serves.
      if (ACTING_PHASES.includes(resume.phase)) this.#servesAgain(participant);
      // An earlier luod had accepted its ready, and died, or left, before its go: nobody else will say that.
      const isOutside = this.#orchestrator.actorOf(participant.id) === undefined;
      if (resume.phase === 'ready' && isOutside && participant.record.role !== 'successor') {
        this.#membership.bringUp(participant);
      }
    }
    this.#news();
  }

  /** What an earlier luod would have done after the go's answer; in an open attempt the engine sees to it. */
  #servesAgain(participant: Participant): void {
    this.#calls.acts(participant);
    const { plan } = this.#orchestrator;
    if (plan?.members.some((member) => member.owner === participant.owner)) return;
    this.#calls.dropKept(participant.owner);
    this.#membership.dropReleased(participant.id, this.#handles.claims(participant.id));
  }

  #left(participant: Participant): void {
    if (this.#ended) return;
    this.#orchestrator.hangup(participant.id);
    if (participant.record.supervised === null && !this.#orchestrator.actorOf(participant.id)) {
      this.#participantGone(participant);
    }
    this.#changed();
  }

  /** The process is dead, or the lease of one that nobody supervises is over. */
  #participantGone(participant: Participant): void {
    if (this.#participants.get(participant.id) !== participant) return;
    participant.peer?.close();
    this.#participants.remove(participant);
    for (const handle of this.#handles.abort(participant.id)) this.#custody.drop([`handle/${handle.key}`]);
    if (participant.record.supervised === null) {
      // Nobody will start it again: what it held is nobody's.
      const keys = this.#handles.heldBy(participant.id).map((handle) => handle.key);
      for (const key of keys) this.#handles.remove(key);
      this.#custody.drop(keys.map((key) => `handle/${key}`));
    } else {
      const left = participant.frozen ? 'clean' : participant.record.acting ? 'dirty' : 'same';
      this.#handles.orphan(participant.id, left);
    }
    this.#giveLostUp();
    this.#orchestrator.died(participant.id);
    this.#news();
  }

  /** Resolves when what a dead process had sent was read. */
  async #drained(id: string): Promise<void> {
    const peer = this.#participants.get(id)?.peer;
    if (!peer) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([peer.closed, new Promise((resolve) => (timer = setTimeout(resolve, DRAIN_MS)))]);
    clearTimeout(timer);
  }

  /** A process of a service is gone. @returns whether the engine takes care of what follows */
  #processGone(id: string): boolean {
    const engineCares = this.#orchestrator.handlesDeath(id);
    const participant = this.#participants.get(id);
    if (participant) this.#participantGone(participant);
    else {
      this.#handles.orphan(id, 'clean');
      if (this.#calls.isEnding(id)) setImmediate(() => this.#orchestrator.died(id));
      else this.#orchestrator.died(id);
    }
    return engineCares;
  }

  // -------------------------------------------------------------------------------------------- effects

  async #standby(plan: Plan, member: number, deadlineMs: number): Promise<string> {
    const { participant, protocol } = plan.members[member]!;
    const service = this.#serviceOf(participant);
    const starting = this.#services.startSuccessor(
      service,
      protocol === 'plain' ? 'ready' : 'standby',
      deadlineMs,
      (instance) => this.#orchestrator.successorStarted(member, instance.id),
    );
    return (await starting).id;
  }

  async #endProcess(participant: string | null, member: number | undefined, graceMs: number): Promise<void> {
    const instance = participant === null ? undefined : this.#services.byId(participant);
    if (instance) return this.#services.end(instance, null, graceMs);
    if (participant === null && member !== undefined && this.#orchestrator.plan) {
      // It may be between its start being asked for and its process being there.
      const service = this.#serviceOf(this.#orchestrator.plan.members[member]!.participant);
      await this.#services.abandonStart(service);
    }
  }

  async #restart(plan: Plan, member: number, deadlineMs: number): Promise<string> {
    if (plan.gap === 'kexec' && this.#isArrived()) return this.#startMember(plan, member, deadlineMs);
    const service = this.#serviceOf(plan.members[member]!.participant);
    // A process that an earlier luod had started for this and that it did not hear of: it may serve already.
    const left = this.#services.current(service);
    return (
      await (left ? this.#services.whenServing(left, deadlineMs) : this.#services.startCurrent(service, deadlineMs))
    ).id;
  }

  #decided(plan: Plan, outcome: Outcome, successors: ReadonlyMap<number, string>): void {
    if (outcome === 'committed') this.#append(this.#generationRecord());
    // No successors: whoever is started again in the next kernel has the command that it had.
    if (plan.gap === 'kexec') return this.#changed();
    for (const member of plan.members) {
      if (!member.replaced) continue;
      const successor = successors.get(member.member);
      const service = this.#serviceOf(member.participant);
      if (outcome === 'committed') {
        if (successor !== undefined) {
          const released = this.#handles.commit(member.participant, successor);
          for (const key of released) this.#handles.update(key, { policy: 'discard' });
        }
        this.#services.promote(service);
      } else {
        if (successor !== undefined) {
          for (const handle of this.#handles.abort(successor)) this.#custody.drop([`handle/${handle.key}`]);
        }
        this.#services.demote(service);
      }
    }
    this.#changed();
  }

  /** Committed was decided, but the successor is dead and the old process had thawed by itself: it stays. */
  #keptOld(plan: Plan, member: number, successors: ReadonlyMap<number, string>): void {
    const { participant, owner } = plan.members[member]!;
    const service = this.#serviceOf(participant);
    this.#services.reinstate(service, participant);
    const successor = successors.get(member);
    for (const handle of this.#handles.ofOwner(owner)) {
      if (handle.holder === null || handle.holder === successor)
        this.#handles.update(handle.key, { holder: participant });
    }
  }

  #over(plan: Plan, settled: Settled, _successors: ReadonlyMap<number, string>): void {
    if (plan.gap === 'kexec') void this.#kexec.over(settled.outcome ?? 'aborted');
    for (const member of plan.members) {
      if (!member.replaced || member.participant === OWN_MEMBER) continue;
      if (settled.outcome === 'committed') this.#dropUnwanted(member.owner);
      const service = this.#serviceOf(member.participant);
      if (!this.#isInAttempt(service)) this.#services.reviveIfWanted(service);
    }
    for (const { participant, method, error } of settled.errors) {
      this.#options.log.warn(
        { participant, method, code: error.code },
        `${method} of '${participant}': ${error.message}`,
      );
    }
    for (const participant of this.#participants.all()) {
      if (participant.record.supervised === null && !participant.connected) {
        setImmediate(() => {
          if (!participant.connected) this.#participantGone(participant);
        });
      }
    }
    setImmediate(() => {
      void this.#compactWhenIdle();
      this.#replaceSelfWhenIdle();
    });
    this.#changed();
  }

  // -------------------------------------------------------------------------------------------- operators

  async #call(method: LuodMethod, params: unknown, fds: OwnedFd[], reply: Responder): Promise<Answered> {
    const operator = this.#operator;
    if (method === 'put') {
      const { box, name, replace } = params as LuodParams<'put'>;
      return { result: await this.#boxes.put(box, name, fds[0]!, replace === true) };
    }
    if (method === 'blobPut') {
      const { name, replace } = params as LuodParams<'blobPut'>;
      try {
        return { result: await this.#kexec.blobs().put(name, fds[0]!.fd, replace === true) };
      } finally {
        closeAll(fds);
      }
    }
    closeAll(fds);
    const of = <M extends LuodMethod>(_method: M): LuodParams<M> => params as LuodParams<M>;
    switch (method) {
      case 'run':
        return { result: { service: await this.#services.run(of('run')) } };
      case 'start':
        return { result: { service: await this.#services.start(of('start').name) } };
      case 'stop':
        return { result: { service: await this.#stop(of('stop')) } };
      case 'kill': {
        const { name, signal } = of('kill');
        this.#services.signal(name, signal);
        return { result: {} };
      }
      case 'update':
        return { result: await this.#withProgress(reply, () => operator.update(of('update'))) };
      case 'rollback':
        return { result: await this.#withProgress(reply, () => operator.rollback(of('rollback'))) };
      case 'prepare':
        await this.#globals.settled();
        return { result: await this.#withProgress(reply, () => operator.prepare(of('prepare'))) };
      case 'cancel':
        return { result: await operator.cancel() };
      case 'finish':
        return { result: await operator.finish() };
      case 'recover':
        return { result: await operator.recover(of('recover')) };
      case 'plan':
        await this.#globals.settled();
        return { result: operator.plan(of('plan')) };
      case 'status':
        return { result: operator.status() };
      case 'timeline':
        return { result: operator.timelines(of('timeline')) };
      case 'discard':
        return { result: operator.discard(of('discard')) };
      case 'request':
      case 'unrequest':
        return { result: operator.select(of('request').handle, method === 'request') };
      case 'take': {
        const { box, name, remove } = of('take');
        const { fd, meta, digest } = this.#boxes.take(box, name, remove === true);
        return { result: { ...meta, digest }, fds: [fd] };
      }
      case 'list':
        return { result: { boxes: this.#boxes.list(of('list').box) } };
      case 'seal':
        return { result: { entries: await this.#boxes.seal(of('seal').box) } };
      case 'load':
        return { result: await this.#kexec.load(of('load')) };
      case 'unload':
        return { result: await this.#kexec.unload() };
      case 'preflight':
        await this.#globals.settled();
        return { result: await this.#kexec.preflight(of('preflight')) };
      case 'kexec':
        await this.#globals.settled();
        return { result: await this.#withProgress(reply, () => this.#kexec.kexec(of('kexec'))) };
      case 'blobGet': {
        const { info, fd } = await this.#kexec.blobs().get(of('blobGet').name);
        return { result: info, fds: [fd] };
      }
      case 'blobList':
        return { result: { blobs: this.#kexec.blobs().list() } };
      case 'blobDrop':
        await this.#kexec.blobs().drop(of('blobDrop').name);
        return { result: {} };
      case 'logs': {
        const { name } = of('logs');
        if (name !== undefined) this.#services.record(name);
        const path = name === undefined ? join(this.#options.dir, 'logs', 'luod.log') : this.#services.logPath(name);
        return { result: { path }, fds: [openRead(path)] };
      }
      case 'updateLuod':
        return { result: await this.#updateLuod(of('updateLuod').argv) };
      case 'shutdown':
        // The reply has to leave first.
        setTimeout(() => void this.shutdown(), 10);
        return { result: {} };
      default:
        throw new LuoError('INTERNAL', `'${method}' has no handler`);
    }
  }

  /** The progress of `work` goes to the one who asked for it, for as long as it runs. */
  async #withProgress<T>(reply: Responder, work: () => Promise<T>): Promise<T> {
    const forget = this.#orchestrator.onProgress((progress) => {
      // Of a crowd the stages are told, not each answer of each member.
      const isCrowd = (this.#orchestrator.plan?.members.length ?? 0) > PROGRESS_MEMBERS_MAX;
      if (!isCrowd || progress.participant === undefined) reply.progress(progress);
    });
    try {
      return await work();
    } finally {
      forget();
    }
  }

  async #stop(params: LuodParams<'stop'>): Promise<Awaited<ReturnType<Services['stop']>>> {
    const current = this.#services.current(params.name);
    if (current && this.#orchestrator.actorOf(current.id)) {
      throw new LuoError('STATE_BUSY', `service '${params.name}' takes part in a running update`, {
        remedy: 'luoctl cancel gives the update up; then stop it',
      });
    }
    return this.#services.stop(params.name, params.timeoutMs);
  }

  async #updateLuod(argv: readonly string[] | undefined): Promise<{ pidBefore: number }> {
    if (!this.#orchestrator.isIdle) {
      throw new LuoError('STATE_BUSY', 'luod cannot be replaced while an update is running', {
        remedy: 'wait for it, or luoctl cancel',
      });
    }
    await this.#custody.next(argv ?? this.#options.luodArgv);
    setTimeout(() => this.leave(0), 10);
    return { pidBefore: process.pid };
  }

  /** After a lost keeper: luod is no child of the new one, which would not start it again. */
  #replaceSelfWhenIdle(): void {
    if (!this.#replaceSelf || this.#ended || !this.#orchestrator.isIdle) return;
    this.#replaceSelf = false;
    this.#custody.next(this.#options.luodArgv).then(
      () => this.leave(0),
      (error: unknown) => this.#options.log.error({ error: String(error) }, 'luod stays an orphan of its dead keeper'),
    );
  }

  // -------------------------------------------------------------------------------------------- journal

  /** Compaction is for later: what clients do outside of updates must not make the journal grow without end either. */
  #append(record: JournalRecord): void {
    this.#journal.append(record);
    if (!this.#journal.wantsCompaction || this.#compactPending) return;
    this.#compactPending = true;
    setImmediate(() => {
      void this.#compactWhenIdle().finally(() => (this.#compactPending = false));
    });
  }

  #compactPending = false;

  #appendEngine(record: EngineRecord): void {
    this.#timelines.flush();
    this.#append({ kind: 'engine', record });
    this.#rememberEngine(record);
    // From here on a member may freeze: its word will tell what the copy lacks.
    if (record.type === 'freezing') this.#journal.holdCopy();
    else if (BLACKOUT_ENDS.includes(record.type)) this.#journal.releaseCopy();
  }

  /** Only the last attempt matters to a later luod, and who is stuck in earlier ones. */
  #rememberEngine(record: EngineRecord): void {
    if (record.type === 'attempt' && this.#engineRecords.at(-1)?.type === 'settled') {
      const stuck = this.#engineRecords.some((one) => one.type === 'settled' && one.stuck.length > 0);
      if (!stuck) this.#engineRecords = [];
    }
    this.#engineRecords.push(record);
  }

  async #compactWhenIdle(): Promise<void> {
    if (!this.#journal.wantsCompaction || !this.#orchestrator.isIdle || this.#ended) return;
    const owner = ownerOf(this.#options.uid, '(luod)');
    await this.#journal.compact(this.#snapshot(), (fd) => this.#custody.put(JOURNAL_ENTRY, owner, {}, [fd], true));
  }

  /** The records that bring a new journal, or the next kernel's luod, to where this one is. */
  #snapshot(): JournalRecord[] {
    return [
      this.#generationRecord(),
      ...this.#services.snapshot(),
      ...this.#participants.snapshot(),
      ...this.#handles.snapshot(),
      ...this.#boxes.snapshot(),
      ...this.#kexec.snapshot(),
      ...this.#remains.snapshot(),
      ...this.#timelines.snapshot(),
      ...this.#engineRecords.map((record) => ({ kind: 'engine', record })),
    ];
  }

  // -------------------------------------------------------------------------------------------- the kexec gap

  /** The open attempt came over from the last kernel. */
  #isArrived(): boolean {
    const attempt = this.#orchestrator.shown.attempt;
    return attempt !== null && this.#kexec.incoming?.arrival?.attempt === attempt;
  }

  /** The process that stands for a participant of the last kernel. */
  #currentOf(participant: string): string | undefined {
    const service = this.#serviceOf(participant);
    if (this.#services.has(service)) return this.#services.current(service)?.id;
    return this.#participants.get(participant)?.id;
  }

  /** An earlier luod of this boot may have died between the frozen manifest and the jump: nobody is to find that. */
  #thawManifest(): void {
    const begun = this.#engineRecords.findLast((record) => record.type === 'attempt');
    if (begun?.type !== 'attempt' || begun.plan.gap !== 'kexec') return;
    if (this.#kexec.incoming?.arrival?.attempt === begun.attempt) return;
    if (this.#kexec.available) this.#kexec.crossing.thawManifest(begun.attempt);
  }

  /** luod is a member of its own plan: this one stands where the earlier one stood. */
  #resumeOwn(): void {
    const { attempt } = this.#orchestrator.shown;
    if (attempt === null || this.#orchestrator.plan?.gap !== 'kexec') return;
    this.#orchestrator.resumed(OWN_MEMBER, this.#isArrived() ? 'running' : 'prepared', attempt);
  }

  /** In the next kernel: what stands for a restart of a member. @throws LuoError CALL_TIMEOUT, SERVICE_START_FAILED */
  async #startMember(plan: Plan, member: number, deadlineMs: number): Promise<string> {
    const { participant, owner } = plan.members[member]!;
    if (participant === OWN_MEMBER) {
      const parked = plan.steps.filter((step) => plan.members[step.member]!.alive === false);
      await this.#kexec.restoreOwn(
        owner,
        parked.flatMap((step) => step.handles),
      );
      return OWN_MEMBER;
    }
    const service = this.#serviceOf(participant);
    if (this.#services.has(service) && !this.#services.current(service)) {
      this.#services.startCurrent(service, deadlineMs).catch((error: unknown) => {
        const { code, message } = LuoError.from(error);
        this.#options.log.warn({ service, code }, `'${service}' did not start after the jump: ${message}`);
        this.#services.reviveIfWanted(service);
      });
    }
    await this.#kexec.whenServing(owner);
    return this.#currentOf(participant) ?? participant;
  }

  /** Whether a process of this owner has what came over and acts. Of one that speaks luo only its go says that. */
  #serves(owner: string): boolean {
    const member = this.#orchestrator.plan?.members.find((one) => one.owner === owner);
    const speaksLuo = member?.protocol === 'luo';
    const service = owner.slice(owner.indexOf(':') + 1);
    if (!speaksLuo && this.#services.has(service) && this.#services.record(service).owner === owner) {
      return this.#services.current(service)?.record.ready === true;
    }
    return this.#participants
      .all()
      .some((one) => one.owner === owner && one.record.acting && (one.connected || !speaksLuo));
  }

  /** Everything that came over is decided: where finish was vetoed before, it is tried again. */
  #finishArrived(): boolean {
    const { state, phase, stage } = this.#orchestrator.shown;
    if (!this.#isArrived() || state !== 'updated' || phase !== null || stage !== 'updated') return false;
    this.#orchestrator.finish().catch(() => undefined);
    return true;
  }

  // -------------------------------------------------------------------------------------------- helpers

  #generationRecord(): JournalRecord {
    const { generation, generationAttempt } = this.#orchestrator;
    return { kind: 'generation', generation, attempt: generationAttempt };
  }

  #serviceOf(participant: string): string {
    return participant.slice(0, participant.lastIndexOf('#'));
  }

  #hasKept(owner: string): boolean {
    const waits = this.#handles.ofOwner(owner).some((handle) => handle.holder === null);
    return waits || this.#custody.withPrefix('parcel/').some((entry) => entry.owner === owner);
  }

  #isInAttempt(service: string): boolean {
    if (this.#orchestrator.isIdle) return false;
    const members = this.#orchestrator.plan?.members ?? [];
    return members.some((member) => member.replaced && this.#serviceOf(member.participant) === service);
  }

  #stateWords(): { state: 'normal' | 'prepared' | 'frozen' | 'updated'; generation: number; attempt: number | null } {
    const { state, attempt } = this.#orchestrator.shown;
    return { state, generation: this.#orchestrator.generation, attempt };
  }

  #serviceChanged(service: string): void {
    if (this.#services?.has(service)) this.#server?.tell('service', this.#services.status(service));
    this.#changed();
  }

  /** Something happened that may change what a participant thinks of the finish. */
  #news(): void {
    this.#kexec.mayFinish();
    this.#changed();
  }

  #changePending = false;
  #changed(): void {
    if (this.#changePending || this.#ended) return;
    this.#changePending = true;
    setImmediate(() => {
      this.#changePending = false;
      if (this.#ended) return;
      this.#showState();
      this.#kexec.poke();
    });
  }

  #lastTold = '';
  #showState(): void {
    const { state, phase } = this.#orchestrator.shown;
    const generation = this.#orchestrator.generation;
    const told = `${state} ${phase} ${generation}`;
    if (told !== this.#lastTold) this.#server.tell('state', { state, phase, generation });
    this.#lastTold = told;
    // In the blackout every millisecond is a client's: the files follow when it is over, or when it takes long.
    const isBlackout = phase === 'freezing' || phase === 'committing';
    if (this.#filesTimer && this.#filesWait <= FILES_MS) return;
    clearTimeout(this.#filesTimer);
    this.#filesWait = isBlackout ? SLOW_PHASE_MS : FILES_MS;
    this.#filesTimer = setTimeout(() => {
      this.#filesTimer = undefined;
      if (!this.#ended) this.#showFiles();
    }, this.#filesWait);
  }

  #filesTimer: NodeJS.Timeout | undefined;
  #filesWait = 0;
  #showFiles(): void {
    const { state, phase } = this.#orchestrator.shown;
    const generation = this.#orchestrator.generation;
    this.#stateFiles.show({
      state,
      phase,
      generation,
      handles: handleFiles(this.#handles.all()),
      participants: participantFiles(this.#participants.all()),
    });
  }
}

/**
 * An earlier luod could not read what the last kernel left, and nothing has happened since: this one may be new enough to read it.
 */
function isAboutNothing(records: readonly JournalRecord[]): boolean {
  const arrival = records.find((record) => record.kind === 'kexec.arrival')?.arrival as { error?: unknown } | undefined;
  if (arrival?.error === undefined) return false;
  const ours = new Set(['service', 'handle', 'participant', 'engine', 'box.sealed']);
  return !records.some((record) => ours.has(record.kind));
}
