/**
 * Algorithms on directed graphs of small integers, without recursion (a chain of 10,000 handles must not overflow a
 * stack) and linear in nodes and edges. An edge goes from what depends to what it depends on.
 */

/** Adjacency in three flat arrays: the edges of node n are `targets[starts[n]] … targets[starts[n + 1] - 1]`. */
export interface Graph {
  readonly size: number;
  readonly starts: Int32Array;
  readonly targets: Int32Array;
}

export interface Components {
  /** Component of each node. Components are numbered so that what is depended on has the lower number. */
  readonly of: Int32Array;
  readonly count: number;
  /** Nodes in each component. */
  readonly sizes: Int32Array;
  /** All nodes by ascending number of their component. */
  readonly order: Int32Array;
  /** Is any node on a cycle, be it an edge to itself? */
  readonly circular: boolean;
  /** Nodes and edges that were looked at: the work done, for the proof that it is linear. */
  readonly operations: number;
}

/** Strongly connected components (Tarjan's algorithm, iterative). */
export function components(graph: Graph): Components {
  const { size, starts, targets } = graph;
  const of = new Int32Array(size).fill(-1);
  /** From 1, in order of discovery; 0 is not yet discovered. */
  const index = new Int32Array(size);
  const low = new Int32Array(size);
  const cursor = starts.slice(0, size);
  const path = new Int32Array(size);
  const stack = new Int32Array(size);
  const order = new Int32Array(size);
  const sizes = new Int32Array(size);
  let count = 0;
  let ordered = 0;
  let discovered = 0;
  let stacked = 0;
  let circular = false;
  let operations = 0;
  for (let root = 0; root < size; root += 1) {
    if (index[root] !== 0) continue;
    let depth = 0;
    path[0] = root;
    index[root] = low[root] = ++discovered;
    stack[stacked++] = root;
    while (depth >= 0) {
      const node = path[depth]!;
      const end = starts[node + 1]!;
      const from = cursor[node]!;
      let at = from;
      let next = -1;
      while (at < end && next === -1) {
        const target = targets[at++]!;
        if (of[target] !== -1) continue;
        if (index[target] === 0) next = target;
        else {
          circular = true;
          if (index[target]! < low[node]!) low[node] = index[target]!;
        }
      }
      operations += 1 + at - from;
      if (next !== -1) {
        cursor[node] = at;
        path[++depth] = next;
        index[next] = low[next] = ++discovered;
        stack[stacked++] = next;
        continue;
      }
      if (low[node] === index[node]) {
        const before = ordered;
        let member: number;
        do {
          member = stack[--stacked]!;
          of[member] = count;
          order[ordered++] = member;
        } while (member !== node);
        sizes[count++] = ordered - before;
      }
      depth -= 1;
      if (depth >= 0) {
        const parent = path[depth]!;
        if (low[node]! < low[parent]!) low[parent] = low[node]!;
      }
    }
  }
  return { of, count, sizes: sizes.subarray(0, count), order, circular, operations };
}

/** What {@link components} finds if every edge points to a lower node: each node is its own component, with its number. */
export function singles(size: number): Components {
  const order = Int32Array.from({ length: size }, (_, node) => node);
  return { of: order, count: size, sizes: new Int32Array(size).fill(1), order, circular: false, operations: size };
}

/** A cycle inside the component of `start`, as nodes in order of dependency. `start` must be on one. */
export function cycleThrough(graph: Graph, found: Components, start: number): number[] {
  const component = found.of[start]!;
  const cameFrom = new Map<number, number>();
  const queue = [start];
  for (const node of queue) {
    for (let edge = graph.starts[node]!; edge < graph.starts[node + 1]!; edge += 1) {
      const target = graph.targets[edge]!;
      if (target === start) {
        const cycle = [node];
        while (cycle[0] !== start) cycle.unshift(cameFrom.get(cycle[0]!)!);
        return cycle;
      }
      if (found.of[target] !== component || cameFrom.has(target)) continue;
      cameFrom.set(target, node);
      queue.push(target);
    }
  }
  return [start];
}

/** Nodes by component, what is depended on first; those of a cycle by `seqOf`. */
export function topological(found: Components, seqOf: (node: number) => number): Int32Array {
  if (!found.circular) return found.order;
  const order = found.order.slice();
  for (let component = 0, start = 0; component < found.count; component += 1) {
    const size = found.sizes[component]!;
    if (size > 1) order.subarray(start, start + size).sort((a, b) => seqOf(a) - seqOf(b) || a - b);
    start += size;
  }
  return order;
}

/** In a cycle: the node just before this one in `order`; -1 for all others. */
export function predecessors(order: Int32Array, found: Components): Int32Array {
  const before = new Int32Array(order.length).fill(-1);
  if (!found.circular) return before;
  for (let position = 1; position < order.length; position += 1) {
    const node = order[position]!;
    const other = order[position - 1]!;
    if (found.of[node] === found.of[other]) before[node] = other;
  }
  return before;
}

/** What {@link levelsOf} needs to know of nodes, beside the edges between them. */
export interface Walk {
  /** What {@link topological} and {@link predecessors} gave. */
  readonly order: Int32Array;
  readonly before: Int32Array;
  /** Who has each node. */
  readonly owner: Int32Array;
  /** Nodes whose `groups` is `backwards` come before what they depend on, all others after it; no edge joins the two. */
  readonly groups: Int32Array;
  readonly backwards: number;
}

export interface Levels {
  /** The level of each node. */
  readonly of: Int32Array;
  /** One more than the highest. */
  readonly count: number;
  /** Nodes so that each comes after what is before it. */
  readonly sequence: Int32Array;
}

/** The level of each node: how often the owner changes on the longest way through what comes before it. */
export function levelsOf(graph: Graph, found: Components, walk: Walk): Levels {
  const { order, before, owner, groups, backwards } = walk;
  const { starts, targets } = graph;
  const levels = new Int32Array(graph.size);
  const sequence = new Int32Array(graph.size);
  let front = 0;
  let back = graph.size;
  let highest = 0;
  for (let position = 0; position < order.length; position += 1) {
    const node = order[position]!;
    if (groups[node] === backwards) {
      sequence[--back] = node;
      continue;
    }
    sequence[front++] = node;
    const member = owner[node]!;
    const other = before[node]!;
    let level = other === -1 ? 0 : levels[other]! + (owner[other] === member ? 0 : 1);
    for (let edge = starts[node]!, end = starts[node + 1]!; edge < end; edge += 1) {
      const target = targets[edge]!;
      if (levels[target]! < level || found.of[target] === found.of[node]) continue;
      level = levels[target]! + (owner[target] === member ? 0 : 1);
    }
    levels[node] = level;
    if (level > highest) highest = level;
  }
  // The part of the order that goes backwards was turned round.
  for (let position = back; position < sequence.length; position += 1) {
    const node = sequence[position]!;
    const member = owner[node]!;
    const level = levels[node]!;
    if (level > highest) highest = level;
    for (let edge = starts[node]!, end = starts[node + 1]!; edge < end; edge += 1) {
      const target = targets[edge]!;
      const least = owner[target] === member ? level : level + 1;
      if (least > levels[target]!) levels[target] = least;
    }
  }
  return { of: levels, count: highest + 1, sequence };
}
