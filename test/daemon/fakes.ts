/** A custody for unit tests of what stands on it: entries in a map, nothing sent. */
import { LuoError } from '../../src/base/errors.js';
import type { Custody, Entry } from '../../src/daemon/custody.js';
import { closeAll, type OwnedFd } from '../../src/sys/index.js';

export class FakeCustody {
  readonly entries = new Map<string, Entry>();
  /** The next `put` is refused with it. */
  refusal: LuoError | undefined;

  /** In the place of the real one; only what the part under test uses is there. */
  get asCustody(): Custody {
    return this as unknown as Custody;
  }

  get(name: string): Entry | undefined {
    return this.entries.get(name);
  }

  withPrefix(prefix: string): Entry[] {
    return [...this.entries.values()].filter((entry) => entry.name.startsWith(prefix));
  }

  async put(name: string, owner: string, meta: unknown, takenFds: OwnedFd[], replace = false): Promise<void> {
    if (this.refusal) {
      closeAll(takenFds);
      throw this.refusal;
    }
    const before = this.entries.get(name);
    if (before && !replace) {
      closeAll(takenFds);
      throw new LuoError('KEEPER_EXISTS', name);
    }
    this.entries.set(name, { name, owner, meta, fds: takenFds });
    closeAll(before?.fds ?? []);
  }

  drop(names: readonly string[]): void {
    for (const name of names) {
      closeAll(this.entries.get(name)?.fds ?? []);
      this.entries.delete(name);
    }
  }

  close(): void {
    this.drop([...this.entries.keys()]);
  }
}
