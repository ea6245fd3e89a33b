/**
 * What a participant asks the keeper when luod is gone: the record of its attempt, over a short connection of its own.
 * While the keeper is away or does not know the attempt yet (luod is refilling a new one), it is asked again until the
 * deadline: answering anything else than the record could let two generations act.
 */
import { LuoError } from '../base/errors.js';
import type { Outcome } from '../base/words.js';
import { KEEPER_METHODS, type KeeperResult } from '../protocol/spec.js';
import { connectPeer } from './connect.js';
import { sleep } from './sleep.js';

export interface DecideOptions {
  readonly attempt: number;
  readonly key: string;
  /** Written unless something is recorded; without it the record is only read. */
  readonly want?: Outcome;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

const pauseMsMax = 100;

/**
 * The recorded outcome, null if none is (only without `want`).
 * @throws LuoError KEEPER_KEY wrong key; DECISION_NONE the keeper did not know the attempt until the deadline;
 *   KEEPER_LOST nobody answered until the deadline; or the reason of `signal`
 */
export async function decideVia(socketPath: string, options: DecideOptions): Promise<Outcome | null> {
  const end = performance.now() + options.deadlineMs;
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMsMax, pauseMs * 2)) {
    try {
      return await askOnce(socketPath, options, Math.max(1, end - performance.now()));
    } catch (error) {
      options.signal?.throwIfAborted();
      const code = error instanceof LuoError ? error.code : undefined;
      const away = code === 'LUOD_UNREACHABLE' || code === 'PROTO_CLOSED' || code === 'PROTO_TIMEOUT';
      if (!away && code !== 'DECISION_NONE') throw error;
      if (performance.now() + pauseMs >= end) {
        if (code === 'DECISION_NONE') throw error;
        throw new LuoError('KEEPER_LOST', `no keeper answered at '${socketPath}' within ${options.deadlineMs} ms`, {
          cause: error,
        });
      }
    }
    await sleep(pauseMs, options.signal);
  }
}

async function askOnce(socketPath: string, options: DecideOptions, deadlineMs: number): Promise<Outcome | null> {
  const peer = await connectPeer(socketPath, { calls: KEEPER_METHODS });
  try {
    const { attempt, key, want } = options;
    const answer = await peer.request<KeeperResult<'decide'>>(
      'decide',
      want === undefined ? { attempt, key } : { attempt, key, want },
      { deadlineMs, ...(options.signal === undefined ? {} : { signal: options.signal }) },
    );
    return answer.result.outcome;
  } finally {
    peer.close();
  }
}
