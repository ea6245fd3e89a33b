/** The groups of the suite, in the order in which they are run. docs/conformance.md has the same table. */
import { ANSWERS } from './cases/answers.js';
import { ARGUMENTS } from './cases/arguments.js';
import { CLOSING } from './cases/closing.js';
import { DEVICE } from './cases/device.js';
import { GAP } from './cases/gap.js';
import { INCOMING } from './cases/incoming.js';
import { KERNEL_ONLY, KERNEL_ONLY_GAP } from './cases/kernel-only.js';
import { NAMES } from './cases/names.js';
import { PRESERVE } from './cases/preserve.js';
import { PRESERVED } from './cases/preserved.js';
import { PROCESSES } from './cases/processes.js';
import { UPSTREAM } from './cases/upstream.js';
import type { Case, GapCase, Group } from './case.js';

function group(name: string, about: string, cases: readonly Case[], gapCases: readonly GapCase[] = []): Group {
  return { group: name, about, byDefault: name !== 'kernel-only', cases, gapCases };
}

export const GROUPS: readonly Group[] = [
  group('device', 'one open file of the device at a time', DEVICE),
  group('arguments', 'numbers, sizes and addresses, and which refusal comes first', ARGUMENTS),
  group('names', 'what is a name, and GET_NAME', NAMES),
  group('preserve', 'what PRESERVE_FD takes and refuses', PRESERVE),
  group('preserved', 'what can be done with a memfd meanwhile', PRESERVED),
  group('closing', 'the last close of a session unpreserves', CLOSING),
  group('processes', 'copies in other processes, and their end', PROCESSES),
  group('answers', 'answers without a place: EFAULT, EMFILE', ANSWERS),
  group('upstream', 'the 15 facts of the kernel’s own selftest', UPSTREAM),
  group('gap', 'what comes over a jump, and how', [], GAP),
  group('incoming', 'retrieving, finishing and closing what came over', [], INCOMING),
  group('kernel-only', 'the file systems around the ABI, which only a kernel has', KERNEL_ONLY, KERNEL_ONLY_GAP),
];
