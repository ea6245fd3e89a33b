/** `luoctl discard`: delete kept state, by the operator's word only. */
import { parseHandleKey } from '../../base/words.js';
import { handleArgument } from '../arguments.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { printable } from '../format.js';
import { verb } from '../verb.js';

export const discard = verb<{ box?: string }>({
  name: 'discard',
  group: 'Services:',
  summary: 'delete the kept state of a parked service, one unclaimed handle, or a box',
  operands: '[name]',
  options: [{ flags: '--box <box>', help: 'delete this box with all its entries' }],
  notes:
    'NAME is a parked service, or a handle as OWNER/KIND:NAME. After a kexec, discarding what nobody claims lets the update finish (luoctl status lists it). There is no way back.',
  example: {
    line: 'luoctl discard cache',
    says: 'deletes everything that the stopped service cache had left with luo',
  },
  async run({ context, args, options }) {
    const name = args[0];
    if ((name === undefined) === (options.box === undefined)) {
      throw new UsageError('name one thing: a parked service, a handle, or --box BOX');
    }
    const target =
      options.box !== undefined
        ? { box: options.box }
        : parseHandleKey(name!) || name!.includes('/')
          ? { handle: handleArgument(name!) }
          : { name: name! };
    const { discarded } = await context.ask('discard', target);
    const text =
      discarded.length === 0
        ? 'nothing was kept\n'
        : discarded.map((what) => `discarded ${printable(what)}\n`).join('');
    context.report({ discarded }, text);
    return EXIT.done;
  },
});
