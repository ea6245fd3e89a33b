// Goal: the conformance suite passes under the emulator, without --strict and with it, all of it, over a simulated kexec too: the
// same cases and counts that test/vm/conformance.test.ts has on real kernels.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conformance } from '../../src/backends/kernel/conformance/index.js';
import { luoctl } from './support.js';
import { JUMP, emulate } from './typed.js';

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What failed or was skipped, and the counts, of a run with --json. */
function read(out: string): { wrong: unknown[]; counts: Counts } {
  const lines = out
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { result?: string } & Counts);
  const { passed, failed, skipped } = lines.pop() ?? assert.fail('it said nothing');
  return { wrong: lines.filter(({ result }) => result !== 'pass'), counts: { passed, failed, skipped } };
}

for (const options of [[], ['--strict']]) {
  const how = options.length === 0 ? 'by default' : options.join(' ');
  test(`everything that needs no jump passes (${how})`, async () => {
    const { code, out, err } = await emulate([luoctl, 'conformance', '--json'], options);
    const { wrong, counts } = read(out);
    assert.deepEqual(wrong, [], err);
    assert.deepEqual(counts, { passed: conformance.list({}).length, failed: 0, skipped: 0 });
    assert.equal(code, 0, err);
  });

  test(`everything that needs a jump passes (${how})`, async () => {
    const before = `"$LUOCTL" conformance --json --stage 1 && ${JUMP}`;
    const after = `echo next && exec "$LUOCTL" conformance --json --stage 2`;
    const { code, out, err } = await emulate(['sh', '-c', before], ['--init', after, ...options]);
    const [first = '', second = ''] = out.split('next\n');
    const all = { passed: conformance.list({ stage: 1 }).length, failed: 0, skipped: 0 };
    assert.deepEqual(
      [read(first), read(second)],
      [
        { wrong: [], counts: all },
        { wrong: [], counts: all },
      ],
      err,
    );
    assert.equal(code, 0, err);
  });
}

test('a stage 1 that waits for its jump is not begun again; a stage 2 without one says so; none is left after it', async () => {
  const twice = `"$LUOCTL" conformance --json --stage 1 >/dev/null; "$LUOCTL" conformance --json --stage 1; ${JUMP}`;
  const after = `"$LUOCTL" conformance --json --stage 2 | tail -n 1; "$LUOCTL" conformance --json --stage 2`;
  const { code, out } = await emulate(['sh', '-c', twice], ['--init', after]);
  const lines = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { error?: { code: string } } & Counts);
  assert.deepEqual(
    lines.map(({ error, failed }) => error?.code ?? failed),
    ['SESSION_COPY_LEFT', 0, 'SESSION_MISSING'],
  );
  assert.equal(code, 1);
});

test('a device that somebody holds is refused before anything is asked', async () => {
  const held = 'exec 9<>/dev/liveupdate; exec "$LUOCTL" conformance --json';
  const { code, out } = await emulate(['sh', '-c', held]);
  assert.equal(code, 1);
  assert.equal((JSON.parse(out) as { error: { code: string } }).error.code, 'LIVEUPDATE_HELD');
});

test('a device whose incoming data is broken is refused', async () => {
  const { code, out } = await emulate([luoctl, 'conformance', '--json'], ['--fault', 'open:EIO:always']);
  assert.equal(code, 1);
  assert.equal((JSON.parse(out) as { error: { code: string } }).error.code, 'LIVEUPDATE_BROKEN');
});

test('a kernel that answers wrongly is found out: the case, what was expected and what came', async () => {
  const { code, out } = await emulate(
    [luoctl, 'conformance', '--group', 'upstream'],
    ['--fault', 'get-name:ENOMEM:always'],
  );
  assert.equal(code, 1);
  assert.match(out, /^not ok 12 - upstream: get_session_name\n {2}---\n {2}what: "GET_NAME"\n/m);
  assert.match(out, /^ {2}came: "ENOMEM"$/m);
  assert.match(out, /^# 13 passed, 2 failed, 0 skipped$/m);
});
