// Goal: exactly the calls that a client of the device may use stop at the emulator, on every architecture of the machine; all
// others pass. Method: the filter is run by our own interpreter on made up calls.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AUDIT_ARCH,
  BPF_INSTRUCTIONS_MAX,
  CALLS_BY_ARCH,
  O,
  REBOOT,
  SECCOMP_DATA,
  SECCOMP_RET,
  X32_IOCTL,
  X32_SYSCALL_BIT,
  runBpf,
} from '../../../src/abi/index.js';
import { knowsMachine, launchFilter } from '../../../src/emulator/launch/filter.js';

interface Call {
  readonly arch?: number;
  readonly nr: number;
  readonly args?: readonly (number | bigint)[];
}

function stops(filter: ReturnType<typeof launchFilter>, { arch = AUDIT_ARCH.X86_64, nr, args = [] }: Call): boolean {
  const data = new DataView(new ArrayBuffer(SECCOMP_DATA.sizeBytes));
  data.setUint32(SECCOMP_DATA.nr, nr, true);
  data.setUint32(SECCOMP_DATA.arch, arch, true);
  args.forEach((value, index) =>
    data.setBigUint64(SECCOMP_DATA.arguments + 8 * index, BigInt.asUintN(64, BigInt(value)), true),
  );
  const action = runBpf(filter, data);
  assert.ok(action === SECCOMP_RET.USER_NOTIF || action === SECCOMP_RET.ALLOW, `action ${action.toString(16)}`);
  return action === SECCOMP_RET.USER_NOTIF;
}

const plain = launchFilter({ strict: false, machine: 'x64' });
const strict = launchFilter({ strict: true, machine: 'x64' });
const x64 = CALLS_BY_ARCH.get(AUDIT_ARCH.X86_64)!;
const DIRECTORY = 0o200000;
const TMPFILE = 0o20000000 | DIRECTORY;

const openFlags: [number, boolean][] = [
  [O.RDWR, true],
  [O.RDWR | O.CLOEXEC | O.NONBLOCK, true],
  [O.RDWR | O.CREAT, true],
  [O.RDWR | O.CREAT | O.EXCL, true],
  [O.RDWR | O.TRUNC, true],
  [O.RDWR | O.CREAT | O.TRUNC, false],
  [O.RDWR | TMPFILE, false],
  [O.RDWR | DIRECTORY, false],
  [O.RDONLY, false],
  [O.RDONLY | O.CLOEXEC, false],
  [O.WRONLY, false],
  [O.WRONLY | O.CREAT | O.TRUNC, false],
  [O.ACCMODE, false],
  [O.PATH, false],
];

test('opens for reading and writing stop, those that make a fresh file or read do not', () => {
  for (const [flags, wanted] of openFlags) {
    const name = flags.toString(8);
    assert.equal(stops(plain, { nr: x64.openat!, args: [-100, 0x1000, flags] }), wanted, `openat ${name}`);
    assert.equal(stops(plain, { nr: x64.open!, args: [0x1000, flags] }), wanted, `open ${name}`);
    // The kernel looks at the low half only.
    assert.equal(
      stops(plain, { nr: x64.open!, args: [0x1000, (0xffn << 32n) | BigInt(flags)] }),
      wanted,
      `high ${name}`,
    );
  }
});

test('ioctls stop by their type alone, whatever size or direction is in them', () => {
  for (const request of [0xba00, 0xba40, 0xbaff, 0xc048ba00, 0x4008ba42]) {
    assert.ok(stops(plain, { nr: x64.ioctl!, args: [3, request, 0] }), request.toString(16));
  }
  assert.ok(stops(plain, { nr: x64.ioctl!, args: [3, 0x5_0000_ba00, 0] }), 'the high half does not count');
  for (const request of [0x5401, 0xbb00, 0xb900, 0x00ba, 0xba0000, 0]) {
    assert.ok(!stops(plain, { nr: x64.ioctl!, args: [3, request, 0] }), request.toString(16));
  }
});

test('every reboot stops: a restart that a program asks for must not be that of this machine', () => {
  const reboot = (command: number): Call => ({ nr: x64.reboot!, args: [REBOOT.MAGIC1, REBOOT.MAGIC2, command, 0] });
  for (const command of [REBOOT.KEXEC, REBOOT.RESTART, REBOOT.POWER_OFF, 0, 0x89abcdef])
    assert.ok(stops(plain, reboot(command)));
});

test('what has no argument to tell by stops always', () => {
  for (const name of [
    'openat2',
    'creat',
    'ftruncate',
    'truncate',
    'fallocate',
    'kexec_load',
    'kexec_file_load',
    'reboot',
    'io_uring_setup',
  ] as const) {
    assert.ok(stops(plain, { nr: x64[name]! }), name);
  }
});

test('by default nothing else stops', () => {
  const judged = new Set<number>(['open', 'openat', 'ioctl'].map((name) => x64[name as 'open']!));
  const always = new Set<number>(
    (
      [
        'openat2',
        'creat',
        'ftruncate',
        'truncate',
        'fallocate',
        'kexec_load',
        'kexec_file_load',
        'reboot',
        'io_uring_setup',
      ] as const
    ).map((name) => x64[name]!),
  );
  for (let nr = 0; nr < 1024; nr += 1) {
    if (!judged.has(nr)) assert.equal(stops(plain, { nr }), always.has(nr), String(nr));
  }
});

test('strict stops every open, stat, access, readlink and ioctl besides', () => {
  for (const [name, nr] of Object.entries(x64)) {
    assert.ok(stops(strict, { nr, args: [0, 0, 0] }), name);
  }
  for (const nr of [0, 1, 3, 9, 59, 231]) assert.ok(!stops(strict, { nr }), String(nr));
});

test('32-bit and x32 programs stop at the same calls by their own numbers', () => {
  const i386 = CALLS_BY_ARCH.get(AUDIT_ARCH.I386)!;
  for (const [flags, wanted] of openFlags) {
    assert.equal(stops(plain, { arch: AUDIT_ARCH.I386, nr: i386.open!, args: [0x1000, flags] }), wanted);
    assert.equal(stops(plain, { nr: X32_SYSCALL_BIT + x64.openat!, args: [-100, 0x1000, flags] }), wanted);
  }
  assert.ok(stops(plain, { arch: AUDIT_ARCH.I386, nr: i386.ioctl!, args: [3, 0xba00] }));
  assert.ok(!stops(plain, { arch: AUDIT_ARCH.I386, nr: i386.ioctl!, args: [3, 0x5401] }));
  assert.ok(stops(plain, { nr: X32_SYSCALL_BIT + X32_IOCTL, args: [3, 0xba00] }));
  assert.ok(!stops(plain, { arch: AUDIT_ARCH.I386, nr: x64.openat!, args: [0, 0, O.RDWR] }), 'another call there');
  assert.ok(stops(strict, { arch: AUDIT_ARCH.I386, nr: i386.stat64! }));
});

test('a program of an architecture that nobody knows never passes', () => {
  assert.ok(stops(plain, { arch: 0x12345678, nr: 1 }));
});

test('arm64 has its own numbers and its own bit for folders', () => {
  const filter = launchFilter({ strict: false, machine: 'arm64' });
  const arm64 = CALLS_BY_ARCH.get(AUDIT_ARCH.AARCH64)!;
  const open = (flags: number): Call => ({ arch: AUDIT_ARCH.AARCH64, nr: arm64.openat!, args: [-100, 0, flags] });
  assert.ok(stops(filter, open(O.RDWR)));
  assert.ok(!stops(filter, open(O.RDWR | 0o40000)));
  assert.ok(stops(filter, open(O.RDWR | DIRECTORY)), 'O_DIRECT there');
  assert.ok(stops(filter, { arch: AUDIT_ARCH.AARCH64, nr: arm64.ioctl!, args: [3, 0xba41] }));
  assert.ok(!stops(filter, { arch: AUDIT_ARCH.AARCH64, nr: 63 }));
  assert.ok(stops(filter, { arch: AUDIT_ARCH.ARM, nr: 54, args: [3, 0xba41] }));
});

test('a machine that is not known is refused, and the filters are far from the kernel’s bound', () => {
  assert.ok(knowsMachine('x64') && knowsMachine('arm64') && !knowsMachine('riscv64'));
  assert.throws(() => launchFilter({ strict: false, machine: 'riscv64' }), RangeError);
  for (const machine of ['x64', 'arm64']) {
    assert.ok(launchFilter({ strict: true, machine }).length < BPF_INSTRUCTIONS_MAX / 10);
  }
});
