/** Fills a cache with a dataset, and checks it against the dataset: key by key, or by the server's own digest. */
import { Digest } from '../../examples/cache/hash.js';
import type { Dataset } from './dataset.js';
import type { Reply } from './reply-parser.js';
import { type Endpoint, RespClient, encode } from './resp-client.js';

/** Requests of one write, and writes of one connection that may be under way. */
const BATCH_BYTES = 256 * 1024;
const BATCHES_MAX = 4;
const CONNECTIONS = 2;

/** Work on `count` items in batches, several at a time over several connections. */
async function inBatches(
  endpoint: Endpoint,
  count: number,
  batch: number,
  work: (client: RespClient, from: number, to: number) => Promise<void>,
): Promise<void> {
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => RespClient.connect(endpoint)));
  let next = 0;
  const worker = async (client: RespClient): Promise<void> => {
    while (next < count) {
      const from = next;
      next = Math.min(count, from + batch);
      await work(client, from, next);
    }
  };
  try {
    await Promise.all(clients.flatMap((client) => Array.from({ length: BATCHES_MAX }, () => worker(client))));
  } finally {
    for (const client of clients) client.close();
  }
}

/**
 * Set every key of the dataset.
 * @param onProgress told how many keys are set
 * @throws Error a key was refused (full memory), or a connection ended
 */
export async function fill(
  endpoint: Endpoint,
  dataset: Dataset,
  onProgress?: (keys: number) => void,
): Promise<{ readonly keys: number; readonly durationMs: number }> {
  const startMs = performance.now();
  const first = encode('SET', dataset.key(0), dataset.value(0));
  const keyAt = first.indexOf(dataset.key(0));
  const valueAt = first.length - 2 - dataset.valueBytes;
  let set = 0;
  const batch = Math.max(1, Math.floor(BATCH_BYTES / first.length));
  await inBatches(endpoint, dataset.count, batch, async (client, from, to) => {
    const requests = Buffer.allocUnsafeSlow(first.length * (to - from));
    for (let index = from, at = 0; index < to; index += 1, at += first.length) {
      first.copy(requests, at, 0, valueAt);
      requests.write(dataset.key(index), at + keyAt, 'latin1');
      dataset.writeValue(index, requests, at + valueAt);
      requests.write('\r\n', at + first.length - 2, 'latin1');
    }
    await new Promise<void>((resolve, reject) => {
      let rest = to - from;
      client.send(requests, rest, (reply) => {
        rest -= 1;
        if (reply !== 'OK') reject(reply instanceof Error ? reply : new Error(`SET answered ${String(reply)}`));
        else if (rest === 0) resolve();
      });
    });
    set += to - from;
    onProgress?.(set);
  });
  return { keys: dataset.count, durationMs: performance.now() - startMs };
}

/** What `check` found. */
export interface CheckResult {
  readonly keys: number;
  readonly missing: number;
  /** Of another value than they must have. */
  readonly wrong: number;
}

/** Read every key of the dataset and compare it byte by byte. @throws Error a connection ended */
export async function check(endpoint: Endpoint, dataset: Dataset): Promise<CheckResult> {
  let missing = 0;
  let wrong = 0;
  const batch = Math.max(1, Math.floor(BATCH_BYTES / dataset.valueBytes));
  await inBatches(endpoint, dataset.count, batch, async (client, from, to) => {
    const keys = Array.from({ length: to - from }, (_, i) => dataset.key(from + i));
    const values = (await client.request('MGET', ...keys)) as Reply[];
    const expected = Buffer.allocUnsafe(dataset.valueBytes);
    for (const [i, value] of values.entries()) {
      dataset.writeValue(from + i, expected, 0);
      if (value === null) missing += 1;
      else if (!(value instanceof Buffer) || !value.equals(expected)) wrong += 1;
    }
  });
  return { keys: dataset.count, missing, wrong };
}

/** The server's digest of all keys with this prefix, taken in small steps so that other clients do not wait for it. */
export async function serverDigest(
  endpoint: Endpoint,
  prefix: string,
): Promise<{ readonly hex: string; readonly count: number }> {
  const client = await RespClient.connect(endpoint);
  const digest = new Digest();
  try {
    let cursor = '0';
    do {
      const [next, count, hex] = (await client.request(
        ...['LUO.DIGEST', cursor, 'MATCH', `${prefix}*`, 'COUNT', '500'],
      )) as [Buffer, number, Buffer];
      digest.addPart(hex.toString(), count);
      cursor = next.toString();
    } while (cursor !== '0');
  } finally {
    client.close();
  }
  return { hex: digest.hex, count: digest.count };
}
