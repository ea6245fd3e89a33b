/** Files and directories that have, or had, a path in a file system. */
import type { FdDescription } from '../../ports/index.js';
import { GOES_OVER, isType, noHandler, type FdFacts } from './facts.js';

export function describeFile(facts: FdFacts): FdDescription | null {
  const directory = isType(facts, 'directory');
  if (!directory && !isType(facts, 'regular')) return null;
  const kexec =
    facts.stat.nlink === 0
      ? noHandler('files of a file system', 'and this one has no path any more: copy it into a memfd')
      : noHandler(directory ? 'directories' : 'files of a file system', 'it can be opened again by its path');
  return {
    type: directory ? 'directory' : 'file',
    sizeBytes: directory ? null : facts.stat.sizeBytes,
    label: facts.link,
    viable: { handover: GOES_OVER, kexec },
  };
}
