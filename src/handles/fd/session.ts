/** A session of the kernel's live update orchestrator: the fd is the whole right to what it preserves. */
import type { FdDescription } from '../../ports/index.js';
import { GOES_OVER, type FdFacts } from './facts.js';

export function describeSession(facts: FdFacts): FdDescription | null {
  const name = /^anon_inode:\[luo_session\] (.*)$/.exec(facts.link)?.[1];
  if (name === undefined) return null;
  return {
    type: 'session',
    sizeBytes: null,
    label: `session '${name}'`,
    viable: {
      handover: GOES_OVER,
      // Sessions cannot nest; this one crosses by being held open until the jump.
      kexec: {
        ok: false,
        reason: 'a session is not preserved in another one: it crosses by itself while it is held open',
      },
    },
  };
}
