/** `luoctl finish`: from updated to normal. */
import { EXIT } from '../exit-codes.js';
import { verb } from '../verb.js';

export const finish = verb({
  name: 'finish',
  group: 'Updates:',
  summary: 'complete a committed update whose finish was refused or waits for claims',
  notes:
    'Finish runs by itself after an update. It is refused, with their names, while participants veto or handles are unclaimed; luoctl discard HANDLE lets go of one that nobody will claim.',
  example: { line: 'luoctl finish', says: 'asks all participants again and goes from updated to normal' },
  async run({ context }) {
    await context.ask('finish', {});
    context.report({ finished: true }, 'finished\n');
    return EXIT.done;
  },
});
