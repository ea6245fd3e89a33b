/** `luoctl recover`: bring what hangs to an end by the operator's word. */
import { EXIT } from '../exit-codes.js';
import { stuckExit } from '../stuck.js';
import { verb } from '../verb.js';

export const recover = verb<{ abort?: boolean; forget?: string }>({
  name: 'recover',
  group: 'Housekeeping:',
  summary: 'bring what hangs to an end',
  options: [
    { flags: '--abort', help: 'abort an attempt without a decision' },
    { flags: '--forget <participant>', help: 'give up this stuck member and end its process' },
  ],
  notes: 'Without an option the stuck members are asked again. Exit code 5: some are stuck still.',
  example: {
    line: 'luoctl recover --forget p-12',
    says: 'ends the process of the stuck member p-12, so that updates are possible again',
  },
  async run({ context, options }) {
    const result = await context.ask('recover', {
      ...(options.abort ? { abort: true } : {}),
      ...(options.forget === undefined ? {} : { forget: options.forget }),
    });
    context.report(result, `state ${result.state}\n`);
    return stuckExit(context, result.stuck, EXIT.done);
  },
});
