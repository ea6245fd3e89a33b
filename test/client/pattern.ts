/** Bytes whose place can be told from their value: the big-endian number of each group of four. */
export function pattern(count: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil(count / 4) * 4);
  for (let index = 0; index < bytes.length; index += 4) bytes.writeUInt32BE(index / 4, index);
  return bytes.subarray(0, count);
}
