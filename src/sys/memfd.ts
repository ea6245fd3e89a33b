/**
 * Memory with a descriptor, and its seals. A seal can be added and never be removed: SHRINK and GROW fix the size (which
 * makes a mapping safe from SIGBUS), WRITE and FUTURE_WRITE the content.
 * @source include/uapi/linux/memfd.h, mm/memfd.c
 */
import { F, MFD, SEAL } from '../abi/linux.js';
import { fcntl, memfd_create } from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { check, isSysError } from './sys-error.js';

/**
 * New memory of size 0, close-on-exec and sealable unless `flags` says otherwise.
 * @param name shown in /proc/PID/fd, at most 249 bytes
 * @throws SysError EINVAL name too long or unknown flag; EMFILE, ENFILE, ENOMEM
 */
export function memfdCreate(name: string, flags: number = MFD.CLOEXEC | MFD.ALLOW_SEALING): OwnedFd {
  return new OwnedFd(check(memfd_create(name, flags), 'memfd_create', name));
}

/**
 * The same, certainly without a seal against execution: a memfd that has one comes out of a kexec read-only and of fixed
 * size. Kernels before 6.3 know no such seal, and some machines forbid what has none (vm.memfd_noexec = 2): then as it comes.
 */
export function memfdCreateExecutable(name: string): OwnedFd {
  try {
    return memfdCreate(name, MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.EXEC);
  } catch (error) {
    if (isSysError(error, 'EINVAL') || isSysError(error, 'EACCES')) return memfdCreate(name);
    throw error;
  }
}

/**
 * Add `seals` (SEAL) to memfd `fd`.
 * @throws SysError EBUSY SEAL.WRITE while a writable shared mapping lives; EPERM sealed against it, or `fd` is not
 *   writable; EINVAL not a memfd or created without MFD_ALLOW_SEALING
 */
export function addSeals(fd: number, seals: number): void {
  check(fcntl(fd, F.ADD_SEALS, seals), 'fcntl(F_ADD_SEALS)');
}

/** Seal the size of a memfd, so that no holder can take the pages away from under the others. @throws as addSeals */
export function sealSize(fd: number): void {
  addSeals(fd, SEAL.SHRINK | SEAL.GROW);
}

/** Seal a memfd against every change. @throws as addSeals */
export function sealContent(fd: number): void {
  addSeals(fd, SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.SEAL);
}

/** The seals of `fd`. @throws SysError EINVAL no file that can have seals */
export function getSeals(fd: number): number {
  return check(fcntl(fd, F.GET_SEALS, 0), 'fcntl(F_GET_SEALS)');
}
