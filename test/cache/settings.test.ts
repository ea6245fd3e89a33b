// Goal: the command line of the cache means what it says, and what it cannot mean is refused with a sentence.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PAGE_BYTES } from '../../examples/cache/layout.js';
import { parseSettings, parseSize, splitMemory } from '../../examples/cache/settings.js';

test('sizes are bytes, or numbers with k, m or g', () => {
  assert.equal(parseSize('65536'), 65_536);
  assert.equal(parseSize('64k'), 65_536);
  assert.equal(parseSize('256M'), 268_435_456);
  assert.equal(parseSize('4gb'), 2 ** 32);
  for (const size of ['', 'm', '-1', '1.5g', '10t', '1 g']) assert.throws(() => parseSize(size), /is no size/);
});

test('memory is split into equal regions of whole pages that a view can hold', () => {
  for (const total of [1, 2 ** 20, 2 ** 28 + 5, 2 ** 30, 2 ** 30 + 1, 2 ** 32, 10 * 2 ** 30]) {
    const regions = splitMemory(total);
    const sum = regions.reduce((a, b) => a + b, 0);
    assert.ok(sum >= total && sum <= total + 16 * PAGE_BYTES, `${total} became ${sum}`);
    assert.ok(regions.every((bytes) => bytes === regions[0] && bytes % PAGE_BYTES === 0 && bytes <= 2 ** 30));
  }
  assert.throws(() => splitMemory(17 * 2 ** 30), /16 GiB at most/);
});

test('arguments, their defaults, and the label from the environment', () => {
  assert.deepEqual(parseSettings(['--port', '1', '--memory', '1m', '--fail', 'crash-after-claims'], {}), {
    port: 1,
    host: '127.0.0.1',
    regionBytes: [2 ** 20],
    versionLabel: 'v1',
    fail: 'crash-after-claims',
  });
  assert.equal(parseSettings([], { CACHE_VERSION: 'v7' }).versionLabel, 'v7');
  assert.equal(parseSettings(['--version-label', 'v8'], { CACHE_VERSION: 'v7' }).versionLabel, 'v8');
});

for (const args of [
  ['--port', 'x'],
  ['--port', '65536'],
  ['--memory', 'much'],
  ['--fail', 'well'],
  ['--what'],
  ['x'],
]) {
  test(`refused: ${args.join(' ')}`, () => {
    assert.throws(() => parseSettings(args, {}));
  });
}

test('a wrong command line ends with 2 and the usage', () => {
  const main = fileURLToPath(new URL('../../examples/cache/main.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [main, '--port', 'x'], { encoding: 'utf8' });
  assert.equal(status, 2);
  assert.match(stderr, /'x' is no port\nusage:/);
});
