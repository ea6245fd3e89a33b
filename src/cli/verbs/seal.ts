/** `luoctl seal`: nothing in the box changes any more. */
import { EXIT } from '../exit-codes.js';
import { printable, table } from '../format.js';
import { verb } from '../verb.js';

export const seal = verb({
  name: 'seal',
  group: 'Boxes and handles:',
  summary: 'close a box for good: nothing in it changes afterwards',
  operands: '<box>',
  notes:
    'Its memory is sealed against writing and its digests are taken. A sealed box can be read and discarded, nothing else.',
  example: { line: 'luoctl seal keys', says: 'seals the box keys and prints the digest of each entry' },
  async run({ context, args }) {
    const { entries } = await context.ask('seal', { box: args[0]! });
    const rows = entries.map((entry) => [printable(entry.name), entry.digest ?? '-']);
    context.report({ box: args[0], entries }, rows.length === 0 ? 'sealed, empty\n' : table(['ENTRY', 'SHA256'], rows));
    return EXIT.done;
  },
});
