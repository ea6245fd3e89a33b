/** `luoctl unrequest`: the operator's selection: do not preserve this handle. */
import { handleArgument } from '../arguments.js';
import { EXIT } from '../exit-codes.js';
import { verb } from '../verb.js';

export const unrequest = verb({
  name: 'unrequest',
  group: 'Boxes and handles:',
  summary: 'do not preserve this handle',
  operands: '<handle>',
  notes: 'HANDLE is OWNER/KIND:NAME as luoctl status -v shows it. The selection lasts until the opposite verb.',
  example: { line: 'luoctl unrequest 1000:cache/fd:listener', says: 'leaves this socket behind at the next update' },
  async run({ context, args }) {
    const { handle } = await context.ask('unrequest', { handle: handleArgument(args[0]!) });
    context.report({ handle }, `${args[0]}: will be left behind\n`);
    return EXIT.done;
  },
});
