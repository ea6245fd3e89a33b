/**
 * A small workload for the crash matrix, quick to start: counters and a pattern in kept memory, lines in, lines out.
 * `INCR n` counts and answers `:value`; `CHECK` answers `+ok`, or says what is wrong with the memory; `WHO` tells
 * the version, the pid, and whether the memory was torn when this process claimed it.
 *
 * The sum of all counters is also kept in a word of its own, written from a copy in the program: two processes that act
 * at the same time overwrite each other's sum, which CHECK sees. A kill between the two writes leaves them apart too;
 * then luod must have said `torn`, and only then the sum is made anew.
 */
import { createServer, type Socket } from 'node:net';
import { join } from 'luo';

const COUNTERS = 64;
const PATTERN_FROM = 4096;
const SIZE_BYTES = 1024 * 1024;

const [label = '', port = '0'] = process.argv.slice(2);
const luo = await join({ client: `counters/${label}` });
const memory = await luo.memory('counters', { sizeBytes: SIZE_BYTES });
const words = new BigUint64Array(memory.buffer, 0, PATTERN_FROM / 8);
const pattern = new Uint32Array(memory.buffer, PATTERN_FROM);
if (memory.created) for (let at = 0; at < pattern.length; at += 1) pattern[at] = patternAt(at);
let sum = 0n;

function patternAt(at: number): number {
  return Math.imul(at + 1, 0x9e3779b1) >>> 0;
}

function sumOfCounters(): bigint {
  let total = 0n;
  for (let at = 0; at < COUNTERS; at += 1) total += words[at]!;
  return total;
}

function check(): string {
  if (words[COUNTERS] !== sum)
    return `-the sum is ${words[COUNTERS]}, and ${sum} was written last: someone else writes`;
  if (sumOfCounters() !== sum) return `-the counters make ${sumOfCounters()}, their sum is ${sum}`;
  const wrong = pattern.findIndex((word, at) => word !== patternAt(at));
  return wrong < 0 ? '+ok' : `-the pattern is broken at word ${wrong}`;
}

function answer(line: string): string {
  const [word, index] = line.split(' ');
  if (word === 'INCR') {
    memory.assertWritable();
    sum += 1n;
    words[COUNTERS] = sum;
    words[Number(index)] = words[Number(index)]! + 1n;
    return `:${words[Number(index)]}`;
  }
  if (word === 'WHO') return `+${label} ${process.pid} ${memory.torn ? 'torn' : 'whole'}`;
  return word === 'CHECK' ? check() : `-unknown ${line}`;
}

function work(isTorn: boolean): void {
  if (isTorn) words[COUNTERS] = sumOfCounters();
  sum = words[COUNTERS]!;
}
luo.on('go', () => work(memory.torn));
luo.on('thaw', () => work(false));

const rest = new Map<Socket, string>();
const server = createServer((socket) => {
  socket.on('error', () => {});
  socket.on('close', () => rest.delete(socket));
  socket.on('data', (bytes) => {
    const lines = ((rest.get(socket) ?? '') + bytes.toString('latin1')).split('\n');
    rest.set(socket, lines.pop()!);
    for (const line of lines) socket.write(`${answer(line.trim())}\r\n`);
  });
});
await luo.listen(server, {
  port: Number(port),
  host: '127.0.0.1',
  connections: { unhandled: (socket) => Buffer.from(rest.get(socket) ?? '', 'latin1') },
});
await luo.ready();
