/**
 * What a client sees of an update: the longest time without an answer, for states from 1 MiB to 4 GiB and for 50 and 500
 * connections, beside the same program restarted plainly and a bare `node -e 0`.
 *
 *   npm run bench:blackout [-- --sizes 1m,64m,1g,4g --connections 50,500 --updates 10]
 *
 * The client is an open-loop probe: a request each millisecond, sent whether or not the last was answered. Each round is
 * one update under load, then one bare start; plain restarts of the program come after the rounds. The gap at the switch
 * is the longest one from prepare to 300 ms after the update's end; the start of the standby before it is shown apart. Medians with their
 * spread, ratios within the run. A probe that stalled itself for longer than the gap it saw is named, not hidden.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort, startLuod, type TestLuod } from 'luo/testing';
import { connectLuod } from '../src/client/control.js';
import { parseSize } from '../examples/cache/settings.js';
import { spread, type Spread } from './lib/stats.js';
import { LoadProcess, ProbeChild } from './load/child.js';
import type { ProbeWindow } from './load/probe-core.js';
import { Dataset } from './load/dataset.js';
import { check, fill } from './load/fill.js';
import { RespClient } from './load/resp-client.js';

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1m,64m,1g,4g' },
    connections: { type: 'string', default: '50,500' },
    updates: { type: 'string', default: '10' },
  },
});
const program = fileURLToPath(new URL('../examples/cache/main.js', import.meta.url));
const updates = Number(values.updates);
/** All connections together ask so often per second, whatever their number. */
const LOAD_PER_SECOND = 1000;
const SETTLE_MS = 300;
const PLAIN_RESTARTS = 3;
/** The steps of the blackout whose times are shown. */
const PHASES = [
  ['freeze', 'freeze.sent', 'freeze.acked'],
  ['relay to the successor', 'freeze.acked', 'restore.frozen.sent'],
  ['restore', 'restore.frozen.sent', 'restore.frozen.acked'],
  ['ask the keeper', 'decide.sent', 'decided'],
  ['go', 'go.sent', 'go.acked'],
] as const;

interface Row {
  readonly size: string;
  readonly connections: number;
  readonly gap: Spread;
  readonly quiet: Spread;
  readonly start: Spread;
  readonly blackout: Spread;
  readonly bare: Spread;
  readonly phases: Readonly<Record<string, number>>;
  readonly failed: number;
  readonly stalls: number;
  /** The last event of luod's timeline before the longest gap ended, and how often. */
  readonly ends: ReadonlyMap<string, number>;
}

async function bareStartMs(): Promise<number> {
  const start = process.hrtime.bigint();
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit');
  return Number(process.hrtime.bigint() - start) / 1e6;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The program without luo: from the end of one process to the first answer of the next, ms. */
async function plainRestartMs(): Promise<number> {
  const port = await freePort();
  const env = { ...process.env };
  for (const name of ['LUO_SOCKET', 'LUO_SERVICE', 'LUO_SECRET']) delete env[name];
  const start = (): ReturnType<typeof spawn> =>
    spawn(process.execPath, [program, '--port', String(port), '--memory', '64m'], { stdio: 'ignore', env });
  const answers = async (): Promise<void> => {
    for (;;) {
      try {
        const client = await RespClient.connect({ port });
        await client.request('PING');
        return client.close();
      } catch {
        await sleep(1);
      }
    }
  };
  const first = start();
  await answers();
  const begin = process.hrtime.bigint();
  first.kill('SIGTERM');
  await once(first, 'exit');
  const second = start();
  await answers();
  const ms = Number(process.hrtime.bigint() - begin) / 1e6;
  second.kill('SIGTERM');
  await once(second, 'exit');
  return ms;
}

async function ask(luod: TestLuod, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await luod.luoctl(args, { timeoutMs: 120_000 });
  if (code !== 0) throw new Error(`luoctl ${args.join(' ')} ended with ${code}:\n${stderr}`);
  return stdout;
}

interface TimelineJson {
  readonly blackoutMs: number;
  readonly events: readonly { readonly what: string; readonly ns: number }[];
}

async function measure(luod: TestLuod, port: number, size: string, connections: number): Promise<Row> {
  const thinkMs = Math.max(1, Math.round((connections * 1000) / LOAD_PER_SECOND));
  const load = await LoadProcess.start(
    ...['--port', String(port), '--connections', String(connections), '--think-ms', String(thinkMs)],
  );
  const probe = await ProbeChild.start('--port', String(port));
  const control = await connectLuod({ socket: luod.socket });
  const gaps: number[] = [];
  const quiet: number[] = [];
  const starts: number[] = [];
  const blackouts: number[] = [];
  const bare: number[] = [];
  const phases: Record<string, number[]> = {};
  const ends = new Map<string, number>();
  let stalls = 0;
  for (let round = 0; round < updates; round += 1) {
    await probe.window('before');
    await sleep(SETTLE_MS);
    // The same length of time without an update: what the machine itself does to a client.
    quiet.push((await probe.window('quiet')).gapMsMax);
    let begun: Promise<ProbeWindow> | undefined;
    const { result } = await control.request(
      'update',
      { name: 'cache' },
      {
        // A process that starts on two processors disturbs whoever runs beside it; that is a window of its own.
        onProgress: (progress) => {
          if ((progress as { what: string }).what === 'prepare.sent') begun ??= probe.window('standby');
        },
      },
    );
    if (result.outcome !== 'committed') throw new Error(`update ${round} was rolled back: ${result.error?.message}`);
    await sleep(SETTLE_MS);
    const seen = await probe.window(`switch ${round}`);
    starts.push((await begun!).gapMsMax);
    gaps.push(seen.gapMsMax);
    if (seen.stallMsMax > seen.gapMsMax / 2) stalls += 1;
    const timeline = (await control.request('timeline', {})).result.timelines[0] as TimelineJson;
    blackouts.push(timeline.blackoutMs);
    const last = timeline.events.findLast((event) => event.ns < seen.gapEndNs);
    ends.set(last?.what ?? '', (ends.get(last?.what ?? '') ?? 0) + 1);
    const at = (what: string): number => timeline.events.find((event) => event.what === what)?.ns ?? NaN;
    for (const [name, from, to] of PHASES) (phases[name] ??= []).push((at(to) - at(from)) / 1e6);
    bare.push(await bareStartMs());
  }
  control.close();
  const loaded = await load.finish();
  const probed = await probe.finish();
  return {
    size,
    connections,
    gap: spread(gaps),
    quiet: spread(quiet),
    start: spread(starts),
    blackout: spread(blackouts),
    bare: spread(bare),
    phases: Object.fromEntries(Object.entries(phases).map(([name, ms]) => [name, spread(ms).median])),
    failed:
      loaded.failed +
      loaded.wrong +
      loaded.disconnects +
      probed.failed +
      probed.wrong +
      probed.lost +
      probed.disconnects,
    stalls,
    ends,
  };
}

function text({ median, min, max }: Spread): string {
  return `${median.toFixed(1)} (${min.toFixed(1)}-${max.toFixed(1)})`;
}

console.log(`node ${process.version}; ${updates} updates per row; ms as median (min-max)`);
console.log(
  'state | connections | client gap at the switch | gap without update | gap while standby starts | blackout by luod | bare node | gap / bare | failed | probe stalls',
);
const rows: Row[] = [];
for (const size of values.sizes.split(',')) {
  // Without fault points: each would cost a look at the file system in the blackout.
  const luod = await startLuod({ env: { LUO_FAULT_DIR: undefined } });
  try {
    const port = await freePort();
    const bytes = parseSize(size);
    const memory = Math.ceil(bytes * 1.3) + 32 * 2 ** 20;
    const command = [process.execPath, program, '--port', String(port), '--memory', String(memory)];
    await ask(luod, ['run', '--name', 'cache', '--', ...command]);
    const dataset = new Dataset({ totalBytes: bytes });
    await fill({ port }, dataset);
    for (const connections of values.connections.split(',').map(Number)) {
      const row = await measure(luod, port, size, connections);
      rows.push(row);
      const ratio = (row.gap.median / row.bare.median).toFixed(3);
      console.log(
        [
          ...[size, connections, text(row.gap), text(row.quiet), text(row.start), text(row.blackout), text(row.bare)],
          ...[ratio, row.failed, row.stalls],
        ].join(' | '),
      );
    }
    const { missing, wrong } = await check({ port }, dataset);
    if (missing + wrong > 0) throw new Error(`${size}: ${missing} keys missing, ${wrong} wrong`);
  } finally {
    await luod.stop();
  }
}
const plain: number[] = [];
for (let round = 0; round < PLAIN_RESTARTS; round += 1) plain.push(await plainRestartMs());
console.log(`\nthe same program restarted plainly (empty): ${text(spread(plain))} ms`);
console.log('\nwhere the blackout goes, medians in ms:');
for (const row of rows) {
  const parts = Object.entries(row.phases).map(([name, ms]) => `${name} ${ms.toFixed(2)}`);
  console.log(`  ${row.size}, ${row.connections} connections: ${parts.join(', ')}`);
  const ends = [...row.ends].sort((one, other) => other[1] - one[1]).map(([what, count]) => `${what} ${count}`);
  console.log(`    the longest gap ended behind: ${ends.join(', ')}`);
}
