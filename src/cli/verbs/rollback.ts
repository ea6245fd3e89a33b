/** `luoctl rollback`: bring back the command that the last update replaced, as a handover of its own. */
import { LIMIT_OPTIONS, limitsParam, type LimitOptions } from '../arguments.js';
import { handover } from '../handover.js';
import { verb } from '../verb.js';

export const rollback = verb<LimitOptions>({
  name: 'rollback',
  group: 'Updates:',
  summary: 'bring back the command that the last update replaced',
  operands: '<name>',
  options: LIMIT_OPTIONS,
  notes:
    'The old command starts on the present state, which it must be able to read: this goes back in program, not in time.',
  example: { line: 'luoctl rollback cache', says: 'hands cache over to the command it ran before its last update' },
  run: ({ context, args, options }) =>
    handover(context, { method: 'rollback', params: { name: args[0]!, ...limitsParam(options) } }),
});
