/**
 * The thread whose call waits: its memory, its descriptors, its limits. All of it is read while the thread is stopped in its
 * call, but its process need not be: other threads of it go on, and it may be killed at any moment.
 *
 * Unhappy path: a thread that is gone has no descriptors and no memory; whoever asked finds out by the answer that
 * nobody takes. `TargetGone` says so where nothing else could be said.
 * Never here: a decision.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import {
  ProcessMemory,
  SysError,
  getFileLimit,
  isSysError,
  pidfdGetfd,
  pidfdOpenThread,
  type OwnedFd,
} from '../../sys/index.js';

/** The thread died, or was interrupted before its call was taken. */
export class TargetGone extends Error {
  constructor() {
    super('the thread that called is gone');
    this.name = 'TargetGone';
  }
}

/** What one transfer moves at most, and the longest path. */
const BUFFER_BYTES = 4096;
const PAGE_BYTES = 4096n;

const memory = new ProcessMemory(BUFFER_BYTES);

export class Target {
  readonly threadId: number;

  constructor(threadId: number) {
    this.threadId = threadId;
  }

  /**
   * Bytes of its memory, in a buffer that the next call of any target uses again; shorter where the memory ends.
   * @throws TargetGone
   */
  peek(address: bigint, sizeBytes: number): Buffer {
    const count = whileThere(() => memory.read(this.threadId, address, Math.min(sizeBytes, BUFFER_BYTES)));
    return memory.buffer.subarray(0, count);
  }

  /** True if all of `bytes` are written. @throws TargetGone */
  poke(address: bigint, bytes: Uint8Array): boolean {
    memory.buffer.set(bytes);
    return whileThere(() => memory.write(this.threadId, address, bytes.length)) === bytes.length;
  }

  /** Text up to its zero, as a byte string; 'EFAULT' or 'ENAMETOOLONG' as the kernel says it. @throws TargetGone */
  text(address: bigint): { readonly text: string } | { readonly errno: 'EFAULT' | 'ENAMETOOLONG' } {
    // One page first: most texts are short, and a read across the end of what is mapped comes short.
    let text = '';
    for (let at = address; text.length < BUFFER_BYTES;) {
      const bytes = this.peek(at, Number(PAGE_BYTES - (at % PAGE_BYTES)));
      if (bytes.length === 0) return { errno: 'EFAULT' };
      const end = bytes.indexOf(0);
      text += bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
      if (end >= 0) return text.length < BUFFER_BYTES ? { text } : { errno: 'ENAMETOOLONG' };
      at += BigInt(bytes.length);
    }
    return { errno: 'ENAMETOOLONG' };
  }

  /** What /proc says that descriptor `fd` is; undefined: it is not open. */
  link(fd: number): string | undefined {
    try {
      return readlinkSync(`/proc/${this.threadId}/fd/${fd}`);
    } catch {
      return undefined;
    }
  }

  /** True if `fd` was opened with O_PATH: its link in /proc is neither for reading nor for writing. */
  isPath(fd: number): boolean {
    return (fileSystem(() => lstatSync(`/proc/${this.threadId}/fd/${fd}`).mode) & 0o700) === 0;
  }

  /** The number that its next descriptor would get. */
  lowestFreeFd(): number {
    const used = new Set(fileSystem(() => readdirSync(`/proc/${this.threadId}/fd`)).map(Number));
    let fd = 0;
    while (used.has(fd)) fd += 1;
    return fd;
  }

  /** A descriptor of ours for its open file; null: it is not open. @throws TargetGone; SysError EMFILE: ours are used up */
  take(fd: number): OwnedFd | null {
    if (fd < 0) return null;
    using pidfd = whileThere(() => pidfdOpenThread(this.threadId));
    try {
      return pidfdGetfd(pidfd.fd, fd);
    } catch (error) {
      if (isSysError(error, 'EBADF')) return null;
      if (isSysError(error, 'ESRCH')) throw new TargetGone();
      throw error;
    }
  }

  /** True if the kernel could not give it one more descriptor: none is free below its limit. */
  hasNoFreeFd(): boolean {
    const { soft } = whileThere(() => getFileLimit(this.threadId));
    const folder = `/proc/${this.threadId}/fd`;
    // The size of that folder is the number of its descriptors (Linux 6.2); older kernels say 0, and are asked for all.
    const count = fileSystem(() => statSync(folder).size);
    if (count > 0 && count < soft) return false;
    const below = fileSystem(() => readdirSync(folder)).filter((name) => Number(name) < soft).length;
    return below >= soft;
  }

  /** Name of its program, as ps shows it. */
  get program(): string {
    try {
      return readFileSync(`/proc/${this.threadId}/comm`, 'latin1').trimEnd();
    } catch {
      return '?';
    }
  }

  /** The process that the thread belongs to. @throws TargetGone */
  get processId(): number {
    const status = fileSystem(() => readFileSync(`/proc/${this.threadId}/status`, 'latin1'));
    return Number(/^Tgid:\s*(\d+)/m.exec(status)![1]);
  }
}

function whileThere<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof SysError && error.errnoName === 'ESRCH') throw new TargetGone();
    throw error;
  }
}

function fileSystem<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') throw new TargetGone();
    throw error;
  }
}
