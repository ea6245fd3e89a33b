/**
 * Warms the cache's own code before a switch: the same classes as in service, on a store of its own that is thrown away.
 * Without it the first requests after a switch would run unoptimised code in the blackout's tail.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { CacheServer } from './server.js';
import { Store } from './store.js';

/** What the client library gives to a rehearsal. */
export interface Rehearsing {
  connect(server: Server): Promise<Socket>;
  readonly signal: AbortSignal;
}

const ROUNDS = 1500;
const MEMORY_BYTES = 1024 * 1024;

function frame(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
}

/** Send the commands of a usual load through a connection, one round after another. */
export async function rehearse(context: Rehearsing): Promise<void> {
  const store = new Store([new ArrayBuffer(MEMORY_BYTES)]);
  store.activate({ torn: false });
  const cache = new CacheServer({ store, versionLabel: 'rehearsal' });
  const server = createServer((socket) => cache.accept(socket, false));
  const socket = await context.connect(server);
  const value = 'x'.repeat(100);
  for (let round = 0; round < ROUNDS && !context.signal.aborted; round += 1) {
    const key = `key:${round % 200}`;
    const replied = new Promise<void>((resolve, reject) => {
      let rest = 4;
      const onData = (chunk: Buffer): void => {
        // Four replies, two of them with a second line.
        for (const byte of chunk) if (byte === 0x0a) rest -= 1;
        if (rest > -1) return;
        socket.off('data', onData);
        socket.off('close', reject);
        resolve();
      };
      socket.on('data', onData);
      socket.once('close', reject);
    });
    socket.write(frame('SET', key, value) + frame('GET', key) + frame('INCR', 'n') + frame('PING'));
    await replied;
  }
}
