/**
 * `npm start`: see a loaded cache being replaced by a new version without losing a key, a connection or a request.
 *
 *   npm start -- [--size 256m] [--connections 50] [--json]
 *
 * Exit code 0 if everything that was promised held. With --json the last line of stdout is one JSON object.
 */
import { parseArgs } from 'node:util';
import { bold, bytes, dim, green, ms, red, say, table } from './screen.js';
import { Story, type StoryResult, type Timeline } from './story.js';

const USAGE = 'usage: npm start -- [--size 256m] [--connections 50] [--json]';
const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };
/** The steps of the good update that a reader wants to see, in words. */
const STEPS: readonly (readonly [what: string, words: string])[] = [
  ['standby.started', 'the new version starts, the old one serves'],
  ['standby', 'it has claimed the memory, read-only'],
  ['prepare.acked', 'the old one hands over its connections'],
  ['restore.prepared.acked', 'the new one has attached them, paused'],
  ['freeze.sent', 'freeze: the blackout begins'],
  ['freeze.acked', 'the old one has stopped; leftovers are in the keeper'],
  ['restore.frozen.acked', 'the new one has them'],
  ['decide.sent', 'it is ready: the keeper is asked to decide'],
  ['decided', 'committed: the point of no return'],
  ['go.acked', 'the new one serves: the blackout ends'],
  ['settled', 'finish: the old one is gone'],
];

function parse(): { sizeBytes: number; connections: number; json: boolean } {
  try {
    const { values } = parseArgs({
      options: {
        size: { type: 'string', default: '256m' },
        connections: { type: 'string', default: '50' },
        json: { type: 'boolean', default: false },
      },
    });
    const match = /^(\d+)([kmg]?)$/i.exec(values.size);
    const connections = Number(values.connections);
    if (!match) throw new Error(`'${values.size}' is no size; give a number with k, m or g`);
    if (!Number.isInteger(connections) || connections < 1 || connections > 1000) {
      throw new Error(`--connections takes a whole number from 1 to 1000, not '${values.connections}'`);
    }
    return { sizeBytes: Number(match[1]) * UNITS[match[2]!.toLowerCase()]!, connections, json: values.json };
  } catch (error) {
    say(`${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

function timelineTable(timeline: Timeline): string {
  const rows: string[][] = [['ms', 'step']];
  for (const [what, words] of STEPS) {
    const event = timeline.events.find((one) => one.what === what);
    if (event) rows.push([((event.ns - timeline.startNs) / 1e6).toFixed(1), words]);
  }
  return table(rows);
}

const { json, ...options } = parse();
say(bold(`luo: replacing a loaded cache (${bytes(options.sizeBytes)}) under ${options.connections} connections`));
let result: StoryResult;
try {
  result = await new Story(options).tell();
} catch (error) {
  say(`${red('failed')}: ${(error as Error).message}`);
  process.exit(1);
}
const [good, crashed, hung, killed] = result.attempts;
const ok =
  result.keysWrong === 0 &&
  result.keysAfter === result.keysBefore &&
  result.requestsFailed === 0 &&
  result.connectionsAfter === result.connectionsBefore &&
  result.rollbacks === 2 &&
  result.luodKills === 1 &&
  result.versionAfter === 'v5' &&
  result.leftProcesses === 0;

say(`\n${bold('the good update, step by step')}\n${timelineTable(result.timeline)}\n`);
say(
  table([
    ['update', 'outcome', 'serves', 'blackout', 'client gap'],
    ...result.attempts.map((one) => [
      one.what,
      one.outcome === 'committed' ? 'committed' : 'rolled back',
      one.versionAfter,
      ms(one.blackoutMs),
      ms(one.clientGapMs),
    ]),
  ]),
);
say(
  `\n  keys ${result.keysBefore} before, ${result.keysAfter} after, ${result.keysWrong} wrong; connections ` +
    `${result.connectionsBefore} before, ${result.connectionsAfter} after; requests ${result.requests}, failed ${result.requestsFailed}`,
);
say(ok ? green('\nnothing was lost.') : red('\nsomething was lost: see the numbers above.'));
say(dim('how it is done: ARCHITECTURE.md; try it with a service of your own: docs/client.md'));
if (json) {
  const { attempts: _attempts, timeline: _timeline, ...counts } = result;
  const summary = {
    ...counts,
    blackoutMs: good?.blackoutMs ?? null,
    clientGapMsMax: good?.clientGapMs ?? null,
    clientGapMsCrashed: crashed?.clientGapMs ?? null,
    clientGapMsHung: hung?.clientGapMs ?? null,
    clientGapMsLuodKilled: killed?.clientGapMs ?? null,
    blackoutMsLuodKilled: killed?.blackoutMs ?? null,
    node: process.version,
    ok,
  };
  process.stdout.write(`${JSON.stringify(summary)}\n`);
}
process.exit(ok ? 0 : 1);
