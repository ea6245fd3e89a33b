/**
 * Makes a sequence that differs small: delta debugging, where all candidates of a round are asked at once, since one jump serves
 * any number of sequences.
 */
import type { Operation, Sequence } from './sequence.js';

/** For each candidate, whether it still differs. */
export type StillDiffers = (candidates: readonly Sequence[]) => Promise<readonly boolean[]>;

const ROUNDS_MAX = 40;

/** @returns the smallest that was found; the same sequence when nothing can go */
export async function reduceSequence(sequence: Sequence, differs: StillDiffers): Promise<Sequence> {
  let smallest = withoutLaterStages(sequence);
  if (!(await differs([rename(smallest, 0)]))[0]) smallest = sequence;
  let pieces = 2;
  let serial = 1;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const length = lengthOf(smallest);
    const pieceLength = Math.max(1, Math.ceil(length / pieces));
    const candidates: Sequence[] = [];
    for (let from = 0; from < length; from += pieceLength) candidates.push(without(smallest, from, from + pieceLength));
    const renamed = candidates.map((candidate) => rename(candidate, serial++));
    const answers = await differs(renamed);
    const still = candidates.filter((_, at) => answers[at]);
    if (still.length > 0) {
      smallest = still[0]!;
      pieces = Math.max(2, Math.min(pieces, lengthOf(smallest)));
    } else if (pieceLength === 1) {
      return smallest;
    } else {
      pieces = Math.min(length, pieces * 3);
    }
  }
  return smallest;
}

/** The names in it are another sequence's, of the same length, so that both can be in one kernel. */
export function rename(sequence: Sequence, serial: number): Sequence {
  const name = `r${serial.toString(36)}`.padEnd(sequence.name.length, '_').slice(0, sequence.name.length);
  const [from, to] = [sequence.name, name].map((each) => Buffer.from(each).toString('hex')) as [string, string];
  return { name, stages: sequence.stages.map((stage) => stage.map((operation) => operation.replaceAll(from, to))) };
}

function lengthOf(sequence: Sequence): number {
  return sequence.stages.reduce((sum, stage) => sum + stage.length, 0);
}

/** A stage that has become empty stays: it is a jump. */
function without(sequence: Sequence, from: number, to: number): Sequence {
  let at = 0;
  const keep = (_: Operation): boolean => {
    at += 1;
    return at <= from || at > to;
  };
  return { ...sequence, stages: sequence.stages.map((stage) => stage.filter(keep)) };
}

/** Without what comes after the last stage with an operation. */
function withoutLaterStages(sequence: Sequence): Sequence {
  let last = sequence.stages.length;
  while (last > 1 && sequence.stages[last - 1]!.length === 0) last -= 1;
  return { ...sequence, stages: sequence.stages.slice(0, last) };
}
