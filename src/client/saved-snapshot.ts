/**
 * What a program saved of a connection at prepare, to see at freeze whether that is still so: nearly always it is, and then nothing of
 * it travels in the blackout.
 */
import type { Saved } from './types.js';

type Flat = Readonly<Record<string, unknown>>;

/** How a value is kept, so that later changes of the program's own object do not reach it, and it is cheap to compare. */
type Kept =
  | { readonly as: 'plain'; readonly value: unknown }
  /** An object of plain values, which is what most programs save of a connection. */
  | { readonly as: 'flat'; readonly names: readonly string[]; readonly copy: Flat }
  | { readonly as: 'bytes'; readonly bytes: Buffer }
  | { readonly as: 'json'; readonly text: string };

/** A saved value of one moment. */
export class SavedSnapshot {
  readonly #kept: Kept;

  constructor(saved: Saved) {
    this.#kept = keep(saved);
  }

  /** The value of that moment. */
  get value(): Saved {
    const kept = this.#kept;
    switch (kept.as) {
      case 'plain':
        return kept.value as Saved;
      case 'flat':
        return kept.copy as Saved;
      case 'bytes':
        return kept.bytes;
      case 'json':
        return JSON.parse(kept.text) as Saved;
    }
  }

  isSameAs(saved: Saved): boolean {
    const kept = this.#kept;
    if (typeof saved !== 'object' || saved === null) return kept.as === 'plain' && kept.value === saved;
    switch (kept.as) {
      case 'plain':
        return false;
      case 'flat':
        return isSameFlat(kept.names, kept.copy, saved);
      case 'bytes':
        return saved instanceof Uint8Array && kept.bytes.equals(saved);
      case 'json':
        return !(saved instanceof Uint8Array) && JSON.stringify(saved) === kept.text;
    }
  }
}

function keep(saved: Saved): Kept {
  if (typeof saved !== 'object' || saved === null) return { as: 'plain', value: saved };
  if (saved instanceof Uint8Array) return { as: 'bytes', bytes: Buffer.from(saved) };
  if (!isFlat(saved)) return { as: 'json', text: JSON.stringify(saved) };
  return { as: 'flat', names: Object.keys(saved), copy: { ...saved } };
}

function isSameFlat(names: readonly string[], copy: Flat, saved: object): boolean {
  if (Array.isArray(saved) || saved instanceof Uint8Array) return false;
  for (const name of names) if ((saved as Flat)[name] !== copy[name]) return false;
  return Object.keys(saved).length === names.length;
}

function isFlat(saved: object): saved is Flat {
  const prototype: unknown = Object.getPrototypeOf(saved);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(saved).every((value) => typeof value !== 'object' || value === null);
}
