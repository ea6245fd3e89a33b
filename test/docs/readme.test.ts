/**
 * Goal: every command of the README works as it stands. Method: the blocks marked `sh` are taken out of the page; the two
 * commands of its first screen are what .ci/run calls (they install, build and run everything, this test included), the
 * others are run here, line by line, in one shell, with a port that is free.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { freePort } from 'luo/testing';

const readme = readFileSync('README.md', 'utf8');
const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => match[1]!.trim().split('\n'));
/** Commands that a test cannot run inside of itself: CI types them. */
const CI_COMMANDS = ['npm start', 'npm test'];

test('the first commands of the README are what CI runs', () => {
  const ci = readFileSync('.ci/run', 'utf8');
  assert.deepEqual(blocks.slice(0, 2), [['npm start'], ['npm test']]);
  for (const command of CI_COMMANDS) assert.match(ci, new RegExp(`^${command}\\b`, 'm'));
});

test('every other command of the README does what it says', async () => {
  const port = await freePort();
  const lines = blocks.slice(2).flat();
  assert.ok(lines.length >= 5, 'the README has commands to try');
  const script = [
    'set -eu',
    'trap \'bin/luoctl shutdown --force >/dev/null 2>&1 || true; echo "LUO_DIR=$LUO_DIR"\' EXIT',
    ...lines.map((line) => line.replaceAll('8080', String(port))),
  ].join('\n');
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LUO_')));
  const ran = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8', env, timeout: 120_000 });
  const dir = /LUO_DIR=(\S+)/.exec(ran.stdout)?.[1];
  if (dir?.startsWith('/tmp/')) rmSync(dir, { recursive: true, force: true });
  assert.equal(ran.status, 0, `${ran.stdout}\n${ran.stderr}`);
  assert.match(ran.stdout, /counter: running/);
  assert.match(ran.stdout, /counter: updated, generation 1/);
  assert.match(ran.stdout, /generation 2/, 'the rollback is an update of its own');
});

test('the counter that the README shows is the one that runs', () => {
  const shown = /```ts\n([\s\S]*?)```/.exec(readme)?.[1];
  assert.equal(shown, readFileSync('examples/counter/main.ts', 'utf8'));
  assert.ok(shown.trimEnd().split('\n').length < 30, 'under 30 lines');
});
