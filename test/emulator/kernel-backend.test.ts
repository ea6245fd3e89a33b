// Goal: the backend contract holds on the kernel's backend over simulated jumps, as it does over real ones. Method: that of
// test/vm/kernel-backend.test.ts, with its own guest program: all cases run at once in one process under the emulator, up to
// their gaps; the emulated machine jumps; what they asked before is then answered from a record, until none waits any more.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Emulator } from '../../src/emulator/emulator.js';
import { readInheritance } from '../../src/emulator/launch/inheritance.js';
import { root } from '../docs/pages.js';
import { until } from '../sys/support.js';
import type { CaseRecord } from '../vm/guest/contract/case.js';
import type { CaseEvent } from '../vm/guest/contract/reporter.js';

const GUEST = join(root, 'dist/test/vm/guest/contract');
const END = 'the records are written';
/** As many as any case has gaps. */
const JUMPS_MAX = 3;

const outcomes = new Map<number, CaseEvent & { readonly gaps: number }>();
const folder = mkdtempSync(join(tmpdir(), 'luo-contract-'));
let emulator: Emulator;

before(async () => {
  emulator = await Emulator.start({ strict: false, inheritance: readInheritance(undefined), ownsProcess: false });
  let records: readonly CaseRecord[] = [];
  for (let jumps = 0; ; jumps += 1) {
    records = await runCases(jumps, records);
    if (!records.some(({ state }) => state === 'waiting')) return;
    assert.ok(jumps < JUMPS_MAX, `after ${jumps} jumps there are still cases that wait`);
    await emulator.kexec();
  }
});
after(async () => {
  await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Run what is not over in this kernel; the process stays. @returns the records of all cases */
async function runCases(jumps: number, earlier: readonly CaseRecord[]): Promise<readonly CaseRecord[]> {
  const [events, said, before_, after_] = ['events', 'said', 'before', 'after'].map((name) =>
    join(folder, `${name}-${jumps}`),
  ) as [string, string, string, string];
  if (jumps > 0) writeFileSync(before_, JSON.stringify(earlier));
  writeFileSync(events, '');
  const output = openSync(said, 'a+');
  const program = await emulator.run({
    argv: [
      process.execPath,
      ...['--enable-source-maps', `--test-reporter=${GUEST}/reporter.js`, `--test-reporter-destination=${events}`],
      ...[`${GUEST}/main.js`, String(jumps), before_, after_],
    ],
    env: Object.entries(process.env)
      .filter(([name]) => name !== 'NODE_TEST_CONTEXT')
      .map(([name, value]) => `${name}=${value}`),
    cwd: folder,
    searchPath: null,
    stdio: [output, output, output],
  });
  closeSync(output);
  let ended = false;
  void program.ended.then(() => (ended = true));
  const lines = (): CaseEvent[] =>
    readFileSync(events, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as CaseEvent);
  await until(
    () => {
      assert.ok(!ended, `the cases ended before their time: ${readFileSync(said, 'utf8')}`);
      return lines().at(-1)?.name === END;
    },
    'the end of the cases',
    180_000,
  );
  const records = JSON.parse(readFileSync(after_, 'utf8')) as CaseRecord[];
  const cases = lines().slice(0, -1);
  assert.equal(cases.length, records.length - 1, 'each case has a record, and the contract has one for itself');
  for (const [at, line] of cases.entries()) {
    const number = at + 1;
    if (earlier[number]?.state === 'done' || records[number]!.state === 'waiting') continue;
    outcomes.set(number, { ...line, gaps: records[number]!.gaps });
  }
  return records;
}

test('the contract holds on the emulated kernel', async (context) => {
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
});

test('what nobody claimed waits in one kernel and ends with it: the next but one holds no session and no file', async () => {
  await emulator.kexec();
  const { sessions, filesHeld } = emulator.inspect();
  assert.ok(sessions.every(({ direction, held }) => direction === 'incoming' && !held));
  assert.equal(filesHeld, sessions.flatMap(({ files }) => files).length);
  await emulator.kexec();
  assert.deepEqual([emulator.inspect().sessions, emulator.inspect().filesHeld], [[], 0]);
});
