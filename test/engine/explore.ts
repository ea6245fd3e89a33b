/**
 * Exhaustive search over worlds: every reachable one is visited once, in breadth, so that the first thing found to be
 * wrong has the shortest way there. Then liveness: from every world a good end must be reachable without a fault.
 */
import { broken, followers, identity, unfinished, type World, type WorldOptions } from './world.js';

export interface Explored {
  readonly worlds: number;
  readonly transitions: number;
  /** Worlds in which nothing more happens by itself. */
  readonly ends: number;
  /** How it can go wrong, step by step, shortest first; null: it cannot. */
  readonly counterexample: { readonly what: string; readonly way: readonly string[] } | null;
  /** Names of the steps that were ever taken, without their numbers. */
  readonly seen: ReadonlySet<string>;
}

export function explore(options: WorldOptions, first: World, worldsMax = Infinity): Explored {
  const index = new Map<string, number>();
  const parent: number[] = [];
  const via: string[] = [];
  let frontier: World[] = [first];
  let ids: number[] = [0];
  index.set(identity(first), 0);
  parent.push(-1);
  via.push('start');
  // Edges without a fault, backwards, for liveness.
  const sources: number[] = [];
  const targets: number[] = [];
  const good: number[] = [];
  const seen = new Set<string>();
  let transitions = 0;
  let ends = 0;

  const wayTo = (id: number): string[] => {
    const way: string[] = [];
    for (let at = id; at > 0; at = parent[at]!) way.push(via[at]!);
    return way.reverse();
  };
  const result = (what: string | null, id: number): Explored => ({
    worlds: index.size,
    transitions,
    ends,
    counterexample: what === null ? null : { what, way: wayTo(id) },
    seen,
  });

  while (frontier.length > 0) {
    const next: World[] = [];
    const nextIds: number[] = [];
    for (const [position, world] of frontier.entries()) {
      const id = ids[position]!;
      const wrong = broken(world);
      if (wrong !== null) return result(wrong, id);
      const all = followers(options, world);
      if (all.every((follower) => follower.fault)) {
        ends += 1;
        const missing = unfinished(options, world);
        if (missing !== null) return result(missing, id);
        good.push(id);
      }
      for (const follower of all) {
        transitions += 1;
        seen.add(follower.name.replace(/\d+/g, '#'));
        const key = identity(follower.world);
        let target = index.get(key);
        if (target === undefined) {
          target = index.size;
          index.set(key, target);
          parent.push(id);
          via.push(follower.name);
          next.push(follower.world);
          nextIds.push(target);
        }
        if (!follower.fault) {
          sources.push(id);
          targets.push(target);
        }
      }
      if (index.size > worldsMax) return result(null, id);
    }
    frontier = next;
    ids = nextIds;
  }
  const hopeless = firstHopeless(index.size, sources, targets, good);
  return hopeless === -1 ? result(null, 0) : result('no good end can be reached from here', hopeless);
}

/** The first world from which no good one is reachable along edges without a fault; -1: there is none. */
function firstHopeless(
  count: number,
  sources: readonly number[],
  targets: readonly number[],
  good: readonly number[],
): number {
  const starts = new Int32Array(count + 1);
  for (const target of targets) starts[target + 1]! += 1;
  for (let node = 0; node < count; node += 1) starts[node + 1]! += starts[node]!;
  const fill = starts.slice();
  const back = new Int32Array(sources.length);
  for (let edge = 0; edge < sources.length; edge += 1) back[fill[targets[edge]!]!++] = sources[edge]!;
  const hope = new Uint8Array(count);
  const queue = [...good];
  for (const node of good) hope[node] = 1;
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    for (let edge = starts[node]!; edge < starts[node + 1]!; edge += 1) {
      const source = back[edge]!;
      if (hope[source] === 1) continue;
      hope[source] = 1;
      queue.push(source);
    }
  }
  return hope.indexOf(0);
}
