/** `luoctl doctor`: what this machine can preserve over which gap, and why not. Needs no luod. */
import { GAPS, type Gap } from '../../base/words.js';
import type { DoctorCheck } from '../../ports/doctor.js';
import { EXIT } from '../exit-codes.js';
import { printable, table, type Paint } from '../format.js';
import { verb } from '../verb.js';

export const doctor = verb<{ gap?: Gap }>({
  name: 'doctor',
  group: 'Housekeeping:',
  summary: 'check what this machine can preserve over which gap, and why not',
  options: [{ flags: '--gap <gap>', help: 'only what this gap needs', choices: GAPS }],
  notes:
    'Exit code 1: the gap (by default handover) cannot be crossed on this machine. Changes nothing, needs no luod.',
  example: { line: 'luoctl doctor --gap handover', says: 'checks what an update of a service needs here' },
  async run({ context, options }) {
    const all = await context.ports.doctor.examine({ dir: context.dir() });
    const checks = all.filter((check) => options.gap === undefined || check.gap === null || check.gap === options.gap);
    context.report({ checks }, text(checks, context.paint));
    const gap = options.gap ?? 'handover';
    const broken = checks.some((check) => check.result === 'fail' && (check.gap === null || check.gap === gap));
    return broken ? EXIT.failed : EXIT.done;
  },
});

function text(checks: readonly DoctorCheck[], paint: Paint): string {
  const word = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('fail') };
  const rows = checks.map((check) => [word[check.result], check.gap ?? 'both', check.check, printable(check.reason)]);
  const remedies = checks
    .filter((check) => check.result !== 'pass' && check.remedy !== null)
    .map((check) => `${check.check}: ${printable(check.remedy!)}\n`);
  return (
    table(['RESULT', 'GAP', 'CHECK', 'FOUND'], rows) + (remedies.length === 0 ? '' : `\nto do\n${remedies.join('')}`)
  );
}
