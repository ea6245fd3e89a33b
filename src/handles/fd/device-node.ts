/** Opened device nodes. The device behind it is a handle of its own kind; this is only the open file. */
import type { FdDescription } from '../../ports/index.js';
import { GOES_OVER, isType, noHandler, type FdFacts } from './facts.js';

export function describeDeviceNode(facts: FdFacts): FdDescription | null {
  const block = isType(facts, 'block');
  if (!block && !isType(facts, 'character')) return null;
  return {
    type: block ? 'blockdev' : 'chardev',
    sizeBytes: null,
    label: facts.link,
    viable: {
      handover: GOES_OVER,
      kexec: noHandler(`opened ${block ? 'block' : 'character'} devices`, 'it can be opened again by its path'),
    },
  };
}
