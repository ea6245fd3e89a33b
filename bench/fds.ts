/**
 * How many fds per second the keeper stores and gives back, apart, 1 and 253 in a message, beside a raw SCM_RIGHTS loop of
 * the same shape in the same language (bench/lib/raw-fds.ts): `node dist/bench/fds.js [--rounds N] [--json]`.
 * Both keep the same window of messages under way: 64 messages of one fd, or 4 of 253. `store` is `put` of one entry with so
 * many fds (as a parcel of connections is kept), `claim` is `get` of one. `named` is `putMany` and `getMany` of 253 entries
 * of one fd, each with a name of its own, which the raw loop has not. One run of 253 is four passes, so
 * that it is not over before it began. What was stored or claimed is let go between the passes, unmeasured, on both sides.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closeAll, memfdCreate, socketpair, type OwnedFd } from '../src/sys/index.js';
import { KeeperClient } from '../src/transport/index.js';
import { interleave, machine, pairedRatio, show, summarize, type Summary } from './lib/index.js';
import { releaseRaw, runRaw, type RawKind } from './lib/raw-fds.js';

const fdsPerRun = 7590; // 30 times 253, below what one owner may have kept
const windows = { 1: 64, 253: 4 } as const;
const passes = { 1: 1, 253: 4 } as const;
type PerMessage = keyof typeof windows;

const rounds = Number(process.argv[process.argv.indexOf('--rounds') + 1] || 15) || 15;
const asJson = process.argv.includes('--json');

function start(script: string, args: string[]): { child: ChildProcess; socket: OwnedFd } {
  const [ours, theirs] = socketpair();
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'inherit', 'inherit', theirs.fd] });
  theirs.close();
  return { child, socket: ours };
}

/** `count` calls, `window` of them at once. */
async function pipelined(count: number, window: number, call: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: window }, lane));
}

async function storeOnce(keeper: KeeperClient, fd: number, perMessage: PerMessage, isNamed = false): Promise<number> {
  const messages = fdsPerRun / perMessage;
  const fds = new Array<number>(perMessage).fill(fd);
  const started = performance.now();
  await pipelined(messages, windows[perMessage], (index) =>
    isNamed
      ? keeper.putMany(
          'bench',
          fds.map((_, slot) => ({ name: `bench/${index}/${slot}` })),
          fds,
        )
      : keeper.put({ name: `bench/${index}`, owner: 'bench' }, fds),
  );
  const seconds = (performance.now() - started) / 1000;
  await keeper.drop({ prefix: 'bench/' });
  return seconds;
}

async function claimOnce(keeper: KeeperClient, perMessage: PerMessage, isNamed = false): Promise<number> {
  const messages = fdsPerRun / perMessage;
  const claimed: OwnedFd[] = [];
  const names = Array.from({ length: 253 }, (_, index) => `claim/${index}`);
  const started = performance.now();
  await pipelined(messages, windows[perMessage], async (index) => {
    const one = perMessage === 1 ? names[index % 253]! : 'parcel';
    const entries = isNamed ? await keeper.getMany(names) : [await keeper.get(one)];
    for (const entry of entries) for (const fd of entry.owned) claimed.push(fd);
  });
  const seconds = (performance.now() - started) / 1000;
  if (claimed.length !== fdsPerRun) throw new Error(`claimed ${claimed.length} fds`);
  closeAll(claimed);
  return seconds;
}

interface Row {
  readonly what: string;
  readonly raw: Summary;
  readonly keeper: Summary;
  readonly ratio: Summary;
}

/** Fds per second over the passes of one run. */
async function rate(perMessage: PerMessage, pass: () => Promise<number>): Promise<number> {
  let seconds = 0;
  for (let count = 0; count < passes[perMessage]; count += 1) seconds += await pass();
  return (passes[perMessage] * fdsPerRun) / seconds;
}

const folder = mkdtempSync(join(tmpdir(), 'luo-bench-'));
const keeperProcess = start('../src/bin/keeper.js', ['--dir', folder, '--adopt', '--', 'false']);
const keeper = new KeeperClient(keeperProcess.socket);
const raws = new Map<string, { child: ChildProcess; socket: OwnedFd }>();
const memfd = memfdCreate('bench');
try {
  await keeper.putMany(
    'claims',
    Array.from({ length: 253 }, (_, index) => ({ name: `claim/${index}` })),
    new Array<number>(253).fill(memfd.fd),
  );
  await keeper.put({ name: 'parcel', owner: 'claims' }, new Array<number>(253).fill(memfd.fd));
  const raw = (kind: RawKind, perMessage: PerMessage): (() => Promise<number>) => {
    const running = start('./lib/raw-fds.js', [kind, String(perMessage)]);
    raws.set(`${kind} ${perMessage}`, running);
    return () =>
      rate(perMessage, async () => {
        const messages = fdsPerRun / perMessage;
        const seconds = await runRaw(running.socket, kind, perMessage, messages, windows[perMessage]);
        await releaseRaw(running.socket);
        return seconds;
      });
  };
  const values = await interleave(
    {
      'raw store 1': raw('store', 1),
      'keeper store 1': () => rate(1, () => storeOnce(keeper, memfd.fd, 1)),
      'raw claim 1': raw('claim', 1),
      'keeper claim 1': () => rate(1, () => claimOnce(keeper, 1)),
      'raw store 253': raw('store', 253),
      'keeper store 253': () => rate(253, () => storeOnce(keeper, memfd.fd, 253)),
      'raw claim 253': raw('claim', 253),
      'keeper claim 253': () => rate(253, () => claimOnce(keeper, 253)),
      'named store 253': () => rate(253, () => storeOnce(keeper, memfd.fd, 253, true)),
      'named claim 253': () => rate(253, () => claimOnce(keeper, 253, true)),
    },
    { rounds, warmUp: 2 },
  );
  const row = (what: string, kept: number[], bare: number[]): Row => ({
    what,
    raw: summarize(bare),
    keeper: summarize(kept),
    ratio: pairedRatio(kept, bare),
  });
  const rows = [
    ...(['store 1', 'store 253', 'claim 1', 'claim 253'] as const).map((what) =>
      row(what, values[`keeper ${what}`], values[`raw ${what}`]),
    ),
    ...(['store 253', 'claim 253'] as const).map((what) =>
      row(`${what} named`, values[`named ${what}`], values[`raw ${what}`]),
    ),
  ];
  if (asJson) console.log(JSON.stringify({ machine: machine(), rounds, rows }));
  else {
    console.log(
      `fds per second, median of ${rounds} interleaved rounds (quartiles); ${machine()}; goal: a ratio of 0.30`,
    );
    for (const { what, raw: bare, keeper: kept, ratio } of rows) {
      console.log(`${what.padEnd(16)} raw ${show(bare)}   keeper ${show(kept)}   ratio ${show(ratio)}`);
    }
  }
} finally {
  memfd.close();
  keeper.close();
  keeperProcess.child.kill('SIGKILL');
  await once(keeperProcess.child, 'exit');
  for (const { child, socket } of raws.values()) {
    socket.close();
    if (child.exitCode === null) await once(child, 'exit');
  }
  rmSync(folder, { recursive: true, force: true });
}
