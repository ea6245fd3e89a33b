/**
 * Sessions of the kernel in this process: what the keeper does with /dev/liveupdate, without the keeper's process. Those that
 * shall wait for the jump are sent into a socket that nobody reads: there they are open, and no fd of this process.
 */
import assert from 'node:assert/strict';
import {
  INCOMING_ENTRY,
  OUTGOING_ENTRY,
  createSession,
  kernelDevice,
  retrieveSession,
} from '../../../../src/keeper/liveupdate.js';
import { Store, storeLimits } from '../../../../src/keeper/index.js';
import type { Direction, SessionStore } from '../../../../src/ports/index.js';
import { MessageSender, getFileLimit, socketpair } from '../../../../src/sys/index.js';
import { SCM_MAX_FD } from '../../../../src/abi/index.js';

const [waiting, unread] = socketpair();
const sender = new MessageSender(1);

export class DeviceStore implements SessionStore {
  readonly #store = new Store(storeLimits(getFileLimit().soft));

  create(name: string): Promise<number> {
    return createSession(this.#store, kernelDevice, name);
  }

  retrieve(name: string): Promise<number> {
    return retrieveSession(this.#store, kernelDevice, name);
  }

  drop(name: string, direction: Direction): Promise<void> {
    this.#store.drop([(direction === 'outgoing' ? OUTGOING_ENTRY : INCOMING_ENTRY) + name]);
    return Promise.resolve();
  }

  list(): ReturnType<SessionStore['list']> {
    return this.#store.list().map((entry) => {
      const fds: number[] = [];
      this.#store.get(entry.name, fds);
      const outgoing = entry.name.startsWith(OUTGOING_ENTRY);
      const name = entry.name.slice((outgoing ? OUTGOING_ENTRY : INCOMING_ENTRY).length);
      return { name, direction: outgoing ? 'outgoing' : 'incoming', fd: fds[0]! };
    });
  }

  /** Keep what is outgoing open until the jump. */
  leave(): void {
    assert.ok(unread.isOpen);
    const fds = this.list().flatMap(({ direction, fd }) => (direction === 'outgoing' ? [fd] : []));
    for (let at = 0; at < fds.length; at += SCM_MAX_FD) {
      assert.equal(sender.send(waiting.fd, 1, fds.slice(at, at + SCM_MAX_FD)), 1);
    }
  }

  end(): void {
    this.#store.clear();
  }
}
