// The suite that runs on real kernels in QEMU: `npm run test:vm [-- --jobs N] [PATTERN...]`; patterns are file names below test/vm.
// Needs QEMU, mkfs.erofs, busybox and a kernel; says what is missing and how to get it, and fails then (docs/vm.md).
//
// Happy path: each file is run, its report shown at its end (with one job: as it comes), its counts and its time in a line. What
// failed gets one more try by itself, and is named. Last line: `N passed, N failed, N skipped`, each test counted once.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const FILE_MS = 30 * 60_000;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const { missingTools } = await import('../dist/test/vm/bed/image.js');
const { kernels } = await import('../dist/test/vm/bed/kernels.js');

function giveUp(why) {
  console.error(`test:vm: ${why}`);
  process.exit(1);
}

function parsed() {
  try {
    const { values, positionals } = parseArgs({
      options: { jobs: { type: 'string', short: 'j', default: '1' } },
      allowPositionals: true,
    });
    if (!/^[1-9]\d?$/.test(values.jobs)) throw new Error(`--jobs is a number from 1 to 99, not '${values.jobs}'`);
    return { jobs: Number(values.jobs), patterns: positionals };
  } catch (error) {
    return giveUp(error.message);
  }
}

/** Run one file to its end. @returns whether it passed, its counts, its time, and what it wrote if that was not shown */
function run(file, { isShown }) {
  const start = Date.now();
  const folder = mkdtempSync(join(tmpdir(), 'luo-tests-'));
  const list = join(folder, 'counts');
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      [
        ...['--enable-source-maps', '--test'],
        ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
        ...['--test-reporter=./tools/test-vm-counts.mjs', `--test-reporter-destination=${list}`],
        file,
      ],
      { stdio: isShown ? 'inherit' : ['ignore', 'pipe', 'pipe'], timeout: FILE_MS },
    );
    const said = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => said.push(chunk));
    child.on('close', (status) => {
      let counts = { passed: 0, failed: 1, skipped: 0, skips: [] };
      try {
        counts = JSON.parse(readFileSync(list, 'utf8'));
      } catch {
        // It did not come to an end: that is one failure, whatever it had done before.
      }
      if (status !== 0) counts.failed = Math.max(counts.failed, 1);
      rmSync(folder, { recursive: true });
      resolve({ ok: status === 0, counts, seconds: (Date.now() - start) / 1000, said: Buffer.concat(said) });
    });
  });
}

function line({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

const { jobs, patterns } = parsed();
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
const files = readdirSync('dist/test/vm', { recursive: true })
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => patterns.length === 0 || patterns.some((pattern) => name.includes(pattern)))
  .map((name) => join('dist/test/vm', name))
  .sort();
if (files.length === 0) giveUp(`no test file matches ${patterns.join(', ')}`);

console.log(`== tests on real kernels (${files.length} files, ${found.from.version} -> ${found.to.version})`);
if (found.sameVersion) console.log('there is one kernel alone: what needs a change of version is skipped');
const results = new Map();
const name = (file) => basename(file, '.test.js');

async function runAndTell(file, isShown, title) {
  if (isShown) console.log(`\n== ${title}${file}`);
  const result = await run(file, { isShown });
  if (!isShown) {
    console.log(`\n== ${title}${file}`);
    process.stdout.write(result.said);
  }
  console.log(`== ${name(file)}: ${line(result.counts)}, ${result.seconds.toFixed(0)} s`);
  results.set(file, result);
}

const waiting = [...files];
const worker = async () => {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await runAndTell(file, jobs === 1, '');
};
await Promise.all(Array.from({ length: Math.min(jobs, files.length) }, worker));
const failedFirst = files.filter((file) => !results.get(file).ok);
// Software emulation on whatever machine this is: one more try, named. A test that needs it is to be mended.
for (const file of failedFirst) await runAndTell(file, true, 'once more: ');

const total = { passed: 0, failed: 0, skipped: 0 };
console.log('\n== all files');
for (const file of files) {
  const { counts, seconds } = results.get(file);
  for (const key of Object.keys(total)) total[key] += counts[key];
  console.log(`${name(file)}: ${line(counts)}, ${seconds.toFixed(0)} s`);
}
for (const file of files)
  for (const skip of results.get(file).counts.skips) console.log(`skipped in ${name(file)}: ${skip}`);
const failed = files.filter((file) => !results.get(file).ok);
for (const file of failedFirst) if (!failed.includes(file)) console.log(`passed at the second try only: ${name(file)}`);
for (const file of failed) console.log(`failed: ${file}`);
console.log(line(total));
process.exitCode = failed.length > 0 ? 1 : 0;
