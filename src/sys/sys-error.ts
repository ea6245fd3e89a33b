/**
 * A failed system call as an exception. `check` and `checkRetry` turn a C result into a value or a SysError; they read
 * errno in the same turn, since after an `await` it belongs to somebody else.
 */
import { ERRNO, errnoName } from '../abi/errno.js';
import { readErrno } from './libc.js';

/** What the kernel said no to: `errno` is its number, `errnoName` its name, `syscall` the call. */
export class SysError extends Error {
  readonly errno: number;
  readonly errnoName: string;
  readonly syscall: string;
  /** As Node's own system errors have it, so that both kinds are told apart by the same field. */
  readonly code: string;

  constructor(syscall: string, errno: number, about?: string) {
    const name = errnoName(errno);
    super(`${syscall}${about === undefined ? '' : ` '${about}'`}: ${name}`);
    this.name = 'SysError';
    this.errno = errno;
    this.errnoName = name;
    this.syscall = syscall;
    this.code = name;
  }
}

/** True if `error` is a SysError with that name. */
export function isSysError(error: unknown, errnoName: string): error is SysError {
  return error instanceof SysError && error.errnoName === errnoName;
}

/** `result`, or the SysError of `syscall` if it is negative. */
export function check(result: number, syscall: string, about?: string): number {
  if (result < 0) throw new SysError(syscall, readErrno(), about);
  return result;
}

/** `call()` again while a signal interrupts it. @throws SysError any other errno */
export function checkRetry(syscall: string, call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0) return result;
    const errno = readErrno();
    if (errno !== ERRNO.EINTR) throw new SysError(syscall, errno);
  }
}
