/**
 * ioctl(2) for the examples that drive a device by themselves; the product's own calls are in src/sys. The result is the call's:
 * below zero it failed, and `koffi.errno()` has to be read before any other call.
 */
import koffi from 'koffi';

const libc = koffi.load(null);

/** With a number as its argument. */
export const ioctlNumber = libc.func('ioctl', 'int', ['int', 'ulong', 'int64']) as unknown as (
  fd: number,
  request: number,
  argument: number,
) => number;

/** With memory that the kernel reads, writes, or both. */
export const ioctlBuffer = libc.func('ioctl', 'int', ['int', 'ulong', 'void *']) as unknown as (
  fd: number,
  request: number,
  argument: Uint8Array,
) => number;
