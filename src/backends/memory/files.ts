/** The system calls that the carrier of this backend is made of, and the jump of one memfd. */
import { fchmodSync, readFileSync, statfsSync } from 'node:fs';
import { MEMFD_KIND, memfdAfterKexec, type CarrierFiles, type MemfdAttributes } from '../../model/index.js';
import { compareOpenFiles, isSealable } from '../../sys/compare-files.js';
import * as sys from '../../sys/index.js';
import type { OwnedFd } from '../../sys/index.js';

const HUGETLBFS_MAGIC = 0x958458f6;
const O_APPEND = 0x400;
const O_NONBLOCK = 0x800;
const COPY_BYTES = 1024 * 1024;

export const files: CarrierFiles<OwnedFd> = {
  stat: (fd) => ({ ...sys.fstat(fd), memfd: isSealable(fd) }),
  compare: (fdA, fdB) => {
    try {
      return compareOpenFiles(fdA, fdB);
    } catch (error) {
      // Some sandboxes refuse kcmp. Without it no file is taken for another one: a double preserve is then not noticed.
      if (sys.isSysError(error, 'EPERM') || sys.isSysError(error, 'ENOSYS')) return fdA - fdB;
      throw error;
    }
  },
  dup: sys.dupFd,
  kindOf: (fd) => {
    if (!isSealable(fd) || sys.fstat(fd).nlink !== 0) return 'other';
    return statfsSync(`/proc/self/fd/${fd}`).type >>> 0 === HUGETLBFS_MAGIC ? 'hugetlb' : MEMFD_KIND;
  },
};

/** What the kernel looks at, of an open memfd. */
export function attributesOf(fd: number): MemfdAttributes {
  const flags = sys.getStatusFlags(fd);
  const access = (['read', 'write', 'readWrite'] as const)[flags & 3] ?? 'readWrite';
  const stat = sys.fstat(fd);
  return {
    sizeBytes: stat.sizeBytes,
    offset: Number(/^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]),
    seals: sys.getSeals(fd),
    access,
    append: (flags & O_APPEND) !== 0,
    nonblock: (flags & O_NONBLOCK) !== 0,
    name: '',
    mode: stat.mode & 0o7777,
  };
}

/**
 * The memfd that the next kernel would hand back for `fd`: another file with the same content.
 * @param preserved attributes at the time of its preserving
 */
export function copyAcrossKexec(fd: number, preserved: MemfdAttributes): OwnedFd {
  const after = memfdAfterKexec(preserved, attributesOf(fd));
  const copy = sys.memfdCreate('');
  try {
    // The source may have been opened for writing only; its inode can be read all the same.
    using source = sys.openFile(`/proc/self/fd/${fd}`, 0);
    copyContent(source.fd, copy.fd, after.sizeBytes);
    moveOffset(copy.fd, after.offset, after.sizeBytes);
    fchmodSync(copy.fd, after.mode);
    if (after.seals !== 0) sys.addSeals(copy.fd, after.seals);
    return copy;
  } catch (error) {
    copy.close();
    throw error;
  }
}

function copyContent(from: number, to: number, sizeBytes: number): void {
  sys.ftruncate(to, sizeBytes);
  const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, Math.max(1, sizeBytes)));
  for (let offset = 0; offset < sizeBytes;) {
    const count = sys.pread(from, buffer, offset);
    sys.pwrite(to, buffer.subarray(0, count), offset);
    offset += count;
  }
}

/** By reading up to it, in a file that is made long enough for the moment: Node has no lseek. */
function moveOffset(fd: number, offset: number, sizeBytes: number): void {
  if (offset > sizeBytes) sys.ftruncate(fd, offset);
  const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, Math.max(1, offset)));
  for (let at = 0; at < offset;) at += sys.read(fd, buffer.subarray(0, Math.min(buffer.length, offset - at)));
  if (offset > sizeBytes) sys.ftruncate(fd, sizeBytes);
}
