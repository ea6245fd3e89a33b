/** The command line of the cache. */
import { parseArgs } from 'node:util';
import { PAGE_BYTES, REGIONS_MAX } from './layout.js';

/** Ways in which a version can be told to be broken, to see how an update is rolled back. */
export const FAILURES = ['crash-after-claims', 'hang-before-ready'] as const;
export type Failure = (typeof FAILURES)[number];

export interface Settings {
  readonly port: number;
  readonly host: string;
  /** Sizes of the regions that together are the memory; they apply when none waits to be claimed. */
  readonly regionBytes: readonly number[];
  readonly versionLabel: string;
  readonly fail: Failure | undefined;
}

/** Regions above this are split: in smaller ones every position is a small integer, which is faster. */
const REGION_BYTES = 2 ** 30;
const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

export const USAGE =
  'usage: main.js --port PORT [--host HOST] [--memory SIZE[k|m|g]] [--version-label TEXT] ' +
  `[--fail ${FAILURES.join('|')}]`;

/** @throws Error with a sentence for the person who typed it */
export function parseSettings(argv: readonly string[], env: NodeJS.ProcessEnv): Settings {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      port: { type: 'string', default: '6379' },
      host: { type: 'string', default: '127.0.0.1' },
      memory: { type: 'string', default: '64m' },
      'version-label': { type: 'string', default: env.CACHE_VERSION ?? 'v1' },
      fail: { type: 'string' },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`'${values.port}' is no port`);
  const fail = FAILURES.find((failure) => failure === values.fail);
  if (values.fail !== undefined && fail === undefined) throw new Error(`--fail knows ${FAILURES.join(' and ')}`);
  return {
    port,
    host: values.host,
    regionBytes: splitMemory(parseSize(values.memory)),
    versionLabel: values['version-label'],
    fail,
  };
}

/** Bytes of a size such as `256m`. */
export function parseSize(size: string): number {
  const match = /^(\d+)([kmg]?)b?$/i.exec(size);
  if (!match) throw new Error(`'${size}' is no size; give bytes, or a number with k, m or g`);
  return Number(match[1]) * UNITS[match[2]!.toLowerCase()]!;
}

/** Sizes of as few regions as hold `totalBytes`, all equal, in whole pages. */
export function splitMemory(totalBytes: number): number[] {
  const count = Math.max(1, Math.ceil(totalBytes / REGION_BYTES));
  if (count > REGIONS_MAX) throw new Error(`--memory can be ${REGIONS_MAX} GiB at most`);
  const bytes = Math.max(8, Math.ceil(totalBytes / count / PAGE_BYTES)) * PAGE_BYTES;
  return Array.from({ length: count }, () => bytes);
}
