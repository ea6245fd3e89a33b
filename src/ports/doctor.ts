/**
 * What this machine can preserve over which gap, and why not: the port behind `luoctl doctor`. Types only;
 * src/handles/doctor.ts implements it.
 */
import type { Gap } from '../base/words.js';

export interface DoctorCheck {
  /** Short and stable: `pidfd`, `open files`, `liveupdate device`. */
  readonly check: string;
  /** The gap that needs it; null: both, or none. */
  readonly gap: Gap | null;
  /** `fail`: the gap cannot be crossed. `warn`: it can, with what the reason says. */
  readonly result: 'pass' | 'warn' | 'fail';
  /** What was found, one sentence. */
  readonly reason: string;
  /** What to do about it; null when there is nothing to do. */
  readonly remedy: string | null;
}

export interface Doctor {
  /**
   * Look at the machine. Changes nothing, and opens no device: opening /dev/liveupdate would take it from its agent.
   * @param dir the directory of luod's sockets that would be used, to see whether it can be
   */
  examine(options: { readonly dir: string }): Promise<readonly DoctorCheck[]>;
}
