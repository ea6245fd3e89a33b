/**
 * What a plan costs beside a bare `node -e 0`: CPU time of the first call in a new process (cold) and of the tenth (warm),
 * for 1,250 to 20,000 handles of three kinds with three dependencies each, held by one participant for every 50.
 *
 *   npm run bench:plan [-- --rounds 9]
 *
 * Each round starts Node bare, then each size in a process of its own: what the machine does meanwhile meets both sides of
 * a ratio. CPU time is of all threads, so that what the compiler and the collector do beside the plan is counted with it.
 * The registry is filled, and what filling left behind is collected, before the clock starts. The bare start is read with
 * `times` of the shell, whose clock has 10 ms; five starts are one reading.
 */
import { spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { handleKey, type Kind } from '../src/base/words.js';
import { plan, Registry } from '../src/engine/index.js';
import { machine, pairedRatio, show, summarize } from './lib/index.js';

const SIZES = [1_250, 2_500, 5_000, 10_000, 20_000];
const STARTS_PER_READING = 5;
const WARM_UP_CALLS = 9;
const HANDLES_PER_PARTICIPANT = 50;

/** Milliseconds of CPU time, and of the clock, for one plan. */
interface Cost {
  readonly cpuMs: number;
  readonly wallMs: number;
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, measure: { type: 'string' } },
});

if (values.measure !== undefined) await measure(Number(values.measure));
else compare(Number(values.rounds));

/** A tenth globals, three tenths devices, the rest fds; each depends on three (or fewer, if equal) before it. */
function filled(count: number): Registry {
  const registry = new Registry();
  const owners = Math.ceil(count / HANDLES_PER_PARTICIPANT);
  for (let owner = 0; owner < owners; owner += 1) registry.addParticipant({ id: `p${owner}`, owner: `p${owner}` });
  const verdict = { ok: true, reason: '' };
  const kindOf = (index: number): Kind => (index < count / 10 ? 'global' : index < (count * 4) / 10 ? 'device' : 'fd');
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const keys: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const kind = kindOf(index);
    const owner = `p${index % owners}`;
    const dependencies = index === 0 ? [] : [1, 2, 3].map(() => keys[random(index)]!);
    const viable = { handover: verdict, kexec: verdict };
    registry.register(owner, [{ kind, name: `${index}`, compatible: 'bench/1', viable, dependencies }]);
    keys.push(handleKey({ owner, kind, name: `${index}` }));
  }
  return registry;
}

function costOfPlan(registry: Registry): Cost {
  const cpu = process.cpuUsage();
  const start = performance.now();
  plan(registry, { gap: 'handover', scope: 'all' });
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { cpuMs: (user + system) / 1000, wallMs };
}

/** The measured process: prints its costs as JSON. */
async function measure(count: number): Promise<void> {
  const registry = filled(count);
  // Twice, so that the registry is in the old generation, as it is in a process that has run for a while.
  globalThis.gc!();
  globalThis.gc!();
  // The compiler and the sweeper are still busy with the filling.
  await delay(200);
  const cold = costOfPlan(registry);
  for (let call = 0; call < WARM_UP_CALLS; call += 1) plan(registry, { gap: 'handover', scope: 'all' });
  await delay(200);
  console.log(JSON.stringify({ cold, warm: costOfPlan(registry) }));
}

function output(command: string, args: readonly string[]): string {
  const { status, stdout, error } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`'${command}' ended with ${status}`);
  return stdout;
}

function bareStart(): Cost {
  const starts = Array.from({ length: STARTS_PER_READING }, () => '"$0" -e 0').join('; ');
  const begin = performance.now();
  const times = output('sh', ['-c', `${starts}; times`, process.execPath]);
  const wallMs = (performance.now() - begin) / STARTS_PER_READING;
  // The last line is of the children: user and system time, `0m0.270s 0m0.040s`.
  const parts = [
    ...times
      .trim()
      .split('\n')
      .at(-1)!
      .matchAll(/(\d+)m([\d.]+)s/g),
  ];
  const cpuMs = parts.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1000, 0);
  return { cpuMs: cpuMs / STARTS_PER_READING, wallMs };
}

function compare(rounds: number): void {
  const self = fileURLToPath(import.meta.url);
  const load = (): string => loadavg()[0]!.toFixed(1);
  console.log(`${machine()}; load ${load()}; ${rounds} rounds, median (quartiles)`);
  const bare: Cost[] = [];
  const cold = SIZES.map((): Cost[] => []);
  const warm = SIZES.map((): Cost[] => []);
  for (let round = 0; round < rounds; round += 1) {
    bare.push(bareStart());
    for (const [index, size] of SIZES.entries()) {
      const costs = JSON.parse(output(process.execPath, ['--expose-gc', self, '--measure', String(size)])) as {
        cold: Cost;
        warm: Cost;
      };
      cold[index]!.push(costs.cold);
      warm[index]!.push(costs.warm);
    }
  }
  const cpu = (costs: readonly Cost[]): number[] => costs.map(({ cpuMs }) => cpuMs);
  const wall = (costs: readonly Cost[]): number[] => costs.map(({ wallMs }) => wallMs);
  console.log(`bare start: CPU ${show(summarize(cpu(bare)), ' ms')}, clock ${show(summarize(wall(bare)), ' ms')}`);
  for (const [index, size] of SIZES.entries()) {
    for (const [name, costs] of [
      ['cold', cold[index]!],
      ['warm', warm[index]!],
    ] as const) {
      const perHandle = summarize(cpu(costs).map((ms) => (ms * 1000) / size));
      console.log(
        `${size.toLocaleString('en').padStart(6)} handles ${name}: CPU ${show(summarize(cpu(costs)), ' ms')}, ` +
          `ratio ${show(pairedRatio(cpu(costs), cpu(bare)))}; clock ratio ${show(pairedRatio(wall(costs), wall(bare)))}; ` +
          `${show(perHandle, ' us')} of CPU a handle`,
      );
    }
  }
  console.log(`load ${load()}`);
}
