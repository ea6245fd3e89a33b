/** Errors as a person on call reads them: what, where, why, what to do. And the exit code that belongs to each. */
import type { LuoError } from '../base/errors.js';
import { type ErrorCode } from '../base/errors.js';
import { printable, type Paint } from './format.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { REMEDIES } from './remedies.js';

/** Codes that say of an update: it did not go through, the old state goes on. */
const ROLLED_BACK: ReadonlySet<ErrorCode> = new Set([
  'UPDATE_CANCELLED',
  'UPDATE_FAILED',
  'CALL_FAILED',
  'CALL_TIMEOUT',
  'MEMBER_DIED',
  'SUCCESSOR_DIED',
  'SUCCESSOR_TIMEOUT',
  'KEXEC_RETURNED',
]);

/** Exit code of a failed request; `transition` says that the request was to begin one, which luod then rolled back. */
export function exitCodeOf(error: LuoError, transition: boolean): ExitCode {
  if (error.code === 'LUOD_UNREACHABLE') return EXIT.noLuod;
  if (error.code === 'STATE_STUCK') return EXIT.stuck;
  if (transition && ROLLED_BACK.has(error.code)) return EXIT.rolledBack;
  return EXIT.failed;
}

/** The facts in `data` that are worth a line: lists of names and single words. */
function dataLines(data: Readonly<Record<string, unknown>> | undefined): string[] {
  return Object.entries(data ?? {}).flatMap(([key, value]) => {
    // The checks of a preflight are shown as the table that they are (preflight-table.ts).
    if (key === 'checks') return [];
    if (Array.isArray(value) && value.length > 0)
      return [`${key}: ${value.map(factText).join(key === 'cycle' || key === 'path' ? ' -> ' : ', ')}`];
    if (['string', 'number', 'boolean'].includes(typeof value)) return [`${key}: ${String(value)}`];
    return [];
  });
}

function factText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/**
 * Several lines without a last newline: `luoctl VERB: message [CODE, ERRNO]`, then where, why and what to do, each only
 * if it is known.
 */
export function renderError(error: LuoError, what: string, paint: Paint): string {
  const code = error.errno === undefined ? error.code : `${error.code}, ${error.errno}`;
  const where = [
    error.phase === undefined ? [] : [`phase ${error.phase}`],
    error.participant === undefined ? [] : [`participant ${error.participant}`],
    error.handle === undefined ? [] : [`handle ${error.handle}`],
  ].flat();
  const cause = error.cause instanceof Error && error.cause.message !== error.message ? [error.cause.message] : [];
  const lines: [string, string][] = [
    ...(where.length === 0 ? [] : [['where', where.join(', ')] as [string, string]]),
    ...[...cause, ...dataLines(error.data)].map((line): [string, string] => ['why', line]),
    ['to do', error.remedy ?? REMEDIES[error.code]],
  ];
  return [
    `${paint.bad(`luoctl ${what}:`)} ${printable(error.message)} [${code}]`,
    ...lines.map(([label, text]) => `  ${paint.dim(`${label}:`)} ${printable(text)}`),
  ].join('\n');
}
