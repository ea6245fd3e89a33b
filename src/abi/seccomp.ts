/**
 * seccomp(2) and its user notification: operations, actions, structs, ioctls of the listener, and the numbers of the system
 * calls that an emulator of a device looks at, by architecture of the caller.
 * @source include/uapi/linux/seccomp.h, include/uapi/linux/audit.h, the tables of system calls of each architecture
 */

/** Operations of seccomp(2). */
export const SECCOMP = { SET_MODE_FILTER: 1, GET_ACTION_AVAIL: 2, GET_NOTIF_SIZES: 3 } as const;
/** Flags of SET_MODE_FILTER. */
export const SECCOMP_FILTER_FLAG = { NEW_LISTENER: 8, WAIT_KILLABLE_RECV: 32 } as const;
/** What a filter returns. */
export const SECCOMP_RET = { KILL_PROCESS: 0x80000000, USER_NOTIF: 0x7fc00000, ALLOW: 0x7fff0000 } as const;

/** struct seccomp_data, what a filter sees. Arguments are 64-bit words; `argument(n)` is where the low half of one lies. */
export const SECCOMP_DATA = { sizeBytes: 64, nr: 0, arch: 4, instructionPointer: 8, arguments: 16 } as const;
export function lowWordOfArgument(index: number): number {
  return SECCOMP_DATA.arguments + 8 * index;
}

/** struct seccomp_notif: a call that waits for an answer. */
export const SECCOMP_NOTIF = { sizeBytes: 80, id: 0, pid: 8, flags: 12, data: 16 } as const;
/** struct seccomp_notif_resp: `error` is a negated error number. */
export const SECCOMP_NOTIF_RESP = { sizeBytes: 24, id: 0, value: 8, error: 16, flags: 20 } as const;
/** struct seccomp_notif_addfd */
export const SECCOMP_NOTIF_ADDFD = { sizeBytes: 24, id: 0, flags: 8, sourceFd: 12, newFd: 16, newFdFlags: 20 } as const;
/** struct seccomp_notif_sizes */
export const SECCOMP_NOTIF_SIZES = { sizeBytes: 6, notif: 0, response: 2, data: 4 } as const;

/** Let the call run in the kernel after all. */
export const SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1;
/** Flags of ADDFD: choose the number in the caller; answer the call with the new number, in one step. */
export const SECCOMP_ADDFD_FLAG = { SETFD: 1, SEND: 2 } as const;
/** Flags of SET_FLAGS: wake the answering side on the caller's own processor. */
export const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1;

/** ioctls of a listener. */
export const SECCOMP_IOCTL_NOTIF = {
  RECV: 0xc0502100,
  SEND: 0xc0182101,
  ID_VALID: 0x40082102,
  ADDFD: 0x40182103,
  SET_FLAGS: 0x40082104,
} as const;

/** Architectures of a caller, as a filter sees them; one machine runs programs of several. */
export const AUDIT_ARCH = {
  X86_64: 0xc000003e,
  I386: 0x40000003,
  AARCH64: 0xc00000b7,
  ARM: 0x40000028,
} as const;
/** Numbers with this bit are calls of the x32 ABI: 64-bit registers, 32-bit pointers. @source arch/x86/include/uapi/asm/unistd.h */
export const X32_SYSCALL_BIT = 0x40000000;

/** The calls that matter to an emulated device. Not every architecture has every one. */
export const WATCHED_CALLS = [
  'open',
  'openat',
  'openat2',
  'creat',
  'ioctl',
  'ftruncate',
  'ftruncate64',
  'truncate',
  'truncate64',
  'fallocate',
  'stat',
  'lstat',
  'fstat',
  'newfstatat',
  'stat64',
  'lstat64',
  'fstat64',
  'fstatat64',
  'statx',
  'access',
  'faccessat',
  'faccessat2',
  'readlink',
  'readlinkat',
  'kexec_load',
  'kexec_file_load',
  'reboot',
  'io_uring_setup',
] as const;
export type WatchedCall = (typeof WATCHED_CALLS)[number];
export type CallNumbers = Readonly<Partial<Record<WatchedCall, number>>>;

const X86_64_CALLS: CallNumbers = {
  open: 2,
  openat: 257,
  openat2: 437,
  creat: 85,
  ioctl: 16,
  ftruncate: 77,
  truncate: 76,
  fallocate: 285,
  stat: 4,
  lstat: 6,
  fstat: 5,
  newfstatat: 262,
  statx: 332,
  access: 21,
  faccessat: 269,
  faccessat2: 439,
  readlink: 89,
  readlinkat: 267,
  kexec_load: 246,
  kexec_file_load: 320,
  reboot: 169,
  io_uring_setup: 425,
};
const I386_CALLS: CallNumbers = {
  open: 5,
  openat: 295,
  openat2: 437,
  creat: 8,
  ioctl: 54,
  ftruncate: 93,
  ftruncate64: 194,
  truncate: 92,
  truncate64: 193,
  fallocate: 324,
  stat: 106,
  lstat: 107,
  fstat: 108,
  stat64: 195,
  lstat64: 196,
  fstat64: 197,
  fstatat64: 300,
  statx: 383,
  access: 33,
  faccessat: 307,
  faccessat2: 439,
  readlink: 85,
  readlinkat: 305,
  kexec_load: 283,
  reboot: 88,
  io_uring_setup: 425,
};
const AARCH64_CALLS: CallNumbers = {
  openat: 56,
  openat2: 437,
  ioctl: 29,
  ftruncate: 46,
  truncate: 45,
  fallocate: 47,
  fstat: 80,
  newfstatat: 79,
  statx: 291,
  faccessat: 48,
  faccessat2: 439,
  readlinkat: 78,
  kexec_load: 104,
  kexec_file_load: 294,
  reboot: 142,
  io_uring_setup: 425,
};
const ARM_CALLS: CallNumbers = {
  open: 5,
  openat: 322,
  openat2: 437,
  creat: 8,
  ioctl: 54,
  ftruncate: 93,
  ftruncate64: 194,
  truncate: 92,
  truncate64: 193,
  fallocate: 352,
  stat: 106,
  lstat: 107,
  fstat: 108,
  stat64: 195,
  lstat64: 196,
  fstat64: 197,
  fstatat64: 327,
  statx: 397,
  access: 33,
  faccessat: 334,
  faccessat2: 439,
  readlink: 85,
  readlinkat: 332,
  kexec_load: 347,
  kexec_file_load: 401,
  reboot: 88,
  io_uring_setup: 425,
};

/** Numbers by architecture of the caller. x32 programs use those of x86-64 with {@link X32_SYSCALL_BIT}, but for ioctl (514). */
export const CALLS_BY_ARCH: ReadonlyMap<number, CallNumbers> = new Map([
  [AUDIT_ARCH.X86_64, X86_64_CALLS],
  [AUDIT_ARCH.I386, I386_CALLS],
  [AUDIT_ARCH.AARCH64, AARCH64_CALLS],
  [AUDIT_ARCH.ARM, ARM_CALLS],
]);
export const X32_IOCTL = 514;

/** The architectures whose programs a machine of `arch` (as process.arch) runs: its own first, then the 32-bit one. */
export const ARCHS_OF_MACHINE: Readonly<Record<string, { native: number; other: number }>> = {
  x64: { native: AUDIT_ARCH.X86_64, other: AUDIT_ARCH.I386 },
  arm64: { native: AUDIT_ARCH.AARCH64, other: AUDIT_ARCH.ARM },
};

const namesByArch = new Map(
  [...CALLS_BY_ARCH].map(([arch, calls]) => [
    arch,
    new Map(Object.entries(calls).map(([name, nr]) => [nr, name as WatchedCall])),
  ]),
);

/** The name of call `nr` of a program of `arch`; undefined if it is none that matters. x32 numbers have the names of x86-64. */
export function nameOfCall(arch: number, nr: number): WatchedCall | undefined {
  if (arch === AUDIT_ARCH.X86_64 && nr >= X32_SYSCALL_BIT) {
    const plain = nr - X32_SYSCALL_BIT;
    return plain === X32_IOCTL ? 'ioctl' : nameOfCall(arch, plain);
  }
  return namesByArch.get(arch)?.get(nr);
}
