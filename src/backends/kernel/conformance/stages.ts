/**
 * What the two stages say to each other: session STATE_SESSION, whose only file has, as JSON, each case of stage 1 with the
 * names of the sessions that it left.
 *
 * Unhappy: without it there is no stage 2. It is retrieved first and closed last, so that a stage 2 that dies in between
 * leaves sessions that nobody takes; they end with this kernel.
 */
import { LuoError } from '../../../base/errors.js';
import { fstat, preadFully, pwriteFully } from '../../../sys/index.js';
import type { Bench } from './bench.js';
import { expect } from './verdict.js';

const STATE_SESSION = 'luo-conformance';
const STATE_TOKEN = 0n;
const VERSION = 1;

/** Of one case. */
export interface Left {
  /** Stage 1 held. */
  readonly ok: boolean;
  /** Base64: a name is bytes. */
  readonly sessions: readonly string[];
}

/** By the case's place among all and its name, which both stages must agree on. */
export type State = Readonly<Record<string, Left>>;

/** Begin a stage 1. @returns a function that ends it @throws LuoError SESSION_COPY_LEFT */
export function beginState(bench: Bench): (state: State) => void {
  const { outcome, session } = bench.tryCreate(STATE_SESSION);
  if (outcome === 'EEXIST') {
    throw new LuoError('SESSION_COPY_LEFT', 'another stage 1 waits for its jump', {
      remedy: 'make the jump, or end the process that holds its sessions: it was named when it was begun',
    });
  }
  expect(`creating the session '${STATE_SESSION}'`, outcome, 'ok');
  bench.keep(session!);
  return (state) => {
    const file = bench.memfd('');
    pwriteFully(file.fd, Buffer.from(JSON.stringify({ version: VERSION, cases: state })), 0);
    expect('preserving the state of stage 1', bench.preserve(session!, file, STATE_TOKEN), 'ok');
  };
}

/** @throws LuoError SESSION_MISSING; UNSUPPORTED */
export function readState(bench: Bench): State {
  const { outcome, session } = bench.tryRetrieve(STATE_SESSION);
  if (outcome !== 'ok') {
    throw new LuoError(
      'SESSION_MISSING',
      `no stage 1 has come over the jump: session '${STATE_SESSION}' is ${outcome}`,
      {
        errno: outcome,
        remedy: 'run luoctl conformance --stage 1, jump by kexec with liveupdate=on, and run --stage 2 once',
      },
    );
  }
  const file = bench.take(session!, STATE_TOKEN);
  const bytes = Buffer.alloc(fstat(file.fd).sizeBytes);
  preadFully(file.fd, bytes, 0);
  const { version, cases } = JSON.parse(bytes.toString()) as { version: number; cases: State };
  if (version !== VERSION) {
    throw new LuoError('UNSUPPORTED', `stage 1 was of another version (${version}, not ${VERSION})`, {
      remedy: 'run both stages with the same luoctl',
    });
  }
  return cases;
}
