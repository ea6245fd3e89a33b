/**
 * The bare cost of asking N others something: one small line to each connection, one small line back, over unix sockets
 * in the same event loop and with the same system calls as luod, and nothing else: no envelope checks, no state.
 */
import { MessageReceiver, WOULD_BLOCK, accept, eventLoop, sendBytes, unixListen } from '../../src/sys/index.js';
import type { OwnedFd, Watch } from '../../src/sys/index.js';

const REQUEST = Buffer.from(
  '{"id":1,"method":"prepare","params":{"attempt":1,"gap":"handover","deadlineMs":30000,"handles":[{"kind":"fd","name":"state"}],"replaced":false}}\n',
);

export class EchoServer {
  readonly #listening: OwnedFd;
  readonly #watches: Watch[] = [];
  readonly #clients: OwnedFd[] = [];
  readonly #receiver = new MessageReceiver(65_536);
  #awaited = 0;
  #onDone: () => void = () => undefined;

  private constructor(listening: OwnedFd) {
    this.#listening = listening;
    this.#watches.push(
      eventLoop().watch(listening.fd, { readable: true, writable: false }, () => {
        for (let fd = accept(listening.fd); fd !== undefined; fd = accept(listening.fd)) this.#add(fd);
      }),
    );
  }

  static listen(path: string): Promise<EchoServer> {
    return Promise.resolve(new EchoServer(unixListen(path, 4096)));
  }

  /** Resolves when so many clients are connected. */
  async connected(count: number): Promise<void> {
    while (this.#clients.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Ask every client once; ms from the first request to the last answer. */
  async roundMs(): Promise<number> {
    const start = process.hrtime.bigint();
    const done = new Promise<void>((resolve) => (this.#onDone = resolve));
    this.#awaited = this.#clients.length;
    for (const client of this.#clients) sendBytes(client.fd, REQUEST);
    await done;
    return Number(process.hrtime.bigint() - start) / 1e6;
  }

  close(): void {
    for (const watch of this.#watches) watch.close();
    for (const client of this.#clients) client.close();
    this.#listening.close();
  }

  #add(fd: OwnedFd): void {
    this.#clients.push(fd);
    const watch = eventLoop().watch(fd.fd, { readable: true, writable: false }, () => {
      let size: number;
      do {
        size = this.#receiver.receive(fd.fd);
        if (size === 0) return watch.close();
      } while (size !== WOULD_BLOCK && size === this.#receiver.capacity);
      this.#awaited -= 1;
      if (this.#awaited === 0) this.#onDone();
    });
    this.#watches.push(watch);
  }
}
