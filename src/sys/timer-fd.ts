/** A timer with a descriptor. @source include/uapi/linux/timerfd.h */
import { CLOCK, TFD } from '../abi/linux.js';
import { ITIMERSPEC } from '../abi/structs.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { check } from './sys-error.js';

/** A disarmed timer of CLOCK_MONOTONIC, close-on-exec and non-blocking. @throws SysError EMFILE */
export function timerfdCreate(clock: number = CLOCK.MONOTONIC): OwnedFd {
  return new OwnedFd(check(libc.timerfd_create(clock, TFD.CLOEXEC | TFD.NONBLOCK), 'timerfd_create'));
}

/** Arm the timer: first after `ms`, then every `intervalMs` (0: once). `ms` 0 disarms. @throws SysError EBADF, EINVAL */
export function timerfdSet(fd: number, ms: number, intervalMs = 0): void {
  const spec = Buffer.alloc(ITIMERSPEC.sizeBytes);
  const put = (value: number, seconds: number, nanoseconds: number): void => {
    spec.writeBigInt64LE(BigInt(Math.floor(value / 1000)), seconds);
    spec.writeBigInt64LE(BigInt(Math.floor((value % 1000) * 1e6)), nanoseconds);
  };
  put(ms, ITIMERSPEC.valueSec, ITIMERSPEC.valueNsec);
  put(intervalMs, ITIMERSPEC.intervalSec, ITIMERSPEC.intervalNsec);
  check(libc.timerfd_settime(fd, 0, spec, null), 'timerfd_settime');
}
