/**
 * For tests of what clients can make luod hold: with LUO_TEST_HEAP=1 in its environment, luod collects its garbage at SIGUSR2
 * and appends the bytes of heap that are still in use, one number a line, to DIR/heap. Without the variable nothing is
 * installed, and SIGUSR2 keeps its meaning.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Call once at the start of luod. */
export function installHeapProbe(dir: string, env: NodeJS.ProcessEnv = process.env): void {
  if (env['LUO_TEST_HEAP'] !== '1') return;
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  process.on('SIGUSR2', () => {
    // What a turn of the loop still holds (fd wrappers, promises) goes before the second collection.
    gc();
    setImmediate(() => {
      gc();
      appendFileSync(join(dir, 'heap'), `${process.memoryUsage().heapUsed}\n`);
    });
  });
}
