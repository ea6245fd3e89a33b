/**
 * What a program saved of a connection at prepare, to see at freeze whether that is still so: nearly always it is, and then nothing of
 * it travels in the blackout.
 */
import type { Saved } from './types.js';

type Flat = Readonly<Record<string, unknown>>;

/** A saved value of one moment, which later changes of the program's own object do not reach. */
export class SavedSnapshot {
  /** Of a flat object: its fields. */
  readonly #names: readonly string[] | undefined;
  readonly #values: readonly unknown[];

  constructor(saved: Saved) {
    if (typeof saved === 'object' && saved !== null && isFlat(saved)) {
      this.#names = Object.keys(saved);
      this.#values = this.#names.map((name) => saved[name]);
    } else {
      this.#names = undefined;
      this.#values = [comparable(saved)];
    }
  }

  isSameAs(saved: Saved): boolean {
    const names = this.#names;
    if (names === undefined) return this.#values[0] === comparable(saved);
    if (typeof saved !== 'object' || saved === null || Array.isArray(saved) || saved instanceof Uint8Array)
      return false;
    const values = this.#values;
    for (let index = 0; index < names.length; index += 1) {
      if ((saved as Flat)[names[index]!] !== values[index]) return false;
    }
    return Object.keys(saved).length === names.length;
  }
}

/** An object of plain values: what most programs save of a connection, and cheap to compare. */
function isFlat(saved: object): saved is Flat {
  if (Array.isArray(saved) || saved instanceof Uint8Array) return false;
  return Object.values(saved).every((value) => typeof value !== 'object' || value === null);
}

function comparable(saved: Saved): unknown {
  if (typeof saved !== 'object' || saved === null) return saved;
  return saved instanceof Uint8Array ? `bytes:${Buffer.from(saved).toString('latin1')}` : JSON.stringify(saved);
}
