/**
 * How long 100, 1,000 and 5,000 participants take to be prepared, from the first call to the last answer, beside a bare
 * echo over as many unix sockets: what the orchestration adds to the plain cost of asking everybody.
 *
 *   npm run bench:participants [-- --rounds 5]
 *
 * Participants and echo clients live in one process each beside luod (or the echo server), so that both sides have the
 * same shape: one asker, one answerer, N connections. Rounds are interleaved; medians and spreads are of one run.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startLuod } from 'luo/testing';
import { connectLuod } from '../src/client/control.js';
import { EchoServer } from './lib/echo.js';
import { spread, type Spread } from './lib/stats.js';

const COUNTS = [100, 1_000, 5_000];
const WARM_UP = 10;
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
const rounds = Number(values.rounds);

/** A process that holds N connections and answers on them. */
class Answerers {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(kind: 'participants' | 'echo', socket: string, count: number): Promise<Answerers> {
    const program = fileURLToPath(new URL('./lib/answerers.js', import.meta.url));
    const child = fork(program, [kind, socket, String(count)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const answer = await Promise.race([once(child, 'message'), once(child, 'exit')]);
    if (answer[0] !== 'ready') throw new Error(`the ${kind} process ended before it was ready`);
    return new Answerers(child);
  }

  async stop(): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.disconnect();
    await gone;
  }
}

interface Row {
  readonly count: number;
  readonly prepare: Spread;
  readonly whole: Spread;
  readonly echo: Spread;
}

async function measure(count: number): Promise<Row> {
  const luod = await startLuod({ env: { LUO_FAULT_DIR: undefined } });
  const echo = await EchoServer.listen(`${luod.scratch}/echo.sock`);
  try {
    const participants = await Answerers.start('participants', luod.socket, count);
    const echoers = await Answerers.start('echo', `${luod.scratch}/echo.sock`, count);
    await echo.connected(count);
    const control = await connectLuod({ socket: luod.socket });
    const scope = Array.from({ length: count }, (_, index) => `bench-${index}`);
    const prepare: number[] = [];
    const whole: number[] = [];
    const bare: number[] = [];
    for (let round = -WARM_UP; round < rounds; round += 1) {
      const start = process.hrtime.bigint();
      await control.request('prepare', { scope });
      const wholeMs = Number(process.hrtime.bigint() - start) / 1e6;
      const { result } = await control.request('timeline', {});
      const events = result.timelines[0]!.events;
      const first = events.find((event) => event.what === 'prepare.sent')!.ns;
      const last = events.findLast((event) => event.what === 'prepare.acked')!.ns;
      await control.request('cancel', {});
      const echoMs = await echo.roundMs();
      // The first rounds warm both up and do not count: luod lives long.
      if (round < 0) continue;
      prepare.push((last - first) / 1e6);
      whole.push(wholeMs);
      bare.push(echoMs);
    }
    control.close();
    await participants.stop();
    await echoers.stop();
    return { count, prepare: spread(prepare), whole: spread(whole), echo: spread(bare) };
  } finally {
    echo.close();
    await luod.stop();
  }
}

console.log(`node ${process.version}; ${rounds} rounds after ${WARM_UP} to warm up; ms as median (min-max)`);
console.log('participants | prepare, first call to last answer | bare echo | ratio of medians | request to reply');
for (const count of COUNTS) {
  const { prepare, whole, echo } = await measure(count);
  const ratio = (prepare.median / echo.median).toFixed(2);
  console.log(`${count} | ${text(prepare)} | ${text(echo)} | ${ratio} | ${text(whole)}`);
}

function text({ median, min, max }: Spread): string {
  return `${median.toFixed(1)} (${min.toFixed(1)}-${max.toFixed(1)})`;
}
