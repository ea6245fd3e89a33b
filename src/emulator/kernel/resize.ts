/**
 * ftruncate(2), truncate(2) and fallocate(2) of a file that is preserved: the kernel has frozen its size. Whatever is wrong
 * with the call besides is said by the real kernel, which sees the same arguments: they are all in registers.
 * @source mm/shmem.c, shmem_setattr and shmem_fallocate, SHMEM_F_MAPPING_FROZEN; fs/open.c (Linux 7.3)
 */
import { statSync, type BigIntStats } from 'node:fs';
import { O } from '../../abi/linux.js';
import { getStatusFlags } from '../../sys/index.js';
import { NATIVE, NONE, errno, type Answer, type Call } from './call.js';
import type { Machine } from './machine.js';
import { identityOf } from './memfd.js';
import { lookUp } from './path.js';

const AT_FDCWD = -100;
const FALLOC = { KEEP_SIZE: 1, PUNCH_HOLE: 2 } as const;
const OFFSET_MAX = (1n << 63n) - 1n;

export function answerResize(machine: Machine, call: Call): Answer {
  if (!machine.sessions.anyFrozen) return NATIVE;
  const stat = fileOf(call);
  if (stat === undefined || !machine.sessions.isFrozen(identityOf(stat))) return NATIVE;
  if (call.name === 'fallocate' ? !wouldAllocate(call) : !wouldResize(call, stat)) return NATIVE;
  if (call.name !== 'truncate' && !isWritable(call)) return NATIVE;
  return call.isValid ? errno('EPERM') : NONE;
}

/** A file without a name is reached by a descriptor, or by that descriptor's link in /proc. */
function fileOf(call: Call): BigIntStats | undefined {
  if (call.name === 'truncate') {
    const path = call.target.text(call.long(0));
    if (!('text' in path)) return undefined;
    const named = lookUp(call.target, { dirfd: AT_FDCWD, path: path.text, follow: true });
    return named.kind === 'open' ? named.stat : undefined;
  }
  try {
    return statSync(`/proc/${call.target.threadId}/fd/${call.int(0)}`, { bigint: true });
  } catch {
    return undefined;
  }
}

function wouldResize(call: Call, stat: BigIntStats): boolean {
  const sizeBytes = BigInt.asIntN(64, call.long(1));
  return sizeBytes >= 0n && sizeBytes !== stat.size;
}

function wouldAllocate(call: Call): boolean {
  const mode = call.int(1);
  const [offset, length] = [BigInt.asIntN(64, call.long(2)), BigInt.asIntN(64, call.long(3))];
  if (offset < 0n || length <= 0n || offset + length > OFFSET_MAX) return false;
  // Every other mode is none that shared memory knows, frozen or not.
  return mode === 0 || mode === FALLOC.KEEP_SIZE || mode === (FALLOC.KEEP_SIZE | FALLOC.PUNCH_HOLE);
}

function isWritable(call: Call): boolean {
  using file = call.target.take(call.int(0));
  return (
    file !== null && (getStatusFlags(file.fd) & O.ACCMODE) !== O.RDONLY && (getStatusFlags(file.fd) & O.PATH) === 0
  );
}
