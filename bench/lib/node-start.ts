/** The yardstick of the benches: how long this Node takes to start and do nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Milliseconds from the start of `node -e 0` to its end. */
export async function bareNodeStart(node: string = process.execPath): Promise<number> {
  const start = performance.now();
  const child = spawn(node, ['-e', '0'], { stdio: 'ignore' });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`node -e 0 ended with ${code}`);
  return performance.now() - start;
}
