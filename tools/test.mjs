// The fast suite: every check and every test, each named with its count at the end. One command for people and CI.
// `node tools/test.mjs [--only checks|tests] [PATTERN...]` runs part of it; patterns are file names below test/.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const args = process.argv.slice(2);
const only = args[0] === '--only' ? args.splice(0, 2)[1] : undefined;
const failures = [];

/** Run one check; its output is shown as it comes. */
function run(name, command, commandArgs) {
  console.log(`\n== ${name}`);
  const { status, error } = spawnSync(command, commandArgs, { stdio: 'inherit' });
  if (status !== 0) failures.push(`${name}${error ? ` (${error.message})` : ''}`);
}

if (only !== 'tests' && args.length === 0) {
  run('format', 'npx', ['prettier', '--check', '--log-level', 'warn', '.']);
  run('types', 'npx', ['tsc', '-p', 'tsconfig.json']);
  run('lint', 'npx', ['eslint', '.']);
  run('import rules', 'npx', ['depcruise', '--config', '.dependency-cruiser.cjs', 'src']);
}
/** Run test files; the names of those with a failure. A failure that belongs to no file comes back as all of them. */
function runTests(files, concurrency) {
  const folder = mkdtempSync(join(tmpdir(), 'luo-tests-'));
  const list = join(folder, 'failed');
  try {
    const { status } = spawnSync(
      process.execPath,
      [
        ...['--enable-source-maps', '--expose-gc', '--test', `--test-concurrency=${concurrency}`],
        ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
        ...['--test-reporter=./tools/failed-files.mjs', `--test-reporter-destination=${list}`],
        ...files,
      ],
      { stdio: 'inherit' },
    );
    if (status === 0) return [];
    // The runner names sources where it has source maps; what is run again is what was built from them.
    const named = readFileSync(list, 'utf8')
      .split('\n')
      .map((file) =>
        relative(root, resolve(root, file))
          .replace(/^dist\//, '')
          .replace(/\.ts$/, '.js'),
      )
      .map((file) => join('dist', file))
      .filter((file) => files.includes(file));
    return named.length > 0 ? named : files;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (only !== 'checks') {
  const files = readdirSync('dist/test', { recursive: true })
    .filter((name) => name.endsWith('.test.js') && !name.startsWith('vm/'))
    .filter((name) => args.length === 0 || args.some((pattern) => name.includes(pattern)))
    .map((name) => join('dist/test', name))
    .sort();
  console.log(`\n== tests (${files.length} files, node ${process.version})`);
  const failed = runTests(files, 2);
  if (failed.length > 0 && failed.length < files.length) {
    // Many tests kill and start processes under load, two files at a time, on whatever machine this is. What failed gets
    // one more try by itself, and is named: a test that needs it is to be mended.
    console.log(`\n== once more, one at a time: ${failed.join(', ')}`);
    const again = runTests(failed, 1);
    for (const file of failed) if (!again.includes(file)) console.log(`passed at the second try only: ${file}`);
    if (again.length > 0) failures.push(`tests in ${again.join(', ')}`);
  } else if (failed.length > 0) failures.push('tests');
}
if (failures.length > 0) {
  console.error(`\nfailed: ${failures.join(', ')}`);
  process.exit(1);
}
console.log('\nall checks and tests passed');
