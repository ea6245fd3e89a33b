// Goal: new sequences, asked of the real kernel now, are answered by the emulator and by the model as the kernel answers them.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { compareSequence, describeFound, emptyComparison } from '../differential/compare.js';
import { EMULATOR_DIFFERENCES, MODEL_DIFFERENCES, type Difference } from '../differential/differences.js';
import { EmulatorSide } from '../differential/emulator-side.js';
import { generate } from '../differential/generator.js';
import { KernelSide } from '../differential/kernel-side.js';
import { ModelSide } from '../differential/model-side.js';
import type { Outcomes } from '../differential/sequence.js';
import { performBatches, type Side } from '../differential/side.js';

/** Not those of the recordings; a failing test names the sequence, and the seed is in its name. */
const SEED = 20261128;
const sequences = Array.from({ length: 60 }, (_, number) => generate(SEED, number));
const rules = { differences: EMULATOR_DIFFERENCES, strict: false };
let kernel: ReadonlyMap<string, Outcomes>;

async function outcomesOf(side: Side): Promise<ReadonlyMap<string, Outcomes>> {
  const all = new Map<string, Outcomes>();
  let failed = true;
  try {
    await performBatches(side, [sequences], (_, outcomes) => {
      for (const [name, outcome] of outcomes) all.set(name, outcome);
    });
    failed = false;
  } finally {
    await side.stop(failed);
  }
  return all;
}

function assertSame(other: ReadonlyMap<string, Outcomes>, differences: readonly Difference[]): void {
  const comparison = emptyComparison();
  for (const sequence of sequences) {
    const { name } = sequence;
    compareSequence(comparison, sequence, kernel.get(name)!, other.get(name)!, { ...rules, differences });
  }
  assert.deepEqual(comparison.found.map(describeFound), []);
  assert.ok(comparison.compared > 1000, `${comparison.compared} outcomes were compared`);
}

before(async () => {
  kernel = await outcomesOf(await KernelSide.start());
});

test('the model answers as the kernel does', async () => {
  assertSame(await outcomesOf(new ModelSide()), MODEL_DIFFERENCES);
});

test('the emulator answers as the kernel does', async () => {
  assertSame(await outcomesOf(await EmulatorSide.start(false)), EMULATOR_DIFFERENCES);
});
