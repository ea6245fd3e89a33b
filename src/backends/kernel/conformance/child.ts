/**
 * The program of child-process.ts. Its first word says what it does with the fds that it was given (3, 4, ...); the outcome
 * is its one line. It ends when its standard input does; `hold` only when it is ended.
 */
import { LIVEUPDATE_IOCTL, LIVEUPDATE_SESSION, decodeName } from '../../../abi/liveupdate.js';
import type { OwnedFd } from '../../../sys/index.js';
import { openLiveupdate } from '../../../sys/index.js';
import { fdArgument, nameArgument, sessionArgument } from './argument.js';
import { Bench, outcomeOf } from './bench.js';

const [word = '', first = ''] = process.argv.slice(2);
const bench = new Bench('', '');

function done(): string {
  switch (word) {
    case 'wait':
      return 'ok';
    case 'open':
      return outcomeOf(() => void opened.push(openLiveupdate(first)));
    case 'create':
      return bench.ask(3, LIVEUPDATE_IOCTL.CREATE_SESSION, sessionArgument(first)).outcome;
    case 'name': {
      const { outcome, reply } = bench.ask(3, LIVEUPDATE_SESSION.GET_NAME, nameArgument());
      return outcome === 'ok' ? decodeName(reply) : outcome;
    }
    case 'preserve':
      return bench.ask(3, LIVEUPDATE_SESSION.PRESERVE_FD, fdArgument(4, BigInt(first))).outcome;
    default:
      throw new Error(`'${word}' is nothing that this program does`);
  }
}

/** Held until the end. */
const opened: OwnedFd[] = [];
if (word === 'hold') setInterval(() => undefined, 2 ** 30);
else {
  process.stdout.write(`${done()}\n`);
  process.stdin.resume().on('end', () => process.exit(0));
}
