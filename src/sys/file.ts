/**
 * Reading, writing and asking about any open file by its number, synchronously. Numbers are borrowed.
 * Offsets and sizes are in bytes, as JavaScript numbers: exact up to 2^53.
 */
import { fstatSync } from 'node:fs';
import { F, LOCK, O, SEEK } from '../abi/linux.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { SysError, check, checkRetry } from './sys-error.js';

/** What fstat(2) says of an open file. `dev` and `ino` together name the file. */
export interface FileStat {
  readonly sizeBytes: number;
  readonly mode: number;
  readonly ino: bigint;
  readonly dev: bigint;
  readonly rdev: bigint;
  readonly uid: number;
  readonly nlink: number;
  /** Of 512 bytes, that have memory or disk. */
  readonly blocks: number;
}

/** Open `path` with `flags` (O; always close-on-exec) and, for a new file, `mode`. @throws SysError as open(2) */
export function openFile(path: string, flags: number = O.RDONLY, mode = 0): OwnedFd {
  return new OwnedFd(checkRetry(`open '${path}'`, () => libc.open(path, flags | O.CLOEXEC, mode)));
}

/** @throws SysError EBADF */
export function fstat(fd: number): FileStat {
  try {
    const stat = fstatSync(fd, { bigint: true });
    return {
      sizeBytes: Number(stat.size),
      mode: Number(stat.mode),
      ino: stat.ino,
      dev: stat.dev,
      rdev: stat.rdev,
      uid: Number(stat.uid),
      nlink: Number(stat.nlink),
      blocks: Number(stat.blocks),
    };
  } catch (error) {
    // libuv reports errno negated.
    const errno = (error as NodeJS.ErrnoException).errno;
    throw typeof errno === 'number' ? new SysError('fstat', -errno) : error;
  }
}

/** Set the size. @throws SysError EPERM sealed; EINVAL not writable or no file with a size; EBADF */
export function ftruncate(fd: number, sizeBytes: number): void {
  checkRetry('ftruncate', () => libc.ftruncate(fd, sizeBytes));
}

/** Read at the file's own offset; returns the count, 0 at the end. @throws SysError EAGAIN nothing yet; EBADF, EISDIR */
export function read(fd: number, into: Uint8Array): number {
  return checkRetry('read', () => libc.read(fd, into, into.byteLength));
}

/** Write at the file's own offset; returns the count, which may be less. @throws SysError EAGAIN full; EPIPE, EPERM sealed */
export function write(fd: number, data: Uint8Array): number {
  return checkRetry('write', () => libc.write(fd, data, data.byteLength));
}

/** Read at `offset`; returns the count, 0 at the end. @throws SysError ESPIPE no file with an offset; EBADF */
export function pread(fd: number, into: Uint8Array, offset: number): number {
  return checkRetry('pread', () => libc.pread(fd, into, into.byteLength, offset));
}

/** Write at `offset`; returns the count, which may be less. @throws SysError EPERM sealed; ENOSPC, ESPIPE, EBADF */
export function pwrite(fd: number, data: Uint8Array, offset: number): number {
  return checkRetry('pwrite', () => libc.pwrite(fd, data, data.byteLength, offset));
}

/** Fill `into` from `offset` on; returns the count, which is less only where the file ends. @throws SysError as {@link pread} */
export function preadFully(fd: number, into: Uint8Array, offset: number): number {
  for (let done = 0; done < into.byteLength;) {
    const count = pread(fd, into.subarray(done), offset + done);
    if (count === 0) return done;
    done += count;
  }
  return into.byteLength;
}

/** Write all of `data` at `offset`. @throws SysError as {@link pwrite}: a part may be written then */
export function pwriteFully(fd: number, data: Uint8Array, offset: number): void {
  for (let done = 0; done < data.byteLength;) done += pwrite(fd, data.subarray(done), offset + done);
}

/** The file's own offset. @throws SysError ESPIPE no file with an offset; EBADF */
export function getOffset(fd: number): number {
  return check(libc.lseek(fd, 0, SEEK.CUR), 'lseek');
}

/** Move the file's own offset, beyond the end too. @throws SysError ESPIPE; EINVAL negative or too large; EBADF */
export function setOffset(fd: number, offset: number): void {
  check(libc.lseek(fd, offset, SEEK.SET), 'lseek');
}

/** Give every hole below `sizeBytes` memory or disk. @throws SysError ENOSPC, ENOMEM, EOPNOTSUPP; EBADF not writable */
export function fillHoles(fd: number, sizeBytes: number): void {
  checkRetry('fallocate', () => libc.fallocate(fd, 0, 0, sizeBytes));
}

/**
 * Copy `sizeBytes` between two files at the same offsets, inside the kernel; returns the count, which may be less.
 * @throws SysError EXDEV, EINVAL, EOPNOTSUPP not between these two; EBADF not readable or not writable; ENOSPC, EPERM
 */
export function copyFileRange(from: number, to: number, offset: number, sizeBytes: number): number {
  return checkRetry('copy_file_range', () => {
    offsets.writeBigInt64LE(BigInt(offset), 0);
    offsets.writeBigInt64LE(BigInt(offset), 8);
    return libc.copy_file_range(from, offsets.subarray(0, 8), to, offsets.subarray(8), sizeBytes, 0);
  });
}
const offsets = Buffer.alloc(16);

/** The status flags (O) of the open file. @throws SysError EBADF */
export function getStatusFlags(fd: number): number {
  return check(libc.fcntl(fd, F.GETFL, 0), 'fcntl(F_GETFL)');
}

/** Set the status flags; they belong to the open file, so that every holder of it sees them. @throws SysError EBADF */
export function setStatusFlags(fd: number, flags: number): void {
  check(libc.fcntl(fd, F.SETFL, flags), 'fcntl(F_SETFL)');
}

/** True if `fd` is an open descriptor of this process. */
export function isOpen(fd: number): boolean {
  return libc.fcntl(fd, F.GETFD, 0) >= 0;
}

/** Lock the whole file against other openings of it; false if another holds it. @throws SysError EBADF */
export function tryLock(fd: number): boolean {
  try {
    checkRetry('flock', () => libc.flock(fd, LOCK.EX | LOCK.NB));
    return true;
  } catch (error) {
    if (error instanceof SysError && error.errnoName === 'EAGAIN') return false;
    throw error;
  }
}

/** A pipe: its reading and its writing end, close-on-exec unless `flags` (O) says otherwise. @throws SysError EMFILE, ENFILE */
export function pipe(flags: number = O.CLOEXEC): [OwnedFd, OwnedFd] {
  const pair = Buffer.alloc(8);
  check(libc.pipe2(pair, flags), 'pipe2');
  return [new OwnedFd(pair.readInt32LE(0)), new OwnedFd(pair.readInt32LE(4))];
}
