/**
 * One of the things that are compared: something with a /dev/liveupdate, or what says it knows what that does, that performs
 * stages of sequences and jumps into its next kernel.
 */
import { type Outcomes, type Sequence } from './sequence.js';

export interface Part {
  readonly sequence: Sequence;
  readonly stage: number;
}

export interface Side {
  /** What it is, with its version: `Linux 7.3.4`. */
  readonly name: string;
  /** Perform these stages, one after the other; what they hold is held until the jump. @returns outcomes by name of the sequence */
  perform(parts: readonly Part[]): Promise<ReadonlyMap<string, readonly string[]>>;
  jump(): Promise<void>;
  /** @param failed keep what helps to see why */
  stop(failed: boolean): Promise<void>;
}

/**
 * Let `side` perform batches: in each kernel the first stage of one, the second stage of the one before, and so on, so that there is
 * about one jump for a batch.
 * @param onBatch told of each batch when all of its stages are over
 * @returns the number of jumps
 */
export async function performBatches(
  side: Side,
  batches: readonly (readonly Sequence[])[],
  onBatch: (batch: number, outcomes: ReadonlyMap<string, Outcomes>) => void,
): Promise<number> {
  const outcomes = batches.map(() => new Map<string, (readonly string[])[]>());
  const stages = batches.map((batch) => Math.max(0, ...batch.map((sequence) => sequence.stages.length)));
  const last = Math.max(-1, ...stages.map((count, batch) => batch + count - 1));
  for (let kernel = 0; kernel <= last; kernel += 1) {
    if (kernel > 0) await side.jump();
    const parts: Part[] = [];
    for (let batch = Math.min(kernel, batches.length - 1); batch >= 0; batch -= 1) {
      const stage = kernel - batch;
      for (const sequence of batches[batch]!) if (stage < sequence.stages.length) parts.push({ sequence, stage });
    }
    const performed = await side.perform(parts);
    for (const [batch, sequences] of batches.entries()) {
      const stage = kernel - batch;
      if (stage < 0 || stage >= stages[batch]!) continue;
      for (const { name, stages: own } of sequences) {
        if (stage >= own.length) continue;
        const all = outcomes[batch]!.get(name) ?? [];
        all.push(performed.get(name) ?? []);
        outcomes[batch]!.set(name, all);
      }
      if (stage === stages[batch]! - 1) onBatch(batch, outcomes[batch]!);
    }
  }
  return Math.max(0, last);
}
