/**
 * The one kind of file that the kernel preserves, on the machine that the emulator runs on: what it is asked at
 * PRESERVE_FD, what holds it while it is preserved, and the file that the next kernel makes of it.
 *
 * Happy path: `factsOf`, `hold`, and after the jump `carriedOver`, once.
 * Unhappy path: what a handler would answer comes as an errno; memory that this machine has not got is ENOMEM.
 * Never here: sessions and tokens.
 * @source mm/memfd_luo.c (Linux 7.3)
 */
import { fchmodSync, readFileSync, statfsSync } from 'node:fs';
import { MAP, O, PROT, SEAL } from '../../abi/linux.js';
import {
  MEMFD_KIND,
  memfdAfterKexec,
  memfdPreserveErrno,
  type Errno,
  type FileFacts,
  type MemfdAttributes,
} from '../../model/index.js';
import {
  Mapping,
  SysError,
  addSeals,
  copyFileRange,
  fillHoles,
  fstat,
  ftruncate,
  getOffset,
  getSeals,
  getStatusFlags,
  memfdCreate,
  isSysError,
  memfdCreateExecutable,
  openFile,
  pread,
  pwriteFully,
  setOffset,
  type FileStat,
  type OwnedFd,
} from '../../sys/index.js';

const TMPFS_MAGIC = 0x01021994;
const TYPE_MASK = 0o170000;
const TYPE_REGULAR = 0o100000;
const ACCESS_MASK = 3;
const O_APPEND = 0x400;
const PAGE_BYTES = 4096;
const BLOCK_BYTES = 512;
const COPY_BYTES = 1 << 30;
const PIECE_BYTES = 1 << 20;
const ACCESS = ['read', 'write', 'readWrite'] as const;

/** A file that a session holds. */
export interface HeldFile {
  readonly file: OwnedFd;
  readonly attributes: MemfdAttributes;
  /** While it lives, nobody can seal the file against writing: the kernel's pinned pages have that effect. */
  readonly pin: Mapping | null;
}

export interface PreserveFacts extends Omit<FileFacts, 'ref'> {
  /** null for a file that no handler takes. */
  readonly attributes: MemfdAttributes | null;
}

/** The file system of memfds, which has a device number of its own. */
const memfdDevice = ((): bigint => {
  using probe = memfdCreate('');
  return fstat(probe.fd).dev;
})();

/** What PRESERVE_FD looks at. null: an fd that only names a file (O_PATH) is not open for anybody. */
export function factsOf(file: OwnedFd): PreserveFacts | null {
  const flags = getStatusFlags(file.fd);
  if ((flags & O.PATH) !== 0) return null;
  const stat = fstat(file.fd);
  const identity = identityOf(stat);
  if (!isShared(file.fd, stat)) return { kind: 'other', identity, attributes: null };
  const attributes = attributesOf(file.fd, stat, flags);
  const handlerErrno = memfdPreserveErrno(attributes) ?? memoryErrno(stat);
  return { kind: MEMFD_KIND, identity, attributes, ...(handlerErrno === null ? {} : { handlerErrno }) };
}

/** The inode, as text. */
export function identityOf(stat: Pick<FileStat, 'dev' | 'ino'>): string {
  return `inode ${stat.dev}:${stat.ino}`;
}

function isShared(fd: number, stat: FileStat): boolean {
  if ((stat.mode & TYPE_MASK) !== TYPE_REGULAR || stat.nlink !== 0) return false;
  return stat.dev === memfdDevice || statfsSync(`/proc/self/fd/${fd}`).type >>> 0 === TMPFS_MAGIC;
}

function attributesOf(fd: number, stat: FileStat, flags: number): MemfdAttributes {
  return {
    sizeBytes: stat.sizeBytes,
    offset: getOffset(fd),
    seals: getSeals(fd),
    access: ACCESS[flags & ACCESS_MASK] ?? 'readWrite',
    append: (flags & O_APPEND) !== 0,
    nonblock: (flags & O.NONBLOCK) !== 0,
    name: '',
    mode: stat.mode & 0o7777,
  };
}

/** Preserving gives every hole a page. Where that cannot be, the kernel finds out by ENOMEM; here it must not be tried. */
function memoryErrno(stat: FileStat): Errno | null {
  const holesBytes = stat.sizeBytes - stat.blocks * BLOCK_BYTES;
  if (holesBytes < 64 * 1024 * 1024) return null;
  return holesBytes > availableBytes() ? 'ENOMEM' : null;
}

function availableBytes(): number {
  const kib = /^MemAvailable:\s*(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return kib === undefined ? Infinity : Number(kib) * 1024;
}

/** Takes the file. @throws SysError ENOMEM, ENOSPC: then the file is closed */
export function hold(takenFile: OwnedFd, attributes: MemfdAttributes): HeldFile {
  try {
    if (attributes.sizeBytes === 0) return { file: takenFile, attributes, pin: null };
    // Both need a descriptor that may write, which the program's own need not be.
    using writable = attributes.access === 'readWrite' ? null : openFile(`/proc/self/fd/${takenFile.fd}`, O.RDWR);
    const fd = writable?.fd ?? takenFile.fd;
    fillHoles(fd, attributes.sizeBytes);
    return { file: takenFile, attributes, pin: pinned(fd, attributes) };
  } catch (error) {
    takenFile.close();
    throw error;
  }
}

function pinned(fd: number, attributes: MemfdAttributes): Mapping | null {
  if ((attributes.seals & (SEAL.WRITE | SEAL.FUTURE_WRITE)) !== 0) return null;
  return Mapping.map({ fd, sizeBytes: PAGE_BYTES, protection: PROT.READ | PROT.WRITE, flags: MAP.SHARED });
}

/** Let go: the file, and what kept it from being sealed. */
export function release(held: HeldFile): void {
  held.pin?.unmap();
  held.file.close();
}

/** At the jump: the size and the position of that moment, and no pin any more. */
export function frozen(held: HeldFile): HeldFile {
  held.pin?.unmap();
  const { file, attributes } = held;
  const now = attributesOf(file.fd, fstat(file.fd), getStatusFlags(file.fd));
  return { file, attributes: memfdAfterKexec(attributes, now), pin: null };
}

/** The file that the next kernel makes: another inode with the same content. The frozen one stays the caller's. */
export function carriedOver(frozenFile: HeldFile): OwnedFd {
  const { file, attributes } = frozenFile;
  const next = memfdCreateExecutable('');
  try {
    if (attributes.sizeBytes > 0) {
      // What was opened for writing only can be read all the same by its inode.
      using source = openFile(`/proc/self/fd/${file.fd}`, O.RDONLY);
      copyContent(source.fd, next.fd, attributes.sizeBytes);
    }
    setOffset(next.fd, attributes.offset);
    fchmodSync(next.fd, attributes.mode);
    if (attributes.seals !== 0) addSeals(next.fd, attributes.seals);
    return next;
  } catch (error) {
    next.close();
    throw error;
  }
}

function copyContent(from: number, to: number, sizeBytes: number): void {
  ftruncate(to, sizeBytes);
  for (let offset = 0; offset < sizeBytes;) {
    const count = copyPiece(from, to, offset, Math.min(COPY_BYTES, sizeBytes - offset));
    // The old generation is gone, so that nobody should have cut it; if somebody did, the rest is zeros.
    if (count === 0) return;
    offset += count;
  }
}

/** In the kernel where it does that: not between a tmpfs that is mounted somewhere and the one of memfds (EXDEV). */
function copyPiece(from: number, to: number, offset: number, sizeBytes: number): number {
  try {
    return copyFileRange(from, to, offset, sizeBytes);
  } catch (error) {
    if (!isSysError(error, 'EXDEV')) throw error;
    const piece = Buffer.alloc(Math.min(sizeBytes, PIECE_BYTES));
    const count = pread(from, piece, offset);
    pwriteFully(to, piece.subarray(0, count), offset);
    return count;
  }
}

/** What the kernel would answer where making the file failed here. */
export function carryErrno(error: unknown): Errno {
  if (error instanceof SysError) return error.errnoName === 'ENOSPC' ? 'ENOMEM' : error.errnoName;
  throw error;
}
