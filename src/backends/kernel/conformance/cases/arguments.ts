/** The arguments of the calls that can be made before any jump, and numbers that are no call. */
import { SESSION_ARGUMENT, decodeFd } from '../../../../abi/liveupdate.js';
import { OwnedFd } from '../../../../sys/index.js';
import { sessionArgument } from '../argument.js';
import { argumentCases, directionCases, type ArgumentCase, type Call } from '../argument-cases.js';
import type { Bench } from '../bench.js';
import { CREATE_SESSION, FINISH, GET_NAME, PRESERVE_FD, RETRIEVE_FD, RETRIEVE_SESSION } from '../calls.js';
import { type Case, cases } from '../case.js';
import { expect } from '../verdict.js';

const device = (bench: Bench): number => bench.device;
const session = (bench: Bench): number => bench.create('outgoing').fd;

function on(place: (bench: Bench) => number, cases: readonly ArgumentCase[]): readonly Case[] {
  return cases.map(({ name, run }) => ({ name, run: (bench) => run(bench, place(bench)) }));
}

function unknown(name: string, place: (bench: Bench) => number, commands: readonly number[]): readonly Case[] {
  return commands.flatMap((command): Case[] => {
    const word = `0x${command.toString(16)}`;
    return [
      {
        name: `${name}: number ${word} is EINVAL`,
        run: (bench) => expect(word, bench.ask(place(bench), command, sessionArgument('x')).outcome, 'EINVAL'),
      },
      {
        name: `${name}: EINVAL of number ${word} comes before EFAULT of the address`,
        run: (bench) => expect(word, bench.ask(place(bench), command, 'unmapped').outcome, 'EINVAL'),
      },
    ];
  });
}

function untouched({ name, command, sizeBytes, argument }: Call, place: (bench: Bench) => number): Case {
  return {
    name: `${name}: a refused call writes nothing into its struct`,
    run(bench) {
      const given = argument(bench, sizeBytes - 1);
      const { outcome, reply } = bench.ask(place(bench), command, given);
      expect(name, outcome, 'EINVAL');
      expect('the struct', reply.toString('hex'), given.toString('hex'));
    },
  };
}

export const ARGUMENTS: readonly Case[] = cases([
  ...unknown('device', device, [0xba02, 0xba3f, 0xba40, 0xba43, 0xbaff]),
  ...unknown('session', session, [0xba00, 0xba01, 0xba3f, 0xba44, 0xbaff]),
  ...on(device, argumentCases(CREATE_SESSION)),
  ...on(device, argumentCases(RETRIEVE_SESSION)),
  ...on(session, argumentCases(PRESERVE_FD)),
  ...on(session, argumentCases(GET_NAME)),
  ...on(session, directionCases(RETRIEVE_FD)),
  ...on(session, directionCases(FINISH)),
  untouched(CREATE_SESSION, device),
  untouched(RETRIEVE_SESSION, device),
  untouched(PRESERVE_FD, session),
  untouched(GET_NAME, session),
  {
    name: 'RETRIEVE_SESSION: what cannot be found leaves the struct as it was',
    run(bench) {
      const given = sessionArgument(bench.name('nowhere'));
      const { outcome, reply } = bench.ask(bench.device, RETRIEVE_SESSION.command, given);
      expect('RETRIEVE_SESSION', outcome, 'ENOENT');
      expect('the struct', reply.toString('hex'), given.toString('hex'));
    },
  },
  {
    name: 'CREATE_SESSION: the answer has the fd in it, and is otherwise the question',
    run(bench) {
      const given = sessionArgument(bench.name('answer'));
      const { outcome, reply } = bench.ask(bench.device, CREATE_SESSION.command, given);
      expect('CREATE_SESSION', outcome, 'ok');
      bench.own(new OwnedFd(decodeFd(reply)));
      given.writeInt32LE(decodeFd(reply), SESSION_ARGUMENT.fd);
      expect('the struct', reply.toString('hex'), given.toString('hex'));
    },
  },
]);
