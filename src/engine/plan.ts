/**
 * Assemble a plan from what is registered: select, pull in what is needed, order. Pure and linear in handles and edges;
 * nothing is asked of anybody here. A plan is made once in a while by a process that has made none yet, so what counts
 * is its first call, most of which is over before its loops are compiled: a key is looked up once, from then on handles,
 * members and steps are indexes in flat arrays, each pass over handles or edges does as much as it can, and nothing is
 * made for a handle or an edge alone.
 *
 * Happy path: the closure of what the scope keeps, cut into steps: one call to one participant for its handles of one
 * kind and one level, where a level is a change of participant along an order of dependency.
 * Unhappy path: what is missing (PLAN_MISSING), cannot cross (PLAN_UNVIABLE), goes in a circle (PLAN_CYCLE), or nothing
 * at all (PLAN_EMPTY); the first two name the path that led there, the third the circle.
 */
import { LuoError } from '../base/errors.js';
import { KINDS, type Gap } from '../base/words.js';
import { components, cycleThrough, levelsOf, predecessors, singles, topological } from './graph.js';
import type { Components, Graph, Levels } from './graph.js';
import type { RegistryView } from './registry.js';
import type { HandleRecord, ParticipantRecord, Plan, PlanMember, PlanStep } from './types.js';

export interface PlanRequest {
  readonly gap: Gap;
  /** Ids of participants, or everybody. */
  readonly scope: readonly string[] | 'all';
}

/** Kinds as numbers, in order of prepare; KINDS has them at these places. */
const FD = 0;
const DEVICE = 1;
const GLOBAL = 2;
/** Most steps are in no cycle, and many wait for nobody: they share this. */
const NONE: readonly number[] = [];

/** Counts the work of the last call, for the test that it grows linearly. */
export interface PlanWork {
  operations: number;
}

/**
 * The plan for `request`.
 * @param work is told how many handles and edges were looked at
 * @throws LuoError PLAN_EMPTY no participant in the scope; PLAN_MISSING, PLAN_UNVIABLE (`data.path`: handle keys from
 *   what was asked for to what fails); PLAN_CYCLE (`data.cycle`)
 */
export function plan(registry: RegistryView, request: PlanRequest, work: PlanWork = { operations: 0 }): Plan {
  const scope = scopeOf(registry, request.scope);
  const selection = new Selection(registry, request.gap, scope);
  const { handles, graph } = selection;
  // What was registered after all that it depends on needs no search.
  const found = selection.ordered ? singles(graph.size) : components(graph);
  refuseCycles(selection, found);
  const membership = membershipOf(registry, scope, selection);
  const order = topological(found, (node) => handles[node]!.seq);
  const before = predecessors(order, found);
  // Devices are prepared leaves to root, the other kinds what is depended on first.
  const walk = { order, before, owner: membership.owner, groups: selection.kinds, backwards: DEVICE };
  const levels = levelsOf(graph, found, walk);
  const cut = cutIntoSteps(selection, membership, levels);
  const cycles = cyclesOf(handles, found);
  const steps = stepsOf(selection, cut, found, before, cycles);
  const byMember: number[][] = membership.members.map(() => []);
  for (let step = 0; step < steps.length; step += 1) byMember[steps[step]!.member]!.push(step);
  // Levels and steps look at everything once more.
  work.operations += selection.operations + found.operations + 2 * (graph.size + graph.targets.length);
  const inScope = new Set(scope.map((participant) => participant.id));
  return {
    gap: request.gap,
    scope: scope.map((participant) => participant.id),
    members: membership.members.map((participant, member): PlanMember => ({
      member,
      participant: participant.id,
      owner: participant.owner,
      replaced: inScope.has(participant.id),
      alive: participant.alive,
      protocol: participant.protocol,
      steps: byMember[member]!,
    })),
    steps,
    cycles: cycles.map(({ nodes }) => ({
      handles: nodes.map((node) => handles[node]!.key),
      steps: nodes.map((node) => cut.stepOf[node]!),
    })),
    go: goOrder(selection, membership, cut, work),
    left: selection.left(),
    pulled: selection.pulled(),
  };
}

/** In a cycle: handles that are prepared after this step, for which a placeholder must be left. */
export function toCome(plan: Plan, step: number): string[] {
  return cycleHandles(plan, step, (other) => other > step);
}

/** In a cycle: every handle of it that is not of this step; freeze carries what each answered. */
export function peers(plan: Plan, step: number): string[] {
  return cycleHandles(plan, step, (other) => other !== step);
}

function cycleHandles(plan: Plan, step: number, take: (other: number) => boolean): string[] {
  return plan.steps[step]!.cycles.flatMap((index) => {
    const cycle = plan.cycles[index]!;
    return cycle.handles.filter((_, position) => take(cycle.steps[position]!));
  });
}

// ---------------------------------------------------------------------------------------------- selection

function scopeOf(registry: RegistryView, scope: readonly string[] | 'all'): ParticipantRecord[] {
  if (scope === 'all') {
    const all = [...registry.participants.values()];
    if (all.length === 0)
      throw new LuoError('PLAN_EMPTY', 'no participant is registered, so there is nothing to update');
    return all.sort((a, b) => a.seq - b.seq);
  }
  const found: ParticipantRecord[] = [];
  for (const id of new Set(scope)) {
    const participant = registry.participants.get(id);
    if (participant === undefined) {
      throw new LuoError('PLAN_EMPTY', `no participant '${id}' is registered`, { participant: id });
    }
    found.push(participant);
  }
  if (found.length === 0) throw new LuoError('PLAN_EMPTY', 'the scope names no participant');
  return found.sort((a, b) => a.seq - b.seq);
}

/** The handles that cross, each by its index from here on: what was asked for, then what that needs. */
class Selection {
  readonly handles: HandleRecord[] = [];
  /** FD, DEVICE or GLOBAL: the kind of each handle. */
  readonly kinds: Int32Array;
  /** Who holds each handle: index in `holders`. */
  readonly slots: Int32Array;
  /** Participants by id, to their slot: the scope in its order, then who holds what was pulled in. */
  readonly holders = new Map<string, number>();
  /** Edges inside a kind: those that order. Edges across kinds include and never order. */
  readonly graph: Graph;
  /** Does every edge of the graph point to a lower index? */
  ordered = true;
  /** The same edges between slots, as often as they are there; those inside a slot are left out. */
  readonly between: number[][] = [];
  /** Handles and edges that were looked at. */
  operations = 0;
  readonly #registry: RegistryView;
  readonly #gap: Gap;
  readonly #indexOf = new Map<string, number>();
  /** Of each handle that was pulled in: which one needed it first. */
  readonly #parents: number[] = [];
  readonly #leaving: HandleRecord[] = [];
  #asked = 0;

  constructor(registry: RegistryView, gap: Gap, scope: readonly ParticipantRecord[]) {
    this.#registry = registry;
    this.#gap = gap;
    this.kinds = new Int32Array(registry.handles.size);
    this.slots = new Int32Array(registry.handles.size);
    for (const participant of scope) this.#addHolder(participant.id);
    this.#choose();
    this.#asked = this.handles.length;
    this.graph = this.#close();
  }

  /** What stays behind although it is of the scope, and why. */
  left(): Plan['left'] {
    return this.#leaving
      .filter((handle) => !this.#indexOf.has(handle.key))
      .map((handle) => ({ handle: handle.key, reason: reasonToLeave(handle, this.#gap) }));
  }

  /** What nobody asked for, and the path to it. */
  pulled(): Plan['pulled'] {
    return this.handles
      .slice(this.#asked)
      .map((handle, offset) => ({ handle: handle.key, path: this.#pathTo(this.#asked + offset) }));
  }

  #addHolder(participant: string): number {
    const slot = this.holders.size;
    this.holders.set(participant, slot);
    this.between.push([]);
    return slot;
  }

  #choose(): void {
    const all = [...this.#registry.handles.values()];
    for (let at = 0; at < all.length; at += 1) {
      const handle = all[at]!;
      const slot = this.holders.get(handle.participant);
      if (slot === undefined) continue;
      if (handle.requested ?? handle.wants[this.#gap] === 'keep') this.#add(handle, slot, -1);
      else this.#leaving.push(handle);
    }
  }

  #add(handle: HandleRecord, slot: number, from: number): number {
    if (handle.requested === false || !handle.viable[this.#gap].ok) throw this.#unviable(handle, from);
    const index = this.handles.push(handle) - 1;
    this.#indexOf.set(handle.key, index);
    this.slots[index] = slot;
    this.kinds[index] = handle.kind === 'fd' ? FD : handle.kind === 'device' ? DEVICE : GLOBAL;
    return index;
  }

  /** Pull in what is needed, and keep the edges inside a kind. */
  #close(): Graph {
    const { handles, kinds, slots, between } = this;
    const indexOf = this.#indexOf;
    const starts = new Int32Array(this.#registry.handles.size + 1);
    const targets: number[] = [];
    for (let index = 0; index < handles.length; index += 1) {
      const { dependencies } = handles[index]!;
      for (let at = 0; at < dependencies.length; at += 1) {
        const target = indexOf.get(dependencies[at]!) ?? this.#pull(dependencies[at]!, index);
        if (kinds[target] !== kinds[index]) continue;
        targets.push(target);
        if (target >= index) this.ordered = false;
        if (slots[target] !== slots[index]) between[slots[index]!]!.push(slots[target]!);
      }
      this.operations += 1 + dependencies.length;
      starts[index + 1] = targets.length;
    }
    return { size: handles.length, starts: starts.subarray(0, handles.length + 1), targets: new Int32Array(targets) };
  }

  /** The index of the handle `key`, which was not selected so far and which `from` needs. */
  #pull(key: string, from: number): number {
    const handle = this.#registry.handles.get(key);
    if (handle === undefined) {
      const chain = this.#pathTo(from);
      throw new LuoError('PLAN_MISSING', `'${key}' is not registered (needed by ${chain.join(' -> ')})`, {
        handle: key,
        data: { path: [...chain, key] },
      });
    }
    const index = this.#add(handle, this.holders.get(handle.participant) ?? this.#addHolder(handle.participant), from);
    this.#parents.push(from);
    return index;
  }

  #unviable(handle: HandleRecord, from: number): LuoError {
    const why = handle.requested === false ? 'the operator unrequested it' : handle.viable[this.#gap].reason;
    const chain = this.#pathTo(from);
    return new LuoError(
      'PLAN_UNVIABLE',
      `'${handle.key}' cannot cross the ${this.#gap} gap: ${why}${chain.length > 0 ? ` (needed by ${chain.join(' -> ')})` : ''}`,
      { handle: handle.key, data: { path: [...chain, handle.key] } },
    );
  }

  /** From what was asked for to this handle; empty for -1. */
  #pathTo(index: number): string[] {
    const path: string[] = [];
    for (let at = index; at >= 0; at = this.#parents[at - this.#asked] ?? -1) path.push(this.handles[at]!.key);
    return path.reverse();
  }
}

function reasonToLeave(handle: HandleRecord, gap: Gap): string {
  if (handle.requested === false) return 'the operator unrequested it';
  if (!handle.viable[gap].ok) return handle.viable[gap].reason;
  return 'its owner leaves it behind';
}

interface Membership {
  /** In order of registration. */
  readonly members: readonly ParticipantRecord[];
  /** The slot of each member in the selection, and the member of each slot. */
  readonly slotOf: readonly number[];
  readonly memberOf: readonly number[];
  /** The member that holds each handle. */
  readonly owner: Int32Array;
}

/** Whoever is in the scope or holds something that was pulled in. */
function membershipOf(registry: RegistryView, scope: readonly ParticipantRecord[], selection: Selection): Membership {
  const { handles, holders, slots } = selection;
  const found: ParticipantRecord[] = [...scope];
  for (const id of [...holders.keys()].slice(scope.length)) {
    const participant = registry.participants.get(id);
    if (participant === undefined) {
      const { key } = handles.find((handle) => handle.participant === id)!;
      throw new LuoError('PLAN_MISSING', `'${key}' belongs to '${id}', which is not registered`, {
        handle: key,
        data: { path: [key] },
      });
    }
    found.push(participant);
  }
  const slotOf = found.map((_, slot) => slot);
  // The scope is sorted already: then members are slots.
  if (found.length === scope.length) return { members: scope, slotOf, memberOf: slotOf, owner: slots };
  slotOf.sort((a, b) => found[a]!.seq - found[b]!.seq);
  const memberOf: number[] = [];
  for (const [member, slot] of slotOf.entries()) memberOf[slot] = member;
  return { members: slotOf.map((slot) => found[slot]!), slotOf, memberOf, owner: slots.map((slot) => memberOf[slot]!) };
}

// ---------------------------------------------------------------------------------------------- order

function refuseCycles({ handles, kinds, graph }: Selection, found: Components): void {
  if (!found.circular) return;
  for (let node = 0; node < graph.size; node += 1) {
    if (kinds[node] === FD) continue;
    if (found.sizes[found.of[node]!]! === 1 && !hasSelfEdge(graph, node)) continue;
    const cycle = cycleThrough(graph, found, node).map((member) => handles[member]!.key);
    throw new LuoError('PLAN_CYCLE', `these depend on each other: ${[...cycle, cycle[0]].join(' -> ')}`, {
      handle: cycle[0]!,
      data: { cycle },
    });
  }
}

function hasSelfEdge(graph: Graph, node: number): boolean {
  for (let edge = graph.starts[node]!; edge < graph.starts[node + 1]!; edge += 1) {
    if (graph.targets[edge] === node) return true;
  }
  return false;
}

/** Which handles are one step: drafts of steps, numbered as they were found, and the numbers that they get. */
interface Cut {
  /** Drafts in order of prepare: kind, level, registration of the participant. */
  readonly drafts: readonly number[];
  /** Member of each draft. */
  readonly members: readonly number[];
  /** First handle of each draft, -1 if it has none; `next` leads on from there, in order of prepare, until -1. */
  readonly heads: readonly number[];
  readonly next: Int32Array;
  /** The highest kind that each member holds; FD if it holds nothing. */
  readonly highest: Int32Array;
  /** The step of each handle. */
  readonly stepOf: Int32Array;
}

function cutIntoSteps({ kinds, graph }: Selection, { owner, slotOf }: Membership, levels: Levels): Cut {
  const { sequence } = levels;
  const membersCount = slotOf.length;
  const members: number[] = [];
  const heads: number[] = [];
  const tails: number[] = [];
  const next = new Int32Array(graph.size).fill(-1);
  const draftOf = new Int32Array(graph.size);
  const byId = new Map<number, number>();
  const highest = new Int32Array(membersCount).fill(-1);
  for (let at = 0; at < sequence.length; at += 1) {
    const node = sequence[at]!;
    const id = (kinds[node]! * levels.count + levels.of[node]!) * membersCount + owner[node]!;
    let draft = byId.get(id);
    if (draft === undefined) {
      draft = heads.push(node) - 1;
      byId.set(id, draft);
      members.push(owner[node]!);
      if (kinds[node]! > highest[owner[node]!]!) highest[owner[node]!] = kinds[node]!;
    } else next[tails[draft]!] = node;
    tails[draft] = node;
    draftOf[node] = draft;
  }
  // Who holds nothing has an empty step among the first of the fds.
  for (let member = 0; member < membersCount; member += 1) {
    if (highest[member] !== -1) continue;
    highest[member] = FD;
    byId.set(member, heads.push(-1) - 1);
    members.push(member);
  }
  const drafts = Array.from(Float64Array.from(byId.keys()).sort(), (id) => byId.get(id)!);
  const steps = new Int32Array(drafts.length);
  for (let step = 0; step < drafts.length; step += 1) steps[drafts[step]!] = step;
  return { drafts, members, heads, next, highest, stepOf: draftOf.map((draft) => steps[draft]!) };
}

/** The steps, with the edges between them, each once. */
function stepsOf(
  { handles, kinds, graph }: Selection,
  { drafts, members, heads, next, stepOf }: Cut,
  found: Components,
  before: Int32Array,
  cycles: readonly Cycle[],
): PlanStep[] {
  const { starts, targets } = graph;
  const cycleOf = new Map(cycles.map(({ component }, index) => [component, index]));
  const steps: PlanStep[] = [];
  const after: number[][] = [];
  const keys: string[] = [];
  // Which step last made an edge with this one; edges of one step are made together.
  const seen = new Int32Array(drafts.length).fill(-1);
  for (let step = 0; step < drafts.length; step += 1) {
    const head = heads[drafts[step]!]!;
    const kind = head === -1 ? FD : kinds[head]!;
    const from = keys.length;
    seen[step] = step;
    for (let node = head; node !== -1; node = next[node]!) {
      keys.push(handles[node]!.key);
      for (let edge = starts[node]!, end = starts[node + 1]!; edge < end; edge += 1) {
        const other = stepOf[targets[edge]!]!;
        if (seen[other] === step || found.of[targets[edge]!] === found.of[node]) continue;
        seen[other] = step;
        if (kind === DEVICE) (after[other] ??= []).push(step);
        else (after[step] ??= []).push(other);
      }
      if (before[node] === -1) continue;
      const other = stepOf[before[node]!]!;
      if (seen[other] === step) continue;
      seen[other] = step;
      (after[step] ??= []).push(other);
    }
    steps.push({
      step,
      member: members[drafts[step]!]!,
      kind: KINDS[kind]!,
      // A copy of the right size: an array that grows would keep room for many more.
      handles: keys.slice(from),
      after: after[step] ?? NONE,
      cycles: cycles.length === 0 ? NONE : cyclesOfStep(head, next, found, cycleOf),
    });
  }
  return steps;
}

interface Cycle {
  readonly component: number;
  readonly nodes: readonly number[];
}

/** Handles that depend on each other, in order of registration; cycles by the first of their handles. */
function cyclesOf(handles: readonly HandleRecord[], found: Components): Cycle[] {
  if (!found.circular) return [];
  const cycles = new Map<number, number[]>();
  for (let node = 0; node < handles.length; node += 1) {
    const component = found.of[node]!;
    if (found.sizes[component]! < 2) continue;
    const nodes = cycles.get(component);
    if (nodes === undefined) cycles.set(component, [node]);
    else nodes.push(node);
  }
  return [...cycles].map(([component, nodes]) => ({
    component,
    nodes: nodes.sort((a, b) => handles[a]!.seq - handles[b]!.seq),
  }));
}

/** The cycles that the handles of a step are in. */
function cyclesOfStep(
  head: number,
  next: Int32Array,
  found: Components,
  cycleOf: ReadonlyMap<number, number>,
): readonly number[] {
  const cycles = new Set<number>();
  for (let node = head; node !== -1; node = next[node]!) {
    const cycle = cycleOf.get(found.of[node]!);
    if (cycle !== undefined) cycles.add(cycle);
  }
  return cycles.size === 0 ? NONE : [...cycles];
}

/**
 * Restore and go are one call to a whole participant: it takes the rank of the highest kind that it holds, and inside a
 * rank what is depended on goes first. Participants that depend on each other in a circle go in order of registration.
 */
function goOrder(
  { between }: Selection,
  { slotOf, memberOf }: Membership,
  { highest }: Cut,
  work: PlanWork,
): Plan['go'] {
  const ranks = Array.from(highest, (kind) => (GLOBAL - kind) as 0 | 1 | 2);
  const starts = new Int32Array(slotOf.length + 1);
  const targets: number[] = [];
  const seen = new Int32Array(slotOf.length).fill(-1);
  for (let member = 0; member < slotOf.length; member += 1) {
    const slots = between[slotOf[member]!]!;
    work.operations += slots.length;
    for (let edge = 0; edge < slots.length; edge += 1) {
      const target = memberOf[slots[edge]!]!;
      if (seen[target] === member || ranks[target] !== ranks[member]) continue;
      seen[target] = member;
      targets.push(target);
    }
    starts[member + 1] = targets.length;
  }
  const found = components({ size: slotOf.length, starts, targets: Int32Array.from(targets) });
  work.operations += found.operations;
  const last = new Int32Array(found.count).fill(-1);
  return ranks.map((rank, member) => {
    const component = found.of[member]!;
    const after: number[] = [];
    if (last[component] !== -1) after.push(last[component]!);
    last[component] = member;
    for (let edge = starts[member]!; edge < starts[member + 1]!; edge += 1) {
      if (found.of[targets[edge]!] !== component) after.push(targets[edge]!);
    }
    return { rank, after };
  });
}
