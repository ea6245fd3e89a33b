// Goal: the state of a global hook crosses to the next kernel when something depends on it, and comes back before that something serves; a
// hook that fails there keeps its state and the update open. Method: the sysctl hook of examples/globals on real parameters, which the next
// kernel starts with its own values, and hooks that are shell scripts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root } from './bed/root.js';
import { kernels } from './bed/kernels.js';
import { Vm, type LuodStatus } from './bed/vm.js';

const { from, to } = kernels();
const SERVICE = 'luo-globals';
const FOLDER = '/etc/luo/globals.d';
const executable = (text: string): { text: string; mode: number } => ({ text, mode: 0o755 });
/** Where hooks write down their calls; in memory, so that it is gone with the kernel. */
const CALLS = '/run/hooks';
const recording = executable(
  `#!/bin/sh\nin=$(cat); mkdir -p ${CALLS}; echo "$1 <$in> in $(uname -r) gap $LUO_GAP" >> ${CALLS}/$LUO_HOOK; printf '%s(%s)' "$1" "$in"\n`,
);
const CHANGED = { 'vm/swappiness': '17', 'vm/dirty_ratio': '33', 'net/core/somaxconn': '1234' };
let vm: Vm;
let failed = true;

const sysctls = async (): Promise<Record<string, string>> => {
  const read = Object.keys(CHANGED).map(async (path) => [path, (await vm.read(`/proc/sys/${path}`)).trim()] as const);
  return Object.fromEntries(await Promise.all(read));
};
const called = async (name: string): Promise<string[]> => (await vm.read(`${CALLS}/${name}`)).trim().split('\n');
let own: Record<string, string>;

before(async () => {
  vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    files: {
      '/boot/to': to.path,
      [`${FOLDER}/sysctl`]: executable(readFileSync(join(root, 'examples/globals/sysctl'), 'utf8')),
      [`${FOLDER}/records`]: recording,
      [`${FOLDER}/unneeded`]: recording,
      // Fails in the next kernel until somebody mends it.
      [`${FOLDER}/broken`]: executable('#!/bin/sh\n[ "$1" != restore ] || [ -e /run/mended ]\n'),
      '/etc/luo/sysctls': { text: `${Object.keys(CHANGED).join('\n')}\n` },
    },
  });
  await vm.untilState('normal');
  own = await sysctls();
  assert.deepEqual((await vm.luoctlJson<LuodStatus>(['status'])).services, [], 'nothing needs a hook yet');
  const program = [
    'node',
    '/luo/dist/test/vm/guest/needs-globals.js',
    'app',
    `0:${SERVICE}`,
    'sysctl',
    'records',
    'broken',
  ];
  const files = `FILES=${Object.keys(CHANGED)
    .map((path) => `/proc/sys/${path}`)
    .join(':')}`;
  await vm.must(['luoctl', '--dir', '/run/luo', 'run', '--name', 'app', '--env', files, '--', ...program]);
});
after(() => vm.stop(failed));

test('hooks are pulled into the plan by what needs them, after everything else; the others stay behind', async () => {
  for (const [path, value] of Object.entries(CHANGED)) await vm.write(`/proc/sys/${path}`, `${value}\n`);
  const { steps, pulled } = await vm.luoctlJson<{
    steps: { handles: string[] }[];
    pulled: { handle: string; path: string[] }[];
  }>(['plan', '--gap', 'kexec']);
  const keys = ['broken', 'records', 'sysctl'].map((name) => `0:${SERVICE}/global:${name}`);
  assert.deepEqual(pulled.map(({ handle }) => handle).sort(), keys);
  for (const { path } of pulled) assert.equal(path[0], '0:app/fd:app');
  const order = steps.flatMap((step) => step.handles);
  assert.ok(order.indexOf('0:app/fd:app') < order.indexOf(keys[0]!));
  assert.ok(!order.some((handle) => handle.endsWith('unneeded')));
});

test('in the next kernel the parameters are what they were, not what it starts with', async () => {
  assert.notDeepEqual(own, CHANGED);
  await vm.kexec('/boot/to');
  const { role, seen } = await vm.until(
    'the application',
    async () => JSON.parse(await vm.read('/run/p/app.json')) as { role: string; seen: Record<string, string> },
    120_000,
  );
  assert.equal(role, 'restart');
  // Already when it began to serve.
  const expected = Object.entries(CHANGED).map(([path, value]) => [`/proc/sys/${path}`, value]);
  assert.deepEqual(seen, Object.fromEntries(expected));
  assert.deepEqual(await sysctls(), CHANGED);
});

test('a hook gets in the next kernel what it said at freeze in the last one', async () => {
  assert.deepEqual((await called('records'))[0], `restore <freeze(prepare())> in ${to.version} gap kexec`);
  await assert.rejects(vm.read(`${CALLS}/unneeded`));
});

test('one that fails there keeps its state, and the update waits with the reason', async () => {
  const status = await vm.untilState('updated');
  assert.deepEqual(status.stuck, []);
  const finish = await vm.luoctl(['finish']);
  assert.notEqual(finish.code, 0);
  assert.match(finish.stderr, /restore of the hook 'broken' ended with code 1/);
  assert.match(await vm.read('/run/luo/globals/broken.json'), /"call":"restore"/);
  assert.ok(!(await called('records')).some((call) => call.startsWith('finish')));
});

test('it is mended, and the update finishes; every hook hears of it once', async () => {
  await vm.write('/run/mended', '');
  await vm.until('a finish', async () => {
    await vm.luoctl(['finish']);
    const { state, phase } = await vm.luoctlJson<LuodStatus>(['status']);
    return (state === 'normal' && phase === null) || undefined;
  });
  assert.deepEqual(
    (await called('records')).map((call) => call.split(' ')[0]),
    ['restore', 'finish'],
  );
  await assert.rejects(vm.read('/run/luo/globals/broken.json'));
  failed = false;
});
