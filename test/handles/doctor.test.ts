// Goal: each check of the doctor says what it found and what to do. Method: machines made of a few files; then this one.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, suite, test } from 'node:test';
import { createDoctor, type DoctorOptions } from '../../src/handles/index.js';
import type { DoctorCheck } from '../../src/ports/index.js';

const roots: string[] = [];
after(() => roots.forEach((root) => rmSync(root, { recursive: true })));

const GOOD: Readonly<Record<string, string>> = {
  'proc/self/limits':
    'Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 20000                files\n',
  'proc/self/status': 'Name:\tnode\nCapEff:\t000001ffffffffff\n',
  'proc/self/cgroup': '0::/system.slice/luod.service\n',
  'proc/sys/vm/memfd_noexec': '0\n',
  'proc/sys/kernel/kexec_load_disabled': '0\n',
  'proc/cmdline': 'BOOT_IMAGE=/vmlinuz quiet kho=on liveupdate=on\n',
  'sys/kernel/kexec/loaded': '1\n',
  'sys/fs/cgroup/system.slice/luod.service/memory.max': 'max\n',
  'dev/liveupdate': '',
};

/** The checks on a machine that is GOOD but for `changes`; null takes a file away. */
async function examine(
  changes: Readonly<Record<string, string | null>> = {},
  options: DoctorOptions = {},
  dir?: string,
): Promise<readonly DoctorCheck[]> {
  const root = mkdtempSync(join(tmpdir(), 'luo-doctor-'));
  roots.push(root);
  for (const [path, text] of Object.entries({ ...GOOD, ...changes })) {
    if (text === null) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const doctor = createDoctor({
    procRoot: join(root, 'proc'),
    sysRoot: join(root, 'sys'),
    devRoot: join(root, 'dev'),
    kernelRelease: '7.3.4',
    nodeVersion: '24.0.0',
    calls: async () => [],
    ...options,
  });
  return doctor.examine({ dir: dir ?? root });
}

/** `check` is not in order: result, and words of reason and remedy. */
function says(checks: readonly DoctorCheck[], name: string, result: string, reason: RegExp, remedy?: RegExp): void {
  const check = checks.find((each) => each.check === name && each.result === result);
  assert.ok(check, `no ${result} of '${name}' in ${JSON.stringify(checks, null, 1)}`);
  assert.match(check.reason, reason);
  if (remedy === undefined) assert.equal(check.remedy, null);
  else assert.match(check.remedy ?? '', remedy);
}

test('on a good machine everything passes, and nothing is to do', async () => {
  const checks = await examine();
  assert.deepEqual(
    checks.filter((check) => check.result !== 'pass' || check.remedy !== null),
    [],
  );
  assert.ok(checks.length >= 12);
});

suite('versions', () => {
  test('a kernel between the two is good for the handover and too old for kexec', async () => {
    const checks = await examine({}, { kernelRelease: '6.18.44-fc' });
    const kernel = checks.filter((check) => check.check === 'kernel version');
    assert.deepEqual(
      kernel.map((check) => [check.gap, check.result]),
      [
        ['handover', 'pass'],
        ['kexec', 'fail'],
      ],
    );
  });

  test('a kernel before 5.6 can do neither', async () => {
    const checks = await examine({}, { kernelRelease: '5.4.0-generic' });
    assert.ok(checks.filter((check) => check.check === 'kernel version').every((check) => check.result === 'fail'));
  });

  test('an old Node.js fails', async () => {
    says(await examine({}, { nodeVersion: '20.18.3' }), 'node version', 'fail', /20\.18\.3/, /20\.19/);
    says(await examine({}, { nodeVersion: '20.19.0' }), 'node version', 'pass', /20\.19\.0/);
  });
});

suite('limits and places', () => {
  test('a low limit of open files is warned of', async () => {
    const limits = 'Max open files            1024                 4096                files\n';
    says(await examine({ 'proc/self/limits': limits }), 'open files', 'warn', /4096/, /LimitNOFILE/);
  });

  test('an unlimited one passes, an unreadable one is a warning', async () => {
    const limits = 'Max open files            1024                 unlimited                files\n';
    says(await examine({ 'proc/self/limits': limits }), 'open files', 'pass', /unlimited/);
    const checks = await examine({ 'proc/self/limits': null });
    assert.equal(checks.find((check) => check.check === 'open files')?.result, 'warn');
  });

  test('a directory that does not exist yet can be made in one that can be written', async () => {
    const root = mkdtempSync(join(tmpdir(), 'luo-doctor-'));
    roots.push(root);
    says(await examine({}, {}, join(root, 'a/b')), 'directory', 'pass', /can be made in/);
  });

  test('a directory below a file fails', async () => {
    const root = mkdtempSync(join(tmpdir(), 'luo-doctor-'));
    roots.push(root);
    writeFileSync(join(root, 'file'), '');
    chmodSync(join(root, 'file'), 0o777);
    says(await examine({}, {}, join(root, 'file/luo')), 'directory', 'fail', /no directory/, /--dir/);
  });

  test('a directory that this user cannot write fails, unless the user is root, who can', async () => {
    const root = mkdtempSync(join(tmpdir(), 'luo-doctor-'));
    roots.push(root);
    chmodSync(root, 0o500);
    const check = (await examine({}, {}, join(root, 'luo'))).find((each) => each.check === 'directory');
    assert.equal(check?.result, process.getuid?.() === 0 ? 'pass' : 'fail');
  });

  test('a path that is too long for a socket is warned of', async () => {
    says(await examine({}, {}, `/tmp/${'x'.repeat(100)}`), 'socket path', 'warn', /108/, /shorter/);
  });
});

suite('kexec', () => {
  test('without the device it fails and says what a kernel needs', async () => {
    says(await examine({ 'dev/liveupdate': null }), 'liveupdate device', 'fail', /there is no/, /kho=on liveupdate=on/);
  });

  test('the device is looked at and never opened', async () => {
    const root = mkdtempSync(join(tmpdir(), 'luo-doctor-'));
    roots.push(root);
    // Opening a FIFO for reading would wait for a writer, for ever.
    const { execFileSync } = await import('node:child_process');
    execFileSync('mkfifo', [join(root, 'liveupdate')]);
    says(await examine({}, { devRoot: root }), 'liveupdate device', 'pass', /is there/);
  });

  test('state that came over the last jump is pointed out', async () => {
    const checks = await examine({ 'sys/kernel/debug/kho/in/sub_fdts/LUO': '' });
    says(checks, 'incoming state', 'warn', /sessions of the last one may wait/, /finish/);
  });

  test('without an image it warns, by either name of the file; without the file it fails', async () => {
    says(await examine({ 'sys/kernel/kexec/loaded': '0\n' }), 'kexec image', 'warn', /no kernel is loaded/, /load one/);
    const older = { 'sys/kernel/kexec/loaded': null, 'sys/kernel/kexec_loaded': '1\n' };
    says(await examine(older), 'kexec image', 'pass', /loaded/);
    says(await examine({ 'sys/kernel/kexec/loaded': null }), 'kexec', 'fail', /no kexec/, /CONFIG_KEXEC_FILE/);
  });

  test('without CAP_SYS_BOOT it fails', async () => {
    const status = 'CapEff:\t0000000000000000\n';
    says(await examine({ 'proc/self/status': status }), 'reboot right', 'fail', /CAP_SYS_BOOT/, /root/);
  });

  test('with loading disabled it fails', async () => {
    const disabled = { 'proc/sys/kernel/kexec_load_disabled': '1\n' };
    says(await examine(disabled), 'kexec loading', 'fail', /until the next boot/, /boot/);
  });

  test('the command line decides on KHO and liveupdate, the last word counts', async () => {
    const off = await examine({ 'proc/cmdline': 'kho=on liveupdate=on kho=off liveupdate=0\n' });
    says(off, 'kexec handover', 'fail', /kho= is off/, /kho=on/);
    says(off, 'liveupdate option', 'fail', /liveupdate= is off/, /liveupdate=on/);
    const none = await examine({ 'proc/cmdline': 'quiet\n' });
    says(none, 'kexec handover', 'warn', /not given/, /kho=on/);
    says(none, 'liveupdate option', 'fail', /not given/, /liveupdate=on/);
    const debugfs = await examine({ 'proc/cmdline': 'quiet\n', 'sys/kernel/debug/kho/out/fdt': '' });
    says(debugfs, 'kexec handover', 'pass', /on/);
  });

  test('a memory limit is warned of: who retrieves too much is killed', async () => {
    const path = 'sys/fs/cgroup/system.slice/luod.service/memory.max';
    says(await examine({ [path]: '1073741824\n' }), 'memory limit', 'warn', /1073741824/, /memory\.max/);
    says(await examine({ [path]: null }), 'memory limit', 'pass', /no memory\.max/);
  });

  test('memfd_noexec is warned of, by its degree', async () => {
    says(await examine({ 'proc/sys/vm/memfd_noexec': '1\n' }), 'memfd_noexec', 'warn', /is 1/, /MFD_EXEC/);
    says(await examine({ 'proc/sys/vm/memfd_noexec': '2\n' }), 'memfd_noexec', 'warn', /is 2/, /to 1 or 0/);
    says(await examine({ 'proc/sys/vm/memfd_noexec': null }), 'memfd_noexec', 'pass', /without a seal/);
  });
});

test('on a machine without any of the files every check still answers', async () => {
  const nothing = Object.fromEntries(Object.keys(GOOD).map((path) => [path, null]));
  const checks = await examine(nothing);
  assert.ok(checks.some((check) => check.result === 'fail'));
  for (const check of checks) assert.ok(check.reason.length > 0, check.check);
});

test('on this machine the calls that a handover needs all work, and leave nothing open', async () => {
  const { readdirSync } = await import('node:fs');
  const root = mkdtempSync(join(tmpdir(), 'luo-doctor-'));
  roots.push(root);
  await createDoctor().examine({ dir: root });
  const before = readdirSync('/proc/self/fd').length;
  const checks = await createDoctor().examine({ dir: root });
  assert.equal(readdirSync('/proc/self/fd').length, before);
  const broken = checks.filter((check) => check.result === 'fail' && check.gap !== 'kexec');
  assert.deepEqual(broken, []);
  for (const name of ['koffi', 'pidfd', 'memfd', 'passing fds', 'subreaper', 'event loop'])
    assert.equal(checks.find((check) => check.check === name)?.result, 'pass', name);
});

test('a remedy is there exactly where something is to do', async () => {
  for (const check of await createDoctor().examine({ dir: tmpdir() }))
    if (check.result === 'pass') assert.equal(check.remedy, null, check.check);
});
