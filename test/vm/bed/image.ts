/**
 * The root file system of the virtual machines: this package as it is built, the node that runs this, its libraries, and
 * busybox. One read-only erofs image, named by what is in it, so that an unchanged tree makes it once.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  chmodSync,
  realpathSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { root } from './root.js';

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox'];
/** Runtime dependencies and theirs, as they lie in node_modules. */
const FOLDERS = ['dist/src', 'dist/vendor', 'dist/test/vm', 'dist/test/crash', 'dist/examples', 'dist/bench', 'docs'];
/** The npm client of the cache, which is for development elsewhere. */
const CLIENTS = /^node_modules\/(redis|@redis\/[^/]+|cluster-key-slot)$/;
const KEEP_IMAGES = 6;
const TRIES = 5;

/** A file of the image: the path of one here, or what it says. */
export type FileSource = string | { readonly text: string; readonly mode?: number };
/** By their paths in the image. */
export type Files = Readonly<Record<string, FileSource>>;

/** Run by PID 1 in every kernel, before anything else is started, if the image has it: a test gives it in `files`. */
export const AUTOSTART = '/etc/bed/autostart';

/** Everything that is needed to make and start a machine, and is not there; empty: all is. */
export function missingTools(): string[] {
  const missing: string[] = [];
  if (!inPath('qemu-system-x86_64')) missing.push('qemu-system-x86_64 (Debian: qemu-system-x86)');
  if (!inPath('mkfs.erofs')) missing.push('mkfs.erofs (Debian: erofs-utils)');
  if (!BUSYBOX.some((path) => existsSync(path))) missing.push('busybox (Debian: busybox-static)');
  return missing;
}

export function inPath(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => folder !== '' && existsSync(join(folder, program)));
}

/** Path of the image; made if what goes into it has changed. @param extra what it has besides the package */
export function rootImage(extra: Files): string {
  const folder = join(root, '.cache/vm-images');
  mkdirSync(folder, { recursive: true });
  for (let tries = 1; ; tries += 1) {
    const print = fingerprint(extra);
    const image = join(folder, `root-${print}.erofs`);
    if (existsSync(image)) {
      // The ones that were used last are kept.
      utimesSync(image, new Date(), new Date());
      return image;
    }
    const made = `${image}.${process.pid}`;
    const staging = mkdtempSync(join(tmpdir(), 'luo-image-'));
    try {
      stage(staging, extra);
      execFileSync('mkfs.erofs', ['--quiet', '-T0', made, staging], { stdio: ['ignore', 'ignore', 'pipe'] });
      // A build that went on meanwhile may have left half of each in it.
      if (fingerprint(extra) === print) renameSync(made, image);
      else if (tries === TRIES) throw new Error('the package is being built all the time: no image can be made of it');
    } finally {
      rmSync(staging, { recursive: true, force: true });
      rmSync(made, { force: true });
    }
    prune(folder);
  }
}

function prune(folder: string): void {
  const images = readdirSync(folder)
    .filter((name) => name.startsWith('root-') && name.endsWith('.erofs'))
    .map((name) => ({ name, ms: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => b.ms - a.ms);
  for (const { name } of images.slice(KEEP_IMAGES)) rmSync(join(folder, name), { force: true });
}

/** Changes when something that goes in does: sizes and times of the files, which is what a build changes. */
function fingerprint(extra: Files): string {
  const hash = createHash('sha256');
  const add = (path: string): void => {
    const stat = statSync(path);
    hash.update(`${path} ${stat.size} ${stat.mtimeMs}\n`);
  };
  for (const folder of FOLDERS) {
    const path = join(root, folder);
    if (!existsSync(path)) continue;
    for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) add(join(entry.parentPath ?? (entry as { path: string }).path, entry.name));
    }
  }
  add(join(root, 'package-lock.json'));
  add(realpathSync(process.execPath));
  for (const [to, from] of Object.entries(extra)) {
    hash.update(`${to}\n`);
    if (typeof from === 'string') add(from);
    else hash.update(JSON.stringify(from));
  }
  hash.update(INIT);
  return hash.digest('hex').slice(0, 16);
}

function stage(staging: string, extra: Files): void {
  for (const folder of ['bin', 'dev', 'proc', 'sys', 'run', 'tmp', 'var', 'etc', 'root', 'usr/bin', 'boot', 'mnt']) {
    mkdirSync(join(staging, folder), { recursive: true });
  }
  const busybox = realpathSync(BUSYBOX.find((path) => existsSync(path))!);
  cpSync(busybox, join(staging, 'bin/busybox'));
  for (const applet of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')) {
    if (applet !== '' && applet !== 'busybox') symlinkSync('busybox', join(staging, 'bin', applet));
  }
  const node = realpathSync(process.execPath);
  copyWithLibraries(node, join(staging, 'usr/bin/node'), staging);
  for (const folder of FOLDERS) {
    const path = join(root, folder);
    if (existsSync(path))
      cpSync(path, join(staging, 'luo', folder), { recursive: true, filter: (name) => !name.endsWith('.map') });
  }
  cpSync(join(root, 'package.json'), join(staging, 'luo/package.json'));
  for (const name of runtimeModules()) {
    cpSync(join(root, 'node_modules', name), join(staging, 'luo/node_modules', name), {
      recursive: true,
      dereference: true,
    });
  }
  // Programs import the library by its name.
  mkdirSync(join(staging, 'luo/node_modules'), { recursive: true });
  symlinkSync('..', join(staging, 'luo/node_modules/luo'));
  for (const program of ['luod', 'luoctl']) {
    script(join(staging, 'usr/bin', program), `#!/bin/sh\nexec /usr/bin/node /luo/dist/src/bin/${program}.js "$@"\n`);
  }
  writeFileSync(join(staging, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n');
  writeFileSync(join(staging, 'etc/group'), 'root:x:0:\nguest:x:1000:\n');
  writeFileSync(join(staging, 'etc/hosts'), '127.0.0.1 localhost\n');
  script(join(staging, 'init'), INIT);
  for (const [to, from] of Object.entries(extra)) {
    mkdirSync(dirname(join(staging, to)), { recursive: true });
    if (typeof from === 'string') cpSync(from, join(staging, to), { dereference: true });
    else writeFileSync(join(staging, to), from.text, { mode: from.mode ?? 0o644 });
  }
}

function script(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

function copyWithLibraries(program: string, to: string, staging: string): void {
  cpSync(program, to);
  for (const match of execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)) {
    const library = match[1]!;
    const place = join(staging, library);
    mkdirSync(dirname(place), { recursive: true });
    cpSync(realpathSync(library), place);
  }
}

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

/** PID 1: file systems, then the program that `bed.start=` names, then the agent that talks to the host. */
const INIT = `#!/bin/sh
export PATH=/usr/bin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for place in /run /tmp /var /etc/luo /dev/shm; do [ -d $place ] && mount -t tmpfs -o mode=1777 tmpfs $place; done
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
echo "+memory +pids" > /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
ip link set lo up 2>/dev/null || ifconfig lo up
ulimit -n 65536
chmod 1777 /tmp
[ ! -x ${AUTOSTART} ] || ${AUTOSTART} > /run/autostart.out 2>&1
for word in $(cat /proc/cmdline); do
  case $word in
    bed.arm=*)
      fault=\${word#bed.arm=}
      mkdir -p /run/faults
      echo "\${fault#*:}" > "/run/faults/\${fault%%:*}"
      export LUO_FAULT_DIR=/run/faults ;;
    bed.luod=*) /usr/bin/luod --dir "\${word#bed.luod=}" --kexec --log-level debug > /run/luod.out 2>&1 & ;;
  esac
done
while true; do
  /usr/bin/node /luo/dist/test/vm/bed/agent.js > /dev/console 2>&1
  sleep 0.2
done
`;
