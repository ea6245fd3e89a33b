/** Loading another kernel, and leaving this one for it. @source kexec_file_load(2), reboot(2) */
import { KEXEC_FILE, KEXEC_SYSCALLS, REBOOT } from '../abi/kexec.js';
import { ERRNO } from '../abi/errno.js';
import * as libc from './libc.js';
import { SysError, check } from './sys-error.js';

/**
 * Load a kernel from files (borrowed fds). `cmdline` without its closing zero.
 * @throws SysError EPERM, ENOEXEC, EKEYREJECTED, EBADMSG, ENODATA, ENOPKG, EADDRNOTAVAIL, EBUSY, EINVAL, ENOMEM, ENOSYS
 */
export function kexecFileLoad(options: {
  readonly kernelFd: number;
  readonly initrdFd: number | null;
  readonly cmdline: string;
}): void {
  const { kernelFd, initrdFd, cmdline } = options;
  const flags = initrdFd === null ? KEXEC_FILE.NO_INITRAMFS : 0;
  const bytes = Buffer.byteLength(cmdline) + 1;
  const { kexecFileLoad: number } = numbers('kexec_file_load');
  check(libc.syscallWithText(number, kernelFd, initrdFd ?? -1, bytes, cmdline, flags), 'kexec_file_load');
}

/** @throws SysError EPERM, EBUSY, ENOSYS */
export function kexecUnload(): void {
  const { kexecFileLoad: number } = numbers('kexec_file_load');
  check(libc.syscallWithText(number, -1, -1, 0, null, KEXEC_FILE.UNLOAD), 'kexec_file_load');
}

/** Leave this kernel for the loaded one. Returns only by an error. @throws SysError EINVAL nothing is loaded; EPERM, EBUSY */
export function rebootKexec(): never {
  const { reboot: number } = numbers('reboot');
  check(libc.syscall(number, REBOOT.MAGIC1, REBOOT.MAGIC2, REBOOT.KEXEC, 0, 0), 'reboot');
  throw new SysError('reboot', ERRNO.EIO);
}

/** Power off at once, nothing synced. @throws SysError EPERM */
export function rebootPowerOff(): void {
  const { reboot: number } = numbers('reboot');
  check(libc.syscall(number, REBOOT.MAGIC1, REBOOT.MAGIC2, REBOOT.POWER_OFF, 0, 0), 'reboot');
}

/** sync(2). */
export function sync(): void {
  libc.sync();
}

function numbers(call: string): { kexecFileLoad: number; reboot: number } {
  const known = KEXEC_SYSCALLS[process.arch];
  if (known) return known;
  throw new SysError(call, ERRNO.ENOSYS);
}
