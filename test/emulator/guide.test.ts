// Goal: the tutorial of docs/emulator.md does what its text says, as it stands, and its faults are those that there are. Method: each
// block that names a file is written down and run.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FAULT_POINTS, parseFault } from '../../src/emulator/kernel/index.js';
import { luoctl, root, run, withoutCompiler } from './support.js';

const page = readFileSync(join(root, 'docs/emulator.md'), 'utf8');

describe('docs/emulator.md', { skip: withoutCompiler }, () => {
  let folder: string;
  before(() => {
    // Below the package, so that `import 'luo/testing'` finds it by its own name.
    folder = mkdtempSync(join(root, 'dist/test/emulator/guide-'));
    for (const [, name, text] of page.matchAll(/<!-- file: (\S+) -->\n+```\w+\n([\s\S]*?)```/g))
      writeFileSync(join(folder, name!), text!);
  });
  after(() => rmSync(folder, { recursive: true }));

  test('the CI job: restored over a simulated kexec, refused where memory is short or nothing was saved', async () => {
    const env = { ...process.env, PATH: `${dirname(luoctl)}:${process.env.PATH}` };
    const end = await run(['sh', 'ci.sh'], { cwd: folder, env });
    assert.equal(end.code, 0, end.err);
    assert.equal(end.out, 'restored 42\n');
    assert.match(end.err, /preserve: Cannot allocate memory\n[\s\S]*retrieve session: No such file or directory\n$/);
  });

  test('the test in JavaScript', async () => {
    const end = await run([process.execPath, 'agent.test.mjs'], { cwd: folder });
    assert.deepEqual([end.code, end.out], [0, '1 session\nrestored 42\n'], end.err);
  });
});

test('the page names every point of a fault, and its examples are faults', () => {
  const row = /^\| point \| (.+) \|$/m.exec(page)![1]!;
  assert.deepEqual(
    [...row.matchAll(/`([^`]+)`/g)].map((match) => match[1]),
    FAULT_POINTS,
  );
  const examples = [.../^Examples: (.+)$/m.exec(page)![1]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
  assert.ok(examples.length >= 5);
  for (const example of examples) assert.equal(parseFault(example).text, example);
});
