/**
 * One call inside of the emulated machine: `inside.js MODULE EXPORT ARGUMENTS`, the module below dist/, arguments in JSON. It
 * says what came of it in one line, and stays until its kernel ends: what the call has open is open until then.
 */
import { join } from 'node:path';
import { setHostClock } from '../../vm/bed/host-clock.js';
import { root } from '../../vm/bed/root.js';

// The machine is emulated, its clock is the host's.
setHostClock(() => Promise.resolve({ monotonicNs: String(process.hrtime.bigint()), realtimeMs: Date.now() }));

const [path, name, text] = process.argv.slice(2) as [string, string, string];

function say(what: object): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

try {
  const module = (await import(join(root, 'dist', path))) as Record<string, (...args: unknown[]) => unknown>;
  say({ result: (await module[name]!(...(JSON.parse(text) as unknown[]))) ?? null });
} catch (error) {
  say({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
setInterval(() => undefined, 1 << 30);
