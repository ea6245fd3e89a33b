/**
 * Ctrl-C while a transition runs: the first one asks luod to cancel, and the answer of the transition is awaited as
 * before (after the decision cancel comes too late, and says so); the second one leaves, and luod goes on without us.
 */
import { LuoError } from '../base/errors.js';
import type { Context, Luod } from './context.js';

/** What {@link interruptible} gives when the operator left. */
export const LEFT = Symbol('left');

/** `work`, or LEFT after the second Ctrl-C. */
export async function interruptible<T>(context: Context, luod: Luod, work: Promise<T>): Promise<T | typeof LEFT> {
  let leave: (value: typeof LEFT) => void = () => {};
  const left = new Promise<typeof LEFT>((resolve) => (leave = resolve));
  let times = 0;
  const restore = context.io.onInterrupt(() => {
    times += 1;
    if (times > 1) {
      context.tell('luoctl: left; luod goes on. Look with luoctl status');
      return leave(LEFT);
    }
    context.tell('luoctl: cancelling; Ctrl-C again leaves');
    luod.request('cancel', {}).catch((error: unknown) => {
      const refused = LuoError.from(error);
      const late = refused.code === 'STATE_INVALID' ? 'too late, the update is decided' : refused.message;
      context.tell(`luoctl: not cancelled: ${late}`);
    });
  });
  try {
    return await Promise.race([work, left]);
  } finally {
    restore();
    // After LEFT the connection is closed under the request; its error has no reader any more.
    work.catch(() => {});
  }
}
