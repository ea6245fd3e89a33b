/**
 * Constants of the kernel's user space interface, under the kernel's own names without their prefix where the group
 * says it. All values hold for x86-64 and arm64; the few numbers that differ are in SYSCALLS by architecture.
 * @source include/uapi/linux/{fcntl,memfd,mman,eventpoll,eventfd,timerfd,inotify,prctl,wait,kcmp,resource,socket}.h
 */

export const AT = { EMPTY_PATH: 0x1000 } as const;

/** open(2) and descriptor flags. @source include/uapi/asm-generic/fcntl.h */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  ACCMODE: 3,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  NONBLOCK: 0x800,
  CLOEXEC: 0x80000,
  PATH: 0x200000,
} as const;
/** The one flag of open(2) here whose bit differs between the architectures. */
export const O_DIRECTORY: Readonly<Record<string, number>> = { x64: 0o200000, arm64: 0o40000 };

/** fcntl(2) commands. */
export const F = {
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  DUPFD_CLOEXEC: 1030,
  ADD_SEALS: 1033,
  GET_SEALS: 1034,
} as const;
export const FD_CLOEXEC = 1;

/** Seals of a memfd. */
export const SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8, FUTURE_WRITE: 16, EXEC: 32 } as const;

/** memfd_create(2) flags. */
export const MFD = { CLOEXEC: 1, ALLOW_SEALING: 2, HUGETLB: 4, NOEXEC_SEAL: 8, EXEC: 16 } as const;

/** Protection of a mapping. */
export const PROT = { NONE: 0, READ: 1, WRITE: 2 } as const;

/** mmap(2) flags. */
export const MAP = {
  SHARED: 0x01,
  PRIVATE: 0x02,
  FIXED: 0x10,
  ANONYMOUS: 0x20,
  NORESERVE: 0x4000,
  POPULATE: 0x8000,
} as const;

/** madvise(2) advice. */
export const MADV = {
  NORMAL: 0,
  WILLNEED: 3,
  DONTNEED: 4,
  REMOVE: 9,
  HUGEPAGE: 14,
  NOHUGEPAGE: 15,
  POPULATE_READ: 22,
  POPULATE_WRITE: 23,
} as const;

/** Socket families, types, options and flags. */
export const AF = { UNSPEC: 0, UNIX: 1, INET: 2, INET6: 10 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, SEQPACKET: 5, NONBLOCK: 0x800, CLOEXEC: 0x80000 } as const;
export const SOL = { SOCKET: 1, TCP: 6, IPV6: 41 } as const;
export const SO = {
  REUSEADDR: 2,
  TYPE: 3,
  ERROR: 4,
  SNDBUF: 7,
  RCVBUF: 8,
  KEEPALIVE: 9,
  REUSEPORT: 15,
  PEERCRED: 17,
  ACCEPTCONN: 30,
  PROTOCOL: 38,
  DOMAIN: 39,
} as const;
export const IPV6 = { V6ONLY: 26 } as const;
export const TCP = { NODELAY: 1 } as const;
export const SCM = { RIGHTS: 1 } as const;
export const MSG = {
  CTRUNC: 0x8,
  DONTWAIT: 0x40,
  NOSIGNAL: 0x4000,
  CMSG_CLOEXEC: 0x40000000,
} as const;
export const SHUT = { RD: 0, WR: 1, RDWR: 2 } as const;
/** Most fds of one SCM_RIGHTS message. @source include/net/scm.h */
export const SCM_MAX_FD = 253;

export const EPOLL = {
  CTL_ADD: 1,
  CTL_DEL: 2,
  CTL_MOD: 3,
  IN: 0x1,
  OUT: 0x4,
  ERR: 0x8,
  HUP: 0x10,
  RDHUP: 0x2000,
  ET: 0x80000000,
  CLOEXEC: 0x80000,
} as const;

export const SEEK = { SET: 0, CUR: 1, END: 2 } as const;
export const EFD = { SEMAPHORE: 1, NONBLOCK: 0x800, CLOEXEC: 0x80000 } as const;
export const TFD = { NONBLOCK: 0x800, CLOEXEC: 0x80000 } as const;
export const CLOCK = { REALTIME: 0, MONOTONIC: 1 } as const;
export const IN = {
  MODIFY: 0x2,
  CLOSE_WRITE: 0x8,
  MOVED_FROM: 0x40,
  MOVED_TO: 0x80,
  CREATE: 0x100,
  DELETE: 0x200,
  DELETE_SELF: 0x400,
  IGNORED: 0x8000,
  NONBLOCK: 0x800,
  CLOEXEC: 0x80000,
} as const;

export const PR = {
  SET_PDEATHSIG: 1,
  SET_NAME: 15,
  GET_NAME: 16,
  SET_CHILD_SUBREAPER: 36,
  GET_CHILD_SUBREAPER: 37,
  SET_NO_NEW_PRIVS: 38,
  GET_NO_NEW_PRIVS: 39,
} as const;
export const P = { ALL: 0, PID: 1, PGID: 2, PIDFD: 3 } as const;
export const W = { NOHANG: 1, STOPPED: 2, EXITED: 4, CONTINUED: 8, NOWAIT: 0x1000000 } as const;
/** Why SIGCHLD came: the code in its siginfo. @source include/uapi/asm-generic/siginfo.h */
export const CLD = { EXITED: 1, KILLED: 2, DUMPED: 3, TRAPPED: 4, STOPPED: 5, CONTINUED: 6 } as const;
export const KCMP = { FILE: 0 } as const;
export const RLIMIT = { CORE: 4, NOFILE: 7 } as const;
export const LOCK = { SH: 1, EX: 2, NB: 4, UN: 8 } as const;

/**
 * Numbers of system calls that older C libraries have no function for.
 * @source arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
 */
export const SYSCALLS: Readonly<Record<string, { kcmp: number }>> = {
  x64: { kcmp: 312 },
  arm64: { kcmp: 272 },
};
export const SYS = { pidfd_send_signal: 424, pidfd_open: 434, pidfd_getfd: 438 } as const;
/** Flag of pidfd_open(2): of a thread that need not lead its process. Linux 6.9. @source include/uapi/linux/pidfd.h */
export const PIDFD_THREAD = 0o200;
/** Events of poll(2). @source include/uapi/asm-generic/poll.h */
export const POLL = { IN: 1, OUT: 4, ERR: 8, HUP: 0x10, NVAL: 0x20 } as const;
