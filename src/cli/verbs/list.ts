/** `luoctl list`: what is in the boxes. */
import { EXIT } from '../exit-codes.js';
import { count, printable, size, table } from '../format.js';
import { verb } from '../verb.js';

export const list = verb({
  name: 'list',
  group: 'Boxes and handles:',
  summary: 'show the boxes and what is in them',
  operands: '[box]',
  example: { line: 'luoctl list keys', says: 'shows the entries of the box keys, with the digests of a sealed one' },
  async run({ context, args }) {
    const { boxes } = await context.ask('list', args[0] === undefined ? {} : { box: args[0] });
    const text = boxes
      .map(({ box, sealed, entries }) => {
        const head = `${context.paint.strong(printable(box))}  ${count(entries.length, 'entry', 'entries')}${sealed ? ', sealed' : ''}\n`;
        const rows = entries.map((entry) => [
          printable(entry.name),
          entry.type,
          size(entry.sizeBytes),
          ...(sealed ? [entry.digest ?? '-'] : []),
        ]);
        return head + table(['ENTRY', 'TYPE', 'SIZE', ...(sealed ? ['SHA256'] : [])], rows);
      })
      .join('\n');
    context.report({ boxes }, text === '' ? 'no boxes\n' : text);
    return EXIT.done;
  },
});
