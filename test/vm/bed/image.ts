/**
 * The disks that a virtual machine starts from: read-only erofs images, put over each other by its PID 1. The base has the node
 * that runs this, its libraries and busybox; the package is this one as it is built; the files are what a test adds.
 *
 * Each is named by what is in it and made when there is none of that name: the base once, the package after a build (it takes
 * a second), the files of a test once. Those that were used last are kept.
 */
import { execFileSync } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import type { Disk } from './hardware.js';
import { INIT, LAYER, START } from './init.js';
import { root } from './root.js';

/** A file of the machine: the path of one here, or what it says. */
export type FileSource = string | { readonly text: string; readonly mode?: number };
/** By their paths in the machine. */
export type Files = Readonly<Record<string, FileSource>>;

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox'];
const FOLDERS = ['dist/src', 'dist/vendor', 'dist/test/vm', 'dist/test/crash', 'dist/examples', 'dist/bench', 'docs'];
/** The npm client of the cache, which is for development elsewhere. */
const CLIENTS = /^node_modules\/(redis|@redis\/[^/]+|cluster-key-slot)$/;
const KEEP: Readonly<Record<string, number>> = { [LAYER.base]: 2, [LAYER.package]: 3, [LAYER.files]: 12 };
const TRIES = 5;

/** Everything that is needed to make and start a machine, and is not there; empty: all is. */
export function missingTools(): string[] {
  const missing: string[] = [];
  if (!inPath('qemu-system-x86_64')) missing.push('qemu-system-x86_64 (Debian: qemu-system-x86)');
  if (!inPath('mkfs.erofs')) missing.push('mkfs.erofs (Debian: erofs-utils)');
  if (!BUSYBOX.some((path) => existsSync(path))) missing.push('busybox (Debian: busybox-static)');
  return missing;
}

export function inPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => folder !== '' && existsSync(join(folder, program)));
}

/** The disks of a machine, the one with its root first. @throws Error a file is not here; mkfs.erofs failed */
export function layers(files: Files): Disk[] {
  const disks = [base, packageLayer];
  if (Object.keys(files).length > 0) disks.push(filesLayer(files));
  return disks.map((layer) => ({ serial: layer.name, path: imageOf(layer) }));
}

/** What an image is made of. */
interface Layer {
  readonly name: string;
  /** Everything that changes when what goes in does. */
  fingerprint(hash: Hash): void;
  /** Put what goes in below `staging`. */
  stage(staging: string): void;
}

/** Path of the layer's image; made if there is none of just that. */
function imageOf(layer: Layer): string {
  const folder = join(root, '.cache/vm-images');
  mkdirSync(folder, { recursive: true });
  for (let tries = 1; ; tries += 1) {
    const print = printOf(layer);
    const image = join(folder, `${layer.name}-${print}.erofs`);
    if (existsSync(image)) {
      utimesSync(image, new Date(), new Date());
      return image;
    }
    const made = `${image}.${process.pid}`;
    const staging = mkdtempSync(join(tmpdir(), 'luo-image-'));
    try {
      layer.stage(staging);
      execFileSync('mkfs.erofs', ['--quiet', '--all-root', '-T0', made, staging], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      // A build that went on meanwhile may have left half of each in it.
      if (printOf(layer) === print) renameSync(made, image);
      else if (tries === TRIES) throw new Error('the package is being built all the time: no image can be made of it');
    } finally {
      rmSync(staging, { recursive: true, force: true });
      rmSync(made, { force: true });
    }
    prune(folder, layer.name);
  }
}

function printOf(layer: Layer): string {
  const hash = createHash('sha256');
  layer.fingerprint(hash);
  return hash.digest('hex').slice(0, 16);
}

function prune(folder: string, name: string): void {
  const images = readdirSync(folder)
    .filter((file) => file.startsWith(`${name}-`) && file.endsWith('.erofs'))
    .map((file) => ({ file, ms: statSync(join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.ms - a.ms);
  for (const { file } of images.slice(KEEP[name])) rmSync(join(folder, file), { force: true });
}

/** By size and time: a build leaves files alone that it would not change. */
function addFile(hash: Hash, path: string): void {
  const { size, mtimeMs, mode } = statSync(path);
  hash.update(`${path} ${size} ${mtimeMs} ${mode}\n`);
}

// ------------------------------------------------------------------------------------------ the base

const base: Layer = {
  name: LAYER.base,
  fingerprint(hash) {
    for (const path of [busybox(), node(), ...librariesOf(node())]) addFile(hash, path);
    hash.update(INIT);
  },
  stage(staging) {
    for (const folder of ['bin', 'dev', 'proc', 'sys', 'run', 'tmp', 'var', 'root', 'boot', 'mnt', 'etc/luo']) {
      mkdirSync(join(staging, folder), { recursive: true });
    }
    cpSync(busybox(), join(staging, 'bin/busybox'));
    for (const applet of execFileSync(busybox(), ['--list'], { encoding: 'utf8' }).split('\n')) {
      if (applet !== '' && applet !== 'busybox') symlinkSync('busybox', join(staging, 'bin', applet));
    }
    put(staging, '/usr/bin/node', node());
    for (const library of librariesOf(node())) put(staging, library, realpathSync(library));
    put(staging, '/etc/passwd', { text: 'root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n' });
    put(staging, '/etc/group', { text: 'root:x:0:\nguest:x:1000:\n' });
    put(staging, '/etc/hosts', { text: '127.0.0.1 localhost\n' });
    put(staging, '/init', { text: INIT, mode: 0o755 });
  },
};

function busybox(): string {
  const found = BUSYBOX.find((path) => existsSync(path));
  if (found === undefined) throw new Error('there is no busybox here (Debian: busybox-static)');
  return realpathSync(found);
}

function node(): string {
  return realpathSync(process.execPath);
}

function librariesOf(program: string): string[] {
  const said = execFileSync('ldd', [program], { encoding: 'utf8' });
  return Array.from(said.matchAll(/(\/\S+) \(0x/g), (match) => match[1]!);
}

// ------------------------------------------------------------------------------------------ the package

const packageLayer: Layer = {
  name: LAYER.package,
  fingerprint(hash) {
    for (const folder of FOLDERS) {
      const path = join(root, folder);
      if (!existsSync(path)) continue;
      for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
        if (entry.isFile()) addFile(hash, join(entry.parentPath ?? (entry as { path: string }).path, entry.name));
      }
    }
    for (const name of ['package.json', 'package-lock.json']) addFile(hash, join(root, name));
    hash.update(START);
  },
  stage(staging) {
    for (const folder of FOLDERS) {
      const path = join(root, folder);
      if (existsSync(path)) cpSync(path, join(staging, 'luo', folder), { recursive: true });
    }
    put(staging, '/luo/package.json', join(root, 'package.json'));
    for (const name of runtimeModules()) {
      const to = join(staging, 'luo/node_modules', name);
      cpSync(join(root, 'node_modules', name), to, { recursive: true, dereference: true });
    }
    // Programs import the library by its name.
    symlinkSync('..', join(staging, 'luo/node_modules/luo'));
    for (const program of ['luod', 'luoctl']) {
      const text = `#!/bin/sh\nexec /usr/bin/node /luo/dist/src/bin/${program}.js "$@"\n`;
      put(staging, `/usr/bin/${program}`, { text, mode: 0o755 });
    }
    put(staging, '/bed/start', { text: START, mode: 0o755 });
  },
};

/** The runtime dependencies of package.json and everything that they need, by their places in node_modules. */
function runtimeModules(): string[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(([path, entry]) => path.startsWith('node_modules/') && (CLIENTS.test(path) || entry.dev !== true))
    .map(([path]) => relative('node_modules', path))
    .filter((name) => existsSync(join(root, 'node_modules', name)));
}

// ------------------------------------------------------------------------------------------ the files of a test

function filesLayer(files: Files): Layer {
  return {
    name: LAYER.files,
    fingerprint(hash) {
      for (const [to, from] of Object.entries(files)) {
        hash.update(`${to}\n`);
        if (typeof from === 'string') addFile(hash, from);
        else hash.update(`${JSON.stringify(from)}\n`);
      }
    },
    stage(staging) {
      for (const [to, from] of Object.entries(files)) put(staging, to, from);
    },
  };
}

function put(staging: string, path: string, from: FileSource): void {
  const to = join(staging, path);
  mkdirSync(dirname(to), { recursive: true });
  if (typeof from === 'string') cpSync(from, to, { dereference: true });
  else writeFileSync(to, from.text, { mode: from.mode ?? 0o644 });
}
