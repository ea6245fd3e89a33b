// The suite that runs on real kernels in QEMU: `npm run test:vm [-- PATTERN...]`. Needs qemu, mkfs.erofs, busybox and a
// kernel; says what is missing, and fails then. One file at a time: each has a machine with two processors of its own.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const { missingTools } = await import('../dist/test/vm/bed/image.js');
const { kernels } = await import('../dist/test/vm/bed/kernels.js');

const missing = missingTools();
if (missing.length > 0) {
  console.error(`test:vm needs programs that are not here:\n  ${missing.join('\n  ')}`);
  console.error('On Debian: apt-get install qemu-system-x86 erofs-utils busybox-static');
  process.exit(1);
}
let found;
try {
  found = kernels();
} catch (error) {
  console.error(`test:vm: ${error.message}`);
  process.exit(1);
}
console.log(`== kernels: ${found.from.version} -> ${found.to.version}`);
const patterns = process.argv.slice(2);
const files = readdirSync('dist/test/vm', { recursive: true })
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => patterns.length === 0 || patterns.some((pattern) => name.includes(pattern)))
  .map((name) => join('dist/test/vm', name))
  .sort();
if (files.length === 0) {
  console.error(`test:vm: no test file matches ${patterns.join(', ')}`);
  process.exit(1);
}
const failed = [];
for (const file of files) {
  const run = () =>
    spawnSync(process.execPath, ['--enable-source-maps', '--test', '--test-reporter=spec', file], { stdio: 'inherit' });
  console.log(`\n== ${file}`);
  if (run().status === 0) continue;
  // Software emulation on a busy machine: one more try, named.
  console.log(`\n== once more: ${file}`);
  if (run().status === 0) console.log(`passed at the second try only: ${file}`);
  else failed.push(file);
}
if (failed.length > 0) {
  console.error(`\nfailed: ${failed.join(', ')}`);
  process.exit(1);
}
console.log(`\nall ${files.length} files on real kernels passed`);
