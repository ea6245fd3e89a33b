/**
 * What the emulator of /dev/liveupdate costs, each beside its yardstick in the same rounds: `node dist/bench/emulator.js
 * [--rounds N] [--json]`. Needs a C compiler.
 * - start: `luoctl emulate -- true` beside a bare start of Node.
 * - compile: ten runs of cc under a started emulator beside the same without; by default and strict.
 * - ioctl: one that the emulator answers (GET_NAME) beside one that a bare loop of receive and send answers.
 * - update: a C client saves ten memfds, simulated kexec, its successor takes them out and finishes; beside a bare start of Node.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { O } from '../src/abi/index.js';
import { Launcher } from '../src/emulator/launch/launcher.js';
import { NotificationReader, openFile } from '../src/sys/index.js';
import { startEmulator, type TestEmulator } from '../src/testing/index.js';
import { bareNodeStart, interleave, machine, pairedRatio, show, summarize, type Summary } from './lib/index.js';

const rounds = Number(process.argv[process.argv.indexOf('--rounds') + 1] || 15) || 15;
const asJson = process.argv.includes('--json');
const callsPerRun = 2000;
const root = fileURLToPath(new URL('../../', import.meta.url));
const source = join(root, 'bench/programs/emulated.c');

const folder = mkdtempSync(join(tmpdir(), 'luo-bench-'));
const client = join(folder, 'emulated');
try {
  runNatively(['cc', '-O2', '-o', client, source]);
  await main();
} finally {
  rmSync(folder, { recursive: true });
}

function runNatively(command: readonly string[]): number {
  const started = performance.now();
  const { status, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')} ended with ${status}: ${stderr}`);
  return performance.now() - started;
}

async function runUnder(emulator: TestEmulator, command: readonly string[]): Promise<{ ms: number; out: string }> {
  const started = performance.now();
  const { code, out, err } = await emulator.run(command);
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${err}`);
  return { ms: performance.now() - started, out };
}

/** Nanoseconds of one held up call that is answered at once and by nobody's thinking. */
async function bareLoop(launcher: Launcher): Promise<number> {
  const listener = launcher.listener();
  const reader = new NotificationReader(listener.fd);
  const started = performance.now();
  const words = [client, 'calls', String(callsPerRun)].map((word) => Buffer.from(word).toString('latin1'));
  const nothing = openFile('/dev/null', O.RDWR | O.CLOEXEC);
  const stdio = [nothing.fd, nothing.fd, nothing.fd] as const;
  const program = await launcher.spawn({ argv: words, env: [], cwd: null, searchPath: null, stdio });
  nothing.close();
  for (let count = 0; count < callsPerRun; count += 1) if (reader.receive()) reader.answer(reader.id, 0);
  await program.ended;
  reader.free();
  listener.close();
  return ((performance.now() - started) * 1e6) / callsPerRun;
}

/** Nanoseconds of one GET_NAME, the start of its program included as in the bare loop. */
async function heldUp(emulator: TestEmulator): Promise<number> {
  const { ms } = await runUnder(emulator, [client, 'names', String(callsPerRun)]);
  return (ms * 1e6) / callsPerRun;
}

async function liveUpdate(emulator: TestEmulator): Promise<number> {
  const started = performance.now();
  const saving = await emulator.start([client, 'save']);
  await saving.outHas('saved');
  await emulator.kexec();
  await runUnder(emulator, [client, 'restore']);
  const ms = performance.now() - started;
  await saving.ended;
  return ms;
}

async function main(): Promise<void> {
  const compile = [
    'sh',
    '-c',
    `for n in 1 2 3 4 5 6 7 8 9 10; do cc -O1 -c -o ${folder}/$n.o ${source} || exit 1; done`,
  ];
  await using emulator = await startEmulator();
  await using strict = await startEmulator({ strict: true });
  const launcher = await Launcher.start({
    strict: false,
    ownsProcess: false,
    inheritance: { fileLimit: 1024, ignored: 0n, blocked: 0n, fds: [0, 1, 2], blocking: [] },
  });
  try {
    const values = await interleave(
      {
        node: bareNodeStart,
        start: () => runNatively([join(root, 'bin/luoctl'), 'emulate', '--', 'true']),
        update: () => liveUpdate(emulator),
        native: () => runNatively(compile),
        compile: async () => (await runUnder(emulator, compile)).ms,
        compileStrict: async () => (await runUnder(strict, compile)).ms,
        bare: () => bareLoop(launcher),
        ioctl: () => heldUp(emulator),
      },
      { rounds },
    );
    print([
      ['start of `luoctl emulate -- true`', 'bare start of Node', values.start, values.node],
      ['live update, ten memfds', 'bare start of Node', values.update, values.node],
      ['ten compilations', 'the same natively', values.compile, values.native],
      ['ten compilations, strict', 'the same natively', values.compileStrict, values.native],
      ['held up ioctl', 'bare receive and send', values.ioctl, values.bare],
    ]);
  } finally {
    await launcher.close();
  }
}

function print(rows: readonly [string, string, number[], number[]][]): void {
  const results: { what: string; beside: string; ratio: Summary; value: Summary }[] = rows.map(
    ([what, beside, over, under]) => ({ what, beside, ratio: pairedRatio(over, under), value: summarize(over) }),
  );
  if (asJson) return console.log(JSON.stringify({ machine: machine(), rounds, results }));
  console.log(`${machine()}; ${rounds} rounds\n\n| what | beside | ratio | goal |\n|---|---|---|---|`);
  const goals = ['', 'at most 0.5', 'no slower than the spread', '', 'at most 4'];
  results.forEach(({ what, beside, ratio }, index) =>
    console.log(`| ${what} | ${beside} | ${show(ratio)} | ${goals[index]} |`),
  );
}
