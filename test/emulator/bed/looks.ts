/** Runs inside of the emulated machine: what it says of itself, and the way out of it without luod. */
import { readFileSync } from 'node:fs';
import { createKexecMachine } from '../../../src/backends/kernel/index.js';

export function bootId(): string {
  return createKexecMachine().bootId;
}

export function isLoaded(): boolean {
  return createKexecMachine().isLoaded();
}

/** The files as a shell would read them. */
export function text(path: string): string {
  return readFileSync(path, 'utf8');
}
