// Goal: the conformance suite passes on the real kernel, on each one by itself and over a jump from the older to the newer and
// back: the same counts on both. Method: luoctl in the machine, as a person would type it; a device that is held is refused.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';

const RUN_MS = 300_000;
const ALL = ['--group', 'kernel-only'];
const { from, to } = kernels();

interface Line {
  readonly group: string;
  readonly name: string;
  readonly result: 'pass' | 'skip' | 'fail';
  readonly reason?: string;
}
interface Ran {
  readonly cases: readonly Line[];
  readonly counts: { readonly passed: number; readonly failed: number; readonly skipped: number };
  readonly holder?: number;
}

let vm: Vm;
let failed = false;

before(async () => {
  vm = await Vm.start({ kernel: from, memoryMiB: 1536, files: { '/boot/from': from.path, '/boot/to': to.path } });
});
after(() => vm.stop(failed));

async function conformance(args: readonly string[]): Promise<Ran> {
  const { code, stdout, stderr } = await vm.exec(['luoctl', '--json', 'conformance', ...args], { timeoutMs: RUN_MS });
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line & Ran['counts'] & { holder?: number });
  const counts = lines.pop()!;
  const wrong = lines.filter(({ result }) => result === 'fail');
  assert.deepEqual(wrong, [], stderr);
  assert.equal(code, 0, stderr);
  return { cases: lines, counts, ...(counts.holder === undefined ? {} : { holder: counts.holder }) };
}

/** A test whose failure keeps the console. */
function fact(name: string, run: () => Promise<void>): void {
  test(name, async () => {
    try {
      await run();
    } catch (error) {
      failed = true;
      throw error;
    }
  });
}

async function jump(kernel: string): Promise<void> {
  await vm.run('test/vm/guest/load.js', 'load', [kernel]);
  const jumped = vm.jumped(vm.hello);
  await vm.run('test/vm/guest/memfds.js', 'jump');
  await jumped;
}

const seen: Record<string, unknown>[] = [];

/** All that one kernel can show by itself. */
async function byItself(): Promise<void> {
  const plain = await conformance([]);
  const kernelOnly = await conformance(ALL);
  assert.equal(plain.counts.skipped, 0, JSON.stringify(plain.cases.filter(({ result }) => result === 'skip')));
  seen.push({ plain: plain.counts, kernelOnly: kernelOnly.counts });
  // Nothing of it is left: no session has any of its names, and the same run passes again.
  assert.deepEqual((await conformance(['--group', 'names', '--group', 'closing'])).counts.failed, 0);
}

/** Both stages, with a jump between them. */
async function overAJump(kernel: string): Promise<void> {
  const groups = ['--group', 'gap', '--group', 'incoming', ...ALL];
  const first = await conformance(['--stage', '1', ...groups]);
  assert.ok(first.holder! > 1);
  const second = await vm.exec(['luoctl', '--json', 'conformance', '--stage', '1'], { timeoutMs: RUN_MS });
  assert.deepEqual([second.code, JSON.parse(second.stdout).error.code], [1, 'SESSION_COPY_LEFT']);
  await jump(kernel);
  const { counts, cases } = await conformance(['--stage', '2', ...groups]);
  assert.equal(counts.skipped, 0);
  seen.push({ gap: counts });
  assert.equal(cases.length, first.cases.length);
  const again = await vm.exec(['luoctl', '--json', 'conformance', '--stage', '2'], { timeoutMs: RUN_MS });
  assert.deepEqual([again.code, JSON.parse(again.stdout).error.code], [1, 'SESSION_MISSING']);
}

fact(`all of it on ${from.version}`, byItself);
fact(`what needs a jump, from ${from.version} to ${to.version}`, () => overAJump('/boot/to'));
fact(`all of it on ${to.version}, after the jump`, byItself);
fact(`what needs a jump, from ${to.version} to ${from.version}`, () => overAJump('/boot/from'));

fact('the counts are the same on both', async () => {
  assert.equal(seen.length, 4);
  assert.deepEqual(seen[2], seen[0]);
  assert.deepEqual(seen[3], seen[1]);
  console.log(JSON.stringify(seen.slice(0, 2)));
});

fact('a device that somebody holds is refused before anything is asked, as is one that is not there', async () => {
  const held = await vm.exec(['sh', '-c', 'exec 9<>/dev/liveupdate; luoctl --json conformance'], { timeoutMs: RUN_MS });
  assert.deepEqual([held.code, JSON.parse(held.stdout).error.code], [1, 'LIVEUPDATE_HELD']);
  const missing = await vm.exec(['luoctl', '--json', 'conformance', '/dev/nowhere'], { timeoutMs: RUN_MS });
  assert.deepEqual([missing.code, JSON.parse(missing.stdout).error.code], [1, 'LIVEUPDATE_MISSING']);
});
