/**
 * The four kinds of line: request, reply, progress, event (see spec.ts for their shapes). Encoding writes each line once
 * and never looks at what it carries; decoding checks the envelope's own fields by hand, since every message passes here.
 * A line that is no JSON object is PROTO_MALFORMED; one that is no envelope is PROTO_INVALID, with what is wrong.
 */
import { LuoError, type WireError } from '../base/errors.js';

/** A decoded line. `fds` is the declared count, 0 if none is. */
export type Envelope =
  | {
      readonly kind: 'request';
      readonly id: number;
      readonly method: string;
      readonly params: unknown;
      readonly fds: number;
    }
  | {
      readonly kind: 'reply';
      readonly re: number;
      readonly result: unknown;
      readonly error: WireError | undefined;
      readonly fds: number;
    }
  | { readonly kind: 'progress'; readonly progress: number; readonly data: unknown; readonly fds: number }
  | { readonly kind: 'event'; readonly event: string; readonly data: unknown; readonly fds: number };

function declared(fds: number): string {
  return fds === 0 ? '}' : `,"fds":${fds}}`;
}

/** `value` as JSON; what JSON cannot say at the top (undefined) is null. @throws TypeError cyclic; RangeError too deep */
function json(value: unknown): string {
  return value === undefined ? 'null' : (JSON.stringify(value) ?? 'null');
}

export function encodeRequest(id: number, method: string, params: unknown, fds: number): string {
  return `{"id":${id},"method":${JSON.stringify(method)},"params":${json(params)}${declared(fds)}`;
}

export function encodeReply(re: number, result: unknown, fds: number): string {
  return `{"re":${re},"result":${json(result)}${declared(fds)}`;
}

export function encodeError(re: number, error: WireError): string {
  return `{"re":${re},"error":${JSON.stringify(error)}}`;
}

export function encodeProgress(progress: number, data: unknown): string {
  return `{"progress":${progress},"data":${json(data)}}`;
}

export function encodeEvent(event: string, data: unknown, fds: number): string {
  return `{"event":${JSON.stringify(event)},"data":${json(data)}${declared(fds)}`;
}

/** Decode one line, without its newline. @throws LuoError PROTO_MALFORMED, PROTO_INVALID */
export function parseEnvelope(line: string): Envelope {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new LuoError('PROTO_MALFORMED', 'a line is not valid JSON', { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LuoError('PROTO_MALFORMED', 'a line is not a JSON object');
  }
  const message = value as Record<string, unknown>;
  const fds = declaredFds(message);
  if (message['id'] !== undefined) {
    const method = message['method'];
    if (typeof method !== 'string') throw invalid('/method', 'a request needs the name of a method');
    return { kind: 'request', id: identifier(message, 'id'), method, params: message['params'], fds };
  }
  if (message['re'] !== undefined) {
    const error = message['error'];
    if (error !== undefined && !isWireError(error)) throw invalid('/error', 'an error needs a code and a message');
    return { kind: 'reply', re: identifier(message, 're'), result: message['result'], error, fds };
  }
  if (message['progress'] !== undefined) {
    return { kind: 'progress', progress: identifier(message, 'progress'), data: message['data'], fds };
  }
  const event = message['event'];
  if (typeof event === 'string') return { kind: 'event', event, data: message['data'], fds };
  throw invalid('', 'a message is a request (id), a reply (re), progress (progress) or an event (event)');
}

function declaredFds(message: Record<string, unknown>): number {
  const fds = message['fds'];
  if (fds === undefined) return 0;
  if (!isCount(fds)) throw invalid('/fds', 'the count of fds is a whole number, 0 or more');
  return fds;
}

function identifier(message: Record<string, unknown>, field: string): number {
  const value = message[field];
  if (!isCount(value) || value === 0) throw invalid(`/${field}`, 'an identifier is a whole number, 1 or more');
  return value;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Optional fields of an error are used as text later, so that they are checked here as well. */
function isWireError(value: unknown): value is WireError {
  if (typeof value !== 'object' || value === null) return false;
  const error = value as Record<string, unknown>;
  const optional = ['errno', 'phase', 'handle', 'participant', 'remedy'];
  const data = error['data'];
  return (
    typeof error['code'] === 'string' &&
    typeof error['message'] === 'string' &&
    optional.every((field) => error[field] === undefined || typeof error[field] === 'string') &&
    (data === undefined || (typeof data === 'object' && data !== null && !Array.isArray(data)))
  );
}

function invalid(path: string, message: string): LuoError {
  return new LuoError('PROTO_INVALID', path === '' ? message : `${path}: ${message}`, { data: { path } });
}
