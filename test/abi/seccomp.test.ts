// Goal: what src/abi says of seccomp's structs and numbers is what a C compiler says of its headers. Method: golden/seccomp.c and
// its output, which is made again where it can be; and programs of BPF that are run by our own interpreter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AUDIT_ARCH,
  BPF,
  BpfProgram,
  CALLS_BY_ARCH,
  SECCOMP,
  SECCOMP_ADDFD_FLAG,
  SECCOMP_DATA,
  SECCOMP_FILTER_FLAG,
  SECCOMP_IOCTL_NOTIF,
  SECCOMP_NOTIF,
  SECCOMP_NOTIF_ADDFD,
  SECCOMP_NOTIF_RESP,
  SECCOMP_NOTIF_SIZES,
  SECCOMP_RET,
  SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
  SECCOMP_USER_NOTIF_FLAG_CONTINUE,
  SOCK_FILTER,
  SOCK_FPROG,
  X32_IOCTL,
  X32_SYSCALL_BIT,
  encodeBpf,
  nameOfCall,
  runBpf,
} from '../../src/abi/index.js';
import { goldenOf } from './golden.js';

const golden = goldenOf('seccomp');
const { number } = golden;

/** Sizes and offsets of a struct, in the golden output's order of fields. */
function layoutOf(struct: string): number[] {
  return [...golden.lines]
    .filter(([name]) => name === struct || name.startsWith(`${struct}.`))
    .map(([, value]) => Number(value));
}

test('every struct has its size and its fields where they are', () => {
  assert.deepEqual(Object.values(SECCOMP_DATA), layoutOf('seccomp_data'));
  assert.deepEqual(Object.values(SECCOMP_NOTIF), layoutOf('seccomp_notif'));
  assert.deepEqual(Object.values(SECCOMP_NOTIF_RESP), layoutOf('seccomp_notif_resp'));
  assert.deepEqual(Object.values(SECCOMP_NOTIF_ADDFD), layoutOf('seccomp_notif_addfd'));
  assert.deepEqual(Object.values(SECCOMP_NOTIF_SIZES), layoutOf('seccomp_notif_sizes'));
  assert.deepEqual(Object.values(SOCK_FILTER), layoutOf('sock_filter'));
  assert.deepEqual(Object.values(SOCK_FPROG), layoutOf('sock_fprog'));
});

test('operations, flags, actions, ioctls, instructions and architectures have their numbers', () => {
  const groups: [string, Readonly<Record<string, number>>][] = [
    ['SECCOMP_', SECCOMP],
    ['SECCOMP_FILTER_FLAG_', SECCOMP_FILTER_FLAG],
    ['SECCOMP_RET_', SECCOMP_RET],
    ['SECCOMP_ADDFD_FLAG_', SECCOMP_ADDFD_FLAG],
    ['SECCOMP_IOCTL_NOTIF_', SECCOMP_IOCTL_NOTIF],
    ['AUDIT_ARCH_', AUDIT_ARCH],
    ['BPF_', BPF],
  ];
  for (const [prefix, values] of groups) {
    for (const [name, value] of Object.entries(values)) assert.equal(value, number(prefix + name), prefix + name);
  }
  assert.equal(SECCOMP_USER_NOTIF_FLAG_CONTINUE, number('SECCOMP_USER_NOTIF_FLAG_CONTINUE'));
  assert.equal(SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, number('SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP'));
});

test('the calls of x86-64 have their numbers, and none is missing', () => {
  const found = Object.entries(CALLS_BY_ARCH.get(AUDIT_ARCH.X86_64)!).map(([name, nr]) => [`call.${name}`, String(nr)]);
  assert.deepEqual(
    found,
    [...golden.lines].filter(([name]) => name.startsWith('call.')),
  );
});

test('a call has its name by architecture, x32 by its own numbers', () => {
  assert.equal(nameOfCall(AUDIT_ARCH.X86_64, 257), 'openat');
  assert.equal(nameOfCall(AUDIT_ARCH.I386, 5), 'open');
  assert.equal(nameOfCall(AUDIT_ARCH.X86_64, 5), 'fstat');
  assert.equal(nameOfCall(AUDIT_ARCH.AARCH64, 29), 'ioctl');
  assert.equal(nameOfCall(AUDIT_ARCH.X86_64, X32_SYSCALL_BIT + X32_IOCTL), 'ioctl');
  assert.equal(nameOfCall(AUDIT_ARCH.X86_64, X32_SYSCALL_BIT + 257), 'openat');
  assert.equal(nameOfCall(AUDIT_ARCH.X86_64, 0), undefined);
  assert.equal(nameOfCall(1, 257), undefined);
});

test('a program of BPF goes where its labels say', () => {
  const program = new BpfProgram()
    .loadWord(0)
    .ifEqual(7, 'seven')
    .ifAtLeast(100, undefined, 'small')
    .return(3)
    .label('seven')
    .jump('end')
    .label('small')
    .shiftRight(1)
    .and(0xf)
    .ifAnyBit(4, 'bit')
    .return(1)
    .label('bit')
    .return(2)
    .label('end')
    .return(4)
    .assemble();
  const answer = (word: number): number => {
    const data = new DataView(new ArrayBuffer(64));
    data.setUint32(0, word, true);
    return runBpf(program, data);
  };
  assert.deepEqual([7, 100, 0xffffffff, 8, 9, 2, 50].map(answer), [4, 3, 3, 2, 2, 1, 1]);
});

test('the bytes of a program are those of struct sock_filter', () => {
  const program = new BpfProgram().loadWord(4).ifEqual(0xc000003e, undefined, 'no').return(1).label('no').return(2);
  assert.equal(
    Buffer.from(encodeBpf(program.assemble())).toString('hex'),
    '2000000004000000' + '150000013e0000c0' + '0600000001000000' + '0600000002000000',
  );
});

test('a program that the kernel would refuse is refused with its reason', () => {
  const wrong: [string, BpfProgram][] = [
    ['empty', new BpfProgram()],
    ['runs off its end', new BpfProgram().loadWord(0)],
    ['no such label', new BpfProgram().ifEqual(1, 'nowhere').return(0)],
    ['a label behind the end', new BpfProgram().ifEqual(1, 'end').return(0).label('end')],
    ['back', new BpfProgram().label('start').loadWord(0).jump('start').return(0)],
  ];
  for (const [why, program] of wrong) assert.throws(() => program.assemble(), RangeError, why);
  const far = new BpfProgram().ifEqual(1, 'far');
  for (let count = 0; count < 256; count += 1) far.loadWord(0);
  assert.throws(() => far.label('far').return(0).assemble(), RangeError);
  assert.throws(() => new BpfProgram().label('a').label('a'), RangeError);
});
