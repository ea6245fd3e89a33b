// Goal: what the agent does inside of the machine, and what the host is told when it does not: programs that hang, say too much,
// leave children behind; requests that wait while an agent is replaced; devices, disks and files that were asked for.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { eduBehindBridge } from './bed/hardware.js';
import { AUTOSTART } from './bed/init.js';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';

const { from } = kernels();
let vm: Vm;
let folder: string;
let failed = true;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'luo-bed-agent-'));
  writeFileSync(join(folder, 'disk'), Buffer.alloc(1 << 20, 'd'));
  writeFileSync(join(folder, 'host-file'), 'from the host');
  vm = await Vm.start({
    kernel: from,
    pci: [eduBehindBridge()],
    disks: [{ serial: 'mine', path: join(folder, 'disk') }],
    files: {
      [AUTOSTART]: { text: '#!/bin/sh\necho "before the agent" > /run/started\n', mode: 0o755 },
      '/opt/tool': { text: '#!/bin/sh\necho "$@"\n', mode: 0o755 },
      '/etc/from-host': join(folder, 'host-file'),
    },
  });
});
after(async () => {
  await vm.stop(failed);
  rmSync(folder, { recursive: true });
});

test('files of the test are there, with their modes, before anything runs', async () => {
  assert.equal(await vm.read('/run/started'), 'before the agent\n');
  assert.equal(await vm.must(['/opt/tool', 'a', 'b c']), 'a b c\n');
  assert.equal(await vm.read('/etc/from-host'), 'from the host');
});

test('everything can be written, also over what an image has', async () => {
  await vm.write('/etc/from-host', 'changed');
  await vm.write('/etc/new/file', Buffer.from([0, 255]), 0o600);
  assert.equal(await vm.read('/etc/from-host'), 'changed');
  assert.equal(await vm.must(['sh', '-c', 'stat -c %a /etc/new/file; od -An -tx1 /etc/new/file']), '600\n 00 ff\n');
});

test('a program that is not there, a file that is not there, an operation that fails: each is an error of the host', async () => {
  await assert.rejects(vm.exec(['/nowhere']), /ENOENT/);
  await assert.rejects(vm.spawn(['/nowhere'], '/run/out'), /ENOENT/);
  await assert.rejects(vm.read('/nowhere'), /ENOENT/);
  await assert.rejects(vm.kill(2 ** 22 + 1, 'SIGTERM'), /ESRCH/);
  await assert.rejects(vm.run('test/vm/nowhere.js', 'x'), /Cannot find module/);
  await assert.rejects(vm.run('test/vm/bed/programs.js', 'nothing'), /exports no function 'nothing'/);
});

test('what a program writes can be followed while it runs', async () => {
  const said: string[] = [];
  let sawFirst = (): void => undefined;
  const first = new Promise<void>((resolve) => (sawFirst = resolve));
  const running = vm.exec(['sh', '-c', 'echo one; until [ -e /run/go-on ]; do sleep 0.1; done; echo two >&2'], {
    onOutput(stream, text) {
      said.push(`${stream} ${text}`);
      sawFirst();
    },
  });
  await first;
  await vm.write('/run/go-on', '');
  assert.equal((await running).code, 0);
  assert.deepEqual(said, ['stdout one\n', 'stderr two\n']);
});

test('a program over its deadline is killed with its children, and one that left its group is not waited for', async () => {
  const script = 'sleep 1001 & setsid sleep 1002 & wait';
  const result = await vm.exec(['sh', '-c', script], { timeoutMs: 1000 });
  assert.deepEqual([result.late, result.signal], [true, 'SIGKILL']);
  const sleepers = (await vm.ps()).filter(({ argv }) => argv[0] === 'sleep' && Number(argv[1]) > 1000);
  assert.deepEqual(
    sleepers.map(({ argv }) => argv[1]),
    ['1002'],
  );
  await vm.kill(sleepers[0]!.pid, 'SIGKILL');
});

test('a program that says too much is killed for it, and what it said so far is there', async () => {
  const result = await vm.exec(['sh', '-c', 'exec yes']);
  assert.deepEqual([result.tooMuch, result.late, result.signal], [true, false, 'SIGKILL']);
  assert.match(result.stdout.slice(0, 4), /^y\ny\n$/);
});

test('a program that does not read what it is given is no error, and one as another user is that user', async () => {
  assert.equal((await vm.exec(['true'], { stdin: Buffer.alloc(1 << 20) })).code, 0);
  assert.equal(await vm.must(['id', '-u'], { uid: 1000 }), '1000\n');
});

test('what goes on in the background is in the list of processes until it is killed, and PID 1 reaps orphans', async () => {
  const pid = await vm.spawn(['sleep', '1003'], '/run/sleep.out');
  assert.deepEqual((await vm.ps()).find((one) => one.pid === pid)?.argv, ['sleep', '1003']);
  await vm.kill(pid, 'SIGTERM');
  await vm.must(['sh', '-c', '(sleep 0.1 &) ; exit 0']);
  await vm.until('nothing but the living', async () => {
    const list = await vm.ps();
    return list.some((one) => one.pid === pid || one.state === 'Z') ? undefined : true;
  });
});

test('an agent that dies takes what was asked of it along, and the next one is asked anew', async () => {
  const before = vm.hello;
  const hanging = vm.exec(['sleep', '30']);
  const [agent] = (await vm.ps()).filter(({ argv }) => argv.some((word) => word.endsWith('bed/agent.js')));
  vm.kill(agent!.pid, 'SIGKILL').catch(() => undefined);
  await assert.rejects(hanging, /the agent was started again/);
  assert.equal(vm.hello, before);
  assert.equal(vm.hellos.length, 1);
  assert.equal(await vm.must(['echo', 'again']), 'again\n');
});

test('an answer that does not come is an error that says of what, with the console', async () => {
  await assert.rejects(
    vm.run('test/vm/guest/hang.js', 'hang', [], 500),
    /'run' was not answered within 500 ms\nthe console's last lines:/,
  );
});

test('a function inside learns the host’s clock, between what the host read before and after', async () => {
  const before = process.hrtime.bigint();
  const { monotonicNs, uncertaintyNs } = await vm.run<Record<string, string>>('test/vm/guest/clock.js', 'read');
  const afterwards = process.hrtime.bigint();
  assert.ok(before <= BigInt(monotonicNs!) && BigInt(monotonicNs!) <= afterwards);
  assert.ok(BigInt(uncertaintyNs!) > 0n && BigInt(uncertaintyNs!) < afterwards - before);
});

test('a device is where it was plugged in: behind a bridge, behind a root port', async () => {
  const path = (await vm.must(['sh', '-c', 'grep -l 0x1234 /sys/bus/pci/devices/*/vendor'])).trim().split('\n');
  const edu: string[] = [];
  for (const vendor of path) {
    if ((await vm.read(vendor.replace(/vendor$/, 'device'))).trim() === '0x11e8') edu.push(vendor);
  }
  assert.equal(edu.length, 1);
  const place = await vm.must(['readlink', '-f', edu[0]!.replace(/\/vendor$/, '')]);
  assert.equal(place.match(/[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d/g)?.length, 3);
});

test('a disk is known by its serial, and cannot be written unless that was asked for', async () => {
  const script = 'for d in /sys/block/*; do [ "$(cat $d/serial 2>/dev/null)" = mine ] && echo ${d##*/}; done; true';
  const name = (await vm.must(['sh', '-c', script])).trim();
  assert.match(name, /^vd[a-z]$/);
  assert.equal(await vm.must(['head', '-c', '3', `/dev/${name}`]), 'ddd');
  assert.equal(await vm.read(`/sys/block/${name}/ro`), '1\n');
});

test('a machine that is switched off has ended without a panic, and answers nothing more', async () => {
  await vm.powerOff();
  assert.equal(vm.panic, undefined);
  await assert.rejects(vm.exec(['true']), /QEMU ended \(0\)/);
  failed = false;
});

test('a panic is the error of whatever was waited for, at once', async () => {
  const other = await Vm.start({ kernel: from });
  try {
    const script = [
      'mkdir /sys/fs/cgroup/small',
      'echo 8M > /sys/fs/cgroup/small/memory.max',
      'echo 2 > /proc/sys/vm/panic_on_oom',
      'echo $$ > /sys/fs/cgroup/small/cgroup.procs',
      'tail /dev/zero',
    ].join(' && ');
    await assert.rejects(
      other.exec(['sh', '-c', script], { timeoutMs: 600_000 }),
      /the kernel panicked: Out of memory/,
    );
    assert.match((await other.ended(10_000))!, /./);
    assert.match(other.console(), /Kernel panic/);
  } finally {
    await other.stop();
  }
});

test('a first boot that does not come in time is an error, and leaves no process and no folder', async () => {
  const mine = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith(`luo-vm-${process.pid}-`));
  const earlier = mine();
  await assert.rejects(Vm.start({ kernel: from, bootMs: 1 }), /the first boot did not come within 1 ms/);
  assert.deepEqual(mine(), earlier);
  const children = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]?.split(' ')[1] === String(process.pid);
    } catch {
      return false;
    }
  });
  assert.deepEqual(children, []);
});

test('what a killed process left of its machines goes at the next start', async () => {
  const left = join(tmpdir(), 'luo-vm-4194305-left');
  mkdtempSync(left);
  await assert.rejects(Vm.start({ kernel: join(folder, 'nowhere') }), /QEMU ended/);
  assert.deepEqual(
    readdirSync(tmpdir()).filter((name) => name.startsWith('luo-vm-4194305-')),
    [],
  );
});
