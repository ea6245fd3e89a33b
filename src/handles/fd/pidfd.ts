/** A process with an fd. */
import type { FdDescription } from '../../ports/index.js';
import { anonymousName, fdinfo, GOES_OVER, type FdFacts } from './facts.js';

export function describePidfd(facts: FdFacts): FdDescription | null {
  // Since Linux 6.9 pidfds have a file system of their own, whose links are the old ones or `pidfd:[INODE]`.
  if (anonymousName(facts) !== 'pidfd' && !facts.link.startsWith('pidfd:')) return null;
  const pid = fdinfo(facts, 'Pid');
  return {
    type: 'pidfd',
    sizeBytes: null,
    label: pid === null || pid === '-1' ? 'pidfd of an ended process' : `pidfd of process ${pid}`,
    viable: { handover: GOES_OVER, kexec: { ok: false, reason: 'no process lives on in the next kernel' } },
  };
}
