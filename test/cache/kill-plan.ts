/**
 * The operations that the killed writer does, as a function of their number: the test can tell what each of them does
 * without hearing from the writer.
 */
import { NO_EXPIRY } from '../../examples/cache/entries.js';
import { mix } from '../../examples/cache/hash.js';
import type { TestStore } from './fixtures.js';

export const STORE_BYTES = 8 * 1024 * 1024;
const KEYS = 400;
const LARGE_BYTES = 40_000;

export type Model = Map<string, { readonly value: string; readonly expiry: number }>;

interface Planned {
  readonly kind: 'set' | 'delete' | 'expire' | 'increment' | 'clear';
  readonly key: string;
  readonly value: string;
  readonly expiry: number;
}

/** What operation `number` is. */
export function planned(seed: number, number: number): Planned {
  const random = (salt: number, below: number): number => mix(mix(seed + salt) ^ number) % below;
  const letter = String.fromCharCode(97 + random(1, 26));
  const bytes = random(2, 50) === 0 ? random(3, LARGE_BYTES) : random(3, 400);
  const expiry = random(4, 2) === 0 ? NO_EXPIRY : 2_000_000 + random(5, 2 ** 31) * 4;
  const choice = random(6, 1000);
  const kind =
    choice === 0 ? 'clear' : choice < 550 ? 'set' : choice < 700 ? 'delete' : choice < 850 ? 'expire' : 'increment';
  const key = kind === 'increment' ? `counter:${random(7, 5)}` : `key:${random(7, KEYS)}`;
  return { kind, key, value: letter.repeat(bytes), expiry };
}

/** Do it on the store. */
export function perform(store: TestStore, seed: number, number: number): void {
  const { kind, key, value, expiry } = planned(seed, number);
  if (kind === 'set') store.set(key, value, expiry);
  else if (kind === 'delete') store.delete(key);
  else if (kind === 'expire') store.expire(key, expiry);
  else if (kind === 'increment') store.increment(key, 1);
  else store.store.clear();
}

/** Do it on the model. */
export function predict(model: Model, seed: number, number: number): void {
  const { kind, key, value, expiry } = planned(seed, number);
  const old = model.get(key);
  if (kind === 'set') model.set(key, { value, expiry });
  else if (kind === 'delete') model.delete(key);
  else if (kind === 'expire' && old) model.set(key, { value: old.value, expiry });
  else if (kind === 'increment') {
    model.set(key, { value: String(Number(old?.value ?? 0) + 1), expiry: old?.expiry ?? NO_EXPIRY });
  } else if (kind === 'clear') model.clear();
}
