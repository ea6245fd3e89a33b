/**
 * luod may be replaced or killed while luoctl waits; the keeper brings it back, and an update goes on by the decision
 * that was recorded. So a lost connection is not an answer: connect again and look what became of it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LuoError } from '../base/errors.js';
import type { Status, Timeline, UpdateResult } from '../protocol/spec.js';
import type { Context, Luod } from './context.js';

const PAUSE_MS = 100;
/** How long a restarted luod may take to answer. */
export const RECONNECT_MS = 30_000;

/** Whether `error` says that the connection ended, and nothing about the request. */
export function isConnectionLoss(error: unknown): boolean {
  return error instanceof LuoError && (error.code === 'PROTO_CLOSED' || error.code === 'LUOD_UNREACHABLE');
}

/** How long to try, and what ends the trying early (with the signal's reason as the error). */
export interface Patience {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

/**
 * A new connection, tried until the deadline.
 * @throws LuoError LUOD_UNREACHABLE the deadline passed
 */
export async function reconnect(
  context: Context,
  { deadlineMs, signal }: Patience = { deadlineMs: RECONNECT_MS },
): Promise<Luod> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await context.connect();
    } catch (error) {
      if (!isConnectionLoss(error) || performance.now() >= end) throw error;
      await delay(PAUSE_MS, undefined, signal === undefined ? {} : { signal });
    }
  }
}

/** Whether a timeline's scope names service `name`: as itself, or as one of its processes, `name#3`. */
function concerns(scope: readonly string[], name: string): boolean {
  return scope.some(
    (each) => each === name || (each.startsWith(`${name}#`) && /^\d+$/.test(each.slice(name.length + 1))),
  );
}

/** The attempt that is waited for: what to call it, and how to know it. */
export interface Followed {
  /** With its article: `the update of 'cache'`. */
  readonly what: string;
  /** Without one: `update of 'cache'`. */
  readonly kind: string;
  /** What to do when the next luod does not know of it. */
  readonly remedy: string;
  isIt(timeline: Timeline): boolean;
  /** The process that serves now; null: it is about many. */
  pidOf(status: Status): number | null;
}

/** An update or a rollback of one service. */
export function updateOf(name: string): Followed {
  return {
    what: `the update of '${name}'`,
    kind: `update of '${name}'`,
    remedy: `Look with luoctl status ${name} at the command that runs; type it again if it is the old one.`,
    isIt: ({ scope }) => concerns(scope, name),
    pidOf: ({ services }) => services.find((service) => service.name === name)?.pid ?? null,
  };
}

/** A kexec that is waited for in the kernel that it was to replace. */
export const KEXEC: Followed = {
  what: 'the kexec',
  kind: 'kexec',
  remedy: 'This kernel still runs: look with luoctl status, then type it again.',
  isIt: ({ gap }) => gap === 'kexec',
  pidOf: () => null,
};

/**
 * What became of what was asked for after attempt `before` had ended, told by the timeline of a luod that
 * came back. Waits while it runs.
 * @param before the newest ended attempt at the time of the request; -1: there was none
 * @param patience how long the update may still take
 * @throws LuoError PROTO_CLOSED no such attempt: what became of the request is not known
 */
export async function followUpdate(
  context: Context,
  followed: Followed,
  before: number,
  patience: Patience,
): Promise<UpdateResult> {
  const { signal } = patience;
  const end = performance.now() + patience.deadlineMs;
  for (;;) {
    const found = await look(context, followed, before, { ...patience, deadlineMs: RECONNECT_MS });
    if (found === 'none') {
      throw new LuoError('PROTO_CLOSED', `luod was lost, and the next one knows of no such ${followed.kind}`, {
        remedy: followed.remedy,
      });
    }
    if (typeof found === 'object') return found;
    if (performance.now() >= end) {
      throw new LuoError('CALL_TIMEOUT', `${followed.what} is still running`, {
        remedy: 'Follow it with luoctl watch, or end it with luoctl cancel.',
      });
    }
    await delay(PAUSE_MS, undefined, signal === undefined ? {} : { signal });
  }
}

/** One look, on a connection of its own; a luod that goes away meanwhile counts as `running`: look again. */
async function look(
  context: Context,
  followed: Followed,
  before: number,
  patience: Patience,
): Promise<UpdateResult | 'running' | 'none'> {
  const luod = await reconnect(context, patience);
  try {
    const { timelines } = (await luod.request('timeline', { all: true })).result;
    const mine = timelines
      .filter((timeline) => timeline.attempt > before && followed.isIt(timeline))
      .sort((a, b) => b.attempt - a.attempt)[0];
    if (!mine) return 'none';
    if (mine.endNs === null) return 'running';
    const status = (await luod.request('status', {})).result;
    return {
      attempt: mine.attempt,
      outcome: mine.outcome ?? 'aborted',
      generation: status.generation,
      blackoutMs: mine.blackoutMs,
      pidBefore: null,
      pidAfter: followed.pidOf(status),
      ...(mine.error === undefined ? {} : { error: mine.error }),
    };
  } catch (error) {
    if (!isConnectionLoss(error)) throw error;
    return 'running';
  } finally {
    luod.close();
  }
}
