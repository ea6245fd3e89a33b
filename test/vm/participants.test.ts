// Goal: twenty participants with dependencies cross together, those of other users too; who never comes back, comes as somebody else, or
// too late is named, decided by the policies or the operator, and holds nobody else up. Boxes, blobs and luod's own log cross too.
// Method: one machine and one jump; those who are not to claim are told so, so that no row depends on how fast the machine is.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';

const { from, to } = kernels();
const COUNT = 20;
const TOGETHER = 4;
/** Long enough for who claims at all, by far; what the time decides is waited for. */
const CLAIM_MAX = '60s';
const SOCKET = '/run/luo/luod.sock';
const GUEST_UID = 1000;
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
const envOf = (service: string): Record<string, string> => ({ LUO_SOCKET: SOCKET, LUO_SERVICE: service });
/** Whoever is in the group may join; here that is everybody. */
const openForAll = (): Promise<string> =>
  vm.must(['sh', '-c', `chmod 755 /run/luo; chmod 666 ${SOCKET}; mkdir -p /run/p; chmod 777 /run/p`]);
const joinAs = (service: string, uid: number, options: object = {}): Promise<number> =>
  vm.spawn(program(service, options), `/run/${service}.log`, { uid, env: envOf(service) });
/** What a process that only claims is told. */
const claimAs = async (service: string, uid: number, name: string): Promise<string | null> => {
  const argv = ['node', '/luo/dist/test/vm/guest/claim-only.js', name];
  const { stdout, stderr } = await vm.exec(argv, { uid, env: envOf(service) });
  assert.match(stdout, /^\{/, stderr);
  return (JSON.parse(stdout) as { code: string | null }).code;
};

test('twenty services, each with memory and a dependency on another, are prepared in that order, and nobody is left out', async () => {
  const services = Array.from({ length: COUNT }, (_, index) => {
    const name = `s${index}`;
    const dependsOn = index === 0 ? [] : [{ owner: `0:s${index - 1}`, name: `s${index - 1}` }];
    const policy = index === 17 ? 'discard' : index === 18 ? 'hold' : 'fail';
    // The last three never claim again: one for each policy.
    const neverClaims = index >= 17;
    const argv = program(name, { dependsOn, policy, neverClaims, digest: index === 3, delegate: index === 4 });
    return { name, argv };
  });
  await vm.run('test/vm/guest/luod.js', 'runAll', ['/run/luo', services, TOGETHER], 900_000);
  // Two that luod does not supervise, of another user.
  await openForAll();
  await joinAs('guest', GUEST_UID);
  await joinAs('tardy', GUEST_UID, { policy: 'discard' });
  for (const name of ['guest', 'tardy']) await vm.until(name, () => found(name));
  // One that is parked: nobody answers for it, and its memory goes all the same.
  await vm.run('test/vm/guest/luod.js', 'runAll', ['/run/luo', [{ name: 'parked', argv: program('parked', {}) }], 1]);
  // A program that is slow to say its first word counts as serving before that.
  await vm.until('the one to be parked', () => found('parked'));
  await vm.ask('stop', { name: 'parked' });
  await vm.must(['sh', '-c', 'echo kept | luoctl --dir /run/luo put box entry']);
  await vm.must(['sh', '-c', 'echo telemetry | luoctl --dir /run/luo blob put trace']);
  const plan = await vm.luoctlJson<{
    steps: { participant: string; after: number[]; step: number }[];
    survives: string[];
    left: { handle: string }[];
  }>(['plan', '--gap', 'kexec']);
  const step = (name: string): number => plan.steps.find((one) => one.participant.startsWith(`${name}#`))!.step;
  for (let index = 1; index < COUNT; index += 1) assert.ok(step(`s${index - 1}`) < step(`s${index}`), `s${index}`);
  for (const handle of ['1000:guest/fd:guest', '1000:tardy/fd:tardy', '0:parked/fd:parked', '0:s19/fd:s19'])
    assert.ok(plan.survives.includes(handle), handle);
  assert.deepEqual(plan.left, []);
});

test('after the jump seventeen are back with everything, in order; the others are named', async () => {
  await vm.kexec('/boot/to', { args: ['--claim-max', CLAIM_MAX] });
  const status = await vm.untilState('updated');
  assert.equal(status.kexec.arrived?.from, from.version);
  await vm.until('those who come back', async () => {
    for (let index = 0; index < 17; index += 1) await found(`s${index}`);
    return true;
  });
  for (let index = 0; index < 17; index += 1) {
    const { created, torn, wrong, role } = await found(`s${index}`);
    assert.deepEqual([created, torn, wrong, role], [false, false, 0, 'restart'], `s${index}`);
  }
  assert.equal((await vm.until('who does not claim', () => found('s19'))).waiting, 1);
});

test('another user cannot claim what belongs to the guest, and the guest, late, can', async () => {
  await openForAll();
  assert.equal(await claimAs('guest', 0, 'guest'), 'CLAIM_FOREIGN');
  assert.equal(await claimAs('other', GUEST_UID, 'guest'), 'CLAIM_FOREIGN');
  await joinAs('guest', GUEST_UID);
  const back = await vm.until('the guest', () => found('guest'));
  assert.deepEqual([back.role, back.created, back.torn, back.wrong], ['restart', false, false, 0]);
});

test('when the time for claims is over, discard and hold are applied; fail waits, by name, with its size', async () => {
  const waiting = await vm.until('one handle left', async () => {
    const { kexec } = await vm.status();
    return kexec.unclaimed.length === 1 ? kexec.unclaimed : undefined;
  });
  const { handle, owner, policy, sizeBytes, ageMs } = waiting[0]!;
  assert.deepEqual([handle, owner, policy], ['0:s19/fd:s19', '0:s19', 'fail']);
  assert.ok((sizeBytes ?? 0) >= 65536 && ageMs > 0, JSON.stringify(waiting));
  const finish = await vm.luoctl(['finish']);
  assert.equal(finish.code, 1);
  assert.match(finish.stderr, /s19/);
});

test('who claims what was discarded is told that, and not that it never was', async () => {
  assert.equal(await claimAs('tardy', GUEST_UID, 'tardy'), 'HANDLE_DISCARDED');
});

test('the operator lets go of it, and the update finishes by itself; what is held and what was parked waits on', async () => {
  await vm.must(['luoctl', '--dir', '/run/luo', 'discard', '0:s19/fd:s19']);
  const status = await vm.untilState('normal');
  const waiting = status.handles.filter((one) => one.kind === 'fd' && !one.claimed).map(({ name }) => name);
  assert.deepEqual(waiting.filter((name) => name !== 'words').sort(), ['parked', 's18']);
  // A service whose memory was let go of starts again without it; nothing of the last kernel is left of these.
  for (const name of ['s17', 's19', 'tardy']) {
    const handle = status.handles.find((one) => one.name === name);
    if (handle === undefined) continue;
    assert.deepEqual([handle.claimed, (await found(name)).created], [true, true], name);
  }
  await vm.ask('start', { name: 'parked' }, 600_000);
  const parked = await vm.until('the parked one', () => found('parked'));
  // It was ended by a signal while it could write.
  assert.deepEqual([parked.role, parked.created, parked.torn, parked.wrong], ['restart', false, true, 0]);
});

test('the box, the blob and luod’s log of the last kernel are there', async () => {
  assert.equal(await vm.must(['luoctl', '--dir', '/run/luo', 'take', 'box', 'entry']), 'kept\n');
  assert.equal(await vm.must(['luoctl', '--dir', '/run/luo', 'blob', 'get', 'trace']), 'telemetry\n');
  assert.match(await vm.must(['luoctl', '--dir', '/run/luo', 'blob', 'get', 'luod-log']), /kexec asked for|prepare/);
  failed = false;
});
