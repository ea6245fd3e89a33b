/** The errors of the engine, as they go over the wire. */
import type { ErrorCode, WireError } from '../base/errors.js';
import { LuoError } from '../base/errors.js';
import type { ErrorDetails } from '../base/errors.js';

export function wireError(code: ErrorCode, message: string, details: ErrorDetails = {}): WireError {
  return new LuoError(code, message, details).toWire();
}

/** The participant's own error inside ours: who, which call, and what it said. */
export function callError(participant: string, method: string, how: string, error: WireError): WireError {
  if (how === 'timeout') {
    return wireError('CALL_TIMEOUT', `${method} of '${participant}' was not answered in time`, {
      participant,
      data: { method, inner: error },
    });
  }
  if (how === 'lost') {
    return wireError('MEMBER_DIED', `the connection of '${participant}' was lost during ${method}`, {
      participant,
      data: { method, inner: error },
    });
  }
  return wireError('CALL_FAILED', `${method} of '${participant}' failed: ${error.message}`, {
    participant,
    data: { method, inner: error },
  });
}
