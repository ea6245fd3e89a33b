// Goal: a manifest that is damaged, or newer than luod, loses nothing: what can be read is used, what cannot is held, nothing is
// finished, luod says what it found, and a luod that can read it takes it over. Method: luod is stopped between its last word in the
// manifest and the jump, and the memory of the manifest is changed; afterwards it is changed back, as if a newer luod came.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { Vm, type LuodStatus } from './bed/vm.js';
import type { Alteration } from './guest/manifest.js';

const { from, to } = kernels();
const MODULE = 'test/vm/guest/manifest.js';
const FAULTS = '/run/faults';
interface Found {
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
  readonly stateBytes: number;
}
interface Report {
  readonly ok: boolean;
  readonly checks: readonly { readonly check: string; readonly result: string; readonly reason: string }[];
}

let vm: Vm;
let failed = true;
let isInFrom = true;

before(async () => {
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    append: 'bed.arm=nothing:delay',
    files: { '/boot/from': from.path, '/boot/to': to.path },
  });
  await vm.untilState('normal');
  const argv = ['node', '/luo/dist/test/vm/guest/participant.js', 'part', '65536', '{"stateBytes":100}'];
  await vm.run('test/vm/guest/luod.js', 'runAll', ['/run/luo', [{ name: 'part', argv }], 1]);
  await found();
});
after(() => vm.stop(failed));

const found = (): Promise<Found> =>
  vm.until('the participant', async () => JSON.parse(await vm.read('/run/p/part.json')) as Found);

/** Jump into the other kernel with a manifest that was changed at the last moment. */
async function jumpWith(what: Alteration): Promise<void> {
  isInFrom = !isInFrom;
  await vm.ask('load', { kernel: isInFrom ? '/boot/from' : '/boot/to' });
  await vm.write(`${FAULTS}/luod.manifest.frozen`, 'stop');
  const jumped = vm.jumped(vm.hello);
  jumped.catch(() => undefined);
  vm.ask('kexec', { limits: { blackoutMs: 120_000 } }, 600_000).catch(() => undefined);
  const pid = await vm.until('luod stands still', async () => {
    const hit = /^luod\.manifest\.frozen (\d+)$/m.exec(await vm.read(`${FAULTS}/hits`));
    return hit ? Number(hit[1]) : undefined;
  });
  await vm.run(MODULE, 'alter', [pid, 'outgoing', what]);
  await vm.kill(pid, 'SIGCONT');
  await jumped;
}

/** Nothing of it can be read, all of it is held, and nobody may lose it by mistake. */
async function isHeld(code: string): Promise<LuodStatus> {
  const status = await vm.untilState('normal');
  assert.equal(status.kexec.arrived?.error?.code, code);
  assert.deepEqual([status.services, status.handles], [[], []], 'luod does not guess');
  assert.match((await vm.luoctl(['status'])).stdout, new RegExp(code));
  await assert.rejects(vm.ask('finish'), /STATE_INVALID/);
  const { ok, checks } = await vm.ask<Report>('preflight', { kernel: '/boot/to' });
  assert.equal(ok, false);
  assert.match(checks.find(({ check }) => check === 'arrival')?.reason ?? '', new RegExp(code));
  await vm.ask('load', { kernel: '/boot/to' });
  await assert.rejects(vm.ask('kexec'), /PREFLIGHT_FAILED.*arrival/s);
  await vm.ask('unload');
  return status;
}

/** Another luod comes, for which the manifest is as it must be. */
async function mended(status: LuodStatus, what: Alteration): Promise<void> {
  await vm.run(MODULE, 'alter', [status.luod.pid, 'arrived', what]);
  await vm.kill(status.luod.pid, 'SIGKILL');
  const { created, torn, wrong, stateBytes } = await found();
  assert.deepEqual([created, torn, wrong, stateBytes], [false, false, 0, 100]);
  const later = await vm.untilState('normal');
  assert.equal(later.kexec.arrived?.error, undefined);
  assert.deepEqual(later.kexec.unclaimed, []);
}

test('a damaged last slot: the one before is used, which says that nothing was frozen, so that all is torn', async () => {
  await jumpWith('later slot');
  const { created, torn, wrong } = await found();
  assert.deepEqual([created, torn, wrong], [false, true, 0]);
  const { kexec } = await vm.untilState('normal');
  assert.equal(kexec.arrived?.torn, true);
});

test('both slots damaged: everything is held, said to be so, and there for a luod that can read it', async () => {
  await jumpWith('slots');
  await mended(await isHeld('MANIFEST_DAMAGED'), 'slots');
});

test('a manifest of a newer luod: the same, and a newer luod takes it over', async () => {
  await jumpWith('version');
  await mended(await isHeld('MANIFEST_TOO_NEW'), 'version');
});

test('both heads damaged: the names of the sessions are lost, the one that has the manifest is held', async () => {
  await jumpWith('heads');
  const { keeper } = await isHeld('MANIFEST_DAMAGED');
  assert.ok(keeper.entries > 0);
  assert.match((await vm.luoctl(['status'])).stdout, /neither head .* names of its sessions are lost/);
  failed = false;
});
