/** `luoctl watch`: events as they come, across restarts of luod. */
import { once } from 'node:events';
import { STATES, type State } from '../../base/words.js';
import type { LuodResult, ServiceStatus } from '../../protocol/spec.js';
import type { Context, Luod, ProgressData } from '../context.js';
import { runWord } from '../describe.js';
import { EXIT } from '../exit-codes.js';
import { printable } from '../format.js';
import { isConnectionLoss, reconnect, RECONNECT_MS } from '../reconnect.js';
import { verb } from '../verb.js';

type StateEvent = LuodResult<'watch'>;

export const watch = verb<{ until?: State }>({
  name: 'watch',
  group: 'Looking:',
  summary: 'show what happens, as it happens, until Ctrl-C',
  options: [
    { flags: '--until <state>', help: 'end when this state is reached and nothing is running', choices: STATES },
  ],
  notes: 'When luod is replaced or restarted, luoctl connects again and goes on.',
  example: {
    line: 'luoctl watch --until normal',
    says: 'shows the steps of the running update and ends when it is over',
  },
  async run({ context, options }) {
    const end = new AbortController();
    const stop = (): void => end.abort();
    const stopped = once(end.signal, 'abort').then(() => true as const);
    const restore = context.io.onInterrupt(stop);
    const onState = (data: StateEvent): void => {
      if (data.state === options.until && data.phase === null) stop();
    };
    try {
      let luod = await context.connect();
      for (;;) {
        try {
          const { closed } = luod;
          const lost = subscribe(context, luod, onState).then(async () => (await closed, false as const));
          if (await Promise.race([stopped, lost])) return EXIT.done;
        } catch (error) {
          if (!isConnectionLoss(error)) throw error;
        } finally {
          luod.close();
        }
        context.tell('luoctl: luod is gone; waiting for it to come back');
        try {
          luod = await reconnect(context, { deadlineMs: RECONNECT_MS, signal: end.signal });
        } catch (error) {
          if (end.signal.aborted) return EXIT.done;
          throw error;
        }
      }
    } finally {
      restore();
    }
  },
});

async function subscribe(context: Context, luod: Luod, onState: (data: StateEvent) => void): Promise<void> {
  luod.onEvent((event, data) => {
    context.report({ event, data }, `${line(context, event, data)}\n`);
    if (event === 'state') onState(data as StateEvent);
  });
  const { result } = await luod.request('watch', {});
  context.report({ event: 'state', data: result }, `${line(context, 'state', result)}\n`);
  onState(result);
}

function line({ paint }: Context, event: string, data: unknown): string {
  switch (event) {
    case 'state': {
      const { state, phase, generation } = data as StateEvent;
      return `state    ${state === 'normal' ? paint.good(state) : paint.warn(state)}${phase === null ? '' : `, ${phase}`}, generation ${generation}`;
    }
    case 'update': {
      const { what, participant, phase } = data as ProgressData;
      return printable(`update   ${[what, participant, phase && `(${phase})`].filter(Boolean).join(' ')}`);
    }
    case 'service': {
      const service = data as ServiceStatus;
      return `service  ${service.name} ${runWord(service, paint)}${service.pid === null ? '' : `, pid ${service.pid}`}`;
    }
    default:
      // A newer luod may tell more than this luoctl knows.
      return printable(`${event}  ${JSON.stringify(data)}`);
  }
}
