/**
 * The cache as a program: memory, listening socket and connections belong to luo, so that the next version of the
 * program takes them over while its clients wait some milliseconds. Without luo it is an ordinary server.
 *
 * `--fail` makes a version that is broken on purpose: `crash-after-claims` ends when it has claimed the memory,
 * `hang-before-ready` never answers to what the old program hands over. Either update is rolled back.
 */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join, type Memory } from 'luo';
import { COMPATIBLE } from './layout.js';
import { rehearse } from './rehearsal.js';
import { CacheServer, type Counters, type SavedConnection } from './server.js';
import { type Settings, USAGE, parseSettings } from './settings.js';
import { Store } from './store.js';

function settingsOrExit(): Settings {
  try {
    return parseSettings(process.argv.slice(2), process.env);
  } catch (error) {
    console.error(`cache: ${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

const settings = settingsOrExit();
const luo = await join({ client: `luo-cache/${settings.versionLabel}` });

// An earlier program's regions are taken as they are, whatever --memory says: their sizes cannot change.
const waiting = luo.waiting.filter(({ name }) => /^cache-\d+$/.test(name)).length;
const memories: Memory[] = [];
for (let index = 0; index < (waiting || settings.regionBytes.length); index += 1) {
  const sizeBytes = waiting > 0 ? {} : { sizeBytes: settings.regionBytes[index]! };
  memories.push(await luo.memory(`cache-${index}`, { compatible: COMPATIBLE, ...sizeBytes }));
}
if (settings.fail === 'crash-after-claims') throw new Error('told to crash after the claims');

const store = new Store(memories.map((memory) => memory.buffer));
const cache = new CacheServer({ store, versionLabel: settings.versionLabel });
const server = createServer((socket) => cache.accept(socket, luo.isHandedOver(socket)));
const listener = await luo.listen(server, {
  name: 'cache',
  port: settings.port,
  host: settings.host,
  connections: {
    unhandled: (socket: Socket) => cache.unhandled(socket),
    save: (socket: Socket) => ({ ...cache.save(socket) }),
    restore: (socket, saved) => cache.restore(socket, saved as unknown as SavedConnection),
  },
});
luo.state('cache', {
  save: () => ({ ...cache.counters }),
  restore: (saved) => {
    if (settings.fail === 'hang-before-ready') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    cache.counters = saved as unknown as Counters;
  },
});

function work(isTorn: boolean): void {
  const repaired = store.activate({ torn: isTorn });
  if (repaired) console.log('the last process was killed while it could write; repaired:', JSON.stringify(repaired));
  cache.start();
}
luo.on('go', () => work(memories.some((memory) => memory.torn)));
luo.on('thaw', () => work(false));
luo.on('freeze', () => {
  cache.stop();
  store.deactivate();
});
luo.rehearse(rehearse);

console.log(`cache ${settings.versionLabel} (pid ${process.pid}) has its memory`);
const { generation } = await luo.ready();
cache.generation = generation;
const { address, port } = listener.address as AddressInfo;
// Those who waited are served first.
await new Promise((resolve) => setImmediate(resolve));
console.log(`cache ${settings.versionLabel} (pid ${process.pid}) serves ${address}:${port}, ${store.count} keys`);
