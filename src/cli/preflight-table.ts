/**
 * The checks of a preflight as they are read in the night: what stands in the way first, each with what to do about it right
 * below. Of many findings of one kind the first few are shown, so that what matters does not scroll away.
 */
import type { PreflightReport } from '../protocol/spec.js';
import { count, printable, time, type Paint } from './format.js';

type Check = PreflightReport['checks'][number];

const ORDER = ['fail', 'warn', 'pass'] as const;
const WORDS = { fail: '✗ FAIL', warn: '! warn', pass: '✓ pass' } as const;
/** Findings of one kind that are shown without -v. */
const SHOWN_MAX = 5;

export interface TableOptions {
  /** Everything, however many. */
  readonly verbose?: boolean;
}

/** The whole report: from where to where, the checks, the verdict. */
export function preflightText(report: PreflightReport, paint: Paint, options: TableOptions = {}): string {
  const { running, target, checks } = report;
  const to =
    target.kernel === null ? '(no kernel)' : `${printable(target.kernel)}, Linux ${target.release ?? '(unknown)'}`;
  return `Linux ${running.release} -> ${to}\n\n${checkTable(checks, paint, options)}\n${verdict(report, paint)}`;
}

function verdict({ ok, checks, predictedBlackoutMs }: PreflightReport, paint: Paint): string {
  const failed = checks.filter((check) => check.result === 'fail').length;
  if (!ok) {
    const fails = `${count(failed, 'check')} ${failed === 1 ? 'fails' : 'fail'}`;
    return `${paint.bad('refused')}: ${fails}, so luoctl kexec does not go; --force CHECK overrides one\n`;
  }
  const warned = checks.filter((check) => check.result === 'warn').length;
  const warnings = warned === 0 ? '' : `, with ${count(warned, 'warning')}`;
  const blackout = predictedBlackoutMs === null ? 'not predicted' : `about ${time(predictedBlackoutMs)}`;
  return `${paint.good('ok')}${warnings}: what is to survive would come over; blackout ${blackout}\n`;
}

/** One row per check, failures first, and a line with what to do below each that is not a pass. */
export function checkTable(checks: readonly Check[], paint: Paint, { verbose = false }: TableOptions = {}): string {
  const colour = { fail: paint.bad, warn: paint.warn, pass: paint.good };
  const width = Math.max(0, ...checks.map(({ check }) => check.length));
  const indent = ' '.repeat(WORDS.fail.length + 2 + width + 2);
  const lines = kinds(checks).flatMap((kind) => {
    const shown = verbose || kind.length <= SHOWN_MAX ? kind : kind.slice(0, SHOWN_MAX);
    const more = kind.length - shown.length;
    return [
      ...shown.flatMap((one, index) => [
        `${colour[one.result](WORDS[one.result])}  ${one.check.padEnd(width)}  ${printable(one.reason)}`,
        // One remedy for a row of the same ones, below the last of them.
        ...(one.result === 'pass' || one.remedy === null || shown[index + 1]?.remedy === one.remedy
          ? []
          : [`${indent}${paint.dim('to do:')} ${printable(one.remedy)}`]),
      ]),
      ...(more === 0 ? [] : [`${indent}${paint.dim(`and ${more} more like it (-v shows all)`)}`]),
    ];
  });
  return lines.map((line) => `${line}\n`).join('');
}

/** The checks by result and name: failures first, and otherwise in the order in which they were made. */
function kinds(checks: readonly Check[]): Check[][] {
  return ORDER.flatMap((result) => {
    const byName = new Map<string, Check[]>();
    for (const check of checks.filter((one) => one.result === result)) {
      byName.set(check.check, [...(byName.get(check.check) ?? []), check]);
    }
    return [...byName.values()];
  });
}
