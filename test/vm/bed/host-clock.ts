/**
 * The host's clock, for code that runs inside of the machine: it goes on over a jump, whereas each kernel's own begins anew
 * and its real-time clock is set from one with whole seconds.
 */
export interface HostTime {
  /** The host's CLOCK_MONOTONIC, ns. */
  readonly monotonicNs: bigint;
  readonly realtimeMs: number;
  /** Half of the round trip, ns: by how much this may be wrong. */
  readonly uncertaintyNs: bigint;
}

type Ask = () => Promise<{ monotonicNs: string; realtimeMs: number }>;
let ask: Ask | undefined;

/** The agent says how the host is asked. */
export function setHostClock(how: Ask): void {
  ask = how;
}

/** @throws Error outside of a machine: nobody to ask */
export async function hostClock(): Promise<HostTime> {
  if (!ask) throw new Error('there is no host to ask: this runs outside of the agent of a machine');
  const before = process.hrtime.bigint();
  const { monotonicNs, realtimeMs } = await ask();
  const uncertaintyNs = (process.hrtime.bigint() - before) / 2n;
  return { monotonicNs: BigInt(monotonicNs), realtimeMs, uncertaintyNs };
}
