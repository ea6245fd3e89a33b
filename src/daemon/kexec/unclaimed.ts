/**
 * What came over and what becomes of it: claimed by its owner, or decided by its policy. `fail` waits for its owner or for
 * the operator; `hold` is taken into the keeper, where it waits like any parked state; `discard` is let go of. The two come
 * into effect when the owner's process serves without having claimed it, or when the time for claims is over; never silently.
 *
 * What was parked when the kernel was replaced is parked afterwards: all of it is held, whatever the policies say. Of a device
 * there is nothing to take into the keeper: its handle waits on, and the device is reset at finish (devices.ts).
 */
import { LuoError } from '../../base/errors.js';
import type { Handle, Handles } from '../handles.js';
import type { Logger } from '../logger.js';
import type { KexecStatus } from '../../protocol/spec.js';
import type { IncomingSessions } from './incoming.js';

export interface UnclaimedParts {
  readonly handles: Handles;
  readonly incoming: IncomingSessions;
  readonly log: Logger;
  /** Take it out of its session into the keeper. @throws LuoError CLAIM_LOST, CLAIM_MEMORY */
  readonly retrieve: (handle: Handle) => Promise<void>;
  /** Handles go for good. */
  readonly drop: (keys: readonly string[]) => void;
  /** A process of this owner serves. */
  readonly serves: (owner: string) => boolean;
  readonly changed: () => void;
}

export class Unclaimed {
  readonly #parts: UnclaimedParts;

  constructor(parts: UnclaimedParts) {
    this.#parts = parts;
  }

  /** Handles that came over, that nobody holds, and that nothing was decided for. */
  list(): Handle[] {
    const { handles, incoming } = this.#parts;
    return handles.all().filter((handle) => {
      if (handle.holder !== null) return false;
      const state = incoming.stateOf(handle.key);
      return state === 'waiting' || state === 'lost' || state === 'delegated';
    });
  }

  status(): KexecStatus['unclaimed'] {
    const { incoming } = this.#parts;
    const atMs = incoming.arrival?.atMs ?? Date.now();
    return this.list().map((handle) => {
      const error = incoming.errorOf(handle.key);
      return {
        handle: handle.key,
        owner: handle.owner,
        policy: handle.policy,
        sizeBytes: handle.sizeBytes,
        ageMs: Date.now() - atMs,
        ...(error === undefined ? {} : { error }),
      };
    });
  }

  /**
   * Apply the policies `hold` and `discard`.
   * @param timeIsOver the time for claims is over; else only of owners whose process serves
   */
  async decide(timeIsOver: boolean): Promise<void> {
    for (const handle of this.list()) {
      if (!timeIsOver && !this.#parts.serves(handle.owner)) continue;
      if (handle.policy === 'hold') await this.hold(handle);
      else if (handle.policy === 'discard') this.#discard(handle);
    }
  }

  /** Take it into the keeper, where it waits for its owner. */
  async hold(handle: Handle): Promise<void> {
    const { incoming, log, retrieve, changed } = this.#parts;
    if (incoming.stateOf(handle.key) !== 'waiting') return;
    if (incoming.isDevice(handle.key)) {
      incoming.take(handle.key, 'left');
      log.warn({ handle: handle.key }, 'unclaimed device: its handle waits on, and it is reset at finish');
      return changed();
    }
    try {
      await retrieve(handle);
      log.info({ handle: handle.key }, 'unclaimed handle is held');
    } catch (error) {
      const { code, message } = LuoError.from(error);
      log.error({ handle: handle.key, code }, `unclaimed handle cannot be held: ${message}`);
    }
    changed();
  }

  #discard(handle: Handle): void {
    const { incoming, log, drop } = this.#parts;
    log.warn({ handle: handle.key, sizeBytes: handle.sizeBytes }, 'unclaimed handle is discarded, as its policy says');
    incoming.take(handle.key, 'dropped');
    drop([handle.key]);
  }
}
