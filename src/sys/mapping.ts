/**
 * A mapping of a file into memory, with one zero-copy ArrayBuffer view on it.
 * The view is made once and reused: every view counts as external memory of V8 and provokes collections. After `unmap()`
 * touching it kills the process (SIGSEGV), as does writing to a mapping that is not writable; touching pages beyond the
 * end of the file is SIGBUS, so that a file from somebody else must be sealed against shrinking before it is mapped.
 * A view larger than this Node's largest buffer (4 GiB on Node 20) would abort the process, and is refused instead.
 */
import { assert } from '../base/assert.js';
import { constants } from 'node:buffer';
import koffi from 'koffi';
import { LuoError } from '../base/errors.js';
import { MAP } from '../abi/linux.js';
import { madvise, mmap, mprotect, munmap, readErrno } from './libc.js';
import { SysError, check } from './sys-error.js';

export interface MapOptions {
  /** The file, borrowed: the mapping holds the file itself. -1 with MAP.ANONYMOUS. */
  readonly fd: number;
  readonly sizeBytes: number;
  /** PROT */
  readonly protection: number;
  /** MAP; default MAP.SHARED */
  readonly flags?: number;
  /** Offset in the file, a multiple of the page size; default 0. */
  readonly offset?: number;
}

/** Part of a mapping; by default all of it. `offset` is a multiple of the page size. */
export interface MappingPart {
  readonly offset?: number;
  readonly sizeBytes?: number;
}

/** The largest view that this Node can make, bytes. */
export const viewBytesMax: number = constants.MAX_LENGTH;

/** One mapping; its owner calls `unmap()`. */
export class Mapping {
  readonly address: bigint;
  readonly sizeBytes: number;
  #view: ArrayBuffer | undefined;
  #mapped = true;

  private constructor(address: bigint, sizeBytes: number) {
    this.address = address;
    this.sizeBytes = sizeBytes;
  }

  /**
   * Map a file.
   * @throws SysError EACCES protection that the descriptor does not allow; EPERM a seal forbids it; EINVAL size 0 or bad
   *   offset; ENODEV the file cannot be mapped; ENOMEM
   */
  static map(options: MapOptions): Mapping {
    const address = mapAt(0n, options, options.flags ?? MAP.SHARED);
    return new Mapping(address, options.sizeBytes);
  }

  /** Bytes of the mapping, zero copy. @throws LuoError UNSUPPORTED larger than this Node's largest view */
  get buffer(): ArrayBuffer {
    assert(this.#mapped, 'this mapping is unmapped');
    if (this.#view === undefined) {
      if (this.sizeBytes > viewBytesMax) {
        throw new LuoError(
          'UNSUPPORTED',
          `a view of ${this.sizeBytes} bytes is larger than Node ${process.versions.node} can make (${viewBytesMax})`,
          { remedy: 'use several smaller regions, or a newer Node' },
        );
      }
      this.#view = koffi.view(this.address, this.sizeBytes);
    }
    return this.#view;
  }

  /** Change the protection (PROT) of a part. @throws SysError EACCES, EPERM, ENOMEM, EINVAL */
  protect(protection: number, part: MappingPart = {}): void {
    const { address, sizeBytes } = this.#part(part);
    check(mprotect(address, sizeBytes, protection), 'mprotect');
  }

  /**
   * Map a file anew over the same addresses, at once and without a moment in which they are unmapped; views stay valid.
   * @throws SysError as {@link Mapping.map}; then the old mapping is as it was, unless the address range is damaged
   */
  replace(options: Omit<MapOptions, 'sizeBytes'>, part: MappingPart = {}): void {
    const { address, sizeBytes } = this.#part(part);
    mapAt(address, { ...options, sizeBytes }, (options.flags ?? MAP.SHARED) | MAP.FIXED);
  }

  /** madvise(2) now; blocks for as long as the kernel works. @throws SysError EINVAL, ENOMEM, EFAULT */
  advise(advice: number, part: MappingPart = {}): void {
    const { address, sizeBytes } = this.#part(part);
    check(madvise(address, sizeBytes, advice), 'madvise');
  }

  /** madvise(2) on a thread of the pool; `unmap()` must wait for it. @throws SysError EINVAL, ENOMEM, EFAULT, EINTR */
  adviseAsync(advice: number, part: MappingPart = {}): Promise<void> {
    const { address, sizeBytes } = this.#part(part);
    return new Promise((resolve, reject) => {
      madvise.async(address, sizeBytes, advice, (error, result) => {
        // errno is this thread's only inside this callback.
        if (error) reject(error);
        else if (result < 0) reject(new SysError('madvise', readErrno()));
        else resolve();
      });
    });
  }

  /** Take the mapping away. Twice does nothing. The view must not be used any more. */
  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.#view = undefined;
    check(munmap(this.address, this.sizeBytes), 'munmap');
  }

  get isMapped(): boolean {
    return this.#mapped;
  }

  #part(part: MappingPart): { address: bigint; sizeBytes: number } {
    assert(this.#mapped, 'this mapping is unmapped');
    const offset = part.offset ?? 0;
    const sizeBytes = part.sizeBytes ?? this.sizeBytes - offset;
    assert(offset >= 0 && sizeBytes > 0 && offset + sizeBytes <= this.sizeBytes, 'outside of the mapping');
    return { address: this.address + BigInt(offset), sizeBytes };
  }
}

function mapAt(address: bigint, options: MapOptions, flags: number): bigint {
  const result = mmap(address, options.sizeBytes, options.protection, flags, options.fd, options.offset ?? 0);
  if (BigInt(result) === -1n) throw new SysError('mmap', readErrno());
  return BigInt(result);
}
