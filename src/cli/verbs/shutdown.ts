/** `luoctl shutdown`: stop every service and end luod and keeper; kept state goes with them. */
import { EXIT, UsageError } from '../exit-codes.js';
import { printable } from '../format.js';
import { isConnectionLoss } from '../reconnect.js';
import { verb } from '../verb.js';

export const shutdown = verb<{ force?: boolean }>({
  name: 'shutdown',
  group: 'Housekeeping:',
  summary: 'stop every service and end luod; kept state goes with it',
  options: [{ flags: '--force', help: 'also when boxes or parked services would be lost' }],
  notes: 'Without --force it is refused while there are boxes or parked services: nothing else holds what they keep.',
  example: { line: 'luoctl shutdown --force', says: 'ends everything that this luod runs and keeps' },
  async run({ context, options }) {
    await context.withLuod(async (luod) => {
      if (!options.force) {
        const { boxes, services } = (await luod.request('status', {})).result;
        const lost = [
          ...boxes.map((box) => `box ${printable(box.box)}`),
          ...services.filter((service) => service.run === 'parked').map((service) => `parked service ${service.name}`),
        ];
        if (lost.length > 0)
          throw new UsageError(`this would delete ${lost.join(', ')}; type it with --force to do so`);
      }
      try {
        await luod.request('shutdown', {});
        await luod.closed;
      } catch (error) {
        // luod may be gone before its answer is out: that is what was asked for.
        if (!isConnectionLoss(error)) throw error;
      }
    });
    context.report({ shutdown: true }, 'luod is ending\n');
    return EXIT.done;
  },
});
