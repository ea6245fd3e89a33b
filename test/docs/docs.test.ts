// Goal: the pages say what the code does. Generated pages are compared, tables are compared with the constants, links
// and scripts are tried.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES, type ErrorCode } from '../../src/base/errors.js';
import { DEADLINES, LIMITS } from '../../src/base/limits.js';
import { PHASES, STATES } from '../../src/base/words.js';
import { EXIT } from '../../src/cli/exit-codes.js';
import { REMEDIES } from '../../src/cli/remedies.js';
import { VERBS } from '../../src/cli/verbs/index.js';
import { KEEPER_METHODS, LUOD_METHODS, MEMBER_CALLS } from '../../src/protocol/spec.js';
import { anchors, bare, blocks, ourFiles, read, root, tableRows } from './pages.js';
import { assertWhole, unitsOf } from './units.js';

test('docs/protocol.md and docs/cli.md are what the source says, and the examples are valid', () => {
  const { status, stderr } = spawnSync(process.execPath, ['tools/docs.mjs', '--check'], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

test('docs/protocol.md has a section for every method of both services and every call', () => {
  const page = read('docs/protocol.md');
  for (const name of [LUOD_METHODS, MEMBER_CALLS, KEEPER_METHODS].flatMap((table) => Object.keys(table))) {
    assert.ok(page.includes(`\n#### ${name}\n`), name);
  }
});

test('docs/errors.md has every code once, with its errno, a cause and the remedy that luoctl prints, and no other', () => {
  const sections = read('docs/errors.md').split(/^### /m).slice(1);
  const seen = sections.map((section) => {
    const [, code, errno, cause, remedy] =
      /^(\w+)(?: \((\w+)\))?\n\nCause: (.+)\n\nRemedy: (.+)\n/.exec(section) ?? assert.fail(section.slice(0, 80));
    assert.ok(code! in ERROR_CODES, `${code} is no code`);
    assert.equal(errno ?? null, ERROR_CODES[code as ErrorCode], code);
    assert.ok(cause!.length > 20, code);
    assert.equal(remedy, REMEDIES[code as ErrorCode], code);
    return code!;
  });
  assert.deepEqual([...seen].sort(), Object.keys(ERROR_CODES).sort());
});

test('docs/limits.md has every limit and every deadline with its value, and no other', () => {
  const page = read('docs/limits.md');
  const values = (first: string) =>
    Object.fromEntries(tableRows(page, first).map(([name, value]) => [bare(name!), Number(value)]));
  assert.deepEqual(values('limit'), { ...LIMITS });
  assert.deepEqual(values('deadline'), { ...DEADLINES });
});

test('docs/limits.md names options that exist', () => {
  const flags = new Set(VERBS.flatMap((verb) => verb.options ?? []).map((option) => option.flags.split(' ')[0]));
  for (const row of tableRows(read('docs/limits.md'), 'deadline')) {
    for (const [option] of row[3]!.matchAll(/--[a-z-]+/g)) assert.ok(flags.has(option), option);
  }
});

test('docs/cli.md has every exit code', () => {
  const codes = tableRows(read('docs/cli.md'), 'code').map(([code]) => Number(code));
  assert.deepEqual(codes, Object.values(EXIT));
});

test('every relative link of every page leads to a file, and to a heading of it', () => {
  const broken = ourFiles()
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) => {
      const text = read(path).replace(/^```[\s\S]*?^```$/gm, '');
      return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
        .map((match) => match[1]!)
        .filter((link) => !/^[a-z]+:/.test(link))
        .filter((link) => {
          const [file, anchor] = link.split('#') as [string, string | undefined];
          const target = file === '' ? path : join(dirname(path), file);
          if (!existsSync(join(root, target))) return true;
          if (anchor === undefined || statSync(join(root, target)).isDirectory()) return false;
          return !anchors(read(target)).has(anchor);
        })
        .map((link) => `${path}: ${link}`);
    });
  assert.deepEqual(broken, []);
});

test('every luoctl command line of every page names a verb that exists', () => {
  const verbs = new Set([...VERBS.map((verb) => verb.name), 'help']);
  const wrong = ourFiles()
    .filter((path) => path.endsWith('.md') && path !== 'CHANGELOG.md')
    .flatMap((path) =>
      [...read(path).matchAll(/(?:^|[`(/ ])luoctl (?:--dir \S+ |--json |-v )*([a-z]+)(?=[\s`,);:.]|$)/gm)]
        // Prose that goes on in words is no command line: only code counts.
        .filter((match) => /[`\n/]/.test(match[0][0] ?? '') || match[0].startsWith('luoctl'))
        .filter((match) => !verbs.has(match[1]!))
        .map((match) => `${path}: ${match[0].trim()}`),
    );
  assert.deepEqual(wrong, []);
});

test('docs/systemd.md uses only files and words that luod writes', () => {
  const page = read('docs/systemd.md');
  const markers = new Set(STATES.map((state) => `in-${state}`));
  for (const [marker] of page.matchAll(/\bin-(?!STATE)[a-z]+\b(?=[\s`;\]),])/g)) assert.ok(markers.has(marker), marker);
  for (const state of STATES) assert.ok(page.includes(`\`in-${state}\``), state);
  for (const phase of PHASES) assert.ok(page.includes(`\`${phase}\``), phase);
});

test('the units of docs/systemd.md have the sections of their kind, and every unit that they start is shown', () => {
  const units = unitsOf(read('docs/systemd.md'));
  assertWhole(units);
  assert.ok(units.size >= 6);
});

test('the script of docs/systemd.md follows the state and ends with luod', async () => {
  const script = blocks(read('docs/systemd.md'), 'sh')[0]!;
  const dir = mkdtempSync(join(tmpdir(), 'luo-script-'));
  const write = (state: string, phase: string): void => {
    writeFileSync(join(dir, 'generation'), '3\n');
    writeFileSync(join(dir, 'phase'), `${phase}\n`);
    writeFileSync(join(dir, 'state'), `${state}\n`);
  };
  write('normal', '-');
  const child = spawn('/bin/sh', ['-c', script], {
    env: { ...process.env, LUO_DIR: dir },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      if (out === 'normal - 3\n') write('updated', 'finishing');
      if (out.endsWith('updated finishing 3\n')) rmSync(join(dir, 'state'));
    });
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 0);
    assert.match(out, /^normal - 3\n(normal finishing 3\n)?updated finishing 3\n$/);
  } finally {
    child.kill('SIGKILL');
    rmSync(dir, { recursive: true });
  }
});
