/**
 * A service with memory that needs global handles: `needs-globals.js NAME OWNER GLOBAL...`. When it serves, /run/p/NAME.json says in
 * which role, and what FILES said then: the moment by which the globals must be back.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'luo';

const [name, owner, ...globals] = process.argv.slice(2) as [string, string, ...string[]];
const luo = await join();
await luo.memory(name, {
  ...(luo.waiting.length > 0 ? {} : { sizeBytes: 4096 }),
  dependencies: globals.map((one) => ({ owner, kind: 'global', name: one })),
});
let seen: Record<string, string> = {};
luo.on('go', () => {
  const files = (process.env['FILES'] ?? '').split(':').filter(Boolean);
  seen = Object.fromEntries(files.map((path) => [path, readFileSync(path, 'utf8').trim()]));
});
await luo.ready();
mkdirSync('/run/p', { recursive: true });
writeFileSync(`/run/p/${name}.json`, JSON.stringify({ role: luo.role, seen }));
setInterval(() => undefined, 1 << 30);
