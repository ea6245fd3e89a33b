/**
 * Global handles: state that belongs to no fd and no device, such as a clock's offset or a firewall's rules. Nothing of it can
 * be read from outside: it is a name, and what its participant does in its calls.
 */
import { LuoError } from '../../base/errors.js';
import type { Call } from '../../base/words.js';
import type { GlobalDescriber, GlobalDescription } from '../../ports/index.js';

/** The calls in which a participant saves and brings back a global handle, in the order of an update. */
export const GLOBAL_HOOKS: readonly Call[] = ['prepare', 'freeze', 'restore', 'canFinish', 'finish', 'cancel'];

/** As in a file name, so that state files and unit names can carry it. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$/;

/** @throws LuoError PROTO_INVALID */
export function describeGlobal(name: string): GlobalDescription {
  if (!NAME.test(name))
    throw new LuoError(
      'PROTO_INVALID',
      `'${name}' is no name of a global handle: 1 to 200 letters, digits and . _ : - , the first a letter or digit`,
      { data: { name } },
    );
  return {
    name,
    hooks: GLOBAL_HOOKS,
    viable: {
      handover: { ok: true, reason: '' },
      kexec: { ok: true, reason: 'only what its participant saves into memory that is preserved comes back' },
    },
  };
}

export const globalDescriber: GlobalDescriber = { describe: describeGlobal };
