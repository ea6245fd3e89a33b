/**
 * How the probe and the load talk when they run in a process of their own, as they must not share an event loop with
 * what they measure or with each other. Commands are lines on stdin; answers are lines of JSON on stdout:
 * `{"ready":true}` first, one line for each command, and `{"result":{...}}` when stdin has ended.
 */
import { createInterface } from 'node:readline';

/** Run as such a process: `onCommand` answers one line, `finish` gives the result. */
export async function serveCommands(
  onCommand: (word: string, rest: string) => unknown,
  finish: () => Promise<unknown>,
): Promise<void> {
  print({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, ...rest] = line.trim().split(' ');
    if (word !== undefined && word !== '') print(onCommand(word, rest.join(' ')));
  }
  print({ result: await finish() });
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
