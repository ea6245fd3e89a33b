/**
 * A connection that the old program had ended before all was sent. Nobody's program has a part in it any more: after go
 * the rest is sent, then FIN; what the client still says is thrown away until it closes too.
 */
import type { OwnedFd } from '../sys/index.js';
import { attachSocket, startReading } from './net-internals.js';

/** How long a client may take nothing and say nothing before it is given up, ms. */
const IDLE_MS = 60_000;

export class Lingering {
  readonly #fd: OwnedFd;
  readonly #output: Buffer;

  constructor(takenFd: OwnedFd, output: Buffer) {
    this.#fd = takenFd;
    this.#output = output;
  }

  go(): void {
    const socket = attachSocket(this.#fd.take(), { allowHalfOpen: false });
    socket.on('error', () => socket.destroy());
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.resume();
    socket.end(this.#output);
    startReading(socket);
  }

  /** It is not for us after all. */
  close(): void {
    this.#fd.close();
  }
}
