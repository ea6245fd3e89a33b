/**
 * Memory with a descriptor, and its seals. A seal can be added and never be removed: SHRINK and GROW fix the size (which
 * makes a mapping safe from SIGBUS), WRITE and FUTURE_WRITE the content.
 * @source include/uapi/linux/memfd.h, mm/memfd.c
 */
import { F, MFD } from '../abi/linux.js';
import { fcntl, memfd_create } from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { check } from './sys-error.js';

/**
 * New memory of size 0, close-on-exec and sealable unless `flags` says otherwise.
 * @param name shown in /proc/PID/fd, at most 249 bytes
 * @throws SysError EINVAL name too long or unknown flag; EMFILE, ENFILE, ENOMEM
 */
export function memfdCreate(name: string, flags: number = MFD.CLOEXEC | MFD.ALLOW_SEALING): OwnedFd {
  return new OwnedFd(check(memfd_create(name, flags), 'memfd_create', name));
}

/**
 * Add `seals` (SEAL) to memfd `fd`.
 * @throws SysError EBUSY SEAL.WRITE while a writable shared mapping lives; EPERM sealed against it, or `fd` is not
 *   writable; EINVAL not a memfd or created without MFD_ALLOW_SEALING
 */
export function addSeals(fd: number, seals: number): void {
  check(fcntl(fd, F.ADD_SEALS, seals), 'fcntl(F_ADD_SEALS)');
}

/** The seals of `fd`. @throws SysError EINVAL no file that can have seals */
export function getSeals(fd: number): number {
  return check(fcntl(fd, F.GET_SEALS, 0), 'fcntl(F_GET_SEALS)');
}
