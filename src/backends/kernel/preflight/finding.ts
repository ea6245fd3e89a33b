/** What the checks of a preflight share: the machine as they see it, and the shape of what they find. */
import type { PreflightCheck } from '../../../ports/index.js';

/** The machine as the checks see it. */
export interface Machine {
  readonly procRoot: string;
  readonly sysRoot: string;
  readonly devRoot: string;
  readonly release: string;
  readonly systemd: boolean;
  readonly isLoaded: boolean;
}

export function finding(
  check: string,
  result: PreflightCheck['result'],
  reason: string,
  remedy: string | null = null,
  handle?: string,
): PreflightCheck {
  return { check, result, reason, remedy, ...(handle === undefined ? {} : { handle }) };
}
