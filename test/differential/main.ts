/**
 * `npm run diff:kernel`: the same sequences on a real kernel and on the emulator or the model, every outcome compared. The last line
 * is the summary as JSON; the exit code is 1 when something differs that differences.ts does not list.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compareSequence, describeFound, emptyComparison, type Comparison, type Found } from './compare.js';
import { formatCase } from './case.js';
import { EMULATOR_DIFFERENCES, MODEL_DIFFERENCES } from './differences.js';
import { generate } from './generator.js';
import { KernelSide } from './kernel-side.js';
import { ModelSide } from './model-side.js';
import { parseOptions, type Against } from './options.js';
import { appendToRecording, readRecording, type RecordedSequence, type Recording } from './recording.js';
import { reduceSequence } from './reduce.js';
import type { Outcomes, Sequence } from './sequence.js';
import { performBatches, type Side } from './side.js';

const SHOWN = 20;
const REDUCED = 5;
const options = parseOptions(process.argv.slice(2));
const began = Date.now();

function inBatches<T>(all: readonly T[]): T[][] {
  const count = Math.ceil(all.length / options.batch);
  return Array.from({ length: count }, (_, at) => all.slice(at * options.batch, (at + 1) * options.batch));
}

/** All outcomes of `side`, which is started and stopped. @param onBatch told of each batch with the jumps since the last */
async function ask(
  start: () => Promise<Side>,
  sequences: readonly Sequence[],
  onBatch: (part: Recording) => void = () => undefined,
): Promise<{ name: string; jumps: number; outcomes: ReadonlyMap<string, Outcomes> }> {
  const side = await start();
  const batches = inBatches(sequences);
  const all = new Map<string, Outcomes>();
  let failed = true;
  let [told, jumps] = [0, 0];
  try {
    await performBatches(
      {
        name: side.name,
        perform: (parts) => side.perform(parts),
        jump: async () => {
          await side.jump();
          jumps += 1;
        },
        stop: (bad) => side.stop(bad),
      },
      batches,
      (batch, outcomes) => {
        for (const [name, outcome] of outcomes) all.set(name, outcome);
        const part = batches[batch]!.map((sequence) => ({ sequence, outcomes: outcomes.get(sequence.name)! }));
        onBatch({ side: side.name, jumps: jumps - told, sequences: part });
        told = jumps;
        process.stderr.write(`${side.name}: ${all.size} of ${sequences.length} sequences, ${jumps} jumps\n`);
      },
    );
    failed = false;
  } finally {
    await side.stop(failed);
  }
  return { name: side.name, jumps, outcomes: all };
}

const startKernel = (): Promise<Side> => KernelSide.start(options.kernel ?? undefined);
/** The emulator is loaded only when it is asked: it calls the system as soon as it starts. */
async function startOther(against: Against): Promise<Side> {
  if (against === 'model') return new ModelSide();
  const { EmulatorSide } = await import('./emulator-side.js');
  return EmulatorSide.start(options.strict);
}

/** The kernel's outcomes, recorded or live. */
async function kernelRecording(): Promise<Recording & { readonly live: boolean }> {
  if (options.replay !== null) {
    const recording = readRecording(options.replay);
    return { ...recording, sequences: recording.sequences.slice(0, options.sequences), live: false };
  }
  const known: Recording =
    options.record === null ? { side: '', jumps: 0, sequences: [] } : readRecording(options.record);
  const names = new Set(known.sequences.map(({ sequence }) => sequence.name));
  const wanted = Array.from({ length: options.sequences }, (_, number) => generate(options.seed, number))
    .filter(({ name }) => !names.has(name))
    .slice(0, options.batches * options.batch);
  if (wanted.length === 0) return { ...known, live: false };
  const found: RecordedSequence[] = [...known.sequences];
  const { name, jumps } = await ask(startKernel, wanted, (part) => {
    found.push(...part.sequences);
    if (options.record !== null) appendToRecording(options.record, part);
  });
  return { side: name, jumps: known.jumps + jumps, sequences: found, live: true };
}

function rulesOf(against: Against): { differences: typeof EMULATOR_DIFFERENCES; strict: boolean } {
  return against === 'model'
    ? { differences: MODEL_DIFFERENCES, strict: true }
    : { differences: EMULATOR_DIFFERENCES, strict: options.strict };
}

/** Small cases of what was found, with the kernel's outcomes; each is written to the folder of --keep. */
async function keepReduced(against: Against, found: readonly Found[]): Promise<void> {
  if (options.keep === null) return;
  mkdirSync(options.keep, { recursive: true });
  for (const each of found.slice(0, REDUCED)) {
    const upTo = each.sequence.stages.slice(0, each.stage + 1);
    let kernel: ReadonlyMap<string, Outcomes> = new Map();
    const small = await reduceSequence({ ...each.sequence, stages: upTo }, async (candidates) => {
      kernel = (await ask(startKernel, candidates)).outcomes;
      const other = (await ask(() => startOther(against), candidates)).outcomes;
      return candidates.map((candidate) => {
        const comparison = emptyComparison();
        compareSequence(
          comparison,
          candidate,
          kernel.get(candidate.name)!,
          other.get(candidate.name)!,
          rulesOf(against),
        );
        return comparison.found.length > 0;
      });
    });
    const outcomes = (await ask(startKernel, [small])).outcomes.get(small.name)!;
    const path = join(options.keep, `${each.sequence.name}.case`);
    writeFileSync(path, formatCase({ sequence: small, outcomes }, `found against ${against}`));
    process.stderr.write(`kept ${path}\n`);
  }
}

const kernel = await kernelRecording();
const sides: Record<string, unknown>[] = [];
let differing = 0;
for (const against of options.against) {
  const { name, jumps, outcomes } = await ask(
    () => startOther(against),
    kernel.sequences.map(({ sequence }) => sequence),
  );
  const comparison: Comparison = emptyComparison();
  for (const recorded of kernel.sequences)
    compareSequence(
      comparison,
      recorded.sequence,
      recorded.outcomes,
      outcomes.get(recorded.sequence.name)!,
      rulesOf(against),
    );
  for (const found of comparison.found.slice(0, SHOWN)) process.stderr.write(`${describeFound(found)}\n`);
  differing += comparison.found.length;
  const { compared, notCompared } = comparison;
  sides.push({
    side: name,
    jumps,
    compared,
    notCompared,
    documented: Object.fromEntries(comparison.documented),
    sequencesThatDiffer: comparison.found.length,
  });
  await keepReduced(against, comparison.found);
}
const operations = kernel.sequences.reduce(
  (sum, { sequence }) => sum + sequence.stages.reduce((count, stage) => count + stage.length, 0),
  0,
);
const { side, jumps, live } = kernel;
const summary = { kernel: side, live, kernelJumps: jumps, seed: options.replay === null ? options.seed : undefined };
console.log(
  JSON.stringify({
    ...summary,
    sequences: kernel.sequences.length,
    operations,
    sides,
    node: process.version,
    seconds: Math.round((Date.now() - began) / 1000),
  }),
);
process.exitCode = differing > 0 ? 1 : 0;
