// Goal: the parts of the differential test are themselves right: seeds repeat, files of cases and recordings come back as they
// were, a difference is found and made small, and what is documented is not counted as one.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatCase, parseCase } from './case.js';
import { compareSequence, emptyComparison } from './compare.js';
import { EMULATOR_DIFFERENCES, type Difference } from './differences.js';
import { generate } from './generator.js';
import { digest, pattern } from './memory-file.js';
import { UNSAID } from './model-side.js';
import { parseOptions } from './options.js';
import { appendToRecording, readRecording, writeRecording } from './recording.js';
import { reduceSequence, rename } from './reduce.js';
import { formatSequence, parsePerformed, parseSequence, performerInput, type Sequence } from './sequence.js';
import { performBatches, type Part, type Side } from './side.js';
import { buildStruct, UserMemory } from './user-memory.js';

const two: Sequence = { name: 'q1.7', stages: [['open 0 2', 'close 0'], ['open 0 2']] };

test('a seed repeats its sequences, and another one makes others', () => {
  for (let number = 0; number < 20; number += 1) assert.deepEqual(generate(1, number), generate(1, number));
  assert.notDeepEqual(generate(1, 3).stages, generate(2, 3).stages);
  assert.notDeepEqual(generate(1, 3).stages, generate(1, 4).stages);
});

test('every operation of the list is generated, every stage leaves the device closed, and a slot is filled once', () => {
  const seen = new Set<string>();
  for (let number = 0; number < 400; number += 1) {
    for (const stage of generate(5, number).stages) {
      assert.equal(stage.at(-1), 'closedevices');
      const filled = new Set<string>();
      for (const operation of stage) {
        const words = operation.replace(/^@\d+ /, '').split(' ');
        seen.add(words[0]!);
        const fills = /^(open|dup|dupfd|pass|reopen|memfd|file)$/.test(words[0]!) ? words[1] : words[5]?.slice(1);
        if (fills === undefined || (words[0] !== 'ioctl' && words[0] === 'seek')) continue;
        if (words[0] === 'ioctl' || fills === words[1]) {
          assert.ok(!filled.has(fills), `${operation} fills ${fills} again`);
          filled.add(fills);
        }
      }
    }
  }
  const all =
    'open close dup dupfd dup2 pass reopen fork exec end kill limit reboot closedevices path ioctl memfd file unlink write pwrite read trunc falloc seal seek map look flags stat poll watch get put';
  assert.deepEqual(
    all.split(' ').filter((word) => !seen.has(word)),
    [],
  );
});

test('a sequence, a case and a recording come back from their text', () => {
  assert.deepEqual(parseSequence('q1.7', formatSequence(two)), two);
  const recorded = { sequence: two, outcomes: [['fd 3', 'ok'], ['EBUSY']] };
  assert.deepEqual(parseCase('q1.7', formatCase(recorded, 'what it shows')), recorded);
  assert.throws(() => parseCase('x', 'open 0 2\n'), /has no outcome/);
  const folder = mkdtempSync(join(tmpdir(), 'luo-recording-'));
  try {
    const [plain, packed] = [join(folder, 'a.ndjson'), join(folder, 'a.ndjson.gz')];
    assert.deepEqual(readRecording(plain).sequences, []);
    appendToRecording(plain, { side: 'Linux 1', jumps: 2, sequences: [recorded] });
    appendToRecording(plain, { side: 'Linux 1', jumps: 1, sequences: [recorded] });
    const read = readRecording(plain);
    assert.deepEqual([read.side, read.jumps, read.sequences.length], ['Linux 1', 3, 2]);
    writeRecording(packed, read);
    assert.deepEqual(readRecording(packed), read);
    appendToRecording(plain, { side: 'Linux 2', jumps: 1, sequences: [] });
    assert.throws(() => readRecording(plain), /of more than one/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the performer is told which stage holds, and an output that was cut off is refused', () => {
  const parts = [
    { sequence: two, stage: 0 },
    { sequence: two, stage: 1 },
  ];
  assert.equal(performerInput(parts), 'S q1.7\nopen 0 2\nclose 0\nH\nS q1.7\nopen 0 2\nE\n');
  assert.deepEqual(parsePerformed('a 0 fd 3\nb 0 ok\na 1 ok +4:05\na -1 died b\nEND\n').get('a'), [
    'fd 3',
    'ok +4:05',
    'died b',
  ]);
  assert.throws(() => parsePerformed('a 0 fd 3\n'), /did not get to its end/);
});

test('one batch is one jump: each kernel performs the first stage of one and the second of the one before', async () => {
  const kernels: string[][] = [];
  const side: Side = {
    name: 'test',
    perform: (parts: readonly Part[]) => {
      kernels.push(parts.map(({ sequence, stage }) => `${sequence.name}/${stage}`));
      return Promise.resolve(new Map(parts.map(({ sequence, stage }) => [sequence.name, [`${stage}`]])));
    },
    jump: () => Promise.resolve(),
    stop: () => Promise.resolve(),
  };
  const short: Sequence = { name: 's', stages: [['open 0 2']] };
  const over: unknown[] = [];
  const jumps = await performBatches(
    side,
    [[{ ...two, name: 'a' }, short], [{ ...two, name: 'b' }]],
    (batch, outcomes) => over.push([batch, Object.fromEntries(outcomes)]),
  );
  assert.equal(jumps, 2);
  assert.deepEqual(kernels, [['a/0', 's/0'], ['b/0', 'a/1'], ['b/1']]);
  assert.deepEqual(over, [
    [0, { a: [['0'], ['1']], s: [['0']] }],
    [1, { b: [['0'], ['1']] }],
  ]);
});

test('a difference ends the comparison of its sequence; a documented one is no difference; what is not said is not compared', () => {
  const rules = { differences: [] as Difference[], strict: false };
  const comparison = emptyComparison();
  compareSequence(comparison, two, [['fd 3', 'ok'], ['fd 3']], [['fd 3', 'EBADF'], ['fd 3']], rules);
  assert.deepEqual([comparison.compared, comparison.notCompared, comparison.found.length], [1, 1, 1]);
  assert.deepEqual([comparison.found[0]!.operation, comparison.found[0]!.kernel], ['close 0', 'ok']);
  const said = emptyComparison();
  compareSequence(said, two, [['fd 3', 'ok'], ['fd 3']], [['fd 3', UNSAID], ['fd 3']], rules);
  assert.deepEqual([said.compared, said.notCompared, said.found.length], [2, 1, 0]);
  const missing = emptyComparison();
  compareSequence(missing, two, [['fd 3', 'ok'], ['fd 3']], [['fd 3']], rules);
  assert.deepEqual([missing.found[0]!.other, missing.found[0]!.kernel], ['nothing', 'ok']);
});

test('an open with O_RDONLY is a documented difference without --strict only, and with the documented outcome only', () => {
  const sequence: Sequence = { name: 'q', stages: [['open 0 0', 'ioctl 0 ba00 null u72']] };
  const against = (other: string, strict: boolean): number => {
    const comparison = emptyComparison();
    const rules = { differences: EMULATOR_DIFFERENCES, strict };
    compareSequence(comparison, sequence, [['fd 3', 'EFAULT']], [[other, 'EBADF']], rules);
    return comparison.found.length;
  };
  assert.deepEqual([against('ENOENT', false), against('ENOENT', true), against('EACCES', false)], [0, 1, 1]);
});

test('a sequence that differs is made as small as it can be, and its names do not meet in one kernel', async () => {
  const long: Sequence = {
    name: 'q1.77',
    stages: [Array.from({ length: 20 }, (_, at) => `seek ${at} 0 0`), ['look 5', 'look 6', 'look 7'], ['look 8']],
  };
  const names = new Set<string>();
  const small = await reduceSequence(long, (candidates) => {
    for (const { name } of candidates) names.add(name);
    return Promise.resolve(
      candidates.map(({ stages }) => stages[0]!.includes('seek 13 0 0') && stages[1]?.includes('look 6') === true),
    );
  });
  assert.deepEqual(small.stages.flat(), ['seek 13 0 0', 'look 6']);
  assert.ok(names.size > 10);
  const renamed = rename({ name: 'q1.7', stages: [['ioctl 0 ba00 ok u72.i-1.n71312e372d31 >1']] }, 5);
  assert.equal(renamed.name.length, 4);
  assert.equal(renamed.stages[0]![0], `ioctl 0 ba00 ok u72.i-1.n${Buffer.from(renamed.name).toString('hex')}2d31 >1`);
});

test('memory is laid out as the performer does it', () => {
  const struct = buildStruct('u16.f3.q258', (slot) => slot + 2);
  assert.equal(Buffer.from(struct).toString('hex'), '10000000050000000201000000000000');
  const cut = new UserMemory('cut8', struct);
  assert.deepEqual(
    [cut.read(0, 8)?.length, cut.read(0, 9), cut.accepts(8), cut.accepts(9)],
    [8, undefined, true, false],
  );
  const readOnly = new UserMemory('ro4', struct);
  assert.deepEqual([readOnly.read(0, 16)?.length, readOnly.accepts(16)], [16, false]);
  readOnly.write(new Uint8Array(16));
  assert.equal(readOnly.changes(), ' +0:00');
  const none = new UserMemory('null', struct);
  assert.deepEqual([none.read(0, 1), none.accepts(1), none.changes()], [undefined, false, '']);
  const open = new UserMemory('ok', struct);
  assert.deepEqual([...open.read(16, 2)!], [0xa5, 0xa5]);
});

test('digests are FNV-1a of 64 bits', () => {
  assert.equal(digest(new Uint8Array()), 'cbf29ce484222325');
  assert.equal(digest(Buffer.from('foobar')), '85944171f73967e8');
  assert.deepEqual([...pattern(3, 250)], [250, 1, 8]);
});

test('options that there are not are refused with the usage', () => {
  assert.deepEqual(parseOptions(['--against', 'both', '--batch', '0']).against, ['emulator', 'model']);
  assert.equal(parseOptions(['--batch', '0']).batch, 1);
  for (const wrong of [['--nonsense'], ['--against', 'x'], ['--sequences', '-1'], ['--seed']])
    assert.throws(() => parseOptions(wrong), /npm run diff:kernel/);
});

test('docs/emulator-differences.md lists every difference of the emulator, with its reason, and no other', () => {
  const page = readFileSync(new URL('../../../docs/emulator-differences.md', import.meta.url), 'utf8');
  const section = /\n## Differences\n([\s\S]*?)(?=\n## |$)/.exec(page)?.[1] ?? '';
  const items = section
    .split(/\n(?=- )/)
    .filter((item) => item.trimStart().startsWith('- '))
    .map((item) => item.trim().replace(/^- /, '').split(/\n\n/)[0]!.replace(/\s+/g, ' '));
  assert.deepEqual(
    items,
    EMULATOR_DIFFERENCES.map(({ what, reason }) => `${what} ${reason}`),
  );
});
