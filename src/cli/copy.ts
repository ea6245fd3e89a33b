/** Copying content between fds and streams in bounded pieces. */
import { read, write } from 'node:fs';
import { promisify } from 'node:util';
import type { Output } from './context.js';

const readFd = promisify(read);
const writeFd = promisify(write);
const CHUNK_BYTES = 1024 * 1024;

/** Write one piece and wait until the stream has taken it. */
export function writeOut(output: Output, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    output.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * The content of the memfd or file `fd`, from `from` to its end, without moving the file offset that all holders of
 * the fd share.
 * @returns the position after the last byte
 */
export async function copyOut(fd: number, output: Output, from = 0): Promise<number> {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let position = from;
  for (;;) {
    const { bytesRead } = await readFd(fd, chunk, 0, chunk.length, position);
    if (bytesRead === 0) return position;
    await writeOut(output, chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
}

const PROBE_BYTES = 4096;

/**
 * Whether the content of `fd` begins with bytes that a terminal would not show: control characters other than tab, newline
 * and return. Escape counts: what was kept by others must not steer the operator's terminal.
 */
export async function looksBinary(fd: number): Promise<boolean> {
  const probe = Buffer.alloc(PROBE_BYTES);
  const { bytesRead } = await readFd(fd, probe, 0, probe.length, 0);
  return probe
    .subarray(0, bytesRead)
    .some((byte) => byte === 0x7f || (byte < 0x20 && ![0x09, 0x0a, 0x0d].includes(byte)));
}

/** Everything that `input` gives, written to `fd` from its beginning. @returns how many bytes */
export async function copyIn(input: AsyncIterable<Uint8Array | string>, fd: number): Promise<number> {
  let position = 0;
  for await (const piece of input) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await writeFd(fd, bytes, done, bytes.length - done, position);
      done += bytesWritten;
      position += bytesWritten;
    }
  }
  return position;
}
