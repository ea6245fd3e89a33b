/**
 * The C library's functions, bound once through koffi. Internal to src/sys: nothing else calls these, since a raw result
 * has its error in errno, which must be read at once and before any `await` (see sys-error.ts).
 * Functions that are variadic in C (fcntl, syscall, prctl) are bound with a fixed number of arguments: both 64-bit Linux
 * ABIs pass them in the same registers, and koffi has no asynchronous form of a variadic function.
 * Pointers inside structs must point into memory from `NativeMemory`; a Buffer may only be a direct argument.
 */
import koffi from 'koffi';

const library = koffi.load(null);

/** A pointer argument: an address, a Buffer for the time of the call, or null. */
export type Pointer = bigint | Buffer | Uint8Array | null;

function bind<F>(name: string, result: string, parameters: string[]): F {
  return library.func(name, result, parameters) as unknown as F;
}

export const readErrno: () => number = koffi.errno as () => number;

export const memfd_create = bind<(name: string, flags: number) => number>('memfd_create', 'int', ['str', 'uint']);
export const ftruncate = bind<(fd: number, size: number) => number>('ftruncate', 'int', ['int', 'int64']);
export const fcntl = bind<(fd: number, command: number, value: number) => number>('fcntl', 'int', [
  'int',
  'int',
  'long',
]);
export const open = bind<(path: string, flags: number, mode: number) => number>('open', 'int', ['str', 'int', 'uint']);
export const close = bind<(fd: number) => number>('close', 'int', ['int']);
export const flock = bind<(fd: number, operation: number) => number>('flock', 'int', ['int', 'int']);
export const read = bind<(fd: number, data: Pointer, size: number) => number>('read', 'int64', [
  'int',
  'void *',
  'size_t',
]);
export const write = bind<(fd: number, data: Pointer, size: number) => number>('write', 'int64', [
  'int',
  'void *',
  'size_t',
]);
export const pread = bind<(fd: number, data: Pointer, size: number, offset: number) => number>('pread', 'int64', [
  'int',
  'void *',
  'size_t',
  'int64',
]);
export const pwrite = bind<(fd: number, data: Pointer, size: number, offset: number) => number>('pwrite', 'int64', [
  'int',
  'void *',
  'size_t',
  'int64',
]);
export const lseek = bind<(fd: number, offset: number, whence: number) => number>('lseek', 'int64', [
  'int',
  'int64',
  'int',
]);
export const fallocate = bind<(fd: number, mode: number, offset: number, size: number) => number>('fallocate', 'int', [
  'int',
  'int',
  'int64',
  'int64',
]);
export const copy_file_range = bind<
  (from: number, fromOffset: Pointer, to: number, toOffset: Pointer, size: number, flags: number) => number
>('copy_file_range', 'int64', ['int', 'void *', 'int', 'void *', 'size_t', 'uint']);
export const mmap = bind<
  (address: bigint, size: number, prot: number, flags: number, fd: number, offset: number) => number | bigint
>('mmap', 'intptr', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64']);
export const munmap = bind<(address: bigint, size: number) => number>('munmap', 'int', ['uintptr_t', 'size_t']);
export const mprotect = bind<(address: bigint, size: number, prot: number) => number>('mprotect', 'int', [
  'uintptr_t',
  'size_t',
  'int',
]);
export const madvise = bind<
  ((address: bigint, size: number, advice: number) => number) & {
    async(address: bigint, size: number, advice: number, callback: (error: Error | null, result: number) => void): void;
  }
>('madvise', 'int', ['uintptr_t', 'size_t', 'int']);
export const socket = bind<(family: number, type: number, protocol: number) => number>('socket', 'int', [
  'int',
  'int',
  'int',
]);
export const socketpair = bind<(family: number, type: number, protocol: number, pair: Pointer) => number>(
  'socketpair',
  'int',
  ['int', 'int', 'int', 'void *'],
);
export const bindSocket = bind<(fd: number, address: Pointer, size: number) => number>('bind', 'int', [
  'int',
  'void *',
  'uint',
]);
export const listen = bind<(fd: number, backlog: number) => number>('listen', 'int', ['int', 'int']);
export const connect = bind<(fd: number, address: Pointer, size: number) => number>('connect', 'int', [
  'int',
  'void *',
  'uint',
]);
export const accept4 = bind<(fd: number, address: Pointer, size: Pointer, flags: number) => number>('accept4', 'int', [
  'int',
  'void *',
  'void *',
  'int',
]);
export const getsockopt = bind<(fd: number, level: number, option: number, value: Pointer, size: Pointer) => number>(
  'getsockopt',
  'int',
  ['int', 'int', 'int', 'void *', 'void *'],
);
export const setsockopt = bind<(fd: number, level: number, option: number, value: Pointer, size: number) => number>(
  'setsockopt',
  'int',
  ['int', 'int', 'int', 'void *', 'uint'],
);
export const getsockname = bind<(fd: number, address: Pointer, size: Pointer) => number>('getsockname', 'int', [
  'int',
  'void *',
  'void *',
]);
export const shutdown = bind<(fd: number, how: number) => number>('shutdown', 'int', ['int', 'int']);
export const send = bind<(fd: number, data: Pointer, size: number, flags: number) => number>('send', 'int64', [
  'int',
  'void *',
  'size_t',
  'int',
]);
export const sendmsg = bind<(fd: number, message: bigint, flags: number) => number>('sendmsg', 'int64', [
  'int',
  'uintptr_t',
  'int',
]);
export const recvmsg = bind<(fd: number, message: bigint, flags: number) => number>('recvmsg', 'int64', [
  'int',
  'uintptr_t',
  'int',
]);
export const epoll_create1 = bind<(flags: number) => number>('epoll_create1', 'int', ['int']);
export const epoll_ctl = bind<(epfd: number, operation: number, fd: number, event: bigint) => number>(
  'epoll_ctl',
  'int',
  ['int', 'int', 'int', 'uintptr_t'],
);
export const epoll_wait = bind<(epfd: number, events: bigint, count: number, timeoutMs: number) => number>(
  'epoll_wait',
  'int',
  ['int', 'uintptr_t', 'int', 'int'],
);
export const eventfd = bind<(initial: number, flags: number) => number>('eventfd', 'int', ['uint', 'int']);
export const timerfd_create = bind<(clock: number, flags: number) => number>('timerfd_create', 'int', ['int', 'int']);
export const timerfd_settime = bind<(fd: number, flags: number, value: Pointer, old: Pointer) => number>(
  'timerfd_settime',
  'int',
  ['int', 'int', 'void *', 'void *'],
);
export const inotify_init1 = bind<(flags: number) => number>('inotify_init1', 'int', ['int']);
export const inotify_add_watch = bind<(fd: number, path: string, mask: number) => number>('inotify_add_watch', 'int', [
  'int',
  'str',
  'uint32',
]);
export const inotify_rm_watch = bind<(fd: number, wd: number) => number>('inotify_rm_watch', 'int', ['int', 'int']);
export const prctl = bind<(option: number, a: Pointer, b: number, c: number, d: number) => number>('prctl', 'int', [
  'int',
  'void *',
  'ulong',
  'ulong',
  'ulong',
]);
export const waitid = bind<(type: number, id: number, info: Pointer, options: number, usage: null) => number>(
  'waitid',
  'int',
  ['int', 'uint', 'void *', 'int', 'void *'],
);
export const waitpid = bind<(pid: number, status: Pointer, options: number) => number>('waitpid', 'int', [
  'int',
  'void *',
  'int',
]);
export const exitNow = bind<(code: number) => never>('_exit', 'void', ['int']);
export const kill = bind<(pid: number, signal: number) => number>('kill', 'int', ['int', 'int']);
export const prlimit64 = bind<(pid: number, resource: number, next: Pointer, old: Pointer) => number>(
  'prlimit64',
  'int',
  ['int', 'int', 'void *', 'void *'],
);
export const syscall = bind<(number: number, a: number, b: number, c: number, d: number, e: number) => number>(
  'syscall',
  'int64',
  ['long', 'int64', 'int64', 'int64', 'int64', 'int64'],
);
export const pipe2 = bind<(pair: Pointer, flags: number) => number>('pipe2', 'int', ['void *', 'int']);
export const ioctl = bind<
  ((fd: number, request: number, argument: bigint) => number) & {
    async(fd: number, request: number, argument: bigint, callback: (error: Error | null, result: number) => void): void;
  }
>('ioctl', 'int', ['int', 'ulong', 'uintptr_t']);
/** kexec_file_load(2): its command line is the fifth of six arguments. */
export const syscallWithText = bind<
  (number: number, a: number, b: number, c: number, text: string | null, e: number) => number
>('syscall', 'int64', ['long', 'int64', 'int64', 'int64', 'str', 'int64']);
export const sync = bind<() => void>('sync', 'void', []);
/** Result and errno both: unlike most, posix_spawn returns the error number. */
export const posix_spawn = bind<
  (pid: Pointer, path: bigint, actions: bigint, attributes: bigint, argv: bigint, env: bigint) => number
>('posix_spawn', 'int', ['void *', 'uintptr_t', 'uintptr_t', 'uintptr_t', 'uintptr_t', 'uintptr_t']);
export const posix_spawnattr_init = bind<(attributes: bigint) => number>('posix_spawnattr_init', 'int', ['uintptr_t']);
export const posix_spawnattr_destroy = bind<(attributes: bigint) => number>('posix_spawnattr_destroy', 'int', [
  'uintptr_t',
]);
export const posix_spawnattr_setflags = bind<(attributes: bigint, flags: number) => number>(
  'posix_spawnattr_setflags',
  'int',
  ['uintptr_t', 'short'],
);
export const posix_spawnattr_setsigdefault = bind<(attributes: bigint, set: Pointer) => number>(
  'posix_spawnattr_setsigdefault',
  'int',
  ['uintptr_t', 'void *'],
);
export const posix_spawnattr_setsigmask = bind<(attributes: bigint, set: Pointer) => number>(
  'posix_spawnattr_setsigmask',
  'int',
  ['uintptr_t', 'void *'],
);
export const posix_spawn_file_actions_init = bind<(actions: bigint) => number>('posix_spawn_file_actions_init', 'int', [
  'uintptr_t',
]);
export const posix_spawn_file_actions_destroy = bind<(actions: bigint) => number>(
  'posix_spawn_file_actions_destroy',
  'int',
  ['uintptr_t'],
);
export const posix_spawn_file_actions_addclose = bind<(actions: bigint, fd: number) => number>(
  'posix_spawn_file_actions_addclose',
  'int',
  ['uintptr_t', 'int'],
);
export const posix_spawn_file_actions_adddup2 = bind<(actions: bigint, fd: number, newFd: number) => number>(
  'posix_spawn_file_actions_adddup2',
  'int',
  ['uintptr_t', 'int', 'int'],
);
export const posix_spawn_file_actions_addchdir_np = bind<(actions: bigint, path: Pointer) => number>(
  'posix_spawn_file_actions_addchdir_np',
  'int',
  ['uintptr_t', 'void *'],
);
export const sigaction = bind<(signal: number, next: Pointer, old: Pointer) => number>('sigaction', 'int', [
  'int',
  'void *',
  'void *',
]);
export const poll = bind<(fds: Pointer, count: number, timeoutMs: number) => number>('poll', 'int', [
  'void *',
  'ulong',
  'int',
]);
export const process_vm_readv = bind<
  (pid: number, local: bigint, localCount: number, remote: bigint, remoteCount: number, flags: number) => number
>('process_vm_readv', 'int64', ['int', 'uintptr_t', 'ulong', 'uintptr_t', 'ulong', 'ulong']);
export const process_vm_writev = bind<
  (pid: number, local: bigint, localCount: number, remote: bigint, remoteCount: number, flags: number) => number
>('process_vm_writev', 'int64', ['int', 'uintptr_t', 'ulong', 'uintptr_t', 'ulong', 'ulong']);
