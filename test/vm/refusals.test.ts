// Goal: whatever would lose something is refused before it can, in words, with a way out; and what fails at the last moment is
// undone, so that everything serves again.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { makePaint } from '../../src/cli/format.js';
import { preflightText } from '../../src/cli/preflight-table.js';
import type { PreflightReport } from '../../src/protocol/spec.js';
import { alterImage } from './alter-image.js';
import { kernels } from './bed/kernels.js';
import { root } from './bed/root.js';
import { Vm } from './bed/vm.js';

interface Report {
  readonly ok: boolean;
  readonly checks: readonly {
    readonly check: string;
    readonly result: string;
    readonly reason: string;
    readonly remedy: string | null;
  }[];
}

const { from, to } = kernels();
const FAULTS = '/run/faults';
const DOWNLOAD_MS = 180_000;
const DEBIAN_PACKAGE = 'linux-image-cloud-amd64';
const folder = mkdtempSync(join(tmpdir(), 'luo-refusals-'));
let vm: Vm;
let failed = true;

/**
 * Debian's own kernel, which has no live update: from its package, if it can be had; it is kept for the next time.
 * @returns its path, or why there is none
 */
function debianKernel(): { readonly path: string } | { readonly missing: string } {
  const given = process.env['LUO_VM_DEBIAN_KERNEL'];
  if (given) return { path: given };
  const kept = join(root, '.cache/vm-debian');
  const kernelIn = (place: string): string | undefined => {
    const image = existsSync(place) ? readdirSync(place).find((name) => name.startsWith('vmlinuz-')) : undefined;
    return image === undefined ? undefined : join(place, image);
  };
  const known = kernelIn('/boot') ?? kernelIn(kept);
  if (known !== undefined) return { path: known };
  try {
    const run = (command: string, ...args: string[]): string =>
      execFileSync(command, args, {
        timeout: DOWNLOAD_MS,
        stdio: ['ignore', 'pipe', 'pipe'],
        encoding: 'utf8',
        cwd: folder,
      });
    const name = /Depends: (linux-image-\S+)/.exec(run('apt-cache', 'depends', DEBIAN_PACKAGE))?.[1];
    if (name === undefined) return { missing: `apt knows no ${DEBIAN_PACKAGE}` };
    run('apt-get', 'download', name);
    run(
      'dpkg-deb',
      '-x',
      readdirSync(folder).find((file) => file.endsWith('.deb'))!,
      'deb',
    );
    const image = kernelIn(join(folder, 'deb/boot'))!;
    const path = join(kept, basename(image));
    mkdirSync(kept, { recursive: true });
    cpSync(image, path);
    return { path };
  } catch (error) {
    return { missing: (error as Error).message };
  }
}

const debian = debianKernel();

before(async () => {
  const image = readFileSync(to.path);
  writeFileSync(join(folder, 'luo'), alterImage(image, 'luo-v5', 'luo-v6'));
  writeFileSync(join(folder, 'kho'), alterImage(image, 'kho-v4', 'kho-v3'));
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    append: 'bed.arm=nothing:delay',
    files: {
      '/boot/to': to.path,
      '/boot/luo-v6': join(folder, 'luo'),
      '/boot/kho-v3': join(folder, 'kho'),
      ...('path' in debian ? { '/boot/debian': debian.path } : {}),
    },
  });
  await vm.untilState('normal');
  const argv = ['node', '/luo/dist/test/vm/guest/participant.js', 'part', '4194304', '{"delegate":true}'];
  await vm.run('test/vm/guest/luod.js', 'runAll', ['/run/luo', [{ name: 'part', argv }], 1]);
  await part();
});
after(async () => {
  await vm.stop(failed);
  rmSync(folder, { recursive: true, force: true });
});

/** What the participant has found, when it serves. */
function part(): Promise<{ pid: number; created: boolean; torn: boolean; wrong: number }> {
  return vm.until(
    'the participant',
    async () => JSON.parse(await vm.read('/run/p/part.json')) as Awaited<ReturnType<typeof part>>,
  );
}

/** As JSON, and told here as luoctl tells it to a person. */
async function preflight(args: readonly string[]): Promise<{ code: number | null; report: Report }> {
  const { code, stdout } = await vm.luoctl(['preflight', '--json', ...args]);
  const report = JSON.parse(stdout) as PreflightReport;
  console.log(`luoctl preflight ${args.join(' ')}: exit code ${code}\n${preflightText(report, makePaint(false))}`);
  return { code, report };
}

const failsOf = (report: Report): string[] =>
  report.checks.filter((one) => one.result === 'fail').map((one) => one.check);

test('a good kernel passes, and the table says what it looked at', async () => {
  const { code, report } = await preflight(['/boot/to']);
  assert.deepEqual([code, failsOf(report)], [0, []]);
  for (const check of [
    'liveupdate',
    'luo-abi',
    'kho-abi',
    'memfd-abi',
    'target-config',
    'command-line',
    'scratch',
    'nofile',
    'handles',
    'memory',
  ]) {
    assert.equal(report.checks.find((one) => one.check === check)?.result, 'pass', check);
  }
});

test('a LUO of another version, which would panic, is refused with what to do', async () => {
  const { code, report } = await preflight(['/boot/luo-v6']);
  assert.deepEqual([code, failsOf(report)], [1, ['luo-abi']]);
  const { reason, remedy } = report.checks.find((one) => one.check === 'luo-abi')!;
  assert.match(reason, /luo-v5.*luo-v6.*panic/);
  assert.ok(remedy !== null);
});

test('a KHO of another version, which would lose everything without a word, is refused', async () => {
  const { code, report } = await preflight(['/boot/kho-v3']);
  assert.deepEqual([code, failsOf(report)], [1, ['kho-abi']]);
  assert.match(report.checks.find((one) => one.check === 'kho-abi')!.reason, /kho-v4.*kho-v3/);
});

test(
  'Debian’s own kernel, without live update, is refused',
  { skip: 'missing' in debian && `Debian's own kernel cannot be had here: ${debian.missing}` },
  async () => {
    const { code, report } = await preflight(['/boot/debian']);
    assert.equal(code, 1);
    assert.ok(failsOf(report).includes('luo-abi'), failsOf(report).join());
  },
);

test('a command line without liveupdate=on is refused', async () => {
  const { code, report } = await preflight(['/boot/to', '--cmdline', 'console=ttyS0 root=/dev/vda']);
  assert.deepEqual([code, failsOf(report)], [1, ['command-line']]);
  const off = await preflight(['/boot/to', '--append', 'kho=off']);
  assert.deepEqual([off.code, failsOf(off.report)], [1, ['command-line']]);
});

test('what is no kernel, and an initrd that is not there, are refused', async () => {
  assert.deepEqual(failsOf((await preflight(['/etc/passwd'])).report), ['image']);
  assert.deepEqual(failsOf((await preflight(['/boot/nothing'])).report), ['image']);
  assert.deepEqual(failsOf((await preflight(['/boot/to', '--initrd', '/boot/nothing'])).report), ['initrd']);
});

test('a memory.max that would kill whoever takes the memory back is refused', async () => {
  const { pid } = await part();
  const group = '/sys/fs/cgroup/small';
  await vm.must(['sh', '-c', `mkdir -p ${group} && echo ${pid} > ${group}/cgroup.procs`]);
  await vm.must(['sh', '-c', `echo $(( $(cat ${group}/memory.current) + 2097152 )) > ${group}/memory.max`]);
  const { code, report } = await preflight(['/boot/to']);
  assert.deepEqual([code, failsOf(report)], [1, ['memory-max']]);
  assert.match(report.checks.find((one) => one.check === 'memory-max')!.reason, /4198400 more are needed/);
  await vm.must(['sh', '-c', `echo max > ${group}/memory.max`]);
});

test('kexec without a loaded kernel, and with one that fails the preflight, is refused; nothing has changed', async () => {
  const none = await vm.luoctl(['kexec']);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /IMAGE_MISSING/);
  await vm.ask('load', { kernel: '/boot/to', cmdline: 'root=/dev/vda' });
  const bad = await vm.luoctl(['kexec']);
  assert.equal(bad.code, 1);
  assert.match(bad.stderr, /PREFLIGHT_FAILED/);
  assert.equal((await vm.untilState('normal')).generation, 0);
});

test('an image that is not one is refused by load, with the reason in words', async () => {
  const load = await vm.luoctl(['load', '/etc/passwd']);
  assert.equal(load.code, 1);
  assert.match(load.stderr, /no kernel image.*IMAGE_REFUSED|IMAGE_REFUSED/s);
});

test('an image that is unloaded at the last moment: reboot comes back, everything thaws, and the next try works', async () => {
  await vm.ask('load', { kernel: '/boot/to' });
  const before = await part();
  // Everybody has stopped, and luod stands still right before the jump.
  await vm.write(`${FAULTS}/luod.jump`, 'stop');
  const kexec = vm.luoctl(['kexec', '--blackout-max', '120s'], { timeoutMs: 600_000 });
  const pid = await vm.until('luod stands still', async () => {
    const hit = /^luod\.jump (\d+)$/m.exec(await vm.read(`${FAULTS}/hits`));
    return hit ? Number(hit[1]) : undefined;
  });
  await vm.run('test/vm/guest/unload.js', 'unload');
  await vm.kill(pid, 'SIGCONT');
  const { code, stdout, stderr } = await kexec;
  assert.equal(code, 3, stdout + stderr);
  assert.match(stderr, /KEXEC_RETURNED/);
  await vm.untilState('normal');
  const { pid: now, wrong } = await part();
  assert.deepEqual([now, wrong], [before.pid, 0]);
});

test('the device that somebody else holds is waited for, then refused by name', async () => {
  const pid = await vm.spawn(['sh', '-c', 'exec 3<>/dev/liveupdate; echo held; exec sleep 3600'], '/run/holder.log');
  await vm.until('the holder', async () => (await vm.read('/run/holder.log')).includes('held') || undefined);
  await vm.ask('load', { kernel: '/boot/to' });
  const held = await vm.luoctl(['kexec']);
  assert.notEqual(held.code, 0);
  assert.match(held.stderr, /LIVEUPDATE_HELD/);
  await vm.kill(pid, 'SIGKILL');
  await vm.untilState('normal');
});

test('after all that a jump works, and back in order', async () => {
  const { release } = await vm.kexec('/boot/to');
  assert.equal(release, to.version);
  await vm.untilState('normal');
  const { created, torn, wrong } = await part();
  assert.deepEqual([created, torn, wrong], [false, false, 0]);
  failed = false;
});
