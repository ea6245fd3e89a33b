/** A cache server inside the test's own process, on a loopback port that the system chooses. */
import { once } from 'node:events';
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';
import { CacheServer } from '../../examples/cache/server.js';
import { Store } from '../../examples/cache/store.js';

export interface RunningCache {
  readonly port: number;
  readonly cache: CacheServer;
  readonly store: Store;
  /** The server's side of all connections. */
  readonly sockets: ReadonlySet<Socket>;
}

/** Start a cache that ends with the test. */
export async function startCache(t: TestContext, memoryBytes = 16 * 1024 * 1024): Promise<RunningCache> {
  const store = new Store([new ArrayBuffer(memoryBytes)]);
  store.activate({ torn: false });
  const cache = new CacheServer({ store, versionLabel: 'test', generation: 3 });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    cache.accept(socket, false);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cache.start();
  t.after(async () => {
    cache.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return { port: (server.address() as AddressInfo).port, cache, store, sockets };
}

/** A bare connection that collects what comes. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  isEnded = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => (this.received += chunk.toString('latin1')));
    socket.on('end', () => (this.isEnded = true));
    socket.on('error', () => (this.isEnded = true));
  }

  static async connect(t: TestContext, port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    t.after(() => socket.destroy());
    return new RawClient(socket);
  }

  /** Send bytes and wait until the received text satisfies `isComplete`. */
  async exchange(bytes: string, isComplete: string | ((received: string) => boolean)): Promise<string> {
    this.received = '';
    this.socket.write(Buffer.from(bytes, 'latin1'));
    const done = typeof isComplete === 'string' ? (text: string) => text === isComplete : isComplete;
    while (!done(this.received)) {
      if (this.isEnded) throw new Error(`ended after ${JSON.stringify(this.received.slice(0, 500))}`);
      await once(this.socket, 'data', { signal: AbortSignal.timeout(5000) }).catch((error: Error) => {
        throw new Error(`got ${JSON.stringify(this.received.slice(0, 500))}`, { cause: error });
      });
    }
    return this.received;
  }
}
