/**
 * The five orders in which a plan is walked: prepare, freeze, restore and go, undo, and none. All derive from the same
 * plan, so that they cannot contradict each other.
 */
import type { Plan } from './types.js';
import type { Order } from './run.js';

const KINDS_IN_ORDER = ['fd', 'device', 'global'] as const;

/** Nodes are steps: fds, devices, globals; inside a kind along `after`. */
export function prepareOrder(plan: Plan): Order {
  return build(
    plan.steps.length,
    KINDS_IN_ORDER.map((kind) => plan.steps.filter((step) => step.kind === kind).map((step) => step.step)),
    (edge) => {
      for (const step of plan.steps) for (const before of step.after) edge(step.step, before);
    },
  );
}

/** Nodes are steps: the kinds as in prepare, but a user of an fd stops before the fd that it uses. */
export function freezeOrder(plan: Plan): Order {
  return build(
    plan.steps.length,
    KINDS_IN_ORDER.map((kind) => plan.steps.filter((step) => step.kind === kind).map((step) => step.step)),
    (edge) => {
      for (const step of plan.steps) {
        for (const before of step.after) {
          if (step.kind === 'fd') edge(before, step.step);
          else edge(step.step, before);
        }
      }
    },
  );
}

/** Nodes are members: globals, devices from the root, fds; what is depended on first. */
export function goOrder(plan: Plan): Order {
  return build(plan.members.length, ranksOf(plan), (edge) => {
    for (const [member, { after }] of plan.go.entries()) for (const before of after) edge(member, before);
  });
}

/**
 * Nodes are members: the reverse of the recorded completion, along the edges.
 * @param touched when each member last answered, Infinity while an answer is missing
 * @param included members that have something to undo
 */
export function undoOrder(
  plan: Plan,
  touched: (member: number) => number,
  included: (member: number) => boolean,
): Order {
  return build(
    plan.members.length,
    ranksOf(plan).map((rank) => rank.filter(included).reverse()),
    (edge) => {
      for (const [member, { after }] of plan.go.entries()) {
        if (!included(member)) continue;
        for (const other of after) {
          if (!included(other)) continue;
          // Both missing: as if they had completed in the order of prepare.
          if (touched(member) >= touched(other)) edge(other, member);
          else edge(member, other);
        }
      }
    },
  );
}

/** Nodes are members, all at the same time. */
export function anyOrder(membersCount: number): Order {
  return build(membersCount, [Array.from({ length: membersCount }, (_, member) => member)], () => undefined);
}

function ranksOf(plan: Plan): number[][] {
  const ranks: number[][] = [[], [], []];
  for (const [member, { rank }] of plan.go.entries()) ranks[rank]!.push(member);
  return ranks;
}

/** @param edges calls `edge(node, before)` for each pair: `node` waits for `before`, of the same group */
function build(
  count: number,
  groups: readonly (readonly number[])[],
  edges: (edge: (node: number, before: number) => void) => void,
): Order {
  const dependents: number[][] = Array.from({ length: count }, () => []);
  const waiting = new Array<number>(count).fill(0);
  edges((node, before) => {
    dependents[before]!.push(node);
    waiting[node]! += 1;
  });
  return { groups, dependents, waiting };
}
