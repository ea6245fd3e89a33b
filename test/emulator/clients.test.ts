// Goal: clients of the device in other languages carry their state over a simulated kexec: the programs of examples/liveupdate, in
// C, Python and shell, as their heads say they are used. Method: built and run with what the machine has; what it lacks is said.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root, luoctl, withoutCompiler } from './support.js';
import { JUMP, emulate } from './typed.js';

const EXAMPLES = join(root, 'examples/liveupdate');
const COUNTER = join(EXAMPLES, 'counter.py');
const PIPELINE = join(EXAMPLES, 'pipeline.sh');

/** Skip, unless the machine has the program. */
function needs(program: string, ...args: readonly string[]): { skip: string | false } {
  const found = spawnSync(program, args, { stdio: 'ignore' }).status === 0;
  return { skip: found ? false : `needs ${program}` };
}

const C = { skip: withoutCompiler };
const PYTHON = needs('python3', '-c', 'import mmap, os; os.memfd_create');
let folder = '';
let state = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'luo-clients-'));
  state = join(folder, 'state');
  if (C.skip !== false) return;
  const { status, stderr } = spawnSync(
    'cc',
    ['-Wall', '-Wextra', '-Werror', '-O2', '-o', state, join(EXAMPLES, 'state.c')],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('C: a stream of bytes is kept by one process and written by another, of the next kernel', C, async () => {
  const { code, out, err } = await emulate(
    ['sh', '-c', `printf 'hello kexec world\\n' | "$STATE" save words "$LUOCTL" emulate kexec`],
    ['--init', '"$STATE" load words'],
    { STATE: state },
  );
  assert.equal(out, 'hello kexec world\n', err);
  assert.equal(code, 0, err);
});

test('C: two processes keep two sessions, which come back in any order', C, async () => {
  const { code, out, err } = await emulate(
    ['sh', '-c', `echo one | "$STATE" save a sh -c 'echo two | "$STATE" save b "$LUOCTL" emulate kexec'`],
    ['--init', '"$STATE" load b && "$STATE" load a'],
    { STATE: state },
  );
  assert.equal(out, 'two\none\n', err);
  assert.equal(code, 0, err);
});

test('C: a command that comes back is no jump: its code is the program’s, and nothing is kept', C, async () => {
  const { code, err } = await emulate(
    ['sh', '-c', 'echo one | "$STATE" save a sh -c "exit 3"; echo "code $?" >&2; "$STATE" load a'],
    [],
    { STATE: state },
  );
  assert.match(err, /there was no jump\ncode 3\n/);
  assert.match(err, /state: a: No such file or directory/);
  assert.equal(code, 1);
});

test('C: what was loaded once is gone, and a second session of the name is refused', C, async () => {
  const { code, err } = await emulate(
    ['sh', '-c', `echo one | "$STATE" save a sh -c 'echo two | "$STATE" save a true; ${JUMP}'`],
    ['--init', '"$STATE" load a; "$STATE" load a'],
    { STATE: state },
  );
  assert.match(err, /state: a: File exists\n/);
  assert.match(err, /state: a: No such file or directory\n/);
  assert.equal(code, 1);
});

test('Python: a counter goes on counting through three kernels', PYTHON, async () => {
  // Without --init the same program is started again; the third time its command ends it.
  const jump = `[ $(wc -l < "$COUNT") -lt 3 ] || exit 7; ${JUMP}`;
  const count = join(folder, 'count');
  const { code, out, err } = await emulate(
    ['sh', '-c', `echo >> "$COUNT"; exec python3 "$0" sh -c '${jump}'`, COUNTER],
    [],
    { COUNT: count },
  );
  assert.equal(out, 'began: 1\nwent on: 2\nwent on: 3\n', err);
  assert.equal(code, 7, err);
});

test('Python: a retrieve that fails is an OSError with the kernel’s errno', PYTHON, async () => {
  const { code, out, err } = await emulate(
    ['python3', COUNTER, luoctl, 'emulate', 'kexec'],
    ['--fault', 'retrieve:token=0:EIO:always'],
  );
  assert.equal(out, 'began: 1\n', err);
  assert.match(err, /OSError: \[Errno 5\]/);
  assert.equal(code, 1);
});

test('shell: a pipeline’s output is read in the next kernel', C, async () => {
  const { code, out, err } = await emulate(
    [PIPELINE, 'before', luoctl, 'emulate', 'kexec'],
    ['--init', `'${PIPELINE}' after | cksum; seq 1 20000 | cksum`],
    { STATE: state },
  );
  const [came = '', expected = '?'] = out.split('\n');
  assert.equal(came, expected, err);
  assert.equal(code, 0, err);
});
