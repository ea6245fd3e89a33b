/**
 * Running a schedule: nodes with edges between them and barriers across them, of which as many go at the same time as
 * the edges allow. Orders (order.ts) are values; a Run is how far one has come.
 */
import { Table, type TableDraft } from './table.js';

/** What waits for what. `dependents` stays inside a group; a group starts when the one before is complete. */
export interface Order {
  readonly groups: readonly (readonly number[])[];
  readonly dependents: readonly (readonly number[])[];
  /** For each node: on how many others of its group it waits. */
  readonly waiting: readonly number[];
}

export interface Run {
  readonly order: Order;
  /** Group that is running; `order.groups.length` when all is done. */
  readonly group: number;
  /** Nodes of it that are not done. */
  readonly left: number;
  /** Per node: what it still waits for; DONE, or STARTED. */
  readonly waiting: Table<number>;
}

const STARTED = -1;
const DONE = -2;

export function startRun(order: Order): Run {
  return {
    order,
    group: -1,
    left: 0,
    waiting: Table.of(order.waiting.length, (node) => order.waiting[node]!),
  };
}

export function isDone(run: Run): boolean {
  return run.group >= run.order.groups.length;
}

/** Is it this node's turn, or was it? */
export function isStarted(run: Run, node: number): boolean {
  return run.waiting.get(node) < 0;
}

/**
 * Mark `completed` as done (null: only begin) and start every node whose turn has come, by `start`, which says true
 * when there was nothing to do for that node. Marking a node twice, or one whose turn has not come, is a no-op.
 */
export function advance(run: Run, completed: number | null, start: (node: number) => boolean): Run {
  const waiting = run.waiting.draft();
  let { group, left } = run;
  const ready: number[] = [];
  const { order } = run;

  function finish(node: number): void {
    waiting.set(node, DONE);
    left -= 1;
    const dependents = order.dependents[node]!;
    for (let index = dependents.length - 1; index >= 0; index -= 1) {
      const dependent = dependents[index]!;
      const count = waiting.get(dependent) - 1;
      waiting.set(dependent, count);
      if (count === 0) ready.push(dependent);
    }
  }

  if (completed !== null) {
    if (waiting.get(completed) !== STARTED) return run;
    finish(completed);
  }
  for (;;) {
    while (ready.length > 0) {
      const node = ready.pop()!;
      waiting.set(node, STARTED);
      if (start(node)) finish(node);
    }
    if (left > 0 || group >= order.groups.length) break;
    group += 1;
    const nodes = order.groups[group] ?? [];
    left = nodes.length;
    pushStartable(nodes, waiting, ready);
  }
  return { order, group, left, waiting: waiting.done() };
}

function pushStartable(nodes: readonly number[], waiting: TableDraft<number>, ready: number[]): void {
  // From the back, since `ready` is taken from its end: nodes start in the order of the group.
  for (let index = nodes.length - 1; index >= 0; index -= 1) {
    if (waiting.get(nodes[index]!) === 0) ready.push(nodes[index]!);
  }
}
