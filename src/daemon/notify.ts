/**
 * The notification socket of one instance: a datagram socket at its own path, so that the sender needs no proving: who
 * can write there is the instance or acts for it. The socket lives in the keeper too; what is sent while luod is being
 * replaced waits in it. Messages are parsed by notify-message.ts; a message that is too long or carries fds for nothing
 * loses its fds and is otherwise taken for what it says.
 */
import { rmSync } from 'node:fs';
import { MessageReceiver, OwnedFd, WOULD_BLOCK, closeAll, eventLoop } from '../sys/index.js';
import type { Watch } from '../sys/index.js';
import { NOTIFY_BYTES_MAX, parseNotify } from './notify-message.js';
import type { NotifyMessage } from './notify-message.js';

const MESSAGES_PER_TURN = 32;
let receiver: MessageReceiver | undefined;

export class NotifySocket {
  readonly path: string;
  readonly #watch: Watch;
  #open = true;

  /**
   * @param fd borrowed for the life of this object
   * @param onMessage takes ownership of the fds
   */
  constructor(path: string, fd: number, onMessage: (message: NotifyMessage, takenFds: OwnedFd[]) => void) {
    this.path = path;
    this.#watch = eventLoop().watch(fd, { readable: true, writable: false }, () => {
      for (let count = 0; count < MESSAGES_PER_TURN && this.#open; count += 1) {
        receiver ??= new MessageReceiver(NOTIFY_BYTES_MAX);
        const size = receiver.receive(fd);
        if (size === WOULD_BLOCK) return;
        const fds = receiver.fds.map((number) => new OwnedFd(number));
        const message = parseNotify(receiver.buffer.toString('utf8', 0, size));
        if (message.fdStore) onMessage(message, fds);
        else {
          // The fd of a barrier is closed here: whatever was sent before it has been handled.
          closeAll(fds);
          onMessage(message, []);
        }
      }
    });
  }

  /** Stop listening and remove the path. The fd stays its owner's. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch.close();
    rmSync(this.path, { force: true });
  }

  /** Stop listening only: luod ends, the socket waits for the next one. */
  detach(): void {
    this.#open = false;
    this.#watch.close();
  }
}
