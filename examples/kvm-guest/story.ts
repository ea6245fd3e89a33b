/**
 * One machine with a guest in it: the monitor of the guest is replaced by luoctl update, then the kernel under it by luoctl kexec,
 * and after each every word of the guest's memory is compared with what the guest must have left there. Everything
 * happens in a virtual machine of its own, so that the guest is one inside of another: no KVM is needed here.
 *
 * The blackout of a jump is measured by the host's clock, which goes on over it: each kernel's clock is related to it through the
 * channel to the machine, and the half round trips of both are the uncertainty.
 */
import { kernels } from '../../test/vm/bed/kernels.js';
import { PATIENT, Vm } from '../../test/vm/bed/vm.js';
import { blackoutByHost, type Tell, type TimelineEvent } from '../kexec/story.js';
import type { Report } from './main.js';

const PORT = 7100;
/** Rounds that the guest must do before something happens to it, and after. In each it looks at all of its memory. */
const ROUNDS = 5;
const ANSWER_MS = 600_000;
const PROGRAM = '/luo/dist/examples/kvm-guest/main.js';

/** The guest before and after a gap. */
export interface Crossing {
  /** Rounds: the last that was seen before, and the first after. */
  readonly countBefore: number;
  readonly countAfter: number;
  /** Words, found by the monitor or by the guest itself. */
  readonly memoryWrong: number;
  readonly interruptsInjected: number;
  readonly spuriousInjected: number;
  readonly blackoutMs: number;
  /** The guest was never booted anew, went on, and every interrupt that was injected was counted by it. */
  readonly ok: boolean;
}

export interface Jump extends Crossing {
  readonly kernelBefore: string;
  readonly kernelAfter: string;
  readonly blackoutUncertaintyMs: number;
}

export interface KvmStoryResult {
  readonly memoryBytes: number;
  readonly handover: Crossing;
  readonly jumps: readonly Jump[];
}

export async function tellKvmStory(options: {
  /** `32m` */
  readonly memory: string;
  /** After the jump into the other kernel, jump back. */
  readonly isBackWanted: boolean;
  readonly tell: Tell;
}): Promise<KvmStoryResult> {
  const { tell } = options;
  const { from, to } = kernels();
  const booted = tell(`boot Linux ${from.version} in QEMU, with luod`);
  const vm = await Vm.start({
    kernel: from,
    luod: '/run/luo',
    files: { '/boot/from': from.path, '/boot/to': to.path },
  });
  let failed = true;
  try {
    await vm.untilState('normal');
    booted(`kernel ${vm.hello.release}`);
    const started = tell('luoctl run: a virtual machine monitor, with a guest that walks its memory and counts');
    await luoctl(vm, [
      'run',
      '--name',
      'guest',
      '--restart',
      'on-failure',
      '--',
      'node',
      PROGRAM,
      '--memory',
      options.memory,
    ]);
    const { memoryBytes, guest } = await untilRounds(vm, ROUNDS);
    started(`${memoryBytes / 2 ** 20} MiB, round ${guest.rounds}`);
    const handover = await update(vm, tell);
    const jumps = [await jump(vm, '/boot/to', to.version, tell)];
    if (options.isBackWanted) jumps.push(await jump(vm, '/boot/from', from.version, tell));
    failed = false;
    return { memoryBytes, handover, jumps };
  } catch (error) {
    const { stdout } = await vm.luoctl(['logs', 'guest']).catch(() => ({ stdout: '' }));
    throw new Error(`${(error as Error).message}\nthe monitor's log:\n${stdout}`, { cause: error });
  } finally {
    await vm.stop(failed);
  }
}

async function update(vm: Vm, tell: Tell): Promise<Crossing> {
  const before = await ask(vm);
  const updated = tell('luoctl update: the monitor is replaced, the guest goes on in the next one');
  const program = ['node', PROGRAM, '--version-label', 'v2'];
  const patience = [...PATIENT, '--standby-max', '5m'];
  const said = await luoctl(vm, ['--json', 'update', 'guest', ...patience, '--', ...program]);
  const { blackoutMs } = JSON.parse(said) as { blackoutMs: number };
  const after = await ask(vm);
  updated(`pid ${before.pid} -> ${after.pid}, blackout ${blackoutMs.toFixed(0)} ms`);
  return compared(vm, before, after, blackoutMs, tell);
}

async function jump(vm: Vm, path: string, version: string, tell: Tell): Promise<Jump> {
  const clockBefore = await vm.clockOffset();
  const before = await ask(vm);
  const jumped = tell(`luoctl load, luoctl kexec: Linux ${before.kernel} -> ${version}`);
  await vm.kexec(path);
  await vm.untilState('normal', ANSWER_MS);
  const clockAfter = await vm.clockOffset();
  const after = await ask(vm);
  const { events } = JSON.parse(await luoctl(vm, ['timeline', '--format', 'json'])) as { events: TimelineEvent[] };
  const ofGuest = events.filter((event) => event.participant !== 'luod');
  const at = (what: string): TimelineEvent => {
    const event = ofGuest.find((one) => one.what === what);
    if (event === undefined) throw new Error(`the timeline of the jump has no '${what}' of the guest`);
    return event;
  };
  const blackoutMs = blackoutByHost(
    { freeze: at('freeze.sent'), arrived: at('arrived'), go: at('go.acked') },
    clockBefore,
    clockAfter,
  );
  jumped(`kernel ${after.kernel}, blackout ${(blackoutMs / 1000).toFixed(2)} s by the host’s clock`);
  return {
    ...(await compared(vm, before, after, blackoutMs, tell)),
    kernelBefore: before.kernel,
    kernelAfter: after.kernel,
    blackoutUncertaintyMs: clockBefore.uncertaintyMs + clockAfter.uncertaintyMs,
  };
}

async function compared(vm: Vm, before: Report, after: Report, blackoutMs: number, tell: Tell): Promise<Crossing> {
  const looked = tell('compare every word of the memory, and let the guest do so itself');
  // More than one whole round: the guest looks at every word that it had left before the gap.
  const later = await untilRounds(vm, after.guest.rounds + ROUNDS);
  const { verification } = await ask(vm, 'verify');
  const memoryWrong = verification!.wrongWords + later.guest.wrong;
  const ok =
    memoryWrong === 0 &&
    later.guest.boots === before.guest.boots &&
    after.guest.rounds >= before.guest.rounds &&
    later.monitor.rebuilds === before.monitor.rebuilds + 1 &&
    later.monitor.spurious === before.monitor.spurious + 1 &&
    later.guest.interrupts === later.monitor.injected;
  looked(`${verification!.pages} pages, ${memoryWrong} words wrong, round ${later.guest.rounds}`);
  return {
    countBefore: before.guest.rounds,
    countAfter: after.guest.rounds,
    memoryWrong,
    interruptsInjected: later.monitor.injected,
    spuriousInjected: later.monitor.spurious,
    blackoutMs,
    ok,
  };
}

/** Wait until the guest sleeps after so many rounds: no interrupt is on its way then. */
function untilRounds(vm: Vm, rounds: number): Promise<Report> {
  return vm.until(
    `round ${rounds} of the guest`,
    async () => {
      const report = await ask(vm);
      return report.guest.rounds >= rounds && report.isHalted ? report : undefined;
    },
    ANSWER_MS,
  );
}

function ask(vm: Vm, path = ''): Promise<Report> {
  return vm.until(
    'an answer of the monitor',
    async () => JSON.parse(await vm.must(['wget', '-q', '-O', '-', `http://127.0.0.1:${PORT}/${path}`])) as Report,
    ANSWER_MS,
  );
}

function luoctl(vm: Vm, args: readonly string[]): Promise<string> {
  return vm.must(['luoctl', '--dir', '/run/luo', ...args], { timeoutMs: ANSWER_MS });
}
