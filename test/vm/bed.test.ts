// Goal: the machine that the other tests run on does what they rely on: boot, run, wait, jump, and say what went wrong.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';

const { from, to } = kernels();
let vm: Vm;
before(async () => {
  vm = await Vm.start({ kernel: from, files: { '/boot/to': to.path } });
});
after(() => vm.stop());

test('it boots the kernel that was asked for, and says hello', () => {
  assert.equal(vm.hello.release, from.version);
  assert.match(vm.hello.cmdline, /liveupdate=on/);
});

test('programs run to their end, with input, environment, exit code, and a deadline', async () => {
  const ran = await vm.exec(['sh', '-c', 'cat; echo $WORD >&2; exit 3'], { stdin: 'text', env: { WORD: 'said' } });
  assert.deepEqual([ran.code, ran.stdout, ran.stderr], [3, 'text', 'said\n']);
  const late = await vm.exec(['sleep', '30'], { timeoutMs: 300 });
  assert.deepEqual([late.late, late.signal], [true, 'SIGKILL']);
  await assert.rejects(vm.must(['false']), /ended with 1/);
});

test('files are written and read, and functions of this package are called inside', async () => {
  await vm.write('/run/a/file', 'content');
  assert.equal(await vm.read('/run/a/file'), 'content');
  await assert.rejects(vm.run('test/vm/guest/memfds.js', 'retrieveKinds'), /ENOENT/);
});

test('both clocks are related to within a second, and a wait says what it waited for', async () => {
  const { uncertaintyMs } = await vm.clockOffset();
  assert.ok(uncertaintyMs < 1000);
  await assert.rejects(
    vm.until('a miracle', () => Promise.resolve(undefined), 300),
    /a miracle did not come within 300 ms/,
  );
});

test('a jump leads into the other kernel, whose agent says hello', async () => {
  const hello = vm.hello;
  await vm.run('test/vm/guest/load.js', 'load', ['/boot/to']);
  const jumped = vm.jumped(hello);
  await vm.run('test/vm/guest/memfds.js', 'jump');
  assert.equal((await jumped).release, to.version);
  assert.notEqual(vm.hello.bootId, hello.bootId);
});

test('a kernel that panics is a failed start that shows its last words', async () => {
  await assert.rejects(Vm.start({ kernel: from, append: 'init=/nowhere' }), /panic/i);
});

test('a machine that is stopped leaves nothing behind', async () => {
  const { folder } = vm;
  assert.ok(existsSync(folder));
  await vm.stop();
  assert.ok(!existsSync(folder));
  await assert.rejects(vm.exec(['true']), /QEMU ended/);
});
