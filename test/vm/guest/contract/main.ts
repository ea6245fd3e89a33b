/**
 * Runs inside of the machine, once in each kernel: `main.js JUMPS BEFORE AFTER`. Runs the backend contract on the kernel's own
 * sessions; BEFORE is the file of records from the kernel before (none: the first), AFTER where those of this one go. Lives
 * on with what waits for the jump.
 */
import { createServer } from 'node:net';
import { existsSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { before as beforeAll, test } from 'node:test';
import { backendContract } from '../../../../src/testing/backend-contract.js';
import { ContractCase, type CaseRecord } from './case.js';

/** Name of the last line of events. */
export const END = 'the records are written';
const DESTINATION = '--test-reporter-destination=';

// Node opens one fd for itself at its first socket, and keeps it: before the contract counts.
await new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => server.close(resolve));
});

// The file of events too, which later releases of Node open while the first cases run.
const events = process.execArgv.find((word) => word.startsWith(DESTINATION))?.slice(DESTINATION.length);
beforeAll(
  async () => {
    while (events !== undefined && !isOpenHere(events)) await new Promise((resolve) => setTimeout(resolve, 2));
  },
  { timeout: 60_000 },
);

function isOpenHere(path: string): boolean {
  return readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      // The descriptor of the listing itself is gone.
      return false;
    }
  });
}

const [jumps = '0', before = '', after = ''] = process.argv.slice(2);
const records = existsSync(before) ? (JSON.parse(readFileSync(before, 'utf8')) as CaseRecord[]) : [];
const cases: ContractCase[] = [];

backendContract('kernel', () => {
  // The first one is the contract's own, for what a process opens once.
  const number = cases.length;
  const next = new ContractCase(number, Number(jumps), number === 0 ? undefined : records[number]);
  cases.push(next);
  return Promise.resolve(next);
});

test(END, () => {
  writeFileSync(after, JSON.stringify(cases.map((each, number) => (each.isOver ? records[number] : each.record))));
});

setInterval(() => undefined, 60_000);
