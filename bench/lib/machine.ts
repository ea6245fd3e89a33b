/** What a figure was measured on, in one line. */
import { availableParallelism, cpus, release, totalmem } from 'node:os';

export function machine(): string {
  const gib = Math.round(totalmem() / 1024 ** 3);
  return `node ${process.versions.node}, Linux ${release()}, ${availableParallelism()} x ${cpus()[0]?.model ?? '?'}, ${gib} GiB`;
}
