/**
 * The packets between the emulator and its launcher process: one JSON value each, with fds beside it. What the socket will not
 * take at once waits here; what is received has its fds owned. Unhappy: the other end is gone: `onClose`, once.
 */
import {
  eventLoop,
  isSysError,
  MessageReceiver,
  MessageSender,
  OwnedFd,
  WOULD_BLOCK,
  type Watch,
} from '../../sys/index.js';

/** Bytes of one packet; program texts travel in memfds. */
const packetBytesMax = 16 * 1024;
// For all channels of this process: nothing waits between filling and sending, or between receiving and reading.
const sender = new MessageSender(packetBytesMax);
const receiver = new MessageReceiver(packetBytesMax);

export interface ChannelEvents<In> {
  /** The fds are the receiver's to close. */
  onMessage(message: In, fds: OwnedFd[]): void;
  onClose(): void;
}

interface Waiting {
  readonly bytes: Buffer;
  readonly fds: readonly OwnedFd[];
}

/** One end. */
export class Channel<Out, In> {
  readonly #socket: OwnedFd;
  readonly #events: ChannelEvents<In>;
  readonly #waiting: Waiting[] = [];
  #watch: Watch | undefined;

  constructor(takenSocket: OwnedFd, events: ChannelEvents<In>) {
    this.#socket = takenSocket;
    this.#events = events;
    this.#watch = eventLoop().watch(takenSocket.fd, { readable: true, writable: false }, (readable, writable) => {
      if (writable) this.#flush();
      if (readable) this.#receive();
    });
  }

  /** Send `message`; `takenFds` are closed here once they have gone. After the end: nothing happens. */
  send(message: Out, takenFds: readonly OwnedFd[] = []): void {
    this.#waiting.push({ bytes: Buffer.from(JSON.stringify(message)), fds: takenFds });
    this.#flush();
  }

  /** Keep the process alive for this channel, or not. */
  ref(on: boolean): void {
    if (on) this.#watch?.ref();
    else this.#watch?.unref();
  }

  /** Without `onClose`. */
  close(): void {
    if (this.#watch === undefined) return;
    this.#watch.close();
    this.#watch = undefined;
    for (const { fds } of this.#waiting.splice(0)) for (const fd of fds) fd.close();
    this.#socket.close();
  }

  #flush(): void {
    while (this.#watch !== undefined && this.#waiting.length > 0) {
      const { bytes, fds } = this.#waiting[0]!;
      bytes.copy(sender.buffer);
      try {
        const sent = sender.send(
          this.#socket.fd,
          bytes.length,
          fds.map((fd) => fd.fd),
        );
        if (sent === WOULD_BLOCK) break;
      } catch (error) {
        if (!isSysError(error, 'EPIPE') && !isSysError(error, 'ECONNRESET')) throw error;
        return this.#lost();
      }
      this.#waiting.shift();
      for (const fd of fds) fd.close();
    }
    this.#watch?.set({ readable: true, writable: this.#waiting.length > 0 });
  }

  #receive(): void {
    while (this.#watch !== undefined) {
      let count: number;
      try {
        count = receiver.receive(this.#socket.fd);
      } catch (error) {
        if (!isSysError(error, 'ECONNRESET')) throw error;
        return this.#lost();
      }
      if (count === WOULD_BLOCK) return;
      if (count === 0) return this.#lost();
      const fds = receiver.fds.map((fd) => new OwnedFd(fd));
      this.#events.onMessage(JSON.parse(receiver.buffer.toString('utf8', 0, count)) as In, fds);
    }
  }

  #lost(): void {
    if (this.#watch === undefined) return;
    this.close();
    this.#events.onClose();
  }
}
