/** Integers of 64 bits as Redis reads them. What fits into 15 digits is a number, all else a bigint. */

export const INT64_MAX = 2n ** 63n - 1n;
export const INT64_MIN = -(2n ** 63n);

/** A decimal integer of 64 bits as Redis writes it (no plus, no spaces, no leading zero), or undefined. */
export function parseInteger(bytes: Uint8Array, start: number, length: number): number | bigint | undefined {
  if (length === 0 || length > 20) return undefined;
  const negative = bytes[start] === 0x2d;
  const first = negative ? start + 1 : start;
  const end = start + length;
  if (first === end) return undefined;
  if (bytes[first] === 0x30 && (end - first > 1 || negative)) return undefined;
  let value = 0;
  for (let i = first; i < end; i += 1) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  if (end - first <= 15) return negative ? -value : value;
  const exact = BigInt(Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('latin1'));
  return exact > INT64_MAX || exact < INT64_MIN ? undefined : exact;
}
