/** A counter with a descriptor. @source include/uapi/linux/eventfd.h */
import { EFD } from '../abi/linux.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { check } from './sys-error.js';

/** A new counter, close-on-exec and non-blocking unless `flags` (EFD) says otherwise. @throws SysError EMFILE, EINVAL */
export function eventfd(initial = 0, flags: number = EFD.CLOEXEC | EFD.NONBLOCK): OwnedFd {
  return new OwnedFd(check(libc.eventfd(initial, flags), 'eventfd'));
}
