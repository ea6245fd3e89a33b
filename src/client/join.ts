/**
 * The way in. The environment that luod gives its services decides: with LUO_SOCKET the program is a member or it is
 * nothing; without it the program runs detached, and the same code works.
 *
 * A program that cannot join must not start empty beside state that waits for it. So a failure ends the process, with the
 * reason on stderr and status 69 (EX_UNAVAILABLE of sysexits.h), unless the caller takes the failure upon itself.
 */
import { LuoError } from '../base/errors.js';
import { faultPoint } from '../sys/index.js';
import { Link } from './link.js';
import { Session } from './session.js';
import type { JoinOptions, Luo } from './types.js';

const DEFAULT_WAIT_MS = 30_000;
const EXIT_UNAVAILABLE = 69;

/**
 * Become a member.
 * @throws LuoError with `onFailure: 'throw'`: LUOD_UNREACHABLE nobody answered within `waitMs`; AUTH_SECRET,
 *   AUTH_DENIED, SERVICE_UNKNOWN luod refused; PROTO_VERSION luod is too old or too new
 */
export async function join(options: JoinOptions = {}): Promise<Luo> {
  const socketPath = options.socket ?? process.env['LUO_SOCKET'];
  const service = options.service ?? process.env['LUO_SERVICE'];
  const secret = options.secret ?? process.env['LUO_SECRET'];
  const named = service === undefined ? options : { ...options, service };
  if (socketPath === undefined || socketPath === '') return new Session(undefined, named);
  let link: Link;
  try {
    link = await Link.open({
      socketPath,
      service,
      secret,
      client: options.client ?? `luo-client node-${process.versions.node}`,
      waitMs: options.waitMs ?? DEFAULT_WAIT_MS,
    });
  } catch (error) {
    const known = LuoError.from(error);
    if (options.onFailure === 'throw') throw known;
    process.stderr.write(`luo: cannot join: ${known.message} [${known.code}]\n`);
    process.exit(EXIT_UNAVAILABLE);
  }
  if (link.hello.role !== 'first') faultPoint('new.hello');
  return new Session(link, named);
}
