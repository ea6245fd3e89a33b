// Goal: help shows one real example of each verb, and every example is a command line that luoctl takes.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { after, test } from 'node:test';
import { splitCommand } from '../../src/cli/program.js';
import { GROUPS } from '../../src/cli/verb.js';
import { VERBS } from '../../src/cli/verbs/index.js';
import { LUOD_METHODS } from '../../src/protocol/spec.js';
import { FakeLuod, WithFds } from './fake-luod.js';
import { luoctl } from './luoctl.js';

const nothing = openSync('/dev/null', 'r');
const fake = await FakeLuod.start({
  take: () => new WithFds({ type: 'memfd', sizeBytes: 0, digest: null }, [nothing]),
  logs: () => new WithFds({ path: '/dev/null' }, [nothing]),
  blobGet: () => new WithFds({ name: 'luod-log', sizeBytes: 0, direction: 'incoming' }, [nothing]),
});
after(() => {
  fake.close();
  closeSync(nothing);
});

/** Words of an example as a shell would split them; redirections are the shell's. */
function words(line: string): string[] {
  const found = line.match(/'[^']*'|[^\s']+/g) ?? [];
  const at = found.findIndex((word) => word === '<' || word === '>');
  return (at < 0 ? found : found.slice(0, at)).map((word) => word.replace(/^'(.*)'$/, '$1'));
}

for (const verb of VERBS) {
  test(`luoctl help ${verb.name} shows an example that parses and is carried out`, async () => {
    const help = await luoctl('/nowhere', ['help', verb.name]);
    assert.equal(help.code, 0);
    assert.ok(help.out.includes(verb.example.line), help.out);
    assert.ok(help.out.includes(verb.example.says));
    assert.equal((await luoctl('/nowhere', [verb.name, '--help'])).out, help.out);
    const [program, ...args] = words(verb.example.line);
    assert.equal(program, 'luoctl');
    assert.equal(args[0], verb.name);
    // A follower would not end by itself.
    const once = args.filter((word) => word !== '-f');
    const { code, err } = await luoctl(fake.dir, once, { stdin: 'x' });
    // A kexec that succeeds does not end, but its kernel does: what answers is one that came back.
    assert.equal(code, verb.name === 'kexec' ? 3 : 0, err);
  });
}

test('luoctl help lists every verb below its group, and the exit codes', async () => {
  const { out, code } = await luoctl('/nowhere', ['help']);
  assert.equal(code, 0);
  for (const group of GROUPS) assert.ok(out.includes(`\n${group}\n`), group);
  for (const verb of VERBS) assert.match(out, new RegExp(`^  ${verb.name}\\b.*${verb.summary.slice(0, 10)}`, 'm'));
  assert.match(out, /5 stuck members/);
});

test('every method of luod for operators has a verb', async () => {
  const verbs = new Set(VERBS.map((verb) => verb.name));
  const byOther: Record<string, string> = {
    hello: 'status',
    updateLuod: 'update',
    blobPut: 'blob',
    blobGet: 'blob',
    blobList: 'blob',
    blobDrop: 'blob',
  };
  for (const [name, method] of Object.entries(LUOD_METHODS)) {
    if (method.access === 'participant') continue;
    assert.ok(verbs.has(byOther[name] ?? name), name);
  }
});

test('the version is printed', async () => {
  assert.deepEqual(await luoctl('/nowhere', ['--version']).then(({ code, out }) => [code, out]), [0, '9.9.9\n']);
});

test('what follows -- belongs to the command, whatever it looks like', () => {
  assert.deepEqual(splitCommand(['update', 'a', '--', 'x', '--json', '--', 'y']), {
    words: ['update', 'a'],
    command: ['x', '--json', '--', 'y'],
  });
  assert.deepEqual(splitCommand(['status']), { words: ['status'], command: undefined });
});
