// Goal: a program inherits under the emulator what it would without it: descriptors at their numbers, ignored and blocked
// signals, limits, directory, group, and every byte of its arguments and environment. Method: one C program that prints what it
// has, started natively and by luoctl from the same parent; the two outputs are equal.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { readInheritance, writeInheritance } from '../../../src/emulator/launch/inheritance.js';
import { Workshop, luoctl, run, withoutCompiler } from '../support.js';

const workshop = new Workshop();
let prepare = '';
let inherited = '';
before(() => {
  if (withoutCompiler !== false) return;
  prepare = workshop.build('prepare');
  inherited = workshop.build('inherited');
});

/** What `inherited` prints natively and under the emulator, with everything that names the process itself made equal. */
async function both(
  settings: readonly string[],
  words: readonly string[] = [],
  env?: NodeJS.ProcessEnv,
): Promise<string[]> {
  const texts: string[] = [];
  for (const way of [[], [luoctl, 'emulate', '--']]) {
    const file = join(workshop.folder, 'printed');
    const end = await run(
      ['/bin/sh', '-c', 'exec "$@"', 'sh', prepare, ...settings, '--', ...way, inherited, file, ...words],
      {
        ...(env === undefined ? {} : { env }),
      },
    );
    assert.equal(end.code, 0, `${end.err}${end.signal}`);
    texts.push(
      readFileSync(file, 'utf8')
        .replace(/group \d+ session \d+/, 'group and session')
        .replace(/inode \d+:\d+/g, (inode, at: number, all: string) =>
          /fd [012] /.test(all.slice(Math.max(0, at - 40), at)) ? '' : inode,
        ),
    );
  }
  return texts;
}

const cases: [string, string[]][] = [
  ['nothing unusual', []],
  ['a low limit of open files', ['-n', '333']],
  ['ignored signals', ['-i', '1', '-i', '2', '-i', '3', '-i', '12', '-i', '13', '-i', '25', '-i', '20']],
  ['real-time signals ignored', ['-i', '34', '-i', '64']],
  ['blocked signals', ['-b', '10', '-b', '15', '-b', '2', '-b', '17', '-b', '40']],
  ['further descriptors', ['-o', '3', '-o', '5', '-o', '10', '-o', '17', '-o', '63', '-o', '251']],
  ['closed standard input', ['-c', '0']],
  ['all three closed', ['-c', '0', '-c', '1', '-c', '2']],
  ['non-blocking standard input and error', ['-d', '0', '-d', '2']],
  ['everything at once', ['-n', '300', '-i', '1', '-b', '10', '-c', '0', '-o', '9', '-d', '1']],
];
for (const [name, settings] of cases) {
  test(`a program inherits the same: ${name}`, { skip: withoutCompiler }, async () => {
    const [native, emulated] = await both(settings);
    assert.equal(emulated, native);
  });
}

test(
  'arguments come as they are: empty, spaces, quotes, new lines, another --',
  { skip: withoutCompiler },
  async () => {
    const [native, emulated] = await both([], ['', ' ', "it's", '"', 'a\nb', '--', '-x', '--init', 'ü', '$HOME', '*']);
    assert.equal(emulated, native);
  },
);

test('the environment comes as it is', { skip: withoutCompiler }, async () => {
  const env = {
    PATH: process.env.PATH,
    EMPTY: '',
    SPACES: ' a  b ',
    LINES: 'a\nb',
    ÄÖ: 'ü',
    NODE_OPTIONS: '',
    LUO_DIR: '/nowhere',
  };
  const [native, emulated] = await both([], [], env);
  const sorted = (text: string): string[] => text.split('\n').sort();
  assert.deepEqual(sorted(emulated!), sorted(native!));
});

test('standard error is blocking afterwards, for whoever shares it', async () => {
  for (const end of ['exit 3', 'kill -TERM $$', 'kill -KILL $$']) {
    const script = '"$0" emulate -- sh -c "$1"; grep flags: /proc/self/fdinfo/2';
    const { out, err } = await run(['/bin/sh', '-c', script, luoctl, end]);
    const flags = /flags:\s+(\d+)/.exec(out)?.[1];
    assert.ok(flags, `${end}: ${out}${err}`);
    assert.equal(parseInt(flags, 8) & 0o4000, 0, end);
  }
});

test('a record reads as it was written, and a broken one is none', () => {
  const whole = { fileLimit: 1024, ignored: 0x8000000000001001n, blocked: 0n, fds: [0, 1, 2, 17], blocking: [0, 2] };
  assert.deepEqual(readInheritance(writeInheritance(whole)), whole);
  assert.deepEqual(readInheritance(writeInheritance({ ...whole, fileLimit: null, fds: [], blocking: [] })), {
    ...whole,
    fileLimit: null,
    fds: [],
    blocking: [],
  });
  assert.deepEqual(readInheritance('1024 0 0 7 0,2').blocking, [0, 2], 'what is closed is not blocking');
  for (const text of [
    undefined,
    '',
    'x',
    '1024',
    '1024 0',
    '1024 g 0 7 0,',
    '-1 0 0 7 0',
    '1024 0 0 7 a',
    '1024 0 0 8 0',
  ]) {
    assert.deepEqual(readInheritance(text).fds, [0, 1, 2], String(text));
    assert.deepEqual(readInheritance(text).blocking, [], String(text));
  }
});
