// The suite that runs on real kernels in QEMU: `npm run test:vm [-- PATTERN...]`; patterns are file names below test/vm.
// Needs QEMU, mkfs.erofs, busybox and a kernel; says what is missing and how to get it, and fails then (docs/vm.md). One
// file at a time: each has a machine with two processors of its own.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FILE_MS = 30 * 60_000;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const { missingTools } = await import('../dist/test/vm/bed/image.js');
const { kernels } = await import('../dist/test/vm/bed/kernels.js');

function giveUp(why) {
  console.error(`test:vm: ${why}`);
  process.exit(1);
}

const missing = missingTools();
if (missing.length > 0) {
  giveUp(
    `needs programs that are not here:\n  ${missing.join('\n  ')}\n` +
      'On Debian: apt-get install qemu-system-x86 erofs-utils busybox-static',
  );
}
let found;
try {
  found = kernels();
} catch (error) {
  giveUp(error.message);
}
const patterns = process.argv.slice(2);
const files = readdirSync('dist/test/vm', { recursive: true })
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => patterns.length === 0 || patterns.some((pattern) => name.includes(pattern)))
  .map((name) => join('dist/test/vm', name))
  .sort();
if (files.length === 0) giveUp(`no test file matches ${patterns.join(', ')}`);

/** Run one file, its output shown as it comes. */
function run(file, folder) {
  const list = join(folder, 'counts');
  const { status } = spawnSync(
    process.execPath,
    [
      ...['--enable-source-maps', '--test'],
      ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
      ...['--test-reporter=./tools/test-vm-counts.mjs', `--test-reporter-destination=${list}`],
      file,
    ],
    { stdio: 'inherit', timeout: FILE_MS },
  );
  let counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    counts = JSON.parse(readFileSync(list, 'utf8'));
  } catch {
    // It did not come to an end.
  }
  rmSync(list, { force: true });
  return { ok: status === 0, counts };
}

console.log(`== tests on real kernels (${files.length} files, ${found.from.version} -> ${found.to.version})`);
if (found.sameVersion) console.log('there is one kernel alone: what needs a change of version is skipped');
const total = { passed: 0, failed: 0, skipped: 0 };
const failed = [];
const second = [];
const folder = mkdtempSync(join(tmpdir(), 'luo-tests-'));
try {
  for (const file of files) {
    console.log(`\n== ${file}`);
    let result = run(file, folder);
    if (!result.ok) {
      // Software emulation on whatever machine this is: one more try, named. A test that needs it is to be mended.
      console.log(`\n== once more: ${file}`);
      result = run(file, folder);
      (result.ok ? second : failed).push(file);
    }
    for (const key of Object.keys(total)) total[key] += result.counts[key];
  }
} finally {
  rmSync(folder, { recursive: true });
}
const summary = `${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped, in ${files.length} files`;
console.log(`\n== ${summary}`);
for (const file of second) console.log(`passed at the second try only: ${file}`);
if (failed.length > 0) {
  console.error(`\nfailed: ${failed.join(', ')}`);
  process.exit(1);
}
console.log('\nall tests on real kernels passed');
