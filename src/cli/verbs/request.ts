/** `luoctl request`: the operator's selection: preserve this handle, whatever its owner wants. */
import { handleArgument } from '../arguments.js';
import { EXIT } from '../exit-codes.js';
import { verb } from '../verb.js';

export const request = verb({
  name: 'request',
  group: 'Boxes and handles:',
  summary: 'preserve this handle, whatever its owner wants',
  operands: '<handle>',
  notes: 'HANDLE is OWNER/KIND:NAME as luoctl status -v shows it. The selection lasts until the opposite verb.',
  example: { line: 'luoctl request 1000:cache/fd:listener', says: 'has this socket preserved by the next update' },
  async run({ context, args }) {
    const { handle } = await context.ask('request', { handle: handleArgument(args[0]!) });
    context.report({ handle }, `${args[0]}: will be preserved\n`);
    return EXIT.done;
  },
});
