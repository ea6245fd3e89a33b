/**
 * All the rest, mostly anonymous files of one subsystem. A few of them are bound to the process that made them: passing
 * the fd succeeds, or is refused, and using it afterwards fails. Those are named here, so that it is said at registration.
 */
import { O } from '../../abi/linux.js';
import type { FdDescription, Viability } from '../../ports/index.js';
import { anonymousName, GOES_OVER, noHandler, type FdFacts } from './facts.js';

const BOUND: readonly { readonly name: RegExp; readonly reason: string }[] = [
  {
    name: /^kvm-(vm|vcpu)/,
    reason: 'KVM answers EIO to every process but the one that created the machine: save its state into a memfd',
  },
  { name: /^userfaultfd$/, reason: 'it serves the address space of the process that created it' },
  { name: /^io_uring$/, reason: 'the kernel refuses to send io_uring fds over a socket' },
];

/** @returns never null: the last kind to be asked */
export function describeOther(facts: FdFacts): FdDescription {
  const name = anonymousName(facts);
  const bound = BOUND.find((each) => name !== null && each.name.test(name));
  const handover: Viability = bound === undefined ? GOES_OVER : { ok: false, reason: bound.reason };
  return {
    type: 'other',
    sizeBytes: null,
    label: facts.link,
    viable: { handover, kexec: noHandler('this kind of file', 'nothing of it comes back') },
  };
}

/** Opened with O_PATH: a place in the file system, no open file. Asked first, since it looks like what it points to. */
export function describePath(facts: FdFacts): FdDescription | null {
  if ((facts.flags & O.PATH) === 0) return null;
  return {
    type: 'other',
    sizeBytes: null,
    label: facts.link,
    viable: {
      handover: GOES_OVER,
      kexec: { ok: false, reason: 'the kernel preserves no fd that was opened with O_PATH' },
    },
  };
}
