/**
 * What runs under luod in the crash matrix: the small program of counters for most rows, the cache for some. Both count
 * with `INCR n` in a line; each has its own way to look at all of its memory.
 */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { Dataset } from '../../bench/load/dataset.js';
import { check, fill } from '../../bench/load/fill.js';
import { RespClient } from '../../bench/load/resp-client.js';
import { LineClient } from './traffic.js';

export type WorkloadName = 'counters' | 'cache';

export interface Workload {
  readonly name: WorkloadName;
  /** Path of the program, by which its processes are found among those of the test's own luod. */
  readonly program: string;
  command(label: string, port: number): string[];
  /** The label in a command that `command` made. */
  labelOf(argv: readonly string[]): string;
  /** Once, when the first version serves. */
  begin(port: number): Promise<void>;
  /**
   * Every byte is as it must be, and version `label` answers; its process is `pid`.
   * @returns whether that process was told that its memory is torn; undefined: it does not say
   */
  assertWhole(port: number, label: string, pid: number, when: string): Promise<boolean | undefined>;
}

const KEYS_BYTES = 300 * 1024;
const VALUE_BYTES = 128;

const counters: Workload = {
  name: 'counters',
  program: fileURLToPath(new URL('./programs/counters.js', import.meta.url)),
  command: (label, port) => [process.execPath, counters.program, label, String(port)],
  labelOf: (argv) => argv[2]!,
  begin: () => Promise.resolve(),
  async assertWhole(port, label, pid, when) {
    const client = await LineClient.connect(port);
    try {
      assert.equal(await client.ask('CHECK'), '+ok', when);
      const [who, of, torn] = (await client.ask('WHO')).split(' ');
      assert.deepEqual([who, of], [`+${label}`, String(pid)], when);
      return torn === 'torn';
    } finally {
      client.close();
    }
  },
};

const dataset = new Dataset({ totalBytes: KEYS_BYTES, valueBytes: VALUE_BYTES });

const cache: Workload = {
  name: 'cache',
  program: fileURLToPath(new URL('../../examples/cache/main.js', import.meta.url)),
  command: (label, port) => [
    ...[process.execPath, cache.program, '--version-label', label],
    ...['--port', String(port), '--memory', '16m'],
  ],
  labelOf: (argv) => argv[3]!,
  begin: async (port) => void (await fill({ port }, dataset)),
  async assertWhole(port, label, pid, when) {
    assert.deepEqual(await check({ port }, dataset), { keys: dataset.count, missing: 0, wrong: 0 }, when);
    const client = await RespClient.connect({ port });
    try {
      assert.equal(String(((await client.request('LUO.VERSION')) as unknown[])[1]), label, when);
      assert.match(String(await client.request('INFO', 'server')), new RegExp(`^process_id:${pid}\r$`, 'm'), when);
      return undefined;
    } finally {
      client.close();
    }
  },
};

export const WORKLOADS: Readonly<Record<WorkloadName, Workload>> = { counters, cache };
