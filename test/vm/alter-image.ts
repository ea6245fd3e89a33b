/** A bzImage with another ABI string inside: what a kernel of another version of the ABI looks like to a preflight. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { readSetupHeader } from '../../src/backends/kernel/image/setup-header.js';

/** @param from `luo-v5` @param to of the same length */
export function alterImage(image: Buffer, from: string, to: string): Buffer {
  const { payload } = readSetupHeader(image)!;
  const packed = image.subarray(payload!.offset, payload!.offset + payload!.length);
  const kernel = gunzipSync(packed.subarray(0, packed.length));
  for (let at = kernel.indexOf(`${from}\0`); at >= 0; at = kernel.indexOf(`${from}\0`, at + 1))
    kernel.write(to, at, 'latin1');
  // Its length changes by a little: what follows a gzip stream is passed over, and the header tells where it ends.
  const again = gzipSync(kernel, { level: 9 });
  const altered = Buffer.from(image);
  if (again.length > payload!.length) {
    const longer = Buffer.concat([
      image.subarray(0, payload!.offset),
      again,
      image.subarray(payload!.offset + payload!.length),
    ]);
    longer.writeUInt32LE(again.length, 0x24c);
    return longer;
  }
  again.copy(altered, payload!.offset);
  altered.writeUInt32LE(again.length, 0x24c);
  return altered;
}
