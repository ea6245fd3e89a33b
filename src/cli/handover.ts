/** What update and rollback share: the request with progress and Ctrl-C, a lost luod, and how the result is told. */
import { DEADLINES } from '../base/limits.js';
import { LuoError } from '../base/errors.js';
import type { LuodParams, UpdateResult } from '../protocol/spec.js';
import type { Context, Luod } from './context.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { time } from './format.js';
import { interruptible, LEFT } from './interruptible.js';
import { ProgressView } from './progress.js';
import { followUpdate, isConnectionLoss, updateOf } from './reconnect.js';
import { renderError } from './render-error.js';

/** One handover, by whichever method. */
export type HandoverRequest =
  | { readonly method: 'update'; readonly params: LuodParams<'update'> }
  | { readonly method: 'rollback'; readonly params: LuodParams<'rollback'> };

/** Number of the newest attempt that is over (an update may continue a prepared one); -1 when there is none. */
export async function newestEnded(luod: Luod): Promise<number> {
  const { timelines } = (await luod.request('timeline', { all: true })).result;
  return Math.max(-1, ...timelines.filter((each) => each.endNs !== null).map((each) => each.attempt));
}

/** Every step of an update at its deadline, one after the other. */
export function longestMs(limits: LuodParams<'update'>['limits']): number {
  const all = { ...DEADLINES, ...limits };
  return all.standbyMs + all.prepareMs + all.blackoutMs + all.cancelMs + all.goMs + all.finishMs + all.retireMs;
}

/** Do it, tell it, and say the exit code. */
export async function handover(context: Context, { method, params }: HandoverRequest): Promise<ExitCode> {
  const progress = new ProgressView(context, `${method} of '${params.name}'`);
  const luod = await context.connect();
  const left = new AbortController();
  try {
    const before = await newestEnded(luod);
    const work = luod.request(method, params, { onProgress: progress.show }).then(
      ({ result }) => result,
      (error: unknown) => {
        if (left.signal.aborted || !isConnectionLoss(error)) throw error;
        progress.clear();
        context.tell(`luoctl: luod is gone; waiting for it to come back, the ${method} goes on`);
        return followUpdate(context, updateOf(params.name), before, {
          deadlineMs: longestMs(params.limits),
          signal: left.signal,
        });
      },
    );
    const result = await interruptible(context, luod, work);
    progress.clear();
    if (result === LEFT) return EXIT.failed;
    return await tellResult(context, method, params.name, result);
  } finally {
    // Whatever still waits in the background for this handover ends with it.
    left.abort();
    progress.clear();
    luod.close();
  }
}

async function tellResult(context: Context, method: string, name: string, result: UpdateResult): Promise<ExitCode> {
  const { outcome, attempt, generation, blackoutMs, pidBefore, pidAfter } = result;
  const error = result.error === undefined ? undefined : LuoError.fromWire(result.error);
  const what = `${method} ${name}`;
  if (outcome === 'committed') {
    const pids = pidAfter === null ? '' : `; pid ${pidBefore === null ? '' : `${pidBefore} -> `}${pidAfter}`;
    const done = method === 'rollback' ? 'rolled back to its previous command' : 'updated';
    context.report(
      result,
      `${context.paint.good(name)}: ${done}, generation ${generation}, attempt ${attempt}; blackout ${time(blackoutMs)}${pids}\n`,
    );
    if (error === undefined) return EXIT.done;
    // Committed stays committed: what follows is about the finish.
    context.tell(renderError(error, what, context.paintError));
    return error.code === 'STATE_STUCK' ? EXIT.stuck : EXIT.failed;
  }
  // An aborted update is whole only if everybody answered the cancel: those who did not are named.
  const { stuck } = await context.ask('status', {});
  context.sayJson({ ...result, stuck });
  context.tell(
    renderError(
      error ?? new LuoError('UPDATE_FAILED', 'the update was rolled back and luod gives no reason'),
      what,
      context.paintError,
    ),
  );
  if (stuck.length > 0) {
    context.tell(`  stuck: ${stuck.join(', ')}; all others run as before (luoctl help recover)`);
    return EXIT.stuck;
  }
  context.tell(`  rolled back in attempt ${attempt}: the old version ${oldVersion(pidBefore, pidAfter)}`);
  return EXIT.rolledBack;
}

/** A program that could not be frozen, and one that died, runs again as another process. */
function oldVersion(pidBefore: number | null, pidAfter: number | null): string {
  if (pidAfter !== null && pidAfter !== pidBefore) return `was started again (pid ${pidAfter})`;
  return pidBefore === null ? 'goes on' : `goes on (pid ${pidBefore})`;
}
