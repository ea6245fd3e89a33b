/**
 * `luoctl recover`: bring what hangs to an end by the operator's word. Where keeper and luod are both dead it first starts a luod,
 * which takes up what they left; nobody else could give the word.
 */
import { LuoError } from '../../base/errors.js';
import type { LuodParams, LuodResult } from '../../protocol/spec.js';
import type { Context } from '../context.js';
import { EXIT } from '../exit-codes.js';
import { printable } from '../format.js';
import { isKeeperAlive, isLeftBehind } from '../remains.js';
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
  notes:
    'Without an option the stuck members are asked again. Where luod and its keeper are both dead it starts luod in that directory, in the background, to take up what they left (where systemd runs luod, use systemctl start luod instead). Exit code 5: some are stuck still.',
  example: {
    line: 'luoctl recover --forget p-12',
    says: 'ends the process of the stuck member p-12, so that updates are possible again',
  },
  async run({ context, options }) {
    const params = {
      ...(options.abort ? { abort: true } : {}),
      ...(options.forget === undefined ? {} : { forget: options.forget }),
    };
    const result = await ask(context, params);
    const lost = result.lost === undefined ? '' : `lost: ${result.lost.map(printable).join(', ')}\n`;
    context.report(result, `state ${result.state}\n${lost}`);
    return stuckExit(context, result.stuck, EXIT.done);
  },
});

async function ask(context: Context, params: LuodParams<'recover'>): Promise<LuodResult<'recover'>> {
  try {
    return await context.ask('recover', params);
  } catch (error) {
    if (!(error instanceof LuoError) || error.code !== 'LUOD_UNREACHABLE') throw error;
    const dir = context.dir();
    if (isKeeperAlive(dir)) {
      throw new LuoError('LUOD_UNREACHABLE', `luod of '${dir}' does not answer; its keeper lives and starts it again`, {
        cause: error,
        remedy: `try again in a moment; if it stays away, read ${dir}/logs/luod.log`,
      });
    }
    if (!isLeftBehind(dir)) throw error;
    context.tell(`luoctl: keeper and luod of ${printable(dir)} are dead; starting a luod that takes up what they left`);
    await context.ports.startLuod(dir);
    return context.ask('recover', params);
  }
}
