/** `luoctl plan`: what an update would do, without doing anything. */
import { LuoError } from '../../base/errors.js';
import { GAPS, type Gap } from '../../base/words.js';
import type { Plan, PreflightReport } from '../../protocol/spec.js';
import type { Context, Luod } from '../context.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { count, fields, printable, table, time } from '../format.js';
import { preflightText } from '../preflight-table.js';
import { verb } from '../verb.js';

export const plan = verb<{ gap?: Gap; kexec?: boolean }>({
  name: 'plan',
  group: 'Updates:',
  summary: 'show what an update would do; changes nothing',
  operands: '[name...]',
  options: [
    { flags: '--gap <gap>', help: 'the gap to be crossed; by default handover', choices: GAPS },
    { flags: '--kexec', help: 'the same as --gap kexec' },
  ],
  notes:
    'NAME are services; without one, all. Shown are what survives, what is left behind and why, the order of the calls, and the blackout that earlier updates predict. For a kexec the preflight of the loaded kernel is shown too.',
  example: {
    line: 'luoctl plan --kexec',
    says: 'shows what the loaded kernel would get from this one, and what stands in the way',
  },
  async run({ context, args, options }) {
    if (options.kexec && options.gap === 'handover')
      throw new UsageError('--kexec and --gap handover exclude each other');
    const gap = options.kexec ? 'kexec' : options.gap;
    return context.withLuod(async (luod) => {
      const scope = args.length === 0 ? {} : { scope: [...args] };
      const { result } = await luod.request('plan', { ...(gap === undefined ? {} : { gap }), ...scope });
      if (gap !== 'kexec') {
        context.report(result, text(result));
        return EXIT.done;
      }
      const preflight = await lookAhead(luod);
      context.report({ ...result, preflight }, `${text(result)}\n${aheadText(preflight, context)}`);
      return EXIT.done;
    });
  },
});

/** The preflight, or why there is none: a plan is shown also where the gap cannot be crossed. */
async function lookAhead(luod: Luod): Promise<PreflightReport | { error: ReturnType<LuoError['toWire']> }> {
  try {
    return (await luod.request('preflight', {})).result;
  } catch (error) {
    if (!(error instanceof LuoError) || error.code !== 'LIVEUPDATE_MISSING') throw error;
    return { error: error.toWire() };
  }
}

function aheadText(preflight: Awaited<ReturnType<typeof lookAhead>>, context: Context): string {
  if (!('error' in preflight)) return preflightText(preflight, context.paint, context);
  return `${context.paint.bad('no preflight')}: ${printable(preflight.error.message)}\n`;
}

function text(plan: Plan): string {
  const names = (list: readonly string[]): string => (list.length === 0 ? '-' : list.map(printable).join(', '));
  const head = fields([
    ['gap', plan.gap],
    ['scope', names(plan.scope)],
    ['replaced', names(plan.replaced)],
    ['bystanders', names(plan.bystanders)],
    ['survives', count(plan.survives.length, 'handle')],
    ['predicted blackout', time(plan.predictedBlackoutMs)],
  ]);
  const steps = table(
    ['STEP', 'PARTICIPANT', 'KIND', 'AFTER', 'HANDLES'],
    plan.steps.map((step) => [
      String(step.step),
      printable(step.participant),
      step.kind,
      step.after.length === 0 ? '-' : step.after.join(','),
      (step.cycle ? 'cycle of ' : '') + names(step.handles),
    ]),
  );
  const left = table(
    ['LEFT BEHIND', 'WHY'],
    plan.left.map((each) => [printable(each.handle), printable(each.reason)]),
  );
  const pulled = table(
    ['PULLED IN', 'BY'],
    plan.pulled.map((each) => [printable(each.handle), each.path.map(printable).join(' -> ')]),
  );
  return [head, steps, pulled, left].filter((part) => part !== '').join('\n');
}
