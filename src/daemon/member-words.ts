/** What members say, in the engine's words. */
import type { LuoError } from '../base/errors.js';

/** Did the participant say no, did its time pass, or did its connection end? */
export function howFailed(error: LuoError): 'answered' | 'timeout' | 'lost' {
  if (error.code === 'PROTO_TIMEOUT') return 'timeout';
  return error.code === 'PROTO_CLOSED' ? 'lost' : 'answered';
}

const RESUMED = ['running', 'prepared', 'frozen', 'standby', 'ready', 'gone-on', 'thawed'] as const;

/** The engine's word for what a participant says of itself; anything unknown means that it just runs. */
export function resumedPhase(phase: string): (typeof RESUMED)[number] {
  return RESUMED.find((known) => known === phase) ?? 'running';
}
