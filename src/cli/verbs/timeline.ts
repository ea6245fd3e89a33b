/** `luoctl timeline`: when what happened in an update. */
import { LuoError } from '../../base/errors.js';
import type { Timeline } from '../../protocol/spec.js';
import { wholeNumber } from '../arguments.js';
import { chromeTrace } from '../chrome-trace.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { joinText, kernelJoin, uncertaintyOf } from '../join.js';
import { printable, table, time, type Paint } from '../format.js';
import { verb } from '../verb.js';

const FORMATS = ['text', 'json', 'chrome'] as const;
interface Options {
  format?: (typeof FORMATS)[number];
  all?: boolean;
}

export const timeline = verb<Options>({
  name: 'timeline',
  group: 'Looking:',
  summary: 'show when what happened in an update',
  operands: '[attempt]',
  options: [
    { flags: '--format <format>', help: 'chrome is the trace format that Perfetto opens', choices: FORMATS },
    { flags: '--all', help: 'list all updates that are remembered, without their steps' },
  ],
  notes:
    'Without ATTEMPT, the last update. Times are of the monotonic clock, from the start of the update. Over a kexec the clocks of both kernels are joined at a line of its own, which says how far off that may be.',
  example: {
    line: 'luoctl timeline --format chrome > update.json',
    says: 'writes the last update as a trace; open it in Perfetto (ui.perfetto.dev)',
  },
  async run({ context, args, options }) {
    const format = context.json ? 'json' : (options.format ?? 'text');
    if (options.all && (args[0] !== undefined || format === 'chrome')) {
      throw new UsageError('--all lists every update; it goes with neither ATTEMPT nor --format chrome');
    }
    let attempt: { attempt?: number } = {};
    if (args[0] !== undefined) {
      if (!/^\d{1,15}$/.test(args[0])) throw new UsageError(`'${args[0]}' is no number of an attempt`);
      attempt = { attempt: wholeNumber(args[0]) };
    }
    const { timelines } = await context.ask('timeline', options.all ? { all: true } : attempt);
    const write = (value: unknown): unknown => context.io.stdout.write(`${JSON.stringify(value)}\n`);
    if (options.all) {
      if (format === 'json') write({ timelines });
      else context.say(listText(timelines, context.paint));
      return EXIT.done;
    }
    const one = timelines[0];
    if (!one) {
      const which = args[0] === undefined ? 'there was no update yet' : `attempt ${args[0]} is not remembered`;
      throw new LuoError('HANDLE_UNKNOWN', which, { remedy: 'luoctl timeline --all lists what is remembered.' });
    }
    if (format === 'json') write(one);
    else if (format === 'chrome') write(chromeTrace(one));
    else context.say(text(one, context.paint));
    return EXIT.done;
  },
});

function listText(timelines: readonly Timeline[], paint: Paint): string {
  const rows = timelines.map((each) => [
    String(each.attempt),
    each.startedAt,
    each.gap,
    each.scope.map(printable).join(','),
    stateWord(each, paint),
    time(each.blackoutMs),
    each.error?.code ?? '-',
  ]);
  return table(['ATTEMPT', 'STARTED', 'GAP', 'SCOPE', 'STATE', 'BLACKOUT', 'ERROR'], rows) || 'no updates yet\n';
}

function stateWord(each: Timeline, paint: Paint): string {
  if (each.state === 'done') return paint.good(each.state);
  return each.state === 'rolled-back' ? paint.bad(each.state) : paint.warn(each.state);
}

function text(one: Timeline, paint: Paint): string {
  const took = one.endNs === null ? 'running' : time((one.endNs - one.startNs) / 1e6);
  const deaths = one.luodDeaths === 0 ? '' : `; luod died ${one.luodDeaths} times`;
  const uncertaintyMs = uncertaintyOf(one);
  const off = uncertaintyMs === null || one.blackoutMs === null ? '' : ` ±${uncertaintyMs} ms`;
  const head = `attempt ${one.attempt} (${one.gap}) of ${one.scope.map(printable).join(', ')}: ${stateWord(one, paint)}, started ${one.startedAt}, took ${took}, blackout ${time(one.blackoutMs)}${off}${deaths}\n`;
  const error =
    one.error === undefined ? '' : `${paint.bad('error')} ${printable(one.error.message)} [${one.error.code}]\n`;
  const rows = one.events.map((event) => [
    ((event.ns - one.startNs) / 1e6).toFixed(2).padStart(10),
    event.what,
    printable(event.participant ?? '-'),
    event.phase ?? '-',
    event.detail === undefined ? '' : printable(JSON.stringify(event.detail)).slice(0, 100),
  ]);
  const lines = table(['        MS', 'WHAT', 'PARTICIPANT', 'PHASE', 'DETAIL'], rows).split('\n');
  for (const [index, event] of one.events.entries()) {
    const join = kernelJoin(event);
    // The first line is the header.
    if (join) lines[index + 1] = paint.strong(`— ${printable(joinText(join))} —`);
  }
  return head + error + lines.join('\n');
}
