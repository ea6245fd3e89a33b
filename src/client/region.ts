/**
 * A region of memory in a memfd that luod keeps: made here, or claimed. Its size is sealed, so that no holder can pull
 * the pages from under the others. Behind the user's part lies a page with the mark (src/abi/memory-mark.ts).
 *
 * A claimed region is mapped read-only until go; then mprotect(2) makes it writable. On an untouched mapping that costs
 * microseconds at any size; on one whose page tables are filled it grows with the size (about 15 us a MiB). So what the
 * successor read before its standby is let go of again (MADV_DONTNEED drops the page tables, not the content), and only
 * what is touched between standby and go counts.
 */
import { LuoError } from '../base/errors.js';
import { MADV, PROT, SEAL } from '../abi/index.js';
import {
  MARK_BYTES,
  decodeMark,
  encodeMark,
  markOffset,
  markOffsetInFile,
  markedFileBytes,
  type MemoryMark,
} from '../abi/memory-mark.js';
import {
  Mapping,
  addSeals,
  fstat,
  ftruncate,
  getSeals,
  memfdCreateExecutable,
  pread,
  pwrite,
  viewBytesMax,
} from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Memory } from './types.js';

export class Region implements Memory {
  readonly name: string;
  readonly sizeBytes: number;
  readonly created: boolean;
  readonly torn: boolean;
  readonly #fd: OwnedFd;
  readonly #mapping: Mapping;
  #writable: boolean;
  #mark: MemoryMark;

  private constructor(options: {
    name: string;
    takenFd: OwnedFd;
    sizeBytes: number;
    created: boolean;
    torn: boolean;
    mark: MemoryMark;
  }) {
    this.name = options.name;
    this.sizeBytes = options.sizeBytes;
    this.created = options.created;
    this.torn = options.torn;
    this.#fd = options.takenFd;
    this.#mark = options.mark;
    this.#writable = options.created;
    this.#mapping = Mapping.map({
      fd: this.#fd.fd,
      sizeBytes: this.sizeBytes,
      protection: this.#writable ? PROT.READ | PROT.WRITE : PROT.READ,
    });
  }

  /** A new region, zeroed, writable, marked dirty. @throws LuoError CLIENT_SIZE; SysError ENOMEM, EMFILE */
  static create(name: string, sizeBytes: number | undefined): Region {
    checkSize(name, sizeBytes);
    const fd = memfdCreateExecutable(`luo:${name}`.slice(0, 200));
    try {
      ftruncate(fd.fd, markedFileBytes(sizeBytes));
      addSeals(fd.fd, SEAL.SHRINK | SEAL.GROW);
      const mark = { dirty: true, sizeBytes, generation: 0, attempt: 0, sequence: 0 };
      const region = new Region({ name, takenFd: fd, sizeBytes, created: true, torn: false, mark });
      region.#writeMark({ dirty: true, attempt: 0 });
      return region;
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /**
   * The region of `takenFd`, which another process made, readable.
   * @throws LuoError CLIENT_SIZE it is not of the size that is wanted; CLAIM_INCOMPATIBLE it is no region of ours; then
   *   `takenFd` is closed
   */
  static claim(name: string, takenFd: OwnedFd, options: { sizeBytes: number | undefined; torn: boolean }): Region {
    try {
      const { mark, torn } = readRegion(name, takenFd.fd, options);
      return new Region({ name, takenFd, sizeBytes: mark.sizeBytes, created: false, torn, mark });
    } catch (error) {
      takenFd.close();
      throw error;
    }
  }

  get buffer(): ArrayBuffer {
    return this.#mapping.buffer;
  }

  get address(): bigint {
    return this.#mapping.address;
  }

  get writable(): boolean {
    return this.#writable;
  }

  get generation(): number {
    return this.#mark.generation;
  }

  /** Borrowed. */
  get fd(): number {
    return this.#fd.fd;
  }

  assertWritable(): void {
    if (this.#writable) return;
    throw new LuoError('STATE_INVALID', `memory '${this.name}' belongs to the old version until this one gets its go`, {
      handle: this.name,
      remedy: 'write after ready() has resolved',
    });
  }

  /** Before the blackout: make sure that go need not walk the page tables of what was read so far. */
  forgetPages(): void {
    if (!this.#writable) this.#mapping.advise(MADV.DONTNEED);
  }

  /** It is ours: dirty from now on, and writable. */
  go(attempt: number): void {
    const generation = this.#mark.generation + (this.created ? 0 : this.#writable ? 0 : 1);
    this.#mark = { ...this.#mark, generation };
    this.#writeMark({ dirty: true, attempt });
    if (this.#writable) return;
    this.#mapping.protect(PROT.READ | PROT.WRITE);
    this.#writable = true;
  }

  /** Nothing writes any more: what is in it is whole. */
  freeze(attempt: number): void {
    this.#writeMark({ dirty: false, attempt });
  }

  /** The freeze is off. */
  thaw(attempt: number): void {
    this.#writeMark({ dirty: true, attempt });
  }

  /** Let go of it, in this process; its view must not be used any more. */
  close(): void {
    this.#mapping.unmap();
    this.#fd.close();
  }

  #writeMark(change: { dirty: boolean; attempt: number }): void {
    this.#mark = { ...this.#mark, ...change, sequence: this.#mark.sequence + 1 };
    pwrite(this.#fd.fd, encodeMark(this.#mark), markOffset(this.sizeBytes));
  }
}

function checkSize(name: string, sizeBytes: number | undefined): asserts sizeBytes is number {
  if (sizeBytes !== undefined && Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes <= viewBytesMax) return;
  throw new LuoError(
    'CLIENT_SIZE',
    `memory '${name}' cannot have ${sizeBytes} bytes: Node ${process.versions.node} can view 1 to ${viewBytesMax}`,
    { handle: name, remedy: 'use several regions for more' },
  );
}

function readRegion(
  name: string,
  fd: number,
  options: { sizeBytes: number | undefined; torn: boolean },
): { mark: MemoryMark; torn: boolean } {
  const incompatible = (why: string): LuoError =>
    new LuoError('CLAIM_INCOMPATIBLE', `what is kept as '${name}' cannot be used as memory: ${why}`, { handle: name });
  const offset = markOffsetInFile(fstat(fd).sizeBytes);
  if (offset === undefined) throw incompatible('it has not the size of a region');
  // Whoever could shrink the file could kill this process by SIGBUS.
  if ((getSeals(fd) & SEAL.SHRINK) === 0) throw incompatible('its size is not sealed');
  const bytes = Buffer.alloc(MARK_BYTES);
  pread(fd, bytes, offset);
  const reading = decodeMark(bytes);
  if (reading.kind === 'newer') throw incompatible(`its mark has version ${reading.version}, which is newer than this`);
  if (reading.kind === 'mark' && markOffset(reading.mark.sizeBytes) === offset) {
    const kept = reading.mark.sizeBytes;
    if (options.sizeBytes !== undefined && options.sizeBytes !== kept) {
      throw new LuoError(
        'CLIENT_SIZE',
        `memory '${name}' is kept with ${kept} bytes and cannot become ${options.sizeBytes}`,
        {
          handle: name,
          remedy: 'leave sizeBytes out to take it as it is, and add a region of another name for more',
        },
      );
    }
    checkSize(name, kept);
    return { mark: reading.mark, torn: options.torn };
  }
  // The mark is gone, and with it who vouches for the content; its size is what fits.
  const sizeBytes = options.sizeBytes ?? offset;
  if (markOffset(sizeBytes) !== offset) throw incompatible('its mark is damaged, and the size does not fit');
  checkSize(name, sizeBytes);
  return { mark: { dirty: true, sizeBytes, generation: 0, attempt: 0, sequence: 0 }, torn: true };
}
