/**
 * What luo adds in the blackout of a kexec, beside a C program that makes the same calls for the same memfds
 * (bench/lib/kexec-raw.c): `node dist/bench/kexec.js [--rounds N] [--json]`, on emulated machines (docs/vm.md). Needs gcc.
 *
 * Before the jump: from the freeze to reboot(2), beside all that the C program does before it. After: from the start of luod's first process
 * to the last memfd claimed by a service that had to be started for it, beside the C program from its first call to its last
 * retrieve. Each round has a jump of both in the same machine, in an order that changes. A jump that fails is told and made
 * again, a few times in a run.
 */
import { KexecBed, type JumpTimes } from './lib/kexec-bed.js';
import { interleave, machine, pairedRatio, show, summarize } from './lib/index.js';

const MIB = 2 ** 20;
const SIZES = [...new Array<number>(10).fill(MIB), 64 * MIB];
const FAILURES_MAX = 3;

const rounds = Number(process.argv[process.argv.indexOf('--rounds') + 1] || 7) || 7;
const asJson = process.argv.includes('--json');
const say = (text: string): unknown => process.stderr.write(`${text}\n`);

const bed = new KexecBed(SIZES);
const jumps: Record<'luo' | 'raw', JumpTimes[]> = { luo: [], raw: [] };
let failures = 0;

/** One jump that succeeds. @returns its gap */
async function jump(kind: 'luo' | 'raw'): Promise<number> {
  for (;;) {
    try {
      const times = await (kind === 'luo' ? bed.byLuo() : bed.byRaw());
      jumps[kind].push(times);
      return times.gap;
    } catch (error) {
      failures += 1;
      say(`a jump (${kind}) failed, and is made again in a new machine: ${(error as Error).message}`);
      if (failures > FAILURES_MAX) throw error;
    }
  }
}

let isFailed = true;
try {
  await interleave(
    { luo: () => jump('luo'), raw: () => jump('raw') },
    { rounds, onRound: (round) => say(round < 0 ? 'warm' : `round ${round + 1} of ${rounds}`) },
  );
  isFailed = false;
} finally {
  await bed.stop(isFailed);
}
// The round before the first was to warm up.
const luo = jumps.luo.slice(1);
const raw = jumps.raw.slice(1);
const column = (of: readonly JumpTimes[], what: 'before' | 'after' | 'gap'): number[] => of.map((one) => one[what]);
const rows = (
  [
    ['before', 'before: freeze to reboot(2)'],
    ['after', 'after: start to the last claim'],
    ['gap', 'the whole gap, by the host’s clock'],
  ] as const
).map(([what, title]) => ({
  title,
  luo: summarize(column(luo, what)),
  raw: summarize(column(raw, what)),
  ratio: pairedRatio(column(luo, what), column(raw, what)),
}));
const own = luo.map(({ before, after }) => before + after);
const parts = Object.keys(luo[0]!.parts).map((title) => {
  const values = luo.map((one) => one.parts[title]!);
  return { title, ms: summarize(values), share: summarize(values.map((value, index) => value / own[index]!)) };
});

if (asJson) {
  console.log(JSON.stringify({ machine: machine(), rounds, failures, sizes: SIZES, rows, parts, jumps: { luo, raw } }));
} else {
  console.log(`${machine()}; in an emulated machine with 2 processors; ${rounds} jumps of each, median (quartiles)\n`);
  console.log('| ms | luo | C program | ratio |\n|---|---|---|---|');
  for (const row of rows) console.log(`| ${row.title} | ${show(row.luo)} | ${show(row.raw)} | ${show(row.ratio)} |`);
  console.log('\n| what luo does with it | ms | share of luo’s own |\n|---|---|---|');
  for (const part of parts) console.log(`| ${part.title} | ${show(part.ms)} | ${show(part.share)} |`);
  if (failures > 0) console.log(`\n${failures} jumps failed and were made again`);
}
