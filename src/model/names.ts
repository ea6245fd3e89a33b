/**
 * Names of sessions. The kernel has a field of 64 bytes with a NUL in it and compares bytes; the model holds a name as a
 * byte string, one character a byte, so that any name that the kernel accepts can be held.
 * @source include/uapi/linux/liveupdate.h, LIVEUPDATE_SESSION_NAME_LENGTH
 */
export const NAME_FIELD_BYTES = 64;

/** `text` in UTF-8, as a byte string. */
export function nameFromText(text: string): string {
  let name = '';
  for (const byte of new TextEncoder().encode(text)) name += String.fromCharCode(byte);
  return name;
}

/** The bytes up to the first NUL, as strnlen reads them: 64 characters when there is none. */
export function nameFromField(field: Uint8Array): string {
  let name = '';
  for (const byte of field.subarray(0, NAME_FIELD_BYTES)) {
    if (byte === 0) break;
    name += String.fromCharCode(byte);
  }
  return name;
}

/** The field of a reply: the bytes of `name`, the rest zero. */
export function nameToField(name: string): Uint8Array {
  const field = new Uint8Array(NAME_FIELD_BYTES);
  for (let index = 0; index < name.length; index += 1) field[index] = name.charCodeAt(index);
  return field;
}

/** True for what CREATE_SESSION accepts: 1 to 63 bytes, so that a NUL fits behind them. */
export function isSessionName(name: string): boolean {
  return name.length > 0 && name.length < NAME_FIELD_BYTES;
}
