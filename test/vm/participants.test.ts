// Goal: twenty participants with dependencies cross together; who never comes back, comes as somebody else, or too late is
// named, decided by the policies or the operator, and holds nobody else up. Boxes, blobs and luod's own log cross too.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { Vm, type LuodStatus } from './bed/vm.js';

const { from, to } = kernels();
const COUNT = 20;
const program = (name: string, options: object): string[] => [
  'node',
  '/luo/dist/test/vm/guest/participant.js',
  name,
  '65536',
  JSON.stringify(options),
];
interface Found {
  readonly pid: number;
  readonly role: string;
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
  readonly waiting?: number;
}

let vm: Vm;
let failed = true;
before(async () => {
  vm = await Vm.start({ kernel: from, luod: '/run/luo', memoryMiB: 3072, files: { '/boot/to': to.path } });
  await vm.untilState('normal');
});
after(() => vm.stop(failed));

const found = async (name: string): Promise<Found> => JSON.parse(await vm.read(`/run/p/${name}.json`)) as Found;

test('twenty services, each with memory and a dependency on another, are prepared in that order', async () => {
  for (let index = 0; index < COUNT; index += 1) {
    const name = `s${index}`;
    const dependsOn = index === 0 ? [] : [{ owner: `0:s${index - 1}`, name: `s${index - 1}` }];
    const policy = index === 17 ? 'discard' : index === 18 ? 'hold' : 'fail';
    // These never claim again: one for each policy.
    const neverClaims = index >= 17;
    const argv = program(name, { dependsOn, policy, neverClaims, digest: index === 3, delegate: index === 4 });
    await vm.must(['luoctl', '--dir', '/run/luo', 'run', '--name', name, '--', ...argv], { timeoutMs: 120_000 });
  }
  // One that luod does not supervise, of another user.
  await vm.must(['chmod', '666', '/run/luo/luod.sock']);
  await vm.must(['sh', '-c', 'mkdir -p /run/p && chmod 777 /run/p && chmod 755 /run/luo']);
  await vm.spawn(program('guest', {}), '/run/guest.log', {
    uid: 1000,
    env: { LUO_SOCKET: '/run/luo/luod.sock', LUO_SERVICE: 'guest' },
  });
  await vm.until('the guest', () => found('guest'));
  await vm.must(['sh', '-c', 'echo kept | luoctl --dir /run/luo put box entry']);
  await vm.must(['sh', '-c', 'echo telemetry | luoctl --dir /run/luo blob put trace']);
  const plan = await vm.luoctlJson<{ steps: { participant: string; after: number[]; step: number }[] }>([
    'plan',
    '--gap',
    'kexec',
  ]);
  const step = (name: string): number => plan.steps.find((one) => one.participant.startsWith(`${name}#`))!.step;
  for (let index = 1; index < COUNT; index += 1) assert.ok(step(`s${index - 1}`) < step(`s${index}`), `s${index}`);
});

test('after the jump seventeen are back with everything, in order; the others are named', async () => {
  await vm.kexec('/boot/to', { args: ['--claim-max', '45s'] });
  const status = await vm.untilState('updated', 120_000);
  assert.equal(status.kexec.arrived?.from, from.version);
  await vm.until(
    'those who come back',
    async () => {
      for (let index = 0; index < 17; index += 1) await found(`s${index}`);
      return true;
    },
    120_000,
  );
  for (let index = 0; index < 17; index += 1) {
    const { created, torn, wrong, role } = await found(`s${index}`);
    assert.deepEqual([created, torn, wrong, role], [false, false, 0, 'restart'], `s${index}`);
  }
  assert.equal((await found('s19')).waiting, 1);
});

test('another user cannot claim what belongs to the guest, and the guest, late, can', async () => {
  await vm.must(['sh', '-c', 'chmod 666 /run/luo/luod.sock; mkdir -p /run/p; chmod 777 /run/p']);
  const env = { LUO_SOCKET: '/run/luo/luod.sock', LUO_SERVICE: 'guest' };
  const thief = await vm.exec(program('guest', {}), { uid: 0, env, timeoutMs: 20_000 });
  // For root it is another owner's name: it begins anew, and finds nothing.
  assert.doesNotMatch(thief.stdout, /"created":false/);
  await vm.spawn(program('guest', {}), '/run/guest2.log', { uid: 1000, env });
  const back = await vm.until('the guest', async () => {
    const now = await found('guest');
    return now.role === 'restart' ? now : undefined;
  });
  assert.deepEqual([back.created, back.wrong], [false, 0]);
});

test('when the time for claims is over, discard and hold are applied; fail waits, by name', async () => {
  const waiting = await vm.until(
    'one handle left',
    async () => {
      const { kexec } = await vm.luoctlJson<LuodStatus>(['status']);
      return kexec.unclaimed.length === 1 ? kexec.unclaimed : undefined;
    },
    120_000,
  );
  assert.deepEqual([waiting[0]!.handle, waiting[0]!.policy], ['0:s19/fd:s19', 'fail']);
  const finish = await vm.luoctl(['finish']);
  assert.equal(finish.code, 1);
  assert.match(finish.stderr, /s19/);
});

test('the operator lets go of it, and the update finishes by itself', async () => {
  await vm.must(['luoctl', '--dir', '/run/luo', 'discard', '0:s19/fd:s19']);
  const status = await vm.untilState('normal');
  const names = status.handles.map((handle) => handle.name);
  assert.ok(names.includes('s18') && !names.includes('s17') && !names.includes('s19'));
});

test('the box, the blob and luod’s log of the last kernel are there', async () => {
  assert.equal(await vm.must(['luoctl', '--dir', '/run/luo', 'take', 'box', 'entry']), 'kept\n');
  assert.equal(await vm.must(['luoctl', '--dir', '/run/luo', 'blob', 'get', 'trace']), 'telemetry\n');
  assert.match(await vm.must(['luoctl', '--dir', '/run/luo', 'blob', 'get', 'luod-log']), /kexec asked for/);
  failed = false;
});
