/** Names that others give: bounded in bytes, since they become parts of file names and of socket paths. */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';

/** @throws LuoError LIMIT_REACHED nameBytesMax; PROTO_INVALID it is no text: half of a character */
export function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes > LIMITS.nameBytesMax) {
    throw new LuoError('LIMIT_REACHED', `a name has at most ${LIMITS.nameBytesMax} bytes, this one has ${bytes}`, {
      data: { limit: 'nameBytesMax' },
    });
  }
  // JSON can carry one half of a surrogate pair, which no file and no log can.
  if (/\p{Surrogate}/u.test(name)) throw new LuoError('PROTO_INVALID', 'a name holds half of a character');
}
