/**
 * What a memfd keeps and loses on its way through a kexec, and what cannot be done to it while it is preserved.
 * Facts of Linux 7.3, each of them run on that kernel: its only file handler, compatible `memfd-v2`.
 * @source mm/memfd_luo.c; mm/memfd.c, memfd_add_seals
 */
import type { Errno } from './state.js';

/** F_SEAL_* of include/uapi/linux/fcntl.h. */
export const SEAL = { seal: 1, shrink: 2, grow: 4, write: 8, futureWrite: 16, exec: 32 } as const;
const KNOWN_SEALS = 63;
/** What sealing EXEC brings along on an executable inode. */
const SEALS_WITH_EXEC = SEAL.shrink | SEAL.grow | SEAL.write | SEAL.futureWrite | SEAL.exec;

const PAGES_MAX = 0xffff_ffff;
const PAGE_BYTES = 4096;

export interface MemfdAttributes {
  readonly sizeBytes: number;
  readonly offset: number;
  /** Bits of {@link SEAL}. */
  readonly seals: number;
  readonly access: 'read' | 'write' | 'readWrite';
  readonly append: boolean;
  readonly nonblock: boolean;
  /** As given to memfd_create, without the prefix `memfd:`. */
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
}

/** What the handler answers to PRESERVE_FD; null: it accepts. */
export function memfdPreserveErrno(attributes: Pick<MemfdAttributes, 'seals' | 'sizeBytes'>): Errno | null {
  if ((attributes.seals & ~KNOWN_SEALS) !== 0) return 'EOPNOTSUPP';
  if (Math.ceil(attributes.sizeBytes / PAGE_BYTES) > PAGES_MAX) return 'EFBIG';
  return null;
}

/**
 * The memfd that the next kernel hands back.
 * @param preserved as it was at PRESERVE_FD: only the seals of that moment are carried
 * @param frozen as it was at the jump: its position, and what was written in place, are of that moment
 */
export function memfdAfterKexec(preserved: MemfdAttributes, frozen: MemfdAttributes): MemfdAttributes {
  // The inode comes back with mode 0777, so that sealing it against EXEC also seals it against every write.
  const seals = (preserved.seals & SEAL.exec) === 0 ? preserved.seals : preserved.seals | SEALS_WITH_EXEC;
  return {
    sizeBytes: frozen.sizeBytes,
    offset: frozen.offset,
    seals,
    access: 'readWrite',
    append: false,
    nonblock: false,
    name: '',
    mode: 0o777,
  };
}

/** What a person must know before such a memfd goes through a kexec; one sentence each, empty when nothing is lost that matters. */
export function memfdKexecWarnings(attributes: Pick<MemfdAttributes, 'seals' | 'access'>): string[] {
  const warnings: string[] = [];
  const sealedReadOnly = (attributes.seals & (SEAL.write | SEAL.futureWrite)) !== 0;
  if ((attributes.seals & SEAL.exec) !== 0 && !sealedReadOnly)
    warnings.push('sealed against EXEC (MFD_NOEXEC_SEAL), so it comes back read-only, of fixed size, and executable');
  if (attributes.access === 'read') warnings.push('opened read-only, but comes back writable');
  return warnings;
}

/**
 * What a call on a preserved memfd meets, before the session is closed or the jump.
 * Reading and writing in place go on working, and are carried: preserving takes no snapshot.
 */
export function whilePreservedErrno(
  call: 'read' | 'write' | 'writeBeyondEnd' | 'truncate' | 'fallocate' | 'zeroRange' | 'sealWrite' | 'sealSize',
): Errno | null {
  switch (call) {
    case 'read':
    case 'write':
    case 'sealSize': // Succeeds, and is lost over the jump: seals are carried as they were at PRESERVE_FD.
      return null;
    case 'writeBeyondEnd': // A short write up to a chunk boundary is possible, when it does not fit in one.
    case 'truncate':
    case 'fallocate':
      return 'EPERM';
    case 'zeroRange':
      return 'EOPNOTSUPP';
    case 'sealWrite':
      return 'EBUSY';
  }
}
