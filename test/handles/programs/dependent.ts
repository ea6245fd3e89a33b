/** A service with one region of memory that depends on global handles: `dependent.js SERVICE GLOBAL...`, `SERVICE` their owner's. */
import { join } from 'luo';

const [owner, ...globals] = process.argv.slice(2) as [string, ...string[]];
const luo = await join();
const memory = await luo.memory('data', {
  sizeBytes: 4096,
  dependencies: globals.map((name) => ({ owner: `${process.getuid!()}:${owner}`, kind: 'global', name })),
});
await luo.ready();
const words = new Uint32Array(memory.buffer);
words[0] = words[0]! + 1;
setInterval(() => undefined, 1 << 30);
