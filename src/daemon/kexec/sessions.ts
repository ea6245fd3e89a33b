/**
 * luod's side of the sessions that the keeper keeps: the keeper opens the device, creates or retrieves, keeps the fd under
 * `session/NAME` or `incoming/NAME`, and closes the device; what is here is the mirror of that in custody.
 */
import type { SessionStore } from '../../ports/index.js';
import type { Custody } from '../custody.js';

const OUTGOING = 'session/';
const INCOMING = 'incoming/';

export class Sessions implements SessionStore {
  readonly #custody: Custody;

  constructor(custody: Custody) {
    this.#custody = custody;
  }

  create(name: string): Promise<number> {
    return this.#custody.createSession(name, OUTGOING + name);
  }

  retrieve(name: string): Promise<number> {
    return this.#custody.retrieveSession(name, INCOMING + name);
  }

  async drop(name: string, direction: 'outgoing' | 'incoming'): Promise<void> {
    await this.#custody.dropNow([(direction === 'outgoing' ? OUTGOING : INCOMING) + name]);
  }

  list(): ReturnType<SessionStore['list']> {
    const of = (prefix: string, direction: 'outgoing' | 'incoming') =>
      this.#custody
        .withPrefix(prefix)
        .map((entry) => ({ name: entry.name.slice(prefix.length), direction, fd: entry.fds[0]!.fd }));
    return [...of(OUTGOING, 'outgoing'), ...of(INCOMING, 'incoming')];
  }
}
