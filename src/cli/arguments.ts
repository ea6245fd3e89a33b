/** Readers of what is typed: durations, variables, signals, handles; each says what it expects when it refuses. */
import { InvalidArgumentError } from 'commander';
import { parseHandleKey } from '../base/words.js';
import { UsageError } from './exit-codes.js';
import type { OptionSpec } from './verb.js';

const UNITS: Readonly<Record<string, number>> = { '': 1, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `250`, `250ms`, `2s`, `10m`, `1h` in milliseconds: 1 to a day. */
export function milliseconds(text: string): number {
  const match = /^(\d+)(ms|s|m|h|)$/.exec(text);
  const value = match ? Number(match[1]) * UNITS[match[2]!]! : NaN;
  if (!(value >= 1 && value <= 86_400_000)) {
    throw new InvalidArgumentError('expected milliseconds, or a number with ms, s, m or h; at most a day.');
  }
  return value;
}

/** A whole number of at least 0. */
export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

/** Gathers `--env K=V`, which may be given many times. */
export function variable(text: string, previous: unknown): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected NAME=VALUE.');
  return { ...(previous as Record<string, string> | undefined), [text.slice(0, at)]: text.slice(at + 1) };
}

/** `TERM`, `sigterm` and `SIGTERM` as the one spelling of the protocol. */
export function signalName(text: string): string {
  const name = text.toUpperCase().replace(/^(SIG)?/, 'SIG');
  if (!/^SIG[A-Z][A-Z0-9]*$/.test(name))
    throw new InvalidArgumentError('expected the name of a signal, as TERM or SIGTERM.');
  return name;
}

/**
 * `text` if it is a handle key.
 * @throws UsageError otherwise
 */
export function handleArgument(text: string): string {
  if (!parseHandleKey(text)) {
    throw new UsageError(
      `'${text}' is no handle: expected OWNER/KIND:NAME, as 1000:cache/fd:index (see luoctl status -v)`,
    );
  }
  return text;
}

/** The options of every handover, with the limits that they set. */
export const LIMIT_OPTIONS: readonly OptionSpec[] = [
  { flags: '--blackout-max <ms>', help: 'longest time from freeze to commit', parse: milliseconds },
  { flags: '--standby-max <ms>', help: 'longest start of the new version', parse: milliseconds },
  { flags: '--prepare-max <ms>', help: 'longest prepare of one participant', parse: milliseconds },
  { flags: '--finish-max <ms>', help: 'longest clean-up after the commit', parse: milliseconds },
];
export interface LimitOptions {
  blackoutMax?: number;
  standbyMax?: number;
  prepareMax?: number;
  finishMax?: number;
  preparedMax?: number;
  claimMax?: number;
}

/** The `limits` parameter of a request; nothing when no limit was given. */
export function limitsParam(options: LimitOptions): { limits?: Record<string, number> } {
  const pairs: [string, number | undefined][] = [
    ['blackoutMs', options.blackoutMax],
    ['standbyMs', options.standbyMax],
    ['prepareMs', options.prepareMax],
    ['finishMs', options.finishMax],
    ['preparedMs', options.preparedMax],
    ['claimMs', options.claimMax],
  ];
  const given = pairs.filter((pair): pair is [string, number] => pair[1] !== undefined);
  return given.length === 0 ? {} : { limits: Object.fromEntries(given) };
}
