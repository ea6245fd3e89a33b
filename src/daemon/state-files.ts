/**
 * The state as files, for those who do not speak the socket: shell scripts, inotify, systemd units.
 *
 *   DIR/state        one word and a newline         DIR/in-STATE   exactly one empty marker file
 *   DIR/phase        a word, or `-`                 DIR/generation a number
 *   DIR/handles/KEY  one JSON object per handle     DIR/participants/ID the same per participant
 *
 * Each file is replaced atomically (written beside, renamed over). Several changes in a row may be seen as one: a reader
 * that must see each change listens to `luoctl watch`. Nothing here is on the way of an update: changes are written
 * when the loop is free, and an error is reported to `onError` and tried again with the next change.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { STATES } from '../base/words.js';
import type { Phase, State } from '../base/words.js';

export interface StateSnapshot {
  readonly state: State;
  readonly phase: Phase | null;
  readonly generation: number;
  /** File name to content, of handles and participants. */
  readonly handles: ReadonlyMap<string, string>;
  readonly participants: ReadonlyMap<string, string>;
}

/** A file name has at most 255 bytes, and `.new` is put behind it while it is written. */
const NAME_BYTES_MAX = 240;

/**
 * A handle key or participant id as a file name: `/` is `,` and every other unusual byte is percent-encoded. What would be too
 * long for a file name is cut, and ends with `~` and a digest of the whole. Any string has a name: whoever chose it
 * must not be able to stop the files of all others.
 */
export function fileNameOf(key: string): string {
  let name = '';
  for (const byte of Buffer.from(key, 'utf8')) {
    const char = String.fromCharCode(byte);
    if (char === '/') name += ',';
    else name += /[A-Za-z0-9_.:@#+=-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  if (name.length <= NAME_BYTES_MAX) return name;
  return `${name.slice(0, NAME_BYTES_MAX - 17)}~${createHash('sha256').update(key).digest('hex').slice(0, 16)}`;
}

export class StateFiles {
  readonly #dir: string;
  readonly #onError: (error: unknown) => void;
  readonly #written = new Map<string, string>();
  #wanted: StateSnapshot | undefined;
  #marker: State | undefined;
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(dir: string, onError: (error: unknown) => void) {
    this.#dir = dir;
    this.#onError = onError;
  }

  /** Show `snapshot`, soon: what changed since the last one is written. */
  show(snapshot: StateSnapshot): void {
    this.#wanted = snapshot;
    if (this.#running || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#running = this.#work().finally(() => (this.#running = undefined));
    }, 1);
  }

  /**
   * Forget what is on disk, so that everything is written again; stale files of an earlier luod are removed. Its marker is
   * gone on with: there must be exactly one at every instant, the first of the new luod included.
   */
  async adopt(): Promise<void> {
    const present = new Set(await readdir(this.#dir));
    this.#marker = STATES.find((state) => present.has(`in-${state}`));
    for (const folder of ['handles', 'participants']) {
      await mkdir(join(this.#dir, folder), { recursive: true, mode: 0o755 });
      for (const name of await readdir(join(this.#dir, folder))) this.#written.set(join(folder, name), '');
    }
  }

  /** Resolves when everything shown so far is on disk. */
  async flush(): Promise<void> {
    if (this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#running = this.#work().finally(() => (this.#running = undefined));
    }
    await this.#running;
  }

  /** Remove every file that was written: luod ends for good. */
  async remove(): Promise<void> {
    await this.flush();
    for (const name of ['state', 'phase', 'generation', ...STATES.map((state) => `in-${state}`)]) {
      await rm(join(this.#dir, name), { force: true });
    }
    await rm(join(this.#dir, 'handles'), { recursive: true, force: true });
    await rm(join(this.#dir, 'participants'), { recursive: true, force: true });
  }

  async #work(): Promise<void> {
    while (this.#wanted) {
      const snapshot = this.#wanted;
      this.#wanted = undefined;
      try {
        await this.#write(snapshot);
      } catch (error) {
        this.#onError(error);
      }
    }
  }

  async #write(snapshot: StateSnapshot): Promise<void> {
    await this.#put('generation', `${snapshot.generation}\n`);
    await this.#put('phase', `${snapshot.phase ?? '-'}\n`);
    if (this.#marker !== snapshot.state) {
      // The marker of the new state comes by a rename of the old one, so that there is never none and never two.
      if (this.#marker === undefined) await writeFile(join(this.#dir, `in-${snapshot.state}`), '');
      else await rename(join(this.#dir, `in-${this.#marker}`), join(this.#dir, `in-${snapshot.state}`));
      this.#marker = snapshot.state;
    }
    await this.#put('state', `${snapshot.state}\n`);
    await this.#folder('handles', snapshot.handles);
    await this.#folder('participants', snapshot.participants);
  }

  async #folder(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
    const wanted = new Set<string>();
    for (const [name, content] of files) {
      const path = join(folder, name);
      wanted.add(path);
      await this.#put(path, content);
    }
    for (const path of this.#written.keys()) {
      if (!path.startsWith(`${folder}/`) || wanted.has(path)) continue;
      await rm(join(this.#dir, path), { force: true });
      this.#written.delete(path);
    }
  }

  async #put(path: string, content: string): Promise<void> {
    if (this.#written.get(path) === content) return;
    const target = join(this.#dir, path);
    const beside = `${target}.new`;
    await writeFile(beside, content, { mode: 0o644 });
    await rename(beside, target);
    this.#written.set(path, content);
  }
}
