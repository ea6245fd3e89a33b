// Goal: luoctl conformance shows results as TAP that other programs read, ends with the right code, and passes on what was
// chosen; the page has the groups and counts of the suite itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conformance as suite } from '../../src/backends/kernel/conformance/index.js';
import { LuoError } from '../../src/base/errors.js';
import type { Conformance, ConformanceResult, ConformanceSelection } from '../../src/ports/conformance.js';
import { bare, read, tableRows } from '../docs/pages.js';
import { luoctl } from './luoctl.js';

interface Asked {
  device?: string;
  selection?: ConformanceSelection;
}

function fake(results: readonly ConformanceResult[], asked: Asked = {}, holder: number | null = null): Conformance {
  return {
    groups: () => [{ group: 'names', about: 'what is a name', byDefault: true, cases: results.length }],
    list: () => results.map(({ group, name }) => ({ group, name })),
    async run(device, selection, told) {
      Object.assign(asked, { device, selection });
      for (const result of results) told(result);
      return { holder };
    },
  };
}

const PASS: ConformanceResult = { group: 'names', name: 'a name ends at its first zero', result: 'pass' };
const SKIP: ConformanceResult = { group: 'names', name: 'one', result: 'skip', reason: 'needs #1' };
const FAIL: ConformanceResult = {
  group: 'names',
  name: 'an outgoing name\nexists once',
  result: 'fail',
  what: 'a second one',
  expected: 'EEXIST',
  came: 'ok',
};

test('each result is a line of TAP 14; a failure says what was expected and what came, a skip why', async () => {
  const { code, out } = await luoctl('/nowhere', ['conformance'], { conformance: fake([PASS, SKIP, FAIL]) });
  assert.equal(code, 1);
  assert.equal(
    out,
    `TAP version 14
1..3
ok 1 - names: a name ends at its first zero
ok 2 - names: one # SKIP needs \\#1
not ok 3 - names: an outgoing name exists once
  ---
  what: "a second one"
  expected: "EEXIST"
  came: "ok"
  ...
# 1 passed, 1 failed, 1 skipped
`,
  );
});

test('what is skipped is no failure', async () => {
  assert.equal((await luoctl('/nowhere', ['conformance'], { conformance: fake([PASS, SKIP]) })).code, 0);
});

test('with --json each case is a line, and the last has the counts', async () => {
  const { code, json } = await luoctl('/nowhere', ['conformance', '--json'], { conformance: fake([PASS, FAIL]) });
  assert.equal(code, 1);
  assert.deepEqual(json(), [PASS, FAIL, { passed: 1, failed: 1, skipped: 0 }]);
});

test('device, stage and groups are passed on; the process that holds the sessions is named', async () => {
  const asked: Asked = {};
  const args = ['conformance', '/dev/other', '--stage', '1', '--group', 'gap', '--group', 'incoming'];
  const { code, err } = await luoctl('/nowhere', args, { conformance: fake([PASS], asked, 4711) });
  assert.equal(code, 0);
  assert.deepEqual(asked, { device: '/dev/other', selection: { stage: 1, groups: ['gap', 'incoming'] } });
  assert.match(err, /process 4711 /);
  await luoctl('/nowhere', ['conformance'], { conformance: fake([PASS], asked) });
  assert.deepEqual(asked, { device: '/dev/liveupdate', selection: {} });
});

test('--list asks nothing of any device', async () => {
  const asked: Asked = {};
  const { code, out } = await luoctl('/nowhere', ['conformance', '--list'], { conformance: fake([PASS], asked) });
  assert.equal(code, 0);
  assert.deepEqual(asked, {});
  assert.match(out, /^names: a name ends at its first zero$/m);
});

test('a stage that there is not is a usage error, a group that there is not an error that names those that there are', async () => {
  assert.equal((await luoctl('/nowhere', ['conformance', '--stage', '3'])).code, 2);
  for (const args of [
    ['--group', 'nothing'],
    ['--group', 'gap'],
    ['--stage', '1', '--group', 'names'],
  ]) {
    const { code, err } = await luoctl('/nowhere', ['conformance', ...args], { conformance: suite });
    assert.equal(code, 1, args.join(' '));
    assert.match(err, /UNSUPPORTED/);
  }
});

test('a device that is not there is LIVEUPDATE_MISSING, in every stage, and nothing was told', async () => {
  for (const selection of [{}, { stage: 1 }, { stage: 2 }] as const) {
    const told: unknown[] = [];
    await assert.rejects(
      suite.run('/nowhere/liveupdate', selection, (result) => told.push(result)),
      (error) => error instanceof LuoError && error.code === 'LIVEUPDATE_MISSING',
    );
    assert.deepEqual(told, []);
  }
});

test('a fact has one name: no two cases of a group have the same', () => {
  for (const selection of [{}, { stage: 1 }, { groups: ['kernel-only'] }] as const) {
    const names = suite.list(selection).map(({ group, name }) => `${group}: ${name}`);
    assert.deepEqual(
      names.filter((name, index) => names.indexOf(name) !== index),
      [],
    );
  }
});

test('docs/conformance.md has every group with its counts, and the sums', () => {
  const page = read('docs/conformance.md');
  const rows = tableRows(page, 'group').map(([group, cases, gap, byDefault, about]) => ({
    group: bare(group!),
    cases: Number(cases),
    gap: Number(gap),
    byDefault: byDefault === 'yes',
    about: about!,
  }));
  const [plain, staged] = [suite.groups(), suite.groups(1)];
  const count = (groups: typeof plain, name: string): number => groups.find(({ group }) => group === name)?.cases ?? 0;
  const all = [...new Map([...plain, ...staged].map((group) => [group.group, group])).values()];
  assert.deepEqual(
    [...rows].sort((a, b) => a.group.localeCompare(b.group)),
    all
      .map(({ group, about, byDefault }) => ({
        group,
        cases: count(plain, group),
        gap: count(staged, group),
        byDefault,
        about,
      }))
      .sort((a, b) => a.group.localeCompare(b.group)),
  );
  assert.ok(
    page.includes(`${suite.list({}).length} cases without a jump and ${suite.list({ stage: 1 }).length} with one`),
  );
});
