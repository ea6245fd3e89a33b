// Goal: what docs/kexec.md tells an operator to type is what luoctl takes, its units are whole, and its tables name only what
// there is. Method: the page itself, command by command, against a fake luod.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { ERROR_CODES } from '../../src/base/errors.js';
import { DEADLINES } from '../../src/base/limits.js';
import { POLICIES, STATES } from '../../src/base/words.js';
import { bare, blocks, read, tableRows } from '../docs/pages.js';
import { assertWhole, unitsOf } from '../docs/units.js';
import { FakeLuod } from './fake-luod.js';
import { luoctl } from './luoctl.js';

const page = read('docs/kexec.md');
const units = unitsOf(page);
const fake = await FakeLuod.start();
after(() => fake.close());

/** Words of luoctl command lines in scripts, units and prose; what a reader has to fill in is filled in. */
function commandLines(): string[][] {
  const shell = blocks(page, 'sh').flatMap((text) => text.split(/\n|&&/));
  const inUnits = [...units.values()].flatMap((text) =>
    [...text.matchAll(/^ExecStart=\/usr\/bin\/(.+)$/gm)].map(([, line]) => line!),
  );
  const prose = [...page.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/`(luoctl [^`]+)`/g)].map(([, line]) => line!);
  return [...shell, ...inUnits, ...prose]
    .map((line) => line.trim().split(/\s+/))
    .filter(([program]) => program === 'luoctl')
    .map(([, ...words]) => (words[0] === '--dir' ? words.slice(2) : words))
    .map((words) => words.map((word) => ({ HANDLE: '0:cache/fd:index', NAME: 'cache', ID: 'cache#1' })[word] ?? word));
}

test('every command line of the guide is one that luoctl takes', async () => {
  const lines = commandLines();
  assert.ok(lines.length > 20);
  for (const words of lines) {
    // One that is named for an option only, without its value.
    if (words.at(-1) === '--claim-max') words.push('60s');
    const { code, err } = await luoctl(
      fake.dir,
      words.filter((word) => word !== 'CHECK'),
    );
    assert.notEqual(code, 2, `luoctl ${words.join(' ')}: ${err}`);
  }
});

test('every unit of the guide has the sections of its kind, and what it starts is shown', () => {
  assert.deepEqual(
    [...units.keys()],
    ['luo-kexec.service', 'cache.service', 'after-kexec.path', 'after-kexec.service'],
  );
  assertWhole(units);
});

test('the unit of the kexec waits for the end of all that it stops, and starts all of it again when there was no jump', () => {
  const text = units.get('luo-kexec.service')!;
  const values = (key: string): string[] =>
    [...text.matchAll(new RegExp(`^${key}=(.+)$`, 'gm'))].flatMap(([, list]) => list!.split(' '));
  const stopped = values('Conflicts');
  assert.ok(stopped.length > 0);
  for (const unit of stopped) assert.ok(values('After').includes(unit), unit);
  assert.deepEqual(values('OnFailure'), stopped);
});

test('the guide names only state files, error codes and policies that there are', () => {
  const markers = new Set(STATES.map((state) => `in-${state}`));
  for (const [marker] of page.matchAll(/\bin-[a-z]+\b(?=[\s`;\]),])/g)) assert.ok(markers.has(marker), marker);
  for (const [, code] of page.matchAll(/`([A-Z]+_[A-Z_]+)`/g)) {
    if (/^(CONFIG|MFD)_/.test(code!)) continue;
    assert.ok(code! in ERROR_CODES, code);
  }
  const policies = tableRows(page, 'policy').map(([policy]) => bare(policy!));
  assert.deepEqual([...policies].sort(), [...POLICIES].sort());
  assert.ok(page.includes(`${DEADLINES.claimMs / 1000} s)`));
});

test('every code that an arrival can end with is in the table for the night', () => {
  const seen = tableRows(page, 'what you see').map(([what]) => what!);
  for (const code of ['LIVEUPDATE_HELD', 'LIVEUPDATE_BROKEN', 'MANIFEST_TOO_NEW', 'MANIFEST_DAMAGED'])
    assert.ok(
      seen.some((what) => what.includes('arrived') && what.includes(code)),
      code,
    );
  for (const code of [
    'KEXEC_RETURNED',
    'KEXEC_REFUSED',
    'PREFLIGHT_FAILED',
    'CLAIM_LOST',
    'CLAIM_MEMORY',
    'SESSION_COPY_LEFT',
  ])
    assert.ok(
      seen.some((what) => what.includes(code)),
      code,
    );
});
