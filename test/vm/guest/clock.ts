/** Runs inside of the machine: what the host's clock says. */
import { hostClock } from '../bed/host-clock.js';

export async function read(): Promise<{ monotonicNs: string; uncertaintyNs: string }> {
  const { monotonicNs, uncertaintyNs } = await hostClock();
  return { monotonicNs: String(monotonicNs), uncertaintyNs: String(uncertaintyNs) };
}
