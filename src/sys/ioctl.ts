/**
 * ioctl(2) with any command and any address, for who tests an interface by what it must refuse. Everything else has a
 * function of its own that cannot be called wrongly.
 */
import * as libc from './libc.js';
import { check } from './sys-error.js';

/** @param address where the argument lies; it need not be mapped @throws SysError whatever the file answers */
export function ioctl(fd: number, command: number, address: bigint): number {
  return check(libc.ioctl(fd, command, address), 'ioctl', `0x${command.toString(16)}`);
}
