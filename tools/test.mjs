// The fast suite: every check and every test, each named with its count at the end. One command for people and CI.
// `node tools/test.mjs [--only checks|tests] [PATTERN...]` runs part of it; patterns are file names below test/.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, dirname } from 'node:path';
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
if (only !== 'checks') {
  const files = readdirSync('dist/test', { recursive: true })
    .filter((name) => name.endsWith('.test.js') && !name.startsWith('vm/'))
    .filter((name) => args.length === 0 || args.some((pattern) => name.includes(pattern)))
    .map((name) => join('dist/test', name))
    .sort();
  run(`tests (${files.length} files, node ${process.version})`, process.execPath, [
    '--enable-source-maps',
    '--expose-gc',
    '--test',
    '--test-concurrency=2',
    '--test-reporter=spec',
    ...files,
  ]);
}
if (failures.length > 0) {
  console.error(`\nfailed: ${failures.join(', ')}`);
  process.exit(1);
}
console.log('\nall checks and tests passed');
