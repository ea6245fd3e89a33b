// Build: every .ts file becomes one .js file at the same place under dist/, so that stack traces read as the source does.
// Two things are put together, because opening many small files is most of a process's start:
// - the programs, src/bin/PROGRAM.ts: each is one file and the parts that it shares with others, with source maps beside them
//   (`node --enable-source-maps`). The start of luod is a part of the blackout of a kexec.
// - TypeBox, 266 files: what we use of it is dist/vendor/typebox.js, and imports are pointed there.
// Types are checked apart (`npm run check:types`). Files whose output would not change are left alone, so that a running
// program never sees a file half written.
import { build } from 'esbuild';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const folders = ['src', 'test', 'examples', 'bench'];
const bin = join(root, 'src/bin');

/** All files below `folder` whose name passes `test`. */
function filesBelow(folder, test) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

const sources = folders.flatMap((folder) => {
  try {
    return filesBelow(join(root, folder), (name) => name.endsWith('.ts') && !name.endsWith('.d.ts'));
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
});

const result = await build({
  entryPoints: sources.filter((path) => dirname(path) !== bin),
  outbase: root,
  outdir: join(root, 'dist'),
  bundle: false,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'inline',
  sourcesContent: false,
  write: false,
  logLevel: 'error',
});

/** A file that asks where it is gets the place of its own output, not that of the program that it was put into. */
const ownPlace = {
  name: 'own-place',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const place = relative(bin, path).replace(/\.ts$/, '.js');
      const own = `new URL(${JSON.stringify(place)}, import.meta.url).href`;
      const contents = dirname(path) === bin ? text : text.replaceAll('import.meta.url', own);
      return { contents, loader: 'ts' };
    });
  },
};
const programs = await build({
  entryPoints: sources.filter((path) => dirname(path) === bin),
  outbase: root,
  outdir: join(root, 'dist'),
  bundle: true,
  splitting: true,
  // Beside the programs: what says where it is means this folder.
  chunkNames: 'src/bin/part-[hash]',
  external: ['koffi', 'commander', 'pino'],
  plugins: [ownPlace],
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'linked',
  sourcesContent: false,
  write: false,
  logLevel: 'error',
});

const vendored = join(root, 'dist/vendor/typebox.js');
const vendor = await build({
  stdin: {
    contents: "export { Type } from '@sinclair/typebox';\nexport { TypeCompiler } from '@sinclair/typebox/compiler';\n",
    resolveDir: root,
  },
  outfile: vendored,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  legalComments: 'inline',
  banner: { js: '// TypeBox, MIT License, Copyright (c) 2017-present Haydn Paterson (sinclair)' },
  write: false,
  logLevel: 'error',
});

/** The text of an output file, with imports of TypeBox pointed to the one file. */
function linked(file) {
  const path = relative(dirname(file.path), vendored);
  return file.text.replace(/ from "@sinclair\/typebox(\/compiler)?";/g, ` from "${path}";`);
}

let written = 0;
const wanted = new Set();
for (const file of [
  ...result.outputFiles.map((one) => ({ path: one.path, text: linked(one) })),
  ...programs.outputFiles,
  ...vendor.outputFiles,
]) {
  wanted.add(file.path);
  try {
    if (readFileSync(file.path, 'utf8') === file.text) continue;
  } catch {
    mkdirSync(dirname(file.path), { recursive: true });
  }
  const temporary = `${file.path}.${process.pid}`;
  writeFileSync(temporary, file.text);
  renameSync(temporary, file.path);
  written += 1;
}
// A deleted source must not live on as a compiled file: a test of it would go on passing.
for (const folder of folders) {
  const built = join(root, 'dist', folder);
  if (!statSync(built, { throwIfNoEntry: false })) continue;
  for (const path of filesBelow(built, (name) => /\.js(\.map)?$/.test(name))) {
    if (!wanted.has(path)) rmSync(path);
  }
}
console.log(
  `built ${sources.length} files, ${written} changed, in ${relative(process.cwd(), join(root, 'dist')) || 'dist'}`,
);
