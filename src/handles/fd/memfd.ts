/**
 * Memory with an fd: memfds, and every other shared memory file without a name (O_TMPFILE on tmpfs, shared anonymous
 * memory through map_files). On huge pages it is another kind, since the kernel's handler refuses those.
 * @source mm/memfd_luo.c, memfd_luo_can_preserve
 */
import { SEAL } from '../../abi/linux.js';
import { memfdKexecWarnings, memfdPreserveErrno, type MemfdAttributes } from '../../model/index.js';
import type { FdDescription, Viability } from '../../ports/index.js';
import { getSeals, SysError } from '../../sys/index.js';
import { fileSystemMagic, GOES_OVER, isType, noHandler, type FdFacts } from './facts.js';

const TMPFS_MAGIC = 0x01021994;
const HUGETLBFS_MAGIC = 0x958458f6;
const O_ACCMODE = 3;

export function describeMemfd(facts: FdFacts): FdDescription | null {
  if (!isType(facts, 'regular') || facts.stat.nlink !== 0) return null;
  const magic = fileSystemMagic(facts);
  if (magic === HUGETLBFS_MAGIC) {
    return {
      type: 'hugetlb',
      sizeBytes: facts.stat.sizeBytes,
      label: facts.link,
      viable: {
        handover: GOES_OVER,
        kexec: noHandler('memory on huge pages (hugetlb)', 'copy it into an ordinary memfd'),
      },
    };
  }
  if (magic !== TMPFS_MAGIC) return null;
  return {
    type: 'memfd',
    sizeBytes: facts.stat.sizeBytes,
    label: facts.link.replace(/ \(deleted\)$/, ''),
    viable: { handover: GOES_OVER, kexec: kexecViability(facts) },
  };
}

function kexecViability(facts: FdFacts): Viability {
  const attributes = {
    sizeBytes: facts.stat.sizeBytes,
    seals: sealsOf(facts.fd),
    access: accessOf(facts.flags),
  };
  const errno = memfdPreserveErrno(attributes);
  if (errno !== null) return { ok: false, reason: `the kernel's memfd handler refuses it: ${errno}` };
  const warnings = memfdKexecWarnings(attributes);
  if ((attributes.seals & (SEAL.SHRINK | SEAL.GROW)) === 0)
    warnings.push('seals that are added after prepare are lost: add them before');
  return { ok: true, reason: warnings.join('; ') };
}

/** Of a tmpfs file that was not made by memfd_create the kernel says that it is sealed against sealing. */
function sealsOf(fd: number): number {
  try {
    return getSeals(fd);
  } catch (error) {
    if (error instanceof SysError) return 0;
    throw error;
  }
}

function accessOf(flags: number): MemfdAttributes['access'] {
  switch (flags & O_ACCMODE) {
    case 0:
      return 'read';
    case 1:
      return 'write';
    default:
      return 'readWrite';
  }
}
