/**
 * The member of luod that a program is: it answers luod's calls, says where it stands, and knows what to do when luod is
 * gone. One phase at a time:
 *
 * ```
 * joining -> running                                                   first start
 * joining -> standby -> ready -> running                               successor; `restart` skips standby
 * running -> prepared -> frozen -> (retired | running)                 old process; a bystander always goes on
 * ```
 *
 * Calls that take time run one after the other, so that an undo never overtakes what it undoes; `go` and `retire` wait
 * for nobody. Every call may come twice (luod was restarted in between): the second is answered as the first was.
 * A lost connection matters in two phases only, frozen and ready: decision.ts.
 */
import { LuoError } from '../base/errors.js';
import type { FaultPoint } from '../base/fault-points.js';
import type { Gap, Role } from '../base/words.js';
import type { CallParams, LuodResult } from '../protocol/spec.js';
import { closeAll, exitNow, faultPoint, type OwnedFd } from '../sys/index.js';
import type { Responder } from '../transport/index.js';
import { collectGarbage, untilAtRest } from './at-rest.js';
import { Side, type SideOptions } from './decision.js';
import { Delegation } from './delegation.js';
import { wasAskedAgain, type Link } from './link.js';
import type { CallContext, Started } from './types.js';
import type { IncomingParcel, Workload } from './workload.js';

export type MemberPhase = 'joining' | 'standby' | 'ready' | 'running' | 'prepared' | 'frozen' | 'retired';

/** Deadline of what is done by the keeper's word, where luod set none, ms. */
const DECIDED_MS = 10_000;

export interface MemberOptions {
  readonly link: Link;
  readonly workload: Workload;
  readonly role: Role;
  /** luod came back and does not know us: everything is to be registered anew. */
  readonly onForgotten: () => Promise<void>;
  /** luod and keeper died together, and ask for the fds of these again. */
  readonly onRefill: (handles: NonNullable<LuodResult<'hello'>['refill']>) => Promise<void>;
  readonly onGo: (started: Started) => void;
  /** End the process; replaced in tests and rehearsals. */
  readonly exit?: (code: number) => void;
  /** It passes no fault point, and does not wait for rest. */
  readonly isRehearsal?: boolean;
}

export class Member {
  readonly #options: MemberOptions;
  readonly #link: Link;
  readonly #workload: Workload;
  readonly #exit: (code: number) => void;
  #phase: MemberPhase = 'joining';
  /** Ended an uncertain phase by the keeper's word; told to luod when it is back. */
  #byDecision: 'gone-on' | 'thawed' | undefined;
  #attempt: number | null = null;
  #gap: Gap | undefined;
  #started = false;
  #queue: Promise<unknown> = Promise.resolve();
  #prepared = false;
  /** Frozen, or ready: what to do if luod's word does not come. */
  #side: Side | undefined;
  #performing = false;
  #running: AbortController | undefined;
  #pin: NodeJS.Timeout | undefined;
  readonly #passed = new Set<string>();
  readonly #delegation = new Delegation();

  constructor(options: MemberOptions) {
    this.#options = options;
    this.#link = options.link;
    this.#workload = options.workload;
    this.#exit = options.exit ?? exitNow;
    this.#attempt = options.role === 'first' ? null : (options.link.hello.attempt ?? null);
    this.#keepAlive(true);
    this.#link.own({
      onCall: (method, params, fds, reply) => this.#called(method, params, fds, reply),
      resume: () => ({ attempt: this.#attempt, phase: this.#resumePhase }),
      // Its answer could still send this process the other way, after luod has believed where it stands.
      mayResume: () => !this.#performing && (this.#side?.mayResume ?? true),
      onDown: () => this.#luodGone(),
      onUp: (hello) => this.#luodBack(hello),
    });
  }

  get phase(): MemberPhase {
    return this.#phase;
  }

  get frozen(): boolean {
    return this.#phase === 'frozen' || this.#phase === 'retired';
  }

  /** A successor has done all that can be done before the freeze. */
  async standby(): Promise<void> {
    this.#phase = 'standby';
    this.#pass('new.standby');
    await this.#link.request('standby', {});
  }

  /** A first or restarted process waits for its go. */
  async ready(): Promise<void> {
    this.#phase = 'ready';
    if (this.#options.role !== 'first') this.#pass('new.ready');
    await this.#link.request('ready', {});
  }

  /** The membership is over. */
  close(): void {
    this.#decided();
    this.#keepAlive(false);
  }

  get #resumePhase(): string {
    if (this.#byDecision !== undefined) return this.#byDecision;
    // Not `running`: luod takes that for the word of one that has had its go.
    if (this.#phase === 'joining') return 'standby';
    return this.#phase === 'retired' ? 'frozen' : this.#phase;
  }

  // -------------------------------------------------------------------------------------------- calls

  #called(method: string, params: unknown, fds: OwnedFd[], reply: Responder): void | Promise<void> {
    if (method === 'cancel' || method === 'go' || method === 'retire')
      this.#side?.tell({ type: 'called', call: method });
    switch (method) {
      case 'prepare':
        return this.#inTurn(() => this.#prepare(params as CallParams<'prepare'>, fds, reply));
      case 'freeze':
        return this.#inTurn(() => this.#freeze(params as CallParams<'freeze'>, fds, reply));
      case 'restore':
        return this.#inTurn(() => this.#restore(params as CallParams<'restore'>, fds, reply));
      case 'canFinish':
        return this.#inTurn(() => this.#canFinish(reply));
      case 'finish':
        return this.#inTurn(() => this.#finish(params as CallParams<'finish'>, reply));
      case 'cancel':
        this.#running?.abort(new LuoError('UPDATE_CANCELLED', 'the update was cancelled'));
        return this.#inTurn(() => this.#cancel(params as CallParams<'cancel'>, reply));
      case 'go':
        return this.#go(params as CallParams<'go'>, reply);
      case 'retire':
        return this.#retire(reply);
      default:
        throw new LuoError('PROTO_UNKNOWN_METHOD', `a participant has no method '${method}'`);
    }
  }

  /** One call at a time, in the order in which they came. */
  #inTurn(call: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(call);
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #prepare(params: CallParams<'prepare'>, fds: OwnedFd[], reply: Responder): Promise<void> {
    this.#begin(params.attempt, params.gap);
    this.#pass('old.prepare');
    if (this.#phase === 'frozen') throw wrongMoment('prepare', this.#phase);
    const first = !this.#prepared;
    this.#prepared = true;
    this.#phase = 'prepared';
    await this.#withContext(params, async (context) => {
      const fdOf = (name: string): number | undefined => this.#workload.regions.get(name)?.fd;
      const preserved = await this.#delegation.preserve(params.delegate, fds, fdOf);
      const parcel = await this.#workload.prepare(context, params.handles, first);
      reply.result({ parcel: parcel.parcel, ...(preserved === undefined ? {} : { preserved }) }, parcel.fds);
      parcel.close();
    });
    this.#passLater('old.prepared');
  }

  async #freeze(params: CallParams<'freeze'>, successors: OwnedFd[], reply: Responder): Promise<void> {
    this.#begin(params.attempt, params.gap);
    this.#pass('old.freeze');
    const first = this.#phase !== 'frozen';
    if (first && this.#phase !== 'prepared') throw wrongMoment('freeze', this.#phase);
    this.#phase = 'frozen';
    const endMs = performance.now() + params.deadlineMs;
    await this.#withContext(params, async (context) => {
      try {
        const parcel = await this.#workload.freeze(context, params.handles, first);
        reply.result({ parcel: parcel.parcel }, parcel.fds);
        parcel.close();
      } catch (error) {
        // It serves again at once; the cancel that follows finds nothing left to undo.
        await this.#thaw(params.attempt, 'prepared');
        throw error;
      }
    });
    this.#passLater('old.frozen');
    if (!first) return closeAll(successors);
    const { attempt, gap, key, keeperSocket, replaced } = params;
    this.#watchOver({
      role: replaced ? 'old' : 'bystander',
      gap,
      attempt,
      key,
      keeperSocket,
      takenSuccessors: successors,
      deadlineMs: endMs - performance.now(),
    });
  }

  async #restore(params: CallParams<'restore'>, fds: OwnedFd[], reply: Responder): Promise<void> {
    this.#begin(params.attempt, undefined);
    const parcels: IncomingParcel[] = params.parcels.map((one) => ({ ...one, fds: fds.splice(0, one.fds) }));
    closeAll(fds);
    if (this.#started) {
      // Asked again by a restarted luod: it has been restored, and works.
      closeAll(parcels.flatMap((one) => one.fds));
      return reply.result({});
    }
    await this.#withContext(params, (context) => this.#workload.restore(context, params.part, parcels));
    if (params.part === 'prepared') {
      await this.#rest();
      this.#pass('new.restore.prepared');
      return reply.result({});
    }
    this.#pass('new.restore.frozen');
    reply.result({});
    if (this.#options.role !== 'successor') return;
    this.#phase = 'ready';
    this.#pass('new.ready');
    // Both leave now; what happens then happens in a later turn, when the side is watched over.
    // Its refusal needs no answer here: whoever refused it ends this process, or luod is gone and the keeper is asked.
    const asked = this.#link.request('ready', { attempt: params.attempt }, [], true);
    asked.catch((error: unknown) => this.#readyRefused(error));
    if (params.key !== undefined) {
      const { keeperSocket } = this.#link.hello;
      this.#watchOver({
        role: 'successor',
        gap: 'handover',
        attempt: params.attempt,
        key: params.key,
        keeperSocket,
        takenSuccessors: [],
        deadlineMs: undefined,
      });
    }
  }

  #go(params: CallParams<'go'>, reply: Responder): Promise<void> {
    return this.#goOn(params.attempt, params.deadlineMs).then(() => {
      reply.result({});
      if (this.#options.role !== 'first') this.#passLater('new.go.acked');
    });
  }

  #retire(reply: Responder): void {
    this.#pass('old.retire');
    reply.result({});
    this.#end();
  }

  async #canFinish(reply: Responder): Promise<void> {
    const reason = await this.#workload.veto();
    reply.result(reason === undefined ? { ok: true } : { ok: false, reason });
  }

  async #finish(params: CallParams<'finish'>, reply: Responder): Promise<void> {
    if (this.#options.role !== 'first') this.#pass('new.finish');
    try {
      await this.#withContext(params, (context) => this.#workload.finish(context));
      reply.result({});
    } finally {
      this.#settle();
    }
  }

  async #cancel(params: CallParams<'cancel'>, reply: Responder): Promise<void> {
    // Before the answer: luod looks whether a copy of the session lives on.
    this.#delegation.end();
    if (!this.#started) {
      // A successor whose attempt is off has no state of its own to go on with.
      reply.result({});
      return this.#end();
    }
    try {
      if (this.#phase === 'frozen') await this.#thaw(params.attempt, 'running');
      else if (this.#phase === 'prepared') {
        await this.#withContext(params, (context) => this.#workload.cancel(context, false));
      }
      reply.result({});
    } finally {
      this.#settle();
    }
  }

  // -------------------------------------------------------------------------------------------- what they do

  /** A call of a new attempt ends what an older one left. */
  #begin(attempt: number, gap: Gap | undefined): void {
    if (attempt === this.#attempt) return;
    this.#attempt = attempt;
    this.#gap = gap;
    this.#prepared = false;
    this.#byDecision = undefined;
    this.#passed.clear();
    this.#keepAlive(true);
  }

  async #goOn(attempt: number, deadlineMs: number): Promise<void> {
    this.#decided();
    const bystander = this.#phase === 'frozen';
    if (this.#started && !bystander) return;
    if (this.#options.role !== 'first') this.#pass('new.go');
    this.#phase = 'running';
    const generation = this.#link.hello.generation;
    await this.#withContext({ attempt, deadlineMs }, async (context) => {
      if (bystander) {
        this.#workload.thaw(attempt);
        return this.#workload.emit('go', context);
      }
      this.#started = true;
      const going = this.#workload.go(context);
      this.#options.onGo({ role: this.#options.role, attempt, generation });
      return going;
    });
    this.#settle();
  }

  async #thaw(attempt: number, phase: 'running' | 'prepared'): Promise<void> {
    this.#decided();
    this.#phase = phase;
    this.#workload.thaw(attempt);
    await this.#withContext({ attempt, deadlineMs: DECIDED_MS }, (context) => this.#workload.cancel(context, true));
  }

  #end(): void {
    this.#decided();
    this.#phase = 'retired';
    // Listeners of `retire` run as far as they are synchronous: nothing may delay the end.
    const nothing = this.#workload.emit(
      'retire',
      this.#context({ attempt: this.#attempt ?? 0, deadlineMs: 1 }).context,
    );
    nothing.catch(() => {});
    this.#link.close();
    this.#exit(0);
  }

  /** The attempt is over for this member. */
  #settle(): void {
    this.#decided();
    this.#delegation.end();
    if (this.#phase === 'prepared' || this.#phase === 'frozen') this.#phase = 'running';
    this.#prepared = false;
    this.#keepAlive(false);
  }

  /** Until the freeze: whatever this process has of its own to do, it does now. */
  async #rest(): Promise<void> {
    if (this.#options.isRehearsal !== true) {
      collectGarbage('minor');
      await untilAtRest();
    }
    this.#workload.settleConnections();
  }

  #readyRefused(error: unknown): void {
    // Asked again after luod was restarted, it may have been accepted the first time; luod knows, and will say.
    if (this.#started || this.#phase !== 'ready' || wasAskedAgain(error)) return;
    process.stderr.write(`luo: ready was refused: ${LuoError.from(error).message}\n`);
    this.#exit(1);
  }

  // -------------------------------------------------------------------------------------------- without luod

  #luodGone(): void {
    this.#side?.tell({ type: 'hangup' });
    void this.#workload.emit('disconnect', this.#context({ attempt: this.#attempt ?? 0, deadlineMs: 1 }).context);
  }

  #luodBack(hello: LuodResult<'hello'>): void {
    this.#side?.tell({ type: 'back' });
    this.#byDecision = undefined;
    if (!hello.resumed) {
      this.#options.onForgotten().catch((error: unknown) => {
        process.emitWarning(LuoError.from(error));
      });
    }
    if (hello.refill !== undefined) {
      this.#options.onRefill(hello.refill).catch((error: unknown) => process.emitWarning(LuoError.from(error)));
    }
    void this.#workload.emit('reconnect', this.#context({ attempt: this.#attempt ?? 0, deadlineMs: 1 }).context);
  }

  /** From here on luod's word may fail to come. */
  #watchOver(options: Omit<SideOptions, 'perform'>): void {
    const { attempt } = options;
    this.#side = new Side({
      ...options,
      perform: (action) => {
        this.#performing = true;
        // Behind the calls that run: what is under way must be through before it is undone.
        const turn = this.#inTurn(() => this.#perform(action, attempt));
        // An exception of a callback is no reason to stay away from luod: the thaw, or the go, has happened.
        turn
          .catch((error: unknown) => process.emitWarning(LuoError.from(error)))
          .finally(() => (this.#performing = false));
      },
    });
    if (!this.#link.isUp) this.#side.tell({ type: 'hangup' });
  }

  async #perform(action: 'thaw' | 'goOn' | 'retire' | 'end', attempt: number): Promise<void> {
    switch (action) {
      case 'thaw':
        await this.#thaw(attempt, 'running');
        this.#byDecision = 'thawed';
        return;
      case 'goOn':
        await this.#goOn(attempt, DECIDED_MS);
        this.#byDecision = 'gone-on';
        return;
      case 'retire':
        this.#pass('old.retire');
        return this.#end();
      case 'end':
        return this.#end();
    }
  }

  #decided(): void {
    this.#side?.close();
    this.#side = undefined;
  }

  // -------------------------------------------------------------------------------------------- small things

  async #withContext(
    params: { attempt: number; deadlineMs: number; replaced?: boolean; toCome?: string[]; tokens?: object },
    work: (context: CallContext) => Promise<void>,
  ): Promise<void> {
    const { context, controller, timer } = this.#context(params);
    this.#running = controller;
    try {
      await work(context);
    } finally {
      clearTimeout(timer);
      if (this.#running === controller) this.#running = undefined;
    }
  }

  #context(params: { attempt: number; deadlineMs: number; replaced?: boolean; toCome?: string[]; tokens?: object }): {
    context: CallContext;
    controller: AbortController;
    timer: NodeJS.Timeout;
  } {
    const controller = new AbortController();
    const late = new LuoError('CALL_TIMEOUT', `luod's deadline of ${params.deadlineMs} ms has passed`);
    const timer = setTimeout(() => controller.abort(late), params.deadlineMs);
    timer.unref();
    const context: CallContext = {
      attempt: params.attempt,
      signal: controller.signal,
      deadlineMs: params.deadlineMs,
      gap: this.#gap,
      replaced: params.replaced ?? true,
      toCome: params.toCome ?? [],
      tokens: (params.tokens ?? {}) as Record<string, unknown>,
    };
    return { context, controller, timer };
  }

  /** In an update there may be no open socket and no timer left that keeps the process alive. */
  #keepAlive(on: boolean): void {
    if (on) this.#pin ??= setInterval(() => {}, 0x7fffffff);
    else {
      clearInterval(this.#pin);
      this.#pin = undefined;
    }
  }

  /** Each point once per attempt. */
  #pass(point: FaultPoint): void {
    if (this.#passed.has(point) || this.#options.isRehearsal === true) return;
    this.#passed.add(point);
    faultPoint(point);
  }

  /** Behind what was just answered. */
  #passLater(point: FaultPoint): void {
    setImmediate(() => this.#pass(point));
  }
}

function wrongMoment(call: string, phase: MemberPhase): LuoError {
  return new LuoError('STATE_INVALID', `'${call}' came while this participant is ${phase}`);
}
