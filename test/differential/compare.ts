/**
 * The kernel's outcomes beside another side's. An outcome counts as compared, as not compared, or as a difference; after the first
 * difference of a sequence the rest of it is not compared, since it only follows from that one.
 */
import type { Difference } from './differences.js';
import { UNSAID } from './model-side.js';
import type { Outcomes, Sequence } from './sequence.js';

export interface Found {
  readonly sequence: Sequence;
  readonly stage: number;
  readonly index: number;
  readonly operation: string;
  readonly kernel: string;
  readonly other: string;
}

export interface Comparison {
  compared: number;
  notCompared: number;
  /** How often each documented difference was met. */
  readonly documented: Map<string, number>;
  readonly found: Found[];
}

export function emptyComparison(): Comparison {
  return { compared: 0, notCompared: 0, documented: new Map(), found: [] };
}

export interface Rules {
  readonly differences: readonly Difference[];
  readonly strict: boolean;
}

/** Add one sequence to `comparison`. */
export function compareSequence(
  comparison: Comparison,
  sequence: Sequence,
  kernel: Outcomes,
  other: Outcomes,
  { differences, strict }: Rules,
): void {
  let over = false;
  for (const [stage, operations] of sequence.stages.entries()) {
    for (const [index, operation] of operations.entries()) {
      const pair = { kernel: kernel[stage]?.[index] ?? 'nothing', other: other[stage]?.[index] ?? 'nothing' };
      if (over || pair.other === UNSAID) {
        comparison.notCompared += 1;
        continue;
      }
      if (pair.kernel === pair.other) {
        comparison.compared += 1;
        continue;
      }
      const words = operation.replace(/^@\d+ /, '').split(' ');
      const compared = { words, ...pair, strict };
      const known = differences.find((each) => each.matches(compared));
      if (known === undefined) {
        comparison.found.push({ sequence, stage, index, operation, ...pair });
        over = true;
        continue;
      }
      comparison.documented.set(known.id, (comparison.documented.get(known.id) ?? 0) + 1);
      comparison.notCompared += 1;
      over = known.ends(compared);
    }
  }
}

/** As people read it. */
export function describeFound({ sequence, stage, index, operation, kernel, other }: Found): string {
  return `${sequence.name} stage ${stage} operation ${index}: ${operation}\n  kernel: ${kernel}\n  other:  ${other}`;
}
