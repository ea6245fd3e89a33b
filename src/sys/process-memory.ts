/**
 * Memory of other processes: read and written as a debugger does, with the same rights (Yama may forbid it). A thread's id is
 * as good as its process's. Happy path: all bytes. Unhappy: an address that is not mapped, or not writable for writing, ends the
 * transfer there; how many bytes went is the result, and 0 means none.
 * Writing goes by process_vm_writev(2), which respects the mapping's protection, as the kernel does when it answers a call.
 * @source mm/process_vm_access.c
 */
import { ERRNO } from '../abi/errno.js';
import { IOVEC } from '../abi/structs.js';
import * as libc from './libc.js';
import { NativeMemory } from './native-memory.js';
import { SysError } from './sys-error.js';

/** Moves bytes between one buffer of this process and other processes, without allocation per call. */
export class ProcessMemory {
  readonly buffer: Buffer;
  readonly view: DataView;
  readonly #data: NativeMemory;
  readonly #vectors = new NativeMemory(2 * IOVEC.sizeBytes);

  /** @param sizeBytes the most that one transfer moves */
  constructor(sizeBytes: number) {
    this.#data = new NativeMemory(sizeBytes);
    this.buffer = this.#data.buffer;
    this.view = this.#data.view;
    this.#vectors.view.setBigUint64(IOVEC.base, this.#data.address, true);
  }

  free(): void {
    this.#data.free();
    this.#vectors.free();
  }

  /**
   * Bytes at `address` of process `pid` into the start of the buffer; how many came.
   * A range that is mapped only in part comes in part: asked for whole pages, one knows which.
   * @throws SysError EPERM no right to trace it; ESRCH it is gone
   */
  read(pid: number, address: bigint, sizeBytes: number): number {
    return this.#transfer('process_vm_readv', libc.process_vm_readv, pid, address, sizeBytes);
  }

  /** The first `sizeBytes` of the buffer to `address` of process `pid`; how many went. @throws SysError as `read` */
  write(pid: number, address: bigint, sizeBytes: number): number {
    return this.#transfer('process_vm_writev', libc.process_vm_writev, pid, address, sizeBytes);
  }

  #transfer(name: string, call: typeof libc.process_vm_readv, pid: number, address: bigint, sizeBytes: number): number {
    const { view, address: local } = this.#vectors;
    const remote = local + BigInt(IOVEC.sizeBytes);
    view.setBigUint64(IOVEC.len, BigInt(sizeBytes), true);
    view.setBigUint64(IOVEC.sizeBytes + IOVEC.base, address, true);
    view.setBigUint64(IOVEC.sizeBytes + IOVEC.len, BigInt(sizeBytes), true);
    const moved = call(pid, local, 1, remote, 1, 0);
    if (moved >= 0) return moved;
    const errno = libc.readErrno();
    // EINVAL: the range wraps around the end of the address space, where nothing is mapped either.
    if (errno === ERRNO.EFAULT || errno === ERRNO.EINVAL) return 0;
    throw new SysError(name, errno, String(pid));
  }
}
