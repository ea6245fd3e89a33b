/**
 * The entries of the keeper by name, in the order in which they came. Hundreds come in one message, and a `Map` that is asked
 * and then told, with an object for each entry, is most of what keeping them costs: here one search adds a name or finds that it
 * is there, and the entries lie in columns. Nothing is counted, refused or closed here: store.ts does that.
 *
 * Open addressing: a slot has the row of an entry, or nothing. An entry that is removed leaves its row empty, and its slot as a
 * step for the searches of others; when half as many rows as slots were used, the rows are moved together and the slots made
 * anew. The hash is mixed with a number of this process alone, so that names that meet in one slot cannot be chosen from outside.
 */
import { randomBytes } from 'node:crypto';
import type { OwnedFd } from '../sys/index.js';

/** What is said of an entry; entries that came as names alone share one. */
export interface About {
  readonly owner: string;
  readonly meta: unknown;
}

/** One fd is kept as it is: it is the common case, and an array for each is not free. */
export type Held = OwnedFd | readonly OwnedFd[];

const slotsMin = 64;
const seed = randomBytes(4).readInt32LE();

function hashOf(name: string): number {
  let hash = seed;
  for (let index = 0; index < name.length; index += 1) hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193);
  return hash ^ (hash >>> 15);
}

/** A table of named entries. A row is a number that is good until the next `add`. */
export class Table {
  readonly #names: (string | undefined)[] = [];
  readonly #hashes: number[] = [];
  readonly #abouts: (About | undefined)[] = [];
  readonly #helds: (Held | undefined)[] = [];
  /** A power of two of them, at most half in use: a row and one, or 0. */
  #slots = new Int32Array(slotsMin);
  #size = 0;

  /** Add an entry behind all others; false if the name is there, and then nothing is changed. */
  add(name: string, about: About, held: Held): boolean {
    if (this.#names.length * 2 >= this.#slots.length) this.#moveTogether();
    const hash = hashOf(name);
    const slot = this.#slotOf(name, hash);
    if (this.#slots[slot] !== 0) return false;
    this.#names.push(name);
    this.#hashes.push(hash);
    this.#abouts.push(about);
    this.#helds.push(held);
    this.#slots[slot] = this.#names.length;
    this.#size += 1;
    return true;
  }

  /** The row of `name`, or -1. */
  find(name: string): number {
    return this.#slots[this.#slotOf(name, hashOf(name))]! - 1;
  }

  about(row: number): About {
    return this.#abouts[row]!;
  }

  held(row: number): Held {
    return this.#helds[row]!;
  }

  /** Take an entry out; what it held is the caller's. */
  remove(row: number): void {
    this.#names[row] = undefined;
    this.#abouts[row] = undefined;
    this.#helds[row] = undefined;
    this.#size -= 1;
  }

  /** The names that begin with `prefix`, in the order in which they came. */
  names(prefix: string): string[] {
    return this.#names.filter((name): name is string => name?.startsWith(prefix) === true);
  }

  /** Where `name` is, or the empty slot at which its search ends. */
  #slotOf(name: string, hash: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = hash & mask;
    for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const row = slots[slot]! - 1;
      if (this.#hashes[row] === hash && this.#names[row] === name) break;
    }
    return slot;
  }

  #moveTogether(): void {
    let count = slotsMin;
    while (count < this.#size * 4) count *= 2;
    // First of all: if there is no memory for them, nothing was moved.
    const slots = new Int32Array(count);
    let rows = 0;
    for (let row = 0; row < this.#names.length; row += 1) {
      if (this.#names[row] === undefined) continue;
      this.#names[rows] = this.#names[row];
      this.#hashes[rows] = this.#hashes[row]!;
      this.#abouts[rows] = this.#abouts[row];
      this.#helds[rows] = this.#helds[row];
      rows += 1;
    }
    for (const column of [this.#names, this.#hashes, this.#abouts, this.#helds]) column.length = rows;
    for (let row = 0; row < rows; row += 1) {
      let slot = this.#hashes[row]! & (count - 1);
      while (slots[slot] !== 0) slot = (slot + 1) & (count - 1);
      slots[slot] = row + 1;
    }
    this.#slots = slots;
  }
}
