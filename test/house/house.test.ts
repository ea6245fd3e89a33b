// Goal: the page of ARCHITECTURE.md, the tree, the import rules and the decisions agree, so that a reader can trust the
// page; and nothing in the repository depends on the machine it was written on.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { bare, ourFiles, read, root, tableRows } from '../docs/pages.js';

interface Rule {
  readonly name: string;
  readonly comment: string;
}
interface Package {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly files: readonly string[];
}
const { forbidden } = createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs')) as { forbidden: Rule[] };
const manifest = JSON.parse(read('package.json')) as Package;
const architecture = read('ARCHITECTURE.md');

/** Folders of src that have a file: git knows no empty ones. */
function sourceFolders(): string[] {
  const files = ourFiles(join(root, 'src')).map((path) => path.split('/')[1]!);
  return [...new Set(files)].sort();
}

/** Folder to allowed imports, as the rules say in their comments. */
function rules(): Map<string, string[]> {
  const found = forbidden.flatMap(({ name, comment }) => {
    const folder = /^(\w+)-imports$/.exec(name)?.[1];
    const names = /may import only: itself(?:, )?(.*?)\. Pass/.exec(comment)?.[1];
    return folder === undefined || names === undefined ? [] : [[folder, names.split(', ').filter(Boolean)] as const];
  });
  return new Map(found);
}

test('every folder of src is on the page, and no other', () => {
  const page = tableRows(architecture, 'folder').map(([folder]) => bare(folder!).replace('src/', ''));
  assert.deepEqual([...page].sort(), sourceFolders());
});

test('src has folders only', () => {
  const files = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isFile());
  assert.deepEqual(files, []);
});

test('the import table of the page is that of the import rules', () => {
  const start = architecture.indexOf('## Who may import whom');
  const page = new Map(
    tableRows(architecture.slice(start), 'folder').map(([folder, may]) => [
      bare(folder!),
      may === 'nothing' ? [] : bare(may!).split(', '),
    ]),
  );
  assert.deepEqual(page.get('bin'), ['all']);
  page.delete('bin');
  assert.deepEqual(page, rules());
  assert.ok(page.size >= 15);
});

test('every folder of src has import rules, bin alone may import all', () => {
  assert.deepEqual([...rules().keys(), 'bin'].sort(), sourceFolders());
});

test('every runtime dependency has its reason in docs/decisions, and no dependency is named there that is gone', () => {
  const rows = tableRows(read('docs/decisions/0001-runtime-dependencies.md'), 'package');
  assert.deepEqual(rows.map(([name]) => bare(name!)).sort(), Object.keys(manifest.dependencies).sort());
  for (const [name, why] of rows.map((row) => [bare(row[0]!), row[3]!] as const)) assert.ok(why.length > 20, name);
  for (const [name, , folder] of rows) {
    const allowed = [...rules()].filter(([, names]) => names.includes(bare(name!))).map(([each]) => `src/${each}`);
    assert.deepEqual([bare(folder!)], allowed, name);
  }
});

test('koffi is pinned exactly', () => {
  assert.match(manifest.dependencies.koffi!, /^\d+\.\d+\.\d+$/);
});

test('every decision is in the list of decisions, in order and under its own title', () => {
  const pages = readdirSync(join(root, 'docs/decisions'))
    .filter((name) => /^\d{4}-/.test(name))
    .sort();
  const listed = [...read('docs/decisions/README.md').matchAll(/^(\d+)\. \[(.+)\]\((.+)\)$/gm)];
  assert.deepEqual(
    listed.map((match) => match[3]),
    pages,
  );
  for (const [, number, title, page] of listed) {
    assert.equal(Number(page!.slice(0, 4)), Number(number));
    assert.equal(read(`docs/decisions/${page}`).split('\n')[0], `# ${number}. ${title}`);
  }
});

test('every decision says situation, decision and cost, on less than a page', () => {
  for (const name of readdirSync(join(root, 'docs/decisions')).filter((each) => each !== 'README.md')) {
    const text = read(`docs/decisions/${name}`);
    for (const part of ['**Situation.**', '**Decision.**', '**Cost.**'])
      assert.ok(text.includes(part), `${name}: ${part}`);
    assert.ok(text.split('\n').length <= 60, name);
  }
});

test('what the package promises to contain is there, and the changelog knows its version', () => {
  for (const path of [...Object.values(manifest.bin), 'LICENSE', 'CHANGELOG.md', 'CONTRIBUTING.md']) {
    assert.ok(read(path).length > 0, path);
  }
  assert.match(read('LICENSE'), /Apache License\s+Version 2\.0/);
  assert.ok(read('CHANGELOG.md').includes(`## ${manifest.version}`));
});

test('nothing depends on the machine it was written on', () => {
  // Put together here, so that this file is not its own first finding.
  const forbiddenWords = [`/${'work'}/`, `/${'briefs'}/`, `registry.${'npmjs'}`, `art${'ifactory'}`].map(
    (word) => new RegExp(word),
  );
  forbiddenWords.push(new RegExp(`(^|[^\\w-])(\\.\\./)*${'shared'}/`, 'm'));
  const found = ourFiles()
    .filter((path) => path !== 'package-lock.json' && path !== 'LICENSE')
    .flatMap((path) => {
      const text = read(path);
      return forbiddenWords.filter((word) => word.test(text)).map((word) => `${path}: ${word.source}`);
    });
  assert.deepEqual(found, []);
});

test('the lock file fetches from no private place', () => {
  const hosts = new Set(
    [...read('package-lock.json').matchAll(/"resolved": "https?:\/\/([^/"]+)/g)].map((match) => match[1]),
  );
  const public_ = `registry.${'npmjs'}.org`;
  assert.deepEqual(
    [...hosts].filter((host) => host !== public_),
    [],
  );
});

test('no file is left unfinished', () => {
  const mark = new RegExp(`\\b(${['TO', 'DO'].join('')}|FIX${'ME'}|XX${'X'})\\b`);
  const found = ourFiles()
    .filter((path) => /\.(ts|mjs|cjs|md|py|sh)$/.test(path))
    .filter((path) => mark.test(read(path)));
  assert.deepEqual(found, []);
});
