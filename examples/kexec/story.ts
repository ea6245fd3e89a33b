/**
 * One machine, two kernels: the cache of examples/cache is filled by the npm redis client, the kernel under it is replaced by
 * luoctl kexec, every key is compared, and then the way back. Everything happens in a virtual machine of its own.
 *
 * The blackout is measured by the host's clock, which goes on over the jump: each kernel's clock is related to it through
 * the channel to the machine, and the half round trips of both are the uncertainty.
 */
import { kernels, type Kernel } from '../../test/vm/bed/kernels.js';
import { Vm } from '../../test/vm/bed/vm.js';

const PORT = 7000;

export interface TimelineEvent {
  readonly ns: number;
  readonly what: string;
  readonly participant?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}
interface Timeline {
  readonly attempt: number;
  readonly startNs: number;
  readonly events: readonly TimelineEvent[];
}

export interface Jump {
  readonly kernelBefore: string;
  readonly kernelAfter: string;
  readonly keysBefore: number;
  readonly keysAfter: number;
  readonly keysWrong: number;
  readonly claimed: number;
  readonly unclaimed: number;
  readonly blackoutMs: number;
  readonly blackoutUncertaintyMs: number;
  /** From freeze to reboot(2), and from luod's start to the last claim: what is luo's own of it. */
  readonly beforeJumpMs: number;
  readonly afterArrivalMs: number;
  readonly timeline: Timeline;
}

export interface KexecStoryResult {
  readonly jumps: readonly Jump[];
  readonly stateBytes: number;
}

/** Told of each step: what begins, and how it ended. */
export type Tell = (what: string) => (how: string) => void;

export async function tellKexecStory(options: {
  readonly stateBytes: number;
  readonly tell: Tell;
}): Promise<KexecStoryResult> {
  const { stateBytes, tell } = options;
  const { from, to } = kernels();
  const booted = tell(`boot Linux ${from.version} in QEMU, with luod`);
  const vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    memoryMiB: 1536,
    files: { '/boot/from': from.path, '/boot/to': to.path },
  });
  let failed = true;
  try {
    await vm.untilState('normal');
    booted(`kernel ${vm.hello.release}`);
    const filled = tell('luoctl run: the cache; the npm redis client fills it');
    const memory = `${Math.ceil((stateBytes * 1.5) / 2 ** 20) + 16}m`;
    const program = ['node', '/luo/dist/examples/cache/main.js', '--port', String(PORT), '--memory', memory];
    await vm.must(['luoctl', '--dir', '/run/luo', 'run', '--name', 'cache', '--', ...program], { timeoutMs: 600_000 });
    const keys = await vm.run<number>('test/vm/guest/cache-client.js', 'fill', [PORT, stateBytes], 600_000);
    filled(`${keys} keys`);
    const jumps = [
      await jump(vm, to, '/boot/to', stateBytes, tell),
      await jump(vm, from, '/boot/from', stateBytes, tell),
    ];
    failed = false;
    return { jumps, stateBytes };
  } finally {
    await vm.stop(failed);
  }
}

async function jump(vm: Vm, target: Kernel, path: string, stateBytes: number, tell: Tell): Promise<Jump> {
  const before = await check(vm, stateBytes);
  const kernelBefore = vm.hello.release;
  const clockBefore = await vm.clockOffset();
  const jumped = tell(`luoctl load, luoctl kexec: Linux ${kernelBefore} -> ${target.version}`);
  const { release } = await vm.kexec(path);
  jumped(`kernel ${release}`);
  const settled = tell('the cache is started again, claims its memory, and the update is finished');
  const status = await vm.untilState('normal', 600_000);
  const clockAfter = await vm.clockOffset();
  const timeline = await vm.luoctlJson<Timeline>(['timeline', '--format', 'json']);
  const at = (what: string, pick: 'first' | 'last' = 'first'): TimelineEvent => {
    const found = timeline.events.filter((event) => event.what === what && event.participant !== 'luod');
    return found.at(pick === 'first' ? 0 : -1)!;
  };
  const blackoutMs = blackoutByHost(
    { freeze: at('freeze.sent'), arrived: at('arrived'), go: at('go.acked', 'last') },
    clockBefore,
    clockAfter,
  );
  settled(`blackout ${(blackoutMs / 1000).toFixed(2)} s by the host's clock`);
  const compared = tell('compare every key');
  const after = await check(vm, stateBytes);
  compared(`${after.keys} keys, ${after.wrong} wrong`);
  return {
    kernelBefore,
    kernelAfter: release,
    keysBefore: before.keys,
    keysAfter: after.keys,
    keysWrong: before.wrong + after.wrong,
    claimed: status.handles.filter((handle) => handle.claimed).length,
    unclaimed: status.kexec.unclaimed.length,
    blackoutMs,
    blackoutUncertaintyMs: clockBefore.uncertaintyMs + clockAfter.uncertaintyMs,
    beforeJumpMs: (at('jump').ns - at('freeze.sent').ns) / 1e6,
    afterArrivalMs: (at('go.acked', 'last').ns - at('arrived').ns) / 1e6,
    timeline,
  };
}

/**
 * From the freeze in one kernel to the go in the next, ms by the host's clock.
 * @param before how far the clock of the kernel that was left is behind the host's, `after` that of the next one
 */
export function blackoutByHost(
  { freeze, arrived, go }: Readonly<Record<'freeze' | 'arrived' | 'go', TimelineEvent>>,
  before: { readonly offsetMs: number },
  after: { readonly offsetMs: number },
): number {
  // Events of the next kernel stand on the last one's axis: back to its own clock, and from there to the host's.
  const { offsetNs } = arrived.detail as { offsetNs: number };
  const goMs = (go.ns - offsetNs) / 1e6 + after.offsetMs;
  return goMs - (freeze.ns / 1e6 + before.offsetMs);
}

function check(vm: Vm, stateBytes: number): Promise<{ keys: number; wrong: number }> {
  return vm.run('test/vm/guest/cache-client.js', 'check', [PORT, stateBytes], 600_000);
}
