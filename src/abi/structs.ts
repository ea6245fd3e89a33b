/**
 * Sizes and offsets of the kernel's structs that src/sys reads and writes through a DataView, for 64-bit Linux.
 * Fields are written in full; bytes between them are padding and are written zero. Little endian, as both supported
 * architectures are.
 */

/** @source include/linux/socket.h, struct user_msghdr */
export const MSGHDR = {
  sizeBytes: 56,
  name: 0,
  namelen: 8,
  iov: 16,
  iovlen: 24,
  control: 32,
  controllen: 40,
  flags: 48,
} as const;

/** @source include/uapi/linux/uio.h, struct iovec */
export const IOVEC = { sizeBytes: 16, base: 0, len: 8 } as const;

/** @source include/linux/socket.h, struct cmsghdr; data follows at 16, each header begins at a multiple of 8 */
export const CMSGHDR = { sizeBytes: 16, len: 0, level: 8, type: 12, data: 16, align: 8 } as const;

/** @source include/uapi/linux/eventpoll.h, struct epoll_event: packed on x86-64, natural elsewhere */
export function epollEvent(arch: string): { sizeBytes: number; events: number; data: number } {
  return arch === 'x64' ? { sizeBytes: 12, events: 0, data: 4 } : { sizeBytes: 16, events: 0, data: 8 };
}

/** @source include/linux/socket.h, struct ucred */
export const UCRED = { sizeBytes: 12, pid: 0, uid: 4, gid: 8 } as const;

/** @source include/uapi/asm-generic/siginfo.h, struct siginfo, the fields of SIGCHLD */
export const SIGINFO = { sizeBytes: 128, signo: 0, code: 8, pid: 16, uid: 20, status: 24 } as const;

/** @source include/uapi/linux/timerfd.h and time_types.h, struct itimerspec */
export const ITIMERSPEC = { sizeBytes: 32, intervalSec: 0, intervalNsec: 8, valueSec: 16, valueNsec: 24 } as const;

/** @source include/uapi/linux/resource.h, struct rlimit64 */
export const RLIMIT64 = { sizeBytes: 16, soft: 0, hard: 8 } as const;

/** @source include/uapi/linux/inotify.h, struct inotify_event; the name follows, zero padded */
export const INOTIFY_EVENT = { sizeBytes: 16, wd: 0, mask: 4, cookie: 8, len: 12 } as const;

/** @source include/uapi/linux/in.h and in6.h; port and address are big endian */
export const SOCKADDR_IN = { sizeBytes: 16, family: 0, port: 2, address: 4 } as const;
export const SOCKADDR_IN6 = { sizeBytes: 28, family: 0, port: 2, flowinfo: 4, address: 8, scope: 24 } as const;

/** @source include/uapi/linux/un.h; sun_path is at most 108 bytes, its closing zero included */
export const SOCKADDR_UN = { sizeBytes: 110, family: 0, path: 2, pathBytesMax: 107 } as const;

/** @source include/uapi/asm-generic/poll.h, struct pollfd */
export const POLLFD = { sizeBytes: 8, fd: 0, events: 4, revents: 6 } as const;

/** The C library's struct sigaction on 64-bit Linux (glibc and musl): larger than the kernel's own. The handler lies first. */
export const SIGACTION = { sizeBytes: 152, handler: 0 } as const;
/** The C library's sigset_t: signal n is bit n - 1. */
export const SIGSET = { sizeBytes: 128 } as const;
/** posix_spawnattr_t and posix_spawn_file_actions_t are the C library's own; 336 and 80 bytes in glibc and in musl. */
export const POSIX_SPAWN = { attributesBytes: 512, actionsBytes: 256, SETSIGDEF: 4, SETSIGMASK: 8 } as const;
