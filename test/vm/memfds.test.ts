// Goal: what a memfd keeps and loses over a real kexec, of every kind that people make, and what the kernel refuses: the facts
// that the product builds on, on these kernels.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SEAL } from '../../src/abi/index.js';
import { kernels } from './bed/kernels.js';
import { Vm } from './bed/vm.js';
import type { retrieveKinds } from './guest/memfds.js';

const { from, to } = kernels();
const LARGE_BYTES = 512 * 2 ** 20;
let vm: Vm;
let failed = true;
let given: { digest: string; refused: Record<string, string> };
let found: Awaited<ReturnType<typeof retrieveKinds>>;

before(async () => {
  vm = await Vm.start({ kernel: from, memoryMiB: 2048, files: { '/boot/to': to.path } });
  given = await vm.run('test/vm/guest/memfds.js', 'preserveKinds', [LARGE_BYTES], 300_000);
  await vm.run('test/vm/guest/load.js', 'load', ['/boot/to']);
  const jumped = vm.jumped(vm.hello);
  await vm.run('test/vm/guest/memfds.js', 'jump');
  await jumped;
  found = await vm.run('test/vm/guest/memfds.js', 'retrieveKinds', [], 300_000);
});
after(() => vm.stop(failed));

test('before the jump the kernel refuses what the facts say', () => {
  assert.deepEqual(given.refused, {
    socket: 'ENOENT',
    'character device': 'ENOENT',
    'the same file twice': 'EBUSY',
    'the same token twice': 'EEXIST',
    'a retrieve before the jump': 'EINVAL',
    'a finish before the jump': 'EINVAL',
    'a larger size': 'EPERM',
    name: 'kinds',
  });
});

test('zero bytes, one byte, holes and content come back', () => {
  assert.equal(found.files['1']!.sizeBytes, 0);
  assert.equal(found.files['2']!.text, 'x');
  assert.equal(found.files['3']!.sizeBytes, 8 * 2 ** 20);
  assert.equal(found.files['4']!.text, 'sealed');
  assert.equal(found.files['9']!.text, 'after!');
});

test('512 MiB come back with the same digest, and 500 files of one session each with its own', () => {
  assert.equal(found.digest, given.digest);
  assert.equal(found.many, 500);
});

test('seals that were there before preserving are kept, later ones are lost', () => {
  assert.equal(found.files['4']!.seals, SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.SEAL);
  assert.equal(found.files['4']!.writable, false);
  assert.equal(found.files['6']!.seals, 0);
});

test('the position is the one of the jump; the name is lost, the mode is 777, and what was read-only can be written', () => {
  assert.equal(found.position, 'positioned+');
  assert.equal(found.files['2']!.link, '/ (deleted)');
  assert.equal(found.files['2']!.mode, '777');
  assert.deepEqual(
    [found.files['8']!.text, found.files['8']!.flags, found.files['8']!.writable],
    ['read only', 2, true],
  );
});

test('a memfd that is sealed against execution comes back read-only and of fixed size', () => {
  const { seals, writable, text } = found.files['7']!;
  assert.equal(seals & (SEAL.WRITE | SEAL.SHRINK | SEAL.GROW), SEAL.WRITE | SEAL.SHRINK | SEAL.GROW);
  assert.deepEqual([writable, text], [false, 'noexec']);
});

test('a session is taken once, and what came out of it can be preserved again only after its finish', () => {
  assert.deepEqual(found.again, {
    'the session a second time': 'EINVAL',
    'a session that never was': 'ENOENT',
    'an unknown token': 'ENOENT',
    'preserving before finish': 'EBUSY',
    'preserving after finish': 'none',
    'a retrieve after finish': 'ENOENT',
  });
  failed = false;
});
