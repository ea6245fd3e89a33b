/**
 * Devices of the last kernel that nobody claimed: they may still be at work in memory that is somebody else's by now. At finish their
 * DMA is switched off and they are reset, through sysfs (a port: src/handles/device/reset.ts).
 *
 * Happy path: `resetAll`; what was done to each is in the journal and in `status` until the next jump. Unhappy: a device that cannot
 * be reset does not hold the finish up: it is named, with the reason. A luod that dies in between: the next one resets the rest.
 */
import { LuoError } from '../../base/errors.js';
import type { WireError } from '../../base/errors.js';
import type { DeviceResetter } from '../../ports/index.js';
import type { JournalRecord } from '../../protocol/journal.js';
import type { Logger } from '../logger.js';
import type { IncomingDevice } from './incoming.js';

/** What became of one. JSON, as it stands in the journal and in status. */
export interface ResetDone {
  readonly handle: string;
  readonly path: string;
  /** The kernel's name of the method; null: it was not reset, `error` says why. */
  readonly method: string | null;
  /** Its DMA was on, and was switched off. */
  readonly busMasterOff: boolean;
  readonly error?: WireError;
}

export class Devices {
  readonly #resetter: DeviceResetter;
  readonly #log: Logger;
  readonly #append: (record: JournalRecord) => void;
  readonly #done = new Map<string, ResetDone>();

  constructor(resetter: DeviceResetter, log: Logger, append: (record: JournalRecord) => void) {
    this.#resetter = resetter;
    this.#log = log;
    this.#append = append;
  }

  status(): ResetDone[] {
    return [...this.#done.values()];
  }

  /** Reset those that were not reset yet, at the same time. Never throws. */
  async resetAll(devices: readonly IncomingDevice[]): Promise<void> {
    await Promise.all(devices.filter(({ key }) => !this.#done.has(key)).map((device) => this.#reset(device)));
  }

  replay(record: JournalRecord): boolean {
    if (record.kind === 'kexec.arrival') this.#done.clear();
    if (record.kind !== 'kexec.reset') return false;
    const reset = record.reset as ResetDone;
    this.#done.set(reset.handle, reset);
    return true;
  }

  snapshot(): JournalRecord[] {
    return this.status().map((reset) => ({ kind: 'kexec.reset', reset }));
  }

  async #reset({ key, path }: IncomingDevice): Promise<void> {
    let done: ResetDone;
    try {
      done = { handle: key, path, ...(await this.#resetter.reset(path)) };
      this.#log.warn({ ...done }, 'a device that nobody claimed was reset');
    } catch (error) {
      const wire = LuoError.from(error).toWire();
      done = { handle: key, path, method: null, busMasterOff: false, error: wire };
      this.#log.error({ handle: key, code: wire.code }, `a device that nobody claimed is not reset: ${wire.message}`);
    }
    const record: JournalRecord = { kind: 'kexec.reset', reset: done };
    this.#append(record);
    this.replay(record);
  }
}
