// Goal: `npm run test:vm` says what it lacks and how to get it, and fails then: nobody takes a suite that did not run for one that passed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

let folder: string;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'luo-test-vm-'));
  // Programs that are there to be found; none is run.
  for (const name of ['qemu-system-x86_64', 'mkfs.erofs']) symlinkSync('/bin/true', join(folder, name));
});
after(() => rmSync(folder, { recursive: true }));

function run(args: readonly string[], env: Readonly<Record<string, string>>): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['tools/test-vm.mjs', ...args], {
    env: { ...env },
    encoding: 'utf8',
  });
  return { status, said: stdout + stderr };
}

test('without QEMU it says what to install, and fails', () => {
  const { status, said } = run([], { PATH: '/nowhere' });
  assert.equal(status, 1);
  assert.match(said, /qemu-system-x86_64 \(Debian: qemu-system-x86\)/);
  assert.match(said, /mkfs\.erofs \(Debian: erofs-utils\)/);
  assert.match(said, /apt-get install qemu-system-x86 erofs-utils busybox-static/);
});

test('options that mean nothing are refused before anything is looked for', () => {
  for (const args of [['--jobs', '0'], ['--jobs', 'many'], ['--nothing']]) {
    const { status, said } = run(args, { PATH: '/nowhere' });
    assert.equal(status, 1, args.join(' '));
    assert.match(said, /^test:vm: .*--/, args.join(' '));
  }
});

test('without a kernel it says where one is looked for and what builds one; a pattern that fits no file fails', (t) => {
  const path = { PATH: folder };
  if (run([], { ...path, LUO_VM_KERNELS: folder }).said.includes('busybox')) return t.skip('needs busybox-static');
  const without = run([], { ...path, LUO_VM_KERNELS: folder });
  assert.equal(without.status, 1);
  assert.match(without.said, /no kernel in '.*': set LUO_VM_KERNELS .* tools\/vm-kernel/);
  writeFileSync(join(folder, 'bzImage-7.3.4-luo'), '');
  const { status, said } = run(['no-such-file'], { ...path, LUO_VM_KERNELS: folder });
  assert.equal(status, 1);
  assert.match(said, /no test file matches no-such-file/);
});
