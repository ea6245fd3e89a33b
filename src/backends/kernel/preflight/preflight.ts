/**
 * Would a kexec bring everything over? Every check looks and changes nothing; each gives what was found and what to do about
 * it. A check that could not look says `warn`, never `pass`. The names are stable: `--force CHECK` overrides one.
 */
import type { PreflightCheck, PreflightInput, PreflightReport } from '../../../ports/index.js';
import { finding, type Machine } from './finding.js';
import { checkHandles } from './handles.js';
import { checkRunning } from './running.js';
import { checkTarget } from './target.js';

export async function preflight(input: PreflightInput, machine: Machine): Promise<PreflightReport> {
  const target = await checkTarget(input, machine);
  const checks: PreflightCheck[] = [
    ...checkRunning(input, machine),
    ...target.checks,
    ...checkHandles(input, machine),
    prediction(input.predictedBlackoutMs),
  ];
  return {
    ok: !checks.some((check) => check.result === 'fail'),
    target: { release: target.release, kernel: target.kernel },
    running: { release: machine.release },
    checks,
    predictedBlackoutMs: input.predictedBlackoutMs,
  };
}

function prediction(ms: number | null): PreflightCheck {
  const reason =
    ms === null
      ? 'no earlier jump of this machine is known: the blackout cannot be predicted'
      : `earlier jumps had a blackout of ${ms.toFixed(0)} ms in the median`;
  return finding('blackout', 'pass', reason);
}
