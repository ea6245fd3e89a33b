// Goal: what src/abi says of the kernel's structs and numbers is what a C compiler says of its headers: one wrong offset in a
// retrieve would lose what was preserved. Method: golden/liveupdate.c and its output, which is made again where it can be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  FD_ARGUMENT,
  FINISH_ARGUMENT,
  KEXEC_FILE,
  KEXEC_SYSCALLS,
  LIVEUPDATE_IOCTL,
  LIVEUPDATE_SESSION,
  NAME_ARGUMENT,
  REBOOT,
  SESSION_ARGUMENT,
  SESSION_NAME_BYTES,
  decodeFd,
  decodeName,
  encodeFdArgument,
  encodeFinishArgument,
  encodeNameArgument,
  encodeSessionArgument,
} from '../../src/abi/index.js';
import { goldenOf } from './golden.js';

const golden = goldenOf('liveupdate');
const { number } = golden;
const bytes = (name: string): Uint8Array => Buffer.from(golden.text(name), 'hex');
const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');

/** Fields of a layout under a struct's name, with the size under the name alone. */
function checkLayout(struct: string, { sizeBytes, ...offsets }: { sizeBytes: number } & Record<string, number>): void {
  const wanted = [...golden.lines].filter(([name]) => name === struct || name.startsWith(`${struct}.`));
  const found = [[struct, sizeBytes], ...Object.entries(offsets).map(([field, at]) => [`${struct}.${field}`, at])];
  assert.deepEqual(
    found.map(([name, value]) => [name, String(value)]),
    wanted,
  );
}

test('the ioctls have their numbers', () => {
  for (const [name, value] of Object.entries(LIVEUPDATE_IOCTL)) assert.equal(value, number(`LIVEUPDATE_IOCTL_${name}`));
  for (const [name, value] of Object.entries(LIVEUPDATE_SESSION)) {
    assert.equal(value, number(`LIVEUPDATE_SESSION_${name}`));
  }
  assert.equal(SESSION_NAME_BYTES, number('LIVEUPDATE_SESSION_NAME_LENGTH'));
});

test('every struct has its size, its fields and no others, where they are', () => {
  checkLayout('ioctl_create_session', SESSION_ARGUMENT);
  checkLayout('ioctl_retrieve_session', SESSION_ARGUMENT);
  checkLayout('session_preserve_fd', FD_ARGUMENT);
  checkLayout('session_retrieve_fd', FD_ARGUMENT);
  checkLayout('session_finish', FINISH_ARGUMENT);
  checkLayout('session_get_name', NAME_ARGUMENT);
});

test('encoders write the same bytes as C, over whatever was there', () => {
  const dirty = (count: number): Uint8Array => new Uint8Array(count).fill(0xff);
  for (const made of [encodeSessionArgument('luod'), encodeSessionArgument('luod', dirty(72))]) {
    assert.equal(hex(made), golden.text('create'));
  }
  for (const made of [encodeFdArgument(7, 0x0123456789abcdefn), encodeFdArgument(7, 0x0123456789abcdefn, dirty(16))]) {
    assert.equal(hex(made), golden.text('preserve_fd'));
  }
  assert.equal(hex(encodeFdArgument(-1, 2n ** 64n - 1n)), golden.text('retrieve_fd'));
  assert.equal(hex(encodeFinishArgument(dirty(8))), golden.text('finish'));
  assert.equal(hex(encodeNameArgument(dirty(72))), golden.text('get_name.asked'));
});

test('an encoder leaves alone what lies behind its struct', () => {
  const around = new Uint8Array(100).fill(0xee);
  encodeSessionArgument('luod', around);
  assert.ok(around.subarray(72).every((byte) => byte === 0xee));
  encodeFdArgument(7, 1n, around.fill(0xee));
  assert.ok(around.subarray(16).every((byte) => byte === 0xee));
});

test('decoders read what the kernel answers', () => {
  assert.equal(decodeFd(bytes('retrieve')), 42);
  assert.equal(decodeFd(bytes('create')), -1);
  assert.equal(decodeName(bytes('retrieve')), 'A'.repeat(63));
  assert.equal(decodeName(bytes('get_name.told')), 'ü/1');
  // No NUL within the field: all of it, and nothing behind it.
  assert.equal(decodeName(new Uint8Array(80).fill(0x42)), 'B'.repeat(64));
});

test('a name that the kernel would cut or refuse is not encoded', () => {
  for (const name of ['', 'a\0b', '\0', 'x'.repeat(64), 'ü'.repeat(32)]) {
    assert.throws(() => encodeSessionArgument(name), RangeError, JSON.stringify(name));
  }
  assert.equal(decodeName(encodeSessionArgument('x'.repeat(63))), 'x'.repeat(63));
});

test('a token that is no u64 is not encoded', () => {
  assert.throws(() => encodeFdArgument(0, -1n), RangeError);
  assert.throws(() => encodeFdArgument(0, 2n ** 64n), RangeError);
});

test('kexec and reboot have their numbers', () => {
  for (const [name, value] of Object.entries(KEXEC_FILE)) assert.equal(value, number(`KEXEC_FILE_${name}`));
  const { MAGIC1, MAGIC2, ...commands } = REBOOT;
  assert.deepEqual([MAGIC1, MAGIC2], [number('LINUX_REBOOT_MAGIC1'), number('LINUX_REBOOT_MAGIC2')]);
  for (const [name, value] of Object.entries(commands)) assert.equal(value, number(`LINUX_REBOOT_CMD_${name}`));
  assert.deepEqual(KEXEC_SYSCALLS['x64'], {
    kexecFileLoad: number('SYS_kexec_file_load'),
    reboot: number('SYS_reboot'),
  });
});
