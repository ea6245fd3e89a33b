/** `luoctl plan`: what an update would do, without doing anything. */
import { GAPS, type Gap } from '../../base/words.js';
import type { Plan } from '../../protocol/spec.js';
import { EXIT } from '../exit-codes.js';
import { count, fields, printable, table, time } from '../format.js';
import { verb } from '../verb.js';

export const plan = verb<{ gap?: Gap }>({
  name: 'plan',
  group: 'Updates:',
  summary: 'show what an update would do; changes nothing',
  operands: '[name...]',
  options: [{ flags: '--gap <gap>', help: 'the gap to be crossed', choices: GAPS }],
  notes:
    'NAME are services; without one, all. Shown are what survives, what is left behind and why, the order of the calls, and the blackout that earlier updates predict.',
  example: {
    line: 'luoctl plan cache',
    says: 'shows which handles of cache an update would carry over, in which order',
  },
  async run({ context, args, options }) {
    const result = await context.ask('plan', {
      ...(options.gap === undefined ? {} : { gap: options.gap }),
      ...(args.length === 0 ? {} : { scope: [...args] }),
    });
    context.report(result, text(result));
    return EXIT.done;
  },
});

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
