// Goal: the backend contract holds on the kernel's own sessions, over real jumps, and so does what src/model says of them.
// Method: all cases run at once in one process of the machine, up to their gaps; the machine jumps; in the next kernel they
// are run again, and what they asked before is answered from a record (guest/contract/case.ts); until none waits any more.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';
import type { CaseRecord } from './guest/contract/case.js';
import type { CaseEvent } from './guest/contract/reporter.js';

const FOLDER = '/luo/dist/test/vm/guest/contract';
const END = 'the records are written';
/** As many as any case has gaps. */
const JUMPS_MAX = 3;
const RUN_MS = 180_000;
const { from, to } = kernels();

/** By the number of the case; the first is not one. */
const outcomes = new Map<number, CaseEvent & { readonly gaps: number }>();
let vm: Vm;
let failed = true;

before(async () => {
  vm = await Vm.start({ kernel: from, memoryMiB: 1536, files: { '/boot/from': from.path, '/boot/to': to.path } });
  let records: readonly CaseRecord[] = [];
  for (let jumps = 0; ; jumps += 1) {
    records = await runCases(jumps, records);
    if (!records.some(({ state }) => state === 'waiting')) return;
    assert.ok(jumps < JUMPS_MAX, `after ${jumps} jumps there are still cases that wait`);
    await vm.run('test/vm/guest/load.js', 'load', [jumps % 2 === 0 ? '/boot/to' : '/boot/from']);
    const jumped = vm.jumped(vm.hello);
    await vm.run('test/vm/guest/memfds.js', 'jump');
    await jumped;
  }
});
after(() => vm.stop(failed));

/** Run what is not over in this kernel. @returns the records of all cases */
async function runCases(jumps: number, earlier: readonly CaseRecord[]): Promise<readonly CaseRecord[]> {
  const [events, said, before_, after_] = ['events', 'said', 'before', 'after'].map(
    (name) => `/run/contract/${name}`,
  ) as [string, string, string, string];
  if (jumps === 0) await vm.must(['mkdir', '-p', '/run/contract']);
  else await vm.write(before_, JSON.stringify(earlier));
  await vm.spawn(
    [
      '/usr/bin/node',
      ...['--enable-source-maps', `--test-reporter=${FOLDER}/reporter.js`, `--test-reporter-destination=${events}`],
      ...[`${FOLDER}/main.js`, String(jumps), before_, after_],
    ],
    said,
  );
  const lines = await vm.until(
    'the end of the cases',
    async () => {
      const cases = (await vm.read(events))
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as CaseEvent);
      return cases.at(-1)?.name === END ? cases.slice(0, -1) : undefined;
    },
    RUN_MS,
  );
  const records = JSON.parse(await vm.read(after_)) as CaseRecord[];
  assert.equal(lines.length, records.length - 1, 'each case has a record, and the contract has one for itself');
  for (const [at, line] of lines.entries()) {
    const number = at + 1;
    if (earlier[number]?.state === 'done' || records[number]!.state === 'waiting') continue;
    outcomes.set(number, { ...line, gaps: records[number]!.gaps });
  }
  return records;
}

test('the contract holds on the kernel', async (context) => {
  assert.ok(outcomes.size > 50, `there are ${outcomes.size} cases`);
  for (const { name, error, gaps } of outcomes.values()) {
    await context.test(`${name} (${gaps === 1 ? '1 gap' : `${gaps} gaps`})`, () => assert.equal(error, null));
  }
});

test('its cases did cross: most of them once, the traveller three times', () => {
  const gaps = [...outcomes.values()].map((outcome) => outcome.gaps);
  assert.ok(gaps.filter((count) => count === 1).length > 20, String(gaps));
  assert.deepEqual(
    [...outcomes.values()].filter((outcome) => outcome.gaps > 1).map(({ name, gaps: count }) => [name, count]),
    [['a file makes several journeys', 3]],
  );
  failed = [...outcomes.values()].some(({ error }) => error !== null);
});
