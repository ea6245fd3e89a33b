/** Runs inside of the machine: fills and checks the cache by the npm redis client, as any user of it would. */
import { createClient } from 'redis';
import { Dataset } from '../../../bench/load/dataset.js';

const BATCH = 64;

async function connected(port: number) {
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Set every key of a dataset of so many bytes. @returns how many there are */
export async function fill(port: number, bytes: number): Promise<number> {
  const dataset = new Dataset({ totalBytes: bytes });
  const client = await connected(port);
  for (let from = 0; from < dataset.count; from += BATCH) {
    const pairs: string[] = [];
    for (let index = from; index < Math.min(dataset.count, from + BATCH); index += 1) {
      pairs.push(dataset.key(index), dataset.value(index).toString('latin1'));
    }
    await client.sendCommand(['MSET', ...pairs.map((text) => Buffer.from(text, 'latin1'))]);
  }
  client.destroy();
  return dataset.count;
}

/** Compare every key. @returns how many were there, and how many of these were not as they were set */
export async function check(port: number, bytes: number): Promise<{ keys: number; wrong: number; size: number }> {
  const dataset = new Dataset({ totalBytes: bytes });
  const client = await connected(port);
  let keys = 0;
  let wrong = 0;
  for (let from = 0; from < dataset.count; from += BATCH) {
    const wanted = Array.from({ length: Math.min(BATCH, dataset.count - from) }, (_, index) => from + index);
    const values = (await client.sendCommand(['MGET', ...wanted.map((index) => dataset.key(index))], {
      typeMapping: { [36]: Buffer },
    } as never)) as (Buffer | null)[];
    wanted.forEach((index, at) => {
      const value = values[at];
      if (value === null || value === undefined) return;
      keys += 1;
      if (!dataset.value(index).equals(value)) wrong += 1;
    });
  }
  const size = Number(await client.sendCommand(['DBSIZE']));
  client.destroy();
  return { keys, wrong, size };
}
