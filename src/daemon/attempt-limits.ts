/** The time limits of an attempt: what its operator gave, and what holds where nothing was given. */
import { DEADLINES } from '../base/limits.js';
import type { Limits } from '../engine/types.js';
import type { UpdateLimits } from '../protocol/spec.js';

/** All of them, for a new attempt. */
export function allLimits(given: UpdateLimits): Limits {
  return {
    standbyMs: given.standbyMs ?? DEADLINES.standbyMs,
    prepareMs: given.prepareMs ?? DEADLINES.prepareMs,
    blackoutMs: given.blackoutMs ?? DEADLINES.blackoutMs,
    cancelMs: DEADLINES.cancelMs,
    finishMs: given.finishMs ?? DEADLINES.finishMs,
    goMs: DEADLINES.goMs,
    retireMs: DEADLINES.retireMs,
    preparedMs: given.preparedMs ?? DEADLINES.preparedMs,
  };
}

/** Only those that were given, for an attempt that goes on. */
export function givenLimits(given: UpdateLimits): Partial<Limits> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
