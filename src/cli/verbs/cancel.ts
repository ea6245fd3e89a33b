/** `luoctl cancel`: back to normal, as long as nothing is decided. */
import { EXIT } from '../exit-codes.js';
import { stuckExit } from '../stuck.js';
import { verb } from '../verb.js';

export const cancel = verb({
  name: 'cancel',
  group: 'Updates:',
  summary: 'go back from prepared, or out of a transition that is not decided yet',
  notes: 'Exit code 5: cancelled, but the members that are named have not answered and may not run.',
  example: { line: 'luoctl cancel', says: 'ends the prepared or running update; everything goes on as before it' },
  async run({ context }) {
    const { stuck } = await context.ask('cancel', {});
    context.report({ stuck }, stuck.length === 0 ? 'cancelled: everything runs as before\n' : 'cancelled\n');
    return stuckExit(context, stuck, EXIT.done);
  },
});
