/** The checks of a preflight as people read them: what stands in the way first, each with what to do about it. */
import type { PreflightReport } from '../protocol/spec.js';
import { printable, table, time, type Paint } from './format.js';

type Check = PreflightReport['checks'][number];
const ORDER = { fail: 0, warn: 1, pass: 2 } as const;

export function preflightText(report: PreflightReport, paint: Paint): string {
  const { running, target, checks } = report;
  const head = `Linux ${running.release} -> ${target.kernel === null ? '(no kernel)' : `${printable(target.kernel)}, Linux ${target.release ?? '(unknown)'}`}\n\n`;
  const verdict = report.ok
    ? `${paint.good('ok')}: everything that is to survive would come over; blackout ${report.predictedBlackoutMs === null ? 'not predicted' : `about ${time(report.predictedBlackoutMs)}`}\n`
    : `${paint.bad('refused')}: luoctl kexec does not go while a check fails; --force CHECK overrides one\n`;
  return head + checkTable(checks, paint) + remedies(checks) + `\n${verdict}`;
}

export function checkTable(checks: readonly Check[], paint: Paint): string {
  const word = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('FAIL') };
  const sorted = worstFirst(checks);
  return table(
    ['RESULT', 'CHECK', 'FOUND'],
    sorted.map((check) => [word[check.result], check.check, printable(check.reason)]),
  );
}

function worstFirst(checks: readonly Check[]): Check[] {
  return [...checks].sort((a, b) => ORDER[a.result] - ORDER[b.result]);
}

function remedies(checks: readonly Check[]): string {
  const lines = worstFirst(checks)
    .filter((check) => check.result !== 'pass' && check.remedy !== null)
    .map((check) => `  ${check.check}: ${printable(check.remedy!)}\n`);
  const unique = [...new Set(lines)];
  return unique.length === 0 ? '' : `\nto do\n${unique.join('')}`;
}
