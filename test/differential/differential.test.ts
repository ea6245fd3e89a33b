// Goal: the emulator and the model answer every operation as the real kernel did, on any machine: its answers are recorded here.
// Method: the recording's sequences, and every case that was found and mended, go through both; what differs and is not in
// differences.ts fails, by sequence, operation and both answers.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkEmulator } from '../../src/emulator/check.js';
import { parseCase } from './case.js';
import { compareSequence, describeFound, emptyComparison, type Comparison } from './compare.js';
import { EMULATOR_DIFFERENCES, MODEL_DIFFERENCES, type Difference } from './differences.js';
import { EmulatorSide } from './emulator-side.js';
import { ModelSide } from './model-side.js';
import { canCompile } from './performer.js';
import { readRecording, type RecordedSequence } from './recording.js';
import type { Outcomes } from './sequence.js';
import { performBatches, type Side } from './side.js';

const folder = fileURLToPath(new URL('../../../test/differential/', import.meta.url));
const BATCH = 50;
const recordings = readdirSync(join(folder, 'recordings')).filter((name) => name.endsWith('.gz'));
const cases = readdirSync(join(folder, 'cases'))
  .filter((name) => name.endsWith('.case'))
  .map((name) => parseCase(name.replace('.case', ''), readFileSync(join(folder, 'cases', name), 'utf8')));
const unable = (await checkEmulator()).find(({ result }) => result === 'fail');
const skip = !canCompile()
  ? 'needs a C compiler'
  : unable !== undefined
    ? `the emulator cannot run here: ${unable.reason}`
    : false;

async function compareAll(
  side: Side,
  recorded: readonly RecordedSequence[],
  differences: readonly Difference[],
  strict: boolean,
): Promise<Comparison> {
  const comparison = emptyComparison();
  const outcomes = new Map<string, Outcomes>();
  const count = Math.ceil(recorded.length / BATCH);
  const batches = Array.from({ length: count }, (_, at) =>
    recorded.slice(at * BATCH, (at + 1) * BATCH).map(({ sequence }) => sequence),
  );
  try {
    await performBatches(side, batches, (_, told) => {
      for (const [name, outcome] of told) outcomes.set(name, outcome);
    });
  } finally {
    await side.stop(false);
  }
  for (const { sequence, outcomes: kernel } of recorded)
    compareSequence(comparison, sequence, kernel, outcomes.get(sequence.name)!, { differences, strict });
  return comparison;
}

function assertSame(comparison: Comparison): void {
  assert.deepEqual(comparison.found.map(describeFound), []);
  assert.ok(comparison.compared > comparison.notCompared, 'most of the outcomes are compared');
}

for (const name of recordings) {
  const recording = readRecording(join(folder, 'recordings', name));
  suite(`${recording.side}, ${recording.sequences.length} sequences`, () => {
    test('the model answers as the kernel did', async () => {
      assertSame(await compareAll(new ModelSide(), recording.sequences, MODEL_DIFFERENCES, true));
    });
    test('the emulator answers as the kernel did', { skip }, async () => {
      assertSame(await compareAll(await EmulatorSide.start(false), recording.sequences, EMULATOR_DIFFERENCES, false));
    });
    test('the emulator answers as the kernel did, with --strict', { skip }, async () => {
      assertSame(await compareAll(await EmulatorSide.start(true), recording.sequences, EMULATOR_DIFFERENCES, true));
    });
  });
}

suite('cases that were found', () => {
  test('the model answers them as the kernel did', async () => {
    assert.deepEqual((await compareAll(new ModelSide(), cases, MODEL_DIFFERENCES, true)).found.map(describeFound), []);
  });
  test('the emulator answers them as the kernel did', { skip }, async () => {
    const comparison = await compareAll(await EmulatorSide.start(false), cases, EMULATOR_DIFFERENCES, false);
    assert.deepEqual(comparison.found.map(describeFound), []);
  });
});
