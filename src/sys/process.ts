/**
 * Processes: descriptors of them, signals, reaping, names and limits. A pid may be given to another process once its
 * own is reaped; a pidfd may not, and becomes readable when the process ends.
 */
import { constants } from 'node:os';
import { CLD, KCMP, P, PIDFD_THREAD, PR, RLIMIT, SYS, SYSCALLS, W } from '../abi/linux.js';
import { RLIMIT64, SIGINFO } from '../abi/structs.js';
import { ERRNO } from '../abi/errno.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { SysError, check } from './sys-error.js';

/** How a child ended: one of the two is null. */
export interface ExitStatus {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A descriptor of process `pid`, close-on-exec. @throws SysError ESRCH no such process; EINVAL, EMFILE */
export function pidfdOpen(pid: number): OwnedFd {
  return new OwnedFd(check(libc.syscall(SYS.pidfd_open, pid, 0, 0, 0, 0), 'pidfd_open', String(pid)));
}

/**
 * A descriptor of thread `threadId`, which need not lead its process: its table of open files is the one that counts.
 * Kernels before 6.9 know no such thing: then of the process that it leads.
 * @throws SysError ESRCH, EINVAL no process is led by it, and this kernel is older
 */
export function pidfdOpenThread(threadId: number): OwnedFd {
  const fd = libc.syscall(SYS.pidfd_open, threadId, PIDFD_THREAD, 0, 0, 0);
  if (fd >= 0) return new OwnedFd(fd);
  if (libc.readErrno() === ERRNO.EINVAL) return pidfdOpen(threadId);
  throw new SysError('pidfd_open(PIDFD_THREAD)', libc.readErrno(), String(threadId));
}

/** Send a signal to the process of `pidfd`. @throws SysError ESRCH it ended and was reaped; EPERM; EINVAL */
export function pidfdSendSignal(pidfd: number, signal: NodeJS.Signals | number): void {
  check(libc.syscall(SYS.pidfd_send_signal, pidfd, signalNumber(signal), 0, 0, 0), 'pidfd_send_signal');
}

/** A duplicate of descriptor `targetFd` of another process. @throws SysError EPERM no right to trace it; EBADF; ESRCH */
export function pidfdGetfd(pidfd: number, targetFd: number): OwnedFd {
  return new OwnedFd(check(libc.syscall(SYS.pidfd_getfd, pidfd, targetFd, 0, 0, 0), 'pidfd_getfd'));
}

/** Send a signal; a negative `pid` is a process group, signal 0 only asks. @throws SysError ESRCH, EPERM */
export function kill(pid: number, signal: NodeJS.Signals | number): void {
  check(libc.kill(pid, signalNumber(signal)), 'kill', String(pid));
}

/** True if a process (a zombie too) has this pid. */
export function processExists(pid: number): boolean {
  return libc.kill(pid, 0) >= 0 || libc.readErrno() === ERRNO.EPERM;
}

/** A pid of a child that has ended and was not reaped; 0 if none has, undefined if there is no child at all. It stays unreaped. */
export function endedChild(): number | undefined {
  const info = Buffer.alloc(SIGINFO.sizeBytes);
  if (libc.waitid(P.ALL, 0, info, W.EXITED | W.NOHANG | W.NOWAIT, null) < 0) {
    const errno = libc.readErrno();
    if (errno === ERRNO.ECHILD) return undefined;
    throw new SysError('waitid', errno);
  }
  return info.readInt32LE(SIGINFO.pid);
}

/** Reap child `pid` if it has ended; undefined if it lives. @throws SysError ECHILD not a child, or reaped already */
export function waitPid(pid: number): ExitStatus | undefined {
  const raw = Buffer.alloc(4);
  if (check(libc.waitpid(pid, raw, W.NOHANG), 'waitpid', String(pid)) === 0) return undefined;
  const status = raw.readInt32LE(0);
  const signal = status & 0x7f;
  if (signal === 0) return { pid, code: (status >> 8) & 0xff, signal: null };
  return { pid, code: null, signal: signalName(signal) };
}

/** What became of a child: it ended, stopped or went on. */
export interface ChildChange {
  readonly pid: number;
  readonly kind: 'ended' | 'stopped' | 'continued';
  /** Exit code; null unless it ended by itself. */
  readonly code: number | null;
  /** Number of the signal that ended or stopped it. */
  readonly signal: number | null;
}

/**
 * Take the next change of any child; ended ones are reaped by it.
 * @returns undefined: nothing new; null: there is no child at all
 */
export function takeChildChange(): ChildChange | undefined | null {
  const info = Buffer.alloc(SIGINFO.sizeBytes);
  if (libc.waitid(P.ALL, 0, info, W.EXITED | W.STOPPED | W.CONTINUED | W.NOHANG, null) < 0) {
    const errno = libc.readErrno();
    if (errno === ERRNO.ECHILD) return null;
    throw new SysError('waitid', errno);
  }
  const pid = info.readInt32LE(SIGINFO.pid);
  if (pid === 0) return undefined;
  const status = info.readInt32LE(SIGINFO.status);
  switch (info.readInt32LE(SIGINFO.code)) {
    case CLD.EXITED:
      return { pid, kind: 'ended', code: status, signal: null };
    case CLD.KILLED:
    case CLD.DUMPED:
      return { pid, kind: 'ended', code: null, signal: status };
    case CLD.CONTINUED:
      return { pid, kind: 'continued', code: null, signal: null };
    default:
      return { pid, kind: 'stopped', code: null, signal: status };
  }
}

/** End this process at once: no exit handlers, no flushing of Node's streams. */
export function exitNow(code: number): never {
  return libc.exitNow(code);
}

/** Orphans of this process's descendants become its own children, to be reaped by it. @throws SysError EINVAL */
export function becomeSubreaper(on = true): void {
  check(libc.prctl(PR.SET_CHILD_SUBREAPER, on ? 1n : 0n, 0, 0, 0), 'prctl(PR_SET_CHILD_SUBREAPER)');
}

/** The name of the calling thread as ps and top show it, at most 15 bytes. */
export function setProcessName(name: string): void {
  check(libc.prctl(PR.SET_NAME, Buffer.from(`${name.slice(0, 15)}\0`), 0, 0, 0), 'prctl(PR_SET_NAME)');
}

/** No core file if this process ends by a signal: the one that it does so for has left its own. */
export function forbidCore(): void {
  const limit = Buffer.alloc(RLIMIT64.sizeBytes);
  check(libc.prlimit64(0, RLIMIT.CORE, null, limit), 'prlimit');
  limit.writeBigUInt64LE(0n, RLIMIT64.soft);
  check(libc.prlimit64(0, RLIMIT.CORE, limit, null), 'prlimit');
}

/** Soft and hard limit of open descriptors of process `pid` (0: this one). @throws SysError ESRCH, EPERM */
export function getFileLimit(pid = 0): { soft: number; hard: number } {
  const limit = Buffer.alloc(RLIMIT64.sizeBytes);
  check(libc.prlimit64(pid, RLIMIT.NOFILE, null, limit), 'prlimit');
  return {
    soft: Number(limit.readBigUInt64LE(RLIMIT64.soft)),
    hard: Number(limit.readBigUInt64LE(RLIMIT64.hard)),
  };
}

/** Set both limits. @throws SysError EPERM above the hard limit; EINVAL soft above hard; ESRCH */
export function setFileLimit(limits: { soft: number; hard: number }, pid = 0): void {
  const limit = Buffer.alloc(RLIMIT64.sizeBytes);
  limit.writeBigUInt64LE(BigInt(limits.soft), RLIMIT64.soft);
  limit.writeBigUInt64LE(BigInt(limits.hard), RLIMIT64.hard);
  check(libc.prlimit64(pid, RLIMIT.NOFILE, limit, null), 'prlimit');
}

/** True if both descriptors, each of its process, are of the same open file. @throws SysError EBADF, EPERM, ESRCH, ENOSYS */
export function sameOpenFile(one: { pid: number; fd: number }, other: { pid: number; fd: number }): boolean {
  const number = SYSCALLS[process.arch]?.kcmp;
  if (number === undefined) throw new SysError('kcmp', 38);
  return check(libc.syscall(number, one.pid, other.pid, KCMP.FILE, one.fd, other.fd), 'kcmp') === 0;
}

/** The number of a signal, which may already be one. */
export function signalNumber(signal: NodeJS.Signals | number): number {
  return typeof signal === 'number' ? signal : constants.signals[signal];
}

/** The name of signal `number`; realtime signals have none and are called by their number. */
export function signalName(number: number): NodeJS.Signals {
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return (found?.[0] ?? `SIG${number}`) as NodeJS.Signals;
}
