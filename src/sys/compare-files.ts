/**
 * What makes two descriptors the same file. The order of open files lets one among many be found by halving; it means
 * nothing else, and stays the same as long as the files are open.
 * @source kernel/kcmp.c; kcmp(2)
 */
import { ERRNO } from '../abi/errno.js';
import { F, KCMP, SYSCALLS } from '../abi/linux.js';
import * as libc from './libc.js';
import { readErrno } from './libc.js';
import { SysError, check } from './sys-error.js';

/**
 * 0: both descriptors (of this process, borrowed) are of one open file; else negative or positive, as in a sort.
 * @throws SysError EBADF; EPERM or ENOSYS where a sandbox or the kernel has no kcmp
 */
export function compareOpenFiles(fdA: number, fdB: number): number {
  const number = SYSCALLS[process.arch]?.kcmp;
  if (number === undefined) throw new SysError('kcmp', 38);
  const order = check(libc.syscall(number, process.pid, process.pid, KCMP.FILE, fdA, fdB), 'kcmp');
  return order === 1 ? -1 : order === 2 ? 1 : order;
}

/** True for a file that can have seals: a memfd, or any other file of shared memory. @throws SysError EBADF */
export function isSealable(fd: number): boolean {
  if (libc.fcntl(fd, F.GET_SEALS, 0) >= 0) return true;
  const errno = readErrno();
  if (errno === ERRNO.EINVAL) return false;
  throw new SysError('fcntl(F_GET_SEALS)', errno);
}
