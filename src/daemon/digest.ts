/** What says that content is the same: luod goes on with other work while it reads. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

const CHUNK_BYTES = 1024 * 1024;

/**
 * sha256 of the whole file or memfd behind `fd` (borrowed), in hex; read through an opening of its own, so that nobody's offset
 * moves and a descriptor that is only written serves too.
 * @throws Error as open(2) and read(2)
 */
export async function digestOf(fd: number): Promise<string> {
  const hash = createHash('sha256');
  const content = createReadStream(`/proc/self/fd/${fd}`, { highWaterMark: CHUNK_BYTES });
  for await (const chunk of content) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
