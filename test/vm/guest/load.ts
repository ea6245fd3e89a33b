/** Runs inside of the machine: what luoctl load does, without luod. */
import { createKexecMachine } from '../../../src/backends/kernel/index.js';

export async function load(kernel: string, append?: string): Promise<string | null> {
  const machine = createKexecMachine();
  return (await machine.load({ kernel, ...(append === undefined ? {} : { append }) })).release;
}
