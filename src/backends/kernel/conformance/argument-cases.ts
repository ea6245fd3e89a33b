/**
 * The checks that every call goes through before its handler, in the kernel's order: number (EINVAL), size word readable
 * (EFAULT), command word (ENOTTY), direction of the session (EINVAL), size (EINVAL, E2BIG), the rest of the struct (EFAULT).
 * Made for one call at a time, so that the same cases serve the device, outgoing and incoming sessions.
 * @source kernel/liveupdate/luo_core.c, luo_ioctl; luo_session.c, luo_session_ioctl; copy_struct_from_user
 */
import { decodeFd } from '../../../abi/liveupdate.js';
import { OwnedFd } from '../../../sys/index.js';
import type { Fault } from './argument.js';
import type { Bench, Outcome } from './bench.js';
import { expect } from './verdict.js';

/** A call that passes all checks, and what its handler says then. */
export interface Call {
  readonly name: string;
  readonly command: number;
  readonly sizeBytes: number;
  /** An argument that says it has `sizeBytes`, and has at least as many as the struct. */
  readonly argument: (bench: Bench, sizeBytes: number) => Buffer;
  readonly handled: Outcome;
  /** A success has an fd in its answer, which the case has to close. */
  readonly makesFd: boolean;
}

export interface ArgumentCase {
  readonly name: string;
  /** @param fd what the call is asked of: the device, or a session of the right direction */
  readonly run: (bench: Bench, fd: number) => void;
}

const LONGER_BYTES = 24;
const MUCH_LONGER_BYTES = 3 * 4096;

/** What an author who writes _IOWR has as the command. */
export function directedWord({ command, sizeBytes }: Call): number {
  return (0xc000_0000 | (sizeBytes << 16) | command) >>> 0;
}

export function argumentCases(call: Call): readonly ArgumentCase[] {
  const { name, command, sizeBytes, argument, handled } = call;
  const directed = directedWord(call);
  const foreign = 0xbb00 | (command & 0xff);
  const longer = (bench: Bench, bytes: number, last: number): Buffer => {
    const given = argument(bench, sizeBytes + bytes);
    given[sizeBytes + bytes - 1] = last;
    return given;
  };
  const cut = (bench: Bench, says: number, bytes: number): Buffer => argument(bench, says).subarray(0, bytes);
  const row = (
    fact: string,
    expected: Outcome,
    given: (bench: Bench) => Uint8Array | 'unmapped',
    { fault = 'none' as Fault, word = command } = {},
  ): ArgumentCase => ({
    name: `${name}: ${fact}`,
    run(bench, fd) {
      const { outcome, reply } = bench.ask(fd, word, given(bench), fault);
      if (outcome === 'ok' && call.makesFd) bench.own(new OwnedFd(decodeFd(reply)));
      expect(name, outcome, expected);
    },
  });
  return [
    row('an address where nothing is mapped is EFAULT', 'EFAULT', () => 'unmapped'),
    row('a struct that goes on into unmapped memory is EFAULT', 'EFAULT', (b) => cut(b, sizeBytes, sizeBytes - 4), {
      fault: 'ends',
    }),
    row('a size of zero is EINVAL', 'EINVAL', (b) => argument(b, 0)),
    row('one byte less than the struct is EINVAL', 'EINVAL', (b) => argument(b, sizeBytes - 1)),
    row('a longer struct whose rest is zero is accepted', handled, (b) => longer(b, LONGER_BYTES, 0)),
    row('a much longer struct whose rest is zero is accepted', handled, (b) => longer(b, MUCH_LONGER_BYTES, 0)),
    row('a longer struct whose last byte is not zero is E2BIG', 'E2BIG', (b) => longer(b, LONGER_BYTES, 1)),
    row('a much longer struct whose last byte is not zero is E2BIG', 'E2BIG', (b) => longer(b, MUCH_LONGER_BYTES, 1)),
    row('a longer struct whose rest is not mapped is EFAULT', 'EFAULT', (b) => cut(b, sizeBytes + 16, sizeBytes + 8), {
      fault: 'ends',
    }),
    row('the command word with a direction and a size in it is ENOTTY', 'ENOTTY', (b) => argument(b, sizeBytes), {
      word: directed,
    }),
    row('its number under a foreign type is ENOTTY', 'ENOTTY', (b) => argument(b, sizeBytes), { word: foreign }),
    row('EFAULT of the size word comes before ENOTTY of the command word', 'EFAULT', () => 'unmapped', {
      word: directed,
    }),
    row('ENOTTY of the command word comes before EINVAL of the size', 'ENOTTY', (b) => argument(b, 1), {
      word: directed,
    }),
  ];
}

/** What a call answers on a session of the other direction, whatever else is wrong with it but its address and word. */
export function directionCases(call: Call): readonly ArgumentCase[] {
  const { name, command, sizeBytes, argument } = call;
  const row = (fact: string, expected: Outcome, given: (bench: Bench) => Uint8Array | 'unmapped', word = command) => ({
    name: `${name} on a session of the other direction: ${fact}`,
    run: (bench: Bench, fd: number) => expect(name, bench.ask(fd, word, given(bench)).outcome, expected),
  });
  return [
    row('EINVAL', 'EINVAL', (bench) => argument(bench, sizeBytes)),
    row('EINVAL comes before E2BIG', 'EINVAL', (bench) => {
      const given = argument(bench, sizeBytes + 8);
      given[sizeBytes] = 1;
      return given;
    }),
    row('EFAULT of the size word comes first', 'EFAULT', () => 'unmapped'),
    row('ENOTTY of the command word comes first', 'ENOTTY', (b) => argument(b, sizeBytes), directedWord(call)),
  ];
}
