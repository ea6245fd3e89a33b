/**
 * The notification sockets of all processes: one each, at `DIR/notify/ID`, kept in the keeper as `notify/ID` like everything
 * else. What an earlier luod left of processes that are gone is swept away.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { datagramListen } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Custody } from './custody.js';
import type { NotifyMessage } from './notify-message.js';
import { NotifySocket } from './notify.js';

/** Bytes of a unix socket's path. @source unix(7), sun_path */
const SOCKET_PATH_BYTES_MAX = 107;
const ENTRY_PREFIX = 'notify/';

export class NotifySockets {
  readonly #folder: string;
  readonly #custody: Custody;

  /** @param dir luod's directory */
  constructor(dir: string, custody: Custody) {
    this.#folder = join(dir, 'notify');
    this.#custody = custody;
  }

  has(id: string): boolean {
    return this.#custody.get(entryOf(id)) !== undefined;
  }

  /** Make the socket of process `id`; what is sent there waits until it is opened. @returns its path */
  async listen(id: string, owner: string): Promise<string> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const path = this.#path(id);
    rmSync(path, { force: true });
    await this.#custody.put(entryOf(id), owner, {}, [datagramListen(path)]);
    return path;
  }

  /** Undefined: it has none. @param onMessage takes ownership of the fds */
  open(id: string, onMessage: (message: NotifyMessage, takenFds: OwnedFd[]) => void): NotifySocket | undefined {
    const fd = this.#custody.get(entryOf(id))?.fds[0];
    return fd && new NotifySocket(this.#path(id), fd.fd, onMessage);
  }

  /** The process is gone, or never came to be. */
  remove(id: string): void {
    this.#custody.drop([entryOf(id)]);
    rmSync(this.#path(id), { force: true });
  }

  /** Remove those of all processes but these. */
  sweep(ids: Iterable<string>): void {
    const kept = new Set(ids);
    const entries = this.#custody.withPrefix(ENTRY_PREFIX).map(({ name }) => name);
    this.#custody.drop(entries.filter((name) => !kept.has(name.slice(ENTRY_PREFIX.length))));
    if (!existsSync(this.#folder)) return;
    const paths = new Set([...kept].map((id) => this.#path(id)));
    for (const file of readdirSync(this.#folder)) {
      const path = join(this.#folder, file);
      if (!paths.has(path)) rmSync(path, { force: true });
    }
  }

  /** `DIR/notify/ID`, or under a digest of the id where that is too long for a socket. */
  #path(id: string): string {
    const path = join(this.#folder, id);
    if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
    return join(this.#folder, createHash('sha256').update(id).digest('hex').slice(0, 16));
  }
}

function entryOf(id: string): string {
  return `${ENTRY_PREFIX}${id}`;
}
