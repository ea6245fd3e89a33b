/**
 * The world around the engine, for exhaustive search: luod (engine, journal, the effects of a step one by one), the
 * keeper with its record, every old process, bystander and successor (with the reducer that they use when luod is gone),
 * and the channels between them. A world is a value; `successors` gives every world that can follow, each with a name.
 *
 * What is modelled: luod's death between any two effects, and its recovery from the journal; the keeper's death with
 * requests and answers under way, and its refill; death of both, and the operator's recovery; death of every process at
 * every point; lost connections; failing, late and very late calls; every timer. Calls already sent are still received
 * after luod's death. Over the kexec gap there are no successors, and the jump, if it comes to that, comes back. Each of these faults costs one unit of a budget; what is not a fault costs nothing.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { recover, step, type EngineState } from '../../src/engine/index.js';
import type { Actor, Effect, Event, JournalRecord, Plan, ResumedPhase } from '../../src/engine/types.js';
import type { Outcome } from '../../src/base/words.js';
import { decide, noDecisions, openAttempt, type Decisions } from '../../src/protocol/decision.js';
import { mayResume, startSide, stepSide, type SideEvent, type SideState } from '../../src/protocol/side.js';
import { LIMITS_FOR_TESTS, missingLine } from './driver.js';

type Step = typeof step;

/** Rules that a mutation check may break. */
export interface Rules {
  readonly step: Step;
  readonly recover: typeof recover;
  readonly stepSide: typeof stepSide;
  readonly decide: typeof decide;
  readonly mayResume: typeof mayResume;
}

export const RULES: Rules = { step, recover, stepSide, decide, mayResume };

export type Fault = 'luod' | 'keeper' | 'process' | 'hangup' | 'call' | 'timer' | 'cancel';

export interface WorldOptions {
  readonly plan: Plan;
  readonly rules: Rules;
  /** Kinds of fault that happen; all cost the same. */
  readonly faults: ReadonlySet<Fault>;
}

interface Message {
  readonly id: number;
  readonly method: string;
  readonly part: string | undefined;
}
type Out =
  | { readonly t: 'answer'; readonly id: number; readonly ok: boolean }
  | { readonly t: 'ready' }
  | { readonly t: 'died' };

interface Proc {
  readonly role: 'old' | 'bystander' | 'successor';
  readonly alive: boolean;
  readonly connected: boolean;
  /** It serves: writes to the state. */
  readonly acts: boolean;
  readonly phase: ResumedPhase;
  readonly side: SideState | null;
  readonly inbox: readonly (Message | 'hangup')[];
  readonly outbox: readonly Out[];
  readonly question: 'none' | 'asked' | 'again' | Outcome | 'nothing' | 'unreachable';
  /** Which process this is, of those that stood here one after the other. */
  readonly generation: number;
  /** It came by a restart, so that it has a name of its own. */
  readonly again: boolean;
  /** The successors that a frozen one watches. */
  readonly watches: readonly (readonly [number, number])[];
  readonly prepared: boolean;
  /** How it ended for this attempt. */
  readonly ends: string;
}

interface Operation {
  readonly op: 'standby' | 'end' | 'restart' | 'restarted';
  readonly id: number;
  readonly at: number;
}
interface Request {
  /** -1: of a luod that is dead; nobody waits for the answer. */
  readonly id: number;
  readonly kind: 'open' | 'decide';
  readonly outcome: Outcome | null;
}
interface Answer {
  readonly id: number;
  readonly outcome: Outcome | null;
  readonly kind: 'open' | 'decide';
}

export interface World {
  readonly engine: EngineState | null;
  readonly journal: readonly JournalRecord[];
  readonly keeper: boolean;
  readonly decisions: Decisions;
  readonly requests: readonly Request[];
  readonly answers: readonly Answer[];
  readonly procs: readonly Proc[];
  readonly operations: readonly Operation[];
  readonly timers: readonly { readonly id: number; readonly name: string }[];
  /** Calls whose deadline passed and that were not answered since. */
  readonly timedOut: readonly number[];
  /** Processes whose death a restarted luod has still to find. */
  readonly undiscovered: readonly number[];
  /** The luod that lives asked for committed itself. */
  readonly hasAsked: boolean;
  readonly budget: number;
  /** Requests of the operator that were accepted or refused: the attempt is begun once, and may be cancelled once. */
  readonly cancelled: boolean;
  /** What is wrong, if anything is. */
  readonly violation: string | null;
}

export interface Follower {
  readonly name: string;
  readonly fault: boolean;
  readonly world: World;
}

const KEY = 'key';

function place(actor: Actor): number {
  return actor.member * 2 + (actor.side === 'new' ? 1 : 0);
}

function actorAt(at: number): Actor {
  return { member: at >> 1, side: at % 2 === 1 ? 'new' : 'old' };
}

const NOBODY: Proc = {
  role: 'successor',
  alive: false,
  connected: false,
  acts: false,
  phase: 'standby',
  side: null,
  inbox: [],
  outbox: [],
  question: 'none',
  generation: 0,
  again: false,
  watches: [],
  prepared: false,
  ends: '',
};

/** Nothing has happened yet; the first follower begins the attempt. */
export function initialWorld(options: WorldOptions, engine: EngineState, budget: number): World {
  const procs = options.plan.members.flatMap((member): Proc[] => [
    {
      ...NOBODY,
      role: member.replaced ? 'old' : 'bystander',
      alive: true,
      connected: true,
      acts: true,
      phase: 'running',
      generation: 1,
    },
    NOBODY,
  ]);
  const world: World = {
    engine,
    journal: [],
    keeper: true,
    decisions: noDecisions,
    requests: [],
    answers: [],
    procs,
    operations: [],
    timers: [],
    timedOut: [],
    undiscovered: [],
    hasAsked: false,
    budget,
    cancelled: false,
    violation: null,
  };
  return new Luod(options, world).deliver({
    type: 'prepare',
    request: 1,
    attempt: 1,
    key: KEY,
    plan: options.plan,
    until: 'finished',
    limits: LIMITS_FOR_TESTS,
  }).world;
}

function hasSuccessor({ plan }: WorldOptions, member: number): boolean {
  return plan.gap === 'handover' && plan.members[member]!.replaced;
}

function withProc(world: World, at: number, change: Partial<Proc>): World {
  return { ...world, procs: world.procs.with(at, { ...world.procs[at]!, ...change }) };
}

function violated(world: World, what: string): World {
  return world.violation === null ? { ...world, violation: what } : world;
}

// ---------------------------------------------------------------------------------------------- luod

/** Performs the effects of events, one by one; `crashAfter` effects it dies. */
class Luod {
  world: World;
  /** Effects that change the world, so far. */
  performed = 0;
  #dead = false;
  readonly #options: WorldOptions;
  readonly #crashAfter: number;
  readonly #queue: Event[] = [];

  constructor(options: WorldOptions, world: World, crashAfter = Infinity) {
    this.#options = options;
    this.world = world;
    this.#crashAfter = crashAfter;
  }

  deliver(...events: Event[]): this {
    this.#queue.push(...events);
    this.#drain();
    return this;
  }

  /** A new luod reads the journal. */
  recover(): this {
    const { state, effects } = this.#options.rules.recover(this.world.journal);
    this.world = { ...this.world, engine: state };
    for (const effect of effects) this.#perform(effect);
    this.#drain();
    return this;
  }

  #drain(): void {
    for (let event = this.#queue.shift(); event !== undefined && !this.#dead; event = this.#queue.shift()) {
      const { engine } = this.world;
      if (engine === null) return;
      if ('id' in event && event.type !== 'late' && engine.open.get(event.id) === undefined) {
        this.world = violated(this.world, `result of no command: ${event.type}`);
      }
      const { state, effects } = this.#options.rules.step(engine, event);
      this.world = { ...this.world, engine: state };
      for (const effect of effects) this.#perform(effect);
    }
  }

  #perform(effect: Effect): void {
    if (this.#dead) return;
    if (this.performed >= this.#crashAfter) {
      this.#dead = true;
      this.world = luodDies(this.world);
      return;
    }
    this.world = this.#performed(effect);
    if ('id' in effect) this.performed += 1;
  }

  #performed(effect: Effect): World {
    let { world } = this;
    const complaint = missingLine(effect, world.journal);
    if (complaint !== null) world = violated(world, complaint);
    switch (effect.type) {
      case 'journal':
        this.#queue.push({ type: 'journaled', id: effect.id });
        return { ...world, journal: [...world.journal, effect.record] };
      case 'open':
        return {
          ...world,
          requests: [...world.requests, { id: effect.id, kind: 'open', outcome: effect.outcome ?? null }],
        };
      case 'decide':
        return {
          ...world,
          requests: [...world.requests, { id: effect.id, kind: 'decide', outcome: effect.want }],
          hasAsked: world.hasAsked || effect.want === 'committed',
        };
      case 'standby': {
        const at = effect.member * 2 + 1;
        return { ...world, operations: [...world.operations, { op: 'standby', id: effect.id, at }] };
      }
      case 'endProcess':
        return { ...world, operations: [...world.operations, { op: 'end', id: effect.id, at: this.#placeOf(effect) }] };
      case 'restart':
        return {
          ...world,
          operations: [...world.operations, { op: 'restart', id: effect.id, at: place(effect.actor) }],
        };
      case 'call':
        return this.#call(world, effect);
      case 'dropParcels':
        this.#queue.push({ type: 'dropped', id: effect.id });
        return world;
      case 'timer':
        return { ...world, timers: [...world.timers, { id: effect.id, name: effect.name }] };
      case 'clearTimer':
        return { ...world, timers: world.timers.filter((timer) => timer.id !== effect.timer) };
      case 'jump':
        this.#queue.push({ type: 'returned', id: effect.id, error: { code: 'SYS', message: 'it came back' } });
        if (!world.hasAsked) return violated(world, 'a luod jumps that did not decide it');
        return world.procs.some((proc) => proc.acts) ? violated(world, 'somebody acts at the jump') : world;
      case 'stage':
      case 'outcome':
      case 'stuck':
      case 'keptOld':
      case 'refused':
      case 'settled':
        return world;
    }
  }

  #placeOf({ actor, participant }: Effect & { type: 'endProcess' }): number {
    if (actor !== null) return place(actor);
    return this.world.procs.findIndex((_, at) => participantAt(this.#options, this.world, at) === participant);
  }

  #call(world: World, effect: Effect & { type: 'call' }): World {
    const at = place(effect.actor);
    const proc = world.procs[at]!;
    if (!proc.alive || !proc.connected) {
      // The daemon finds no connection; that the process is dead it says afterwards, as ever.
      this.#queue.push({ type: 'answer', id: effect.id, result: LOST });
      return world;
    }
    return withProc(world, at, {
      inbox: [...proc.inbox, { id: effect.id, method: effect.method, part: effect.part }],
    });
  }
}

const LOST = { ok: false, how: 'lost', error: { code: 'PROTO_CLOSED', message: 'lost' } } as const;
const FAILED = { ok: false, how: 'answered', error: { code: 'CALL_FAILED', message: 'failed' } } as const;
const TIMEOUT = { ok: false, how: 'timeout', error: { code: 'CALL_TIMEOUT', message: 'late' } } as const;
const DONE_ERROR = { ok: false, error: { code: 'SUCCESSOR_TIMEOUT', message: 'failed' } } as const;

function luodDies(world: World): World {
  return {
    ...world,
    engine: null,
    answers: [],
    // What it had sent is still received.
    requests: world.requests.map((request) => ({ ...request, id: -1 })),
    operations: [],
    timers: [],
    timedOut: [],
    undiscovered: [],
    hasAsked: false,
    procs: world.procs.map((proc) => ({
      ...proc,
      connected: false,
      outbox: [],
      inbox: proc.alive && proc.connected ? [...proc.inbox, 'hangup' as const] : proc.inbox,
    })),
  };
}

function startLuod(options: WorldOptions, world: World): World {
  const undiscovered = world.procs.flatMap((proc, at) => {
    if (at % 2 === 1 && !hasSuccessor(options, at >> 1)) return [];
    return proc.alive ? [] : [at];
  });
  return new Luod(options, { ...world, undiscovered }).recover().world;
}

// ---------------------------------------------------------------------------------------------- processes

/** The ids of calls that were sent to a process and not answered to luod. */
function openCalls(proc: Proc): number[] {
  return [
    ...proc.outbox.flatMap((out) => (out.t === 'answer' ? [out.id] : [])),
    ...proc.inbox.flatMap((message) => (message === 'hangup' ? [] : [message.id])),
  ];
}

function processDies(world: World, at: number, how: string): World {
  const proc = world.procs[at]!;
  if (!proc.alive) return world;
  const lost = proc.inbox.flatMap((message): Out[] =>
    message === 'hangup' ? [] : [{ t: 'answer', id: message.id, ok: false }],
  );
  const knows = world.engine !== null;
  return withProc(world, at, {
    alive: false,
    acts: false,
    side: null,
    question: 'none',
    inbox: [],
    outbox: knows ? [...(proc.connected ? [...proc.outbox, ...lost] : []), { t: 'died' }] : [],
    connected: false,
    ends: proc.ends === '' ? how : proc.ends,
  });
}

function end(proc: Proc, how: string): Partial<Proc> {
  return { ends: proc.ends === '' || proc.ends === how ? how : `${proc.ends}+${how}` };
}

/** A process takes the next message; `fails`: it answers an error. */
function handleMessage(options: WorldOptions, world: World, at: number, fails: boolean): World {
  const proc = world.procs[at]!;
  const [message, ...inbox] = proc.inbox;
  assert.ok(message !== undefined);
  if (message === 'hangup') return sideEvent(options, withProc(world, at, { inbox }), at, { type: 'hangup' });
  const reply = (ok: boolean): readonly Out[] =>
    proc.connected ? [...proc.outbox, { t: 'answer', id: message.id, ok }] : proc.outbox;
  const isFrozen = proc.phase === 'frozen';
  // A call that comes when it has left the attempt by itself, or never was in it, is refused.
  const isMisplaced =
    (message.method === 'freeze' && !isFrozen && proc.phase !== 'prepared') ||
    (message.method === 'prepare' && isFrozen);
  const base = withProc(world, at, { inbox, outbox: reply(!fails && !isMisplaced) });
  if (isMisplaced) return base;
  // Cancel and finish cannot be refused, nor a bystander's go: an error says that something was left undone.
  const refuses =
    !['cancel', 'finish'].includes(message.method) && !(message.method === 'go' && proc.role === 'bystander');
  if (fails && refuses) {
    // A freeze that fails serves again at once, whatever it had frozen before.
    if (message.method !== 'freeze') return base;
    return withProc(base, at, { phase: 'prepared', acts: true, side: null, question: 'none' });
  }
  switch (message.method) {
    case 'prepare':
      return withProc(base, at, { phase: 'prepared', prepared: true });
    case 'freeze': {
      const watches = world.procs.flatMap((other, index) =>
        index % 2 === 1 && hasSuccessor(options, index >> 1) ? [[index, other.generation] as const] : [],
      );
      const role = proc.role === 'old' ? 'old' : 'bystander';
      // It may be one of several; what it does when luod is gone began with the first.
      return withProc(base, at, {
        phase: 'frozen',
        acts: false,
        side: proc.side ?? startSide(role, options.plan.gap),
        watches: proc.side === null ? watches : proc.watches,
      });
    }
    case 'restore':
      if (message.part === 'prepared') return base;
      return withProc(base, at, {
        phase: 'ready',
        side: startSide('successor'),
        outbox: proc.connected ? [...reply(true), { t: 'ready' }] : proc.outbox,
      });
    case 'go':
      return withProc(base, at, { phase: 'running', acts: true, side: null, question: 'none' });
    case 'cancel':
      return withProc(base, at, {
        phase: 'running',
        acts: true,
        side: null,
        question: 'none',
        ...(proc.prepared ? end(proc, 'cancel') : {}),
      });
    case 'retire':
      return processDies(withProc(base, at, { inbox: [] }), at, 'retire');
    case 'finish':
      return withProc(base, at, proc.prepared ? end(proc, 'finish') : {});
    default:
      return base;
  }
}

function sideEvent(options: WorldOptions, world: World, at: number, event: SideEvent): World {
  const proc = world.procs[at]!;
  if (proc.side === null) return world;
  const { state, actions } = options.rules.stepSide(proc.side, event);
  let next = withProc(world, at, { side: state });
  for (const action of actions) {
    switch (action.do) {
      case 'thaw':
        next = withProc(next, at, {
          acts: true,
          phase: 'thawed',
          side: null,
          question: 'none',
          ...end(proc, 'cancel'),
        });
        break;
      case 'goOn':
        next = withProc(next, at, { acts: true, phase: 'gone-on', side: null, question: 'none' });
        break;
      case 'retire':
        return processDies(next, at, 'retire');
      case 'end':
        return processDies(next, at, 'death');
      case 'ask':
      case 'read':
        next = withProc(next, at, { question: 'asked' });
        break;
      case 'wait':
        next = withProc(next, at, { question: 'again' });
        break;
    }
  }
  return next;
}

// ---------------------------------------------------------------------------------------------- what can follow

/** Every world that can follow. */
export function followers(options: WorldOptions, world: World): Follower[] {
  const list: Follower[] = [];
  const may = (fault: Fault): boolean => world.budget > 0 && options.faults.has(fault);
  const free = (name: string, next: World): void => {
    list.push({ name, fault: false, world: next });
  };
  const fault = (name: string, next: World): void => {
    list.push({ name, fault: true, world: { ...next, budget: world.budget - 1 } });
  };
  /** Luod takes events; and dies between any two of its effects. */
  const takes = (name: string, before: World, ...events: Event[]): void => {
    const luod = new Luod(options, before).deliver(...events);
    free(name, luod.world);
    if (!may('luod')) return;
    for (let count = 1; count < luod.performed; count += 1) {
      fault(`${name}; luod dies after ${count}`, new Luod(options, before, count).deliver(...events).world);
    }
  };
  const faultTakes = (name: string, before: World, ...events: Event[]): void => {
    fault(name, new Luod(options, before).deliver(...events).world);
  };

  const alive = world.engine !== null;
  if (alive && may('luod')) fault('luod dies', luodDies(world));
  if (!alive && world.keeper) free('luod is restarted', startLuod(options, world));
  if (!alive && !world.keeper) {
    free('the operator recovers', startLuod(options, { ...world, keeper: true, decisions: noDecisions, requests: [] }));
  }
  if (world.keeper && may('keeper')) {
    const lost = { ...world, keeper: alive, decisions: noDecisions, requests: [], answers: [] };
    const results = [...world.requests, ...world.answers]
      .filter((request) => request.id !== -1)
      .map((request): Event =>
        request.kind === 'open'
          ? { type: 'opened', id: request.id, ok: false }
          : { type: 'decided', id: request.id, outcome: 'lost' },
      );
    if (alive) faultTakes('the keeper dies and is refilled', lost, ...results, { type: 'keeperLost' });
    else fault('the keeper dies too', lost);
  }
  keeperFollowers(options, world, free, takes);
  for (let at = 0; at < world.procs.length; at += 1)
    processFollowers(options, world, at, free, fault, takes, faultTakes, may);
  for (const at of world.undiscovered) {
    if (!alive) break;
    const rest = { ...world, undiscovered: world.undiscovered.filter((other) => other !== at) };
    takes(`luod finds ${at} dead`, rest, ...deathOf(options, world, at));
  }
  for (const operation of world.operations) operationFollowers(options, world, operation, free, fault, takes, may);
  for (const timer of world.timers) {
    const rest = { ...world, timers: world.timers.filter((other) => other !== timer) };
    if (may('timer')) faultTakes(`timer ${timer.name}`, rest, { type: 'timeout', id: timer.id });
  }
  if (alive && may('cancel') && !world.cancelled) {
    faultTakes('the operator cancels', { ...world, cancelled: true }, { type: 'cancel', request: 2 });
  }
  if (world.engine?.attempt?.stage === 'updated') {
    takes('the operator finishes', world, { type: 'finish', request: 3 });
  }
  return list;
}

type Free = (name: string, next: World) => void;
type Takes = (name: string, before: World, ...events: Event[]) => void;
type May = (fault: Fault) => boolean;

function keeperFollowers(options: WorldOptions, world: World, free: Free, takes: Takes): void {
  const [request, ...requests] = world.requests;
  if (request !== undefined && world.keeper) {
    let decisions: Decisions;
    let outcome: Outcome | null = null;
    let none = false;
    if (request.kind === 'open') decisions = openAttempt(world.decisions, 1, KEY, request.outcome ?? undefined);
    else {
      const answer = options.rules.decide(world.decisions, 1, KEY, request.outcome ?? undefined);
      none = 'error' in answer;
      decisions = 'error' in answer ? world.decisions : answer.decisions;
      outcome = 'error' in answer ? null : answer.outcome;
    }
    const next = { ...world, requests, decisions };
    if (request.id === -1) free('the keeper handles a request of a dead luod', next);
    else if (none) {
      // A keeper without the record is as good as a new one.
      takes(
        'the keeper has no record',
        next,
        { type: 'decided', id: request.id, outcome: 'lost' },
        { type: 'keeperLost' },
      );
    } else {
      const answers = [...world.answers, { id: request.id, kind: request.kind, outcome }];
      free(`the keeper handles ${request.kind}`, { ...next, answers });
    }
  }
  const [answer, ...answers] = world.answers;
  if (answer !== undefined) {
    const event: Event =
      answer.kind === 'open'
        ? { type: 'opened', id: answer.id, ok: true }
        : { type: 'decided', id: answer.id, outcome: answer.outcome! };
    takes(`luod hears of ${answer.kind}`, { ...world, answers }, event);
  }
}

function processFollowers(
  options: WorldOptions,
  world: World,
  at: number,
  free: Free,
  fault: Free,
  takes: Takes,
  faultTakes: Takes,
  may: May,
): void {
  const proc = world.procs[at]!;
  const alive = world.engine !== null;
  const [out, ...outbox] = proc.outbox;
  if (out !== undefined && alive) {
    const next = withProc(world, at, { outbox });
    if (out.t === 'ready') takes(`ready of ${at}`, next, { type: 'ready', member: at >> 1 });
    else if (out.t === 'died') takes(`luod learns that ${at} died`, next, ...deathOf(options, world, at));
    else if (world.timedOut.includes(out.id)) {
      const timedOut = world.timedOut.filter((id) => id !== out.id);
      takes(`late answer of ${at}`, { ...next, timedOut }, { type: 'late', id: out.id, ok: out.ok });
    } else {
      const result = out.ok ? ({ ok: true } as const) : proc.alive ? FAILED : LOST;
      takes(`answer of ${at}`, next, { type: 'answer', id: out.id, result });
    }
  }
  if (alive && may('call')) {
    const waiting = proc.inbox.find((message) => message !== 'hangup' && !world.timedOut.includes(message.id));
    if (waiting !== undefined && waiting !== 'hangup' && proc.connected) {
      const next = { ...world, timedOut: [...world.timedOut, waiting.id] };
      faultTakes(`${waiting.method} of ${at} times out`, next, { type: 'answer', id: waiting.id, result: TIMEOUT });
    }
  }
  if (!proc.alive) return;
  if (proc.inbox.length > 0) {
    free(`${at} handles ${label(proc.inbox[0]!)}`, handleMessage(options, world, at, false));
    if (may('call') && proc.inbox[0] !== 'hangup') {
      fault(`${at} fails ${label(proc.inbox[0]!)}`, handleMessage(options, world, at, true));
    }
  }
  if (may('process')) fault(`${at} dies`, processDies(world, at, 'death'));
  if (alive && proc.connected && may('hangup')) {
    const lost = openCalls(proc).filter((id) => !world.timedOut.includes(id));
    const next = withProc(world, at, { connected: false, outbox: [], inbox: [...proc.inbox, 'hangup'] });
    const events = lost.map((id): Event => ({ type: 'answer', id, result: LOST }));
    faultTakes(`luod drops ${at}`, next, ...events, { type: 'hangup', actor: actorAt(at) });
  }
  if (
    alive &&
    !proc.connected &&
    proc.inbox.length === 0 &&
    (proc.side === null || options.rules.mayResume(proc.side))
  ) {
    const next = sideEvent(options, withProc(world, at, { connected: true }), at, { type: 'back' });
    takes(`${at} is back`, next, ...returnOf(options, world, at, proc.phase));
  }
  sideFollowers(options, world, at, free, fault, may);
}

function participantAt(options: WorldOptions, world: World, at: number): string {
  if (world.procs[at]!.again) return `again ${at}`;
  return at % 2 === 1 ? `new ${at >> 1}` : options.plan.members[at >> 1]!.participant;
}

/** How the daemon tells of a death: to the attempt, and to what is left of an older one. */
function deathOf(options: WorldOptions, world: World, at: number): Event[] {
  const participant = participantAt(options, world, at);
  const { engine } = world;
  if (engine?.attempt) return [{ type: 'died', actor: actorAt(at) }];
  return engine?.stuck.get(participant) === undefined ? [] : [{ type: 'stuckDied', participant }];
}

function returnOf(options: WorldOptions, world: World, at: number, phase: ResumedPhase): Event[] {
  const participant = participantAt(options, world, at);
  const { engine } = world;
  if (engine?.attempt) return [{ type: 'resumed', actor: actorAt(at), phase }];
  return engine?.stuck.get(participant) === undefined ? [] : [{ type: 'resolved', participant, attempt: 1, phase }];
}

function sideFollowers(options: WorldOptions, world: World, at: number, free: Free, fault: Free, may: May): void {
  const proc = world.procs[at]!;
  if (proc.side === null) return;
  const answer = (name: string, got: Outcome | 'none' | 'unreachable'): void => {
    free(
      `${at} ${name}`,
      sideEvent(options, withProc(world, at, { question: 'none' }), at, { type: 'answer', answer: got }),
    );
  };
  switch (proc.question) {
    case 'asked':
      if (!world.keeper) free(`${at} finds no keeper`, withProc(world, at, { question: 'unreachable' }));
      else {
        const want = proc.role === 'successor' ? undefined : 'aborted';
        const got = options.rules.decide(world.decisions, 1, KEY, want);
        const question = 'error' in got ? 'nothing' : (got.outcome ?? 'nothing');
        const decisions = 'error' in got ? world.decisions : got.decisions;
        free(`the keeper answers ${at}`, { ...withProc(world, at, { question }), decisions });
      }
      break;
    case 'again':
      free(`${at} asks again`, sideEvent(options, withProc(world, at, { question: 'none' }), at, { type: 'again' }));
      break;
    case 'nothing':
      answer('hears that nothing is recorded', 'none');
      break;
    case 'unreachable':
      answer('gives the question up', 'unreachable');
      break;
    case 'committed':
    case 'aborted':
      answer(`hears ${proc.question}`, proc.question);
      break;
    case 'none':
      break;
  }
  if (may('timer') && proc.role !== 'successor' && !proc.side.deadlinePassed) {
    fault(`blackout deadline of ${at}`, sideEvent(options, world, at, { type: 'deadline' }));
  }
  if (proc.watches.length > 0 && !proc.side.successorsDead) {
    const dead = proc.watches.every(([index, generation]) => {
      const other = world.procs[index]!;
      return other.generation !== generation || !other.alive;
    });
    if (dead) free(`${at} sees its successors dead`, sideEvent(options, world, at, { type: 'successorsDead' }));
  }
}

function operationFollowers(
  options: WorldOptions,
  world: World,
  operation: Operation,
  free: Free,
  fault: Free,
  takes: Takes,
  may: May,
): void {
  const { id, at, op } = operation;
  const rest = { ...world, operations: world.operations.filter((other) => other !== operation) };
  const generation = world.procs[at]!.generation + 1;
  const ending = rest.operations.find((other) => other.op === 'end' && other.at === at);
  switch (op) {
    case 'standby': {
      const started = withProc(rest, at, { ...NOBODY, alive: true, connected: true, generation });
      const event: Event = { type: 'standby', id, result: { ok: true }, participant: `new ${at >> 1}` };
      if (ending === undefined) takes(`standby of ${at}`, started, event);
      if (ending !== undefined || may('call')) {
        const follow = ending === undefined ? fault : free;
        // It hangs, and lives until it is ended.
        const hanging = ending === undefined ? started : rest;
        const failure: Event = { type: 'standby', id, result: DONE_ERROR };
        follow(`standby of ${at} fails`, new Luod(options, hanging).deliver(failure).world);
      }
      return;
    }
    case 'end': {
      if (rest.operations.some((other) => other.op === 'standby' && other.at === at)) return;
      const killed = processDies(rest, at, 'death');
      takes(`${at} is ended`, killed, { type: 'ended', id });
      return;
    }
    case 'restart': {
      const proc = world.procs[at]!;
      const started = withProc(rest, at, {
        ...NOBODY,
        role: proc.role,
        alive: true,
        connected: true,
        acts: true,
        phase: 'running',
        generation,
        again: true,
      });
      const operations = [...started.operations, { op: 'restarted' as const, id, at }];
      free(`${at} is restarted`, { ...started, operations });
      if (may('call')) {
        const failure: Event = { type: 'restarted', id, result: DONE_ERROR };
        fault(`restart of ${at} fails`, new Luod(options, rest).deliver(failure).world);
      }
      return;
    }
    case 'restarted': {
      const dead = !world.procs[at]!.alive;
      const result = dead ? DONE_ERROR : ({ ok: true } as const);
      takes(`luod hears of the restart of ${at}`, rest, { type: 'restarted', id, result, participant: `again ${at}` });
      return;
    }
  }
}

function label(message: Message | 'hangup'): string {
  return message === 'hangup' ? 'the hang-up' : `${message.method} ${message.part ?? ''}`.trim();
}

// ---------------------------------------------------------------------------------------------- invariants

/** What must hold in every world; null: it does. */
export function broken(world: World): string | null {
  if (world.violation !== null) return world.violation;
  for (let member = 0; member * 2 < world.procs.length; member += 1) {
    if (world.procs[member * 2]!.acts && world.procs[member * 2 + 1]!.acts) return `two generations of ${member} act`;
  }
  return null;
}

/**
 * What must hold where nothing more happens by itself; null: it does. One whose restart failed, or that died after it
 * acted again, is the supervisor's: it does not count.
 */
export function unfinished(options: WorldOptions, world: World): string | null {
  const { engine } = world;
  if (engine === null) return 'luod is not running';
  if (engine.attempt !== null) return `the attempt rests in ${engine.attempt.stage}`;
  for (const [, open] of engine.open.entries()) {
    if (open.command !== 'call' || !open.timedOut) return `no result of ${open.command}`;
  }
  if (engine.lingering !== 0) return 'a retired process lingers';
  const outcome = world.journal.findLast((record) => record.type === 'settled');
  if (outcome?.type !== 'settled') return 'the attempt is not closed';
  for (const [stuck] of engine.stuck.entries()) {
    const isThere = world.procs.some((proc, at) => proc.alive && participantAt(options, world, at) === stuck);
    if (!isThere) return `'${stuck}' is stuck and dead`;
  }
  for (const planned of options.plan.members) {
    const [old, next] = [world.procs[planned.member * 2]!, world.procs[planned.member * 2 + 1]!];
    if (!old.acts && !next.acts && old.alive) return `an old process of ${planned.member} is frozen for good`;
    if (!next.acts && next.alive) return `a successor of ${planned.member} waits for good`;
    if (old.acts || next.acts) {
      if (outcome.outcome === 'committed' && planned.replaced && old.acts && old.phase !== 'thawed') {
        return `the old ${planned.member} acts after a commit`;
      }
    }
    if (old.prepared && !/^(finish|cancel|retire|death)$/.test(old.ends) && old.alive) {
      return `the prepared ${planned.member} ended in '${old.ends}'`;
    }
  }
  return null;
}

// ---------------------------------------------------------------------------------------------- identity

/** Two worlds with the same text have the same future: names of commands are replaced by their order, words left out. */
export function identity(world: World): string {
  const rank = new Map<number, number>();
  const { engine } = world;
  if (engine !== null) {
    const ids = [...engine.open.entries()].map(([id]) => id).sort((a, b) => a - b);
    for (const [index, id] of ids.entries()) rank.set(id, index);
  }
  const name = (id: number): number => rank.get(id) ?? -1;
  const parts: unknown[] = [
    world.budget,
    world.keeper,
    world.cancelled,
    world.violation,
    world.decisions.attempts.map((record) => record.outcome),
    world.requests.map((request) => [name(request.id), request.kind, request.outcome]),
    world.answers.map((answer) => [name(answer.id), answer.kind, answer.outcome]),
    world.procs.map((proc) => [
      proc.alive,
      proc.connected,
      proc.acts,
      proc.phase,
      proc.side,
      proc.inbox.map((message) => (message === 'hangup' ? message : [name(message.id), message.method, message.part])),
      proc.outbox.map((out) => (out.t === 'answer' ? [name(out.id), out.ok] : out.t)),
      proc.question,
      proc.ends,
      proc.watches.map(([index, generation]) => world.procs[index]!.generation === generation),
      proc.prepared,
      proc.generation > 0,
      proc.again,
    ]),
    world.operations.map((operation) => [operation.op, name(operation.id), operation.at]),
    world.timers.map((timer) => [timer.name, name(timer.id)]),
    world.timedOut.map(name),
    world.undiscovered,
    world.hasAsked,
    journalWords(world.journal),
  ];
  if (engine !== null) parts.push(engineWords(engine, name));
  return createHash('sha1').update(JSON.stringify(parts)).digest('base64');
}

/** What a recovery would make of the lines: which there are, not how often or in which order. */
function journalWords(journal: readonly JournalRecord[]): string[] {
  const words = journal.map((record) => {
    switch (record.type) {
      case 'acked':
        return `acked ${record.member} ${record.side} ${record.participant ?? ''}`;
      case 'decided':
        return `decided ${record.outcome}`;
      case 'settled':
        return `settled ${record.outcome} ${record.retired.join()} ${record.stuck.map((one) => one.participant).join()}`;
      case 'standby':
        return `standby ${record.member}`;
      case 'attempt':
      case 'arrived':
      case 'freezing':
      case 'deciding':
      case 'aborting':
      case 'returned':
      case 'finishing':
      case 'unstuck':
        return record.type;
    }
  });
  return [...new Set(words)].sort();
}

function engineWords(engine: EngineState, name: (id: number) => number): unknown {
  const { attempt } = engine;
  const open = [...engine.open.entries()]
    .sort((a, b) => a[0] - b[0])
    .map(([, command]) => ({ ...command, participant: undefined }));
  const stuck = [...engine.stuck.entries()].map(([who, record]) => [who, record.member, record.method]);
  if (attempt === null) return [open, stuck, engine.lingering];
  const members = attempt.members.chunks.flat();
  const touched = members.map((member) => member.touched).sort((a, b) => a - b);
  return [
    open,
    stuck,
    engine.lingering,
    attempt.stage,
    attempt.rests,
    attempt.recovered,
    members.map((member) => ({
      ...member,
      touched: touched.indexOf(member.touched),
    })),
    attempt.run === null
      ? null
      : [attempt.run.group, attempt.run.left, attempt.run.waiting.chunks, attempt.run.order.dependents],
    attempt.waits,
    attempt.retires,
    attempt.freezeSent,
    attempt.commitSent,
    attempt.abortLine,
    attempt.decision,
    attempt.record,
    attempt.chosen,
    attempt.cause === null,
    Object.entries(attempt.timers).map(([timer, id]) => [timer, name(id)]),
    attempt.vetoes.length,
    attempt.closing,
    attempt.undoing,
    attempt.finishSent,
  ];
}
