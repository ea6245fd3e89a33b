/** A blob put under one kernel is what the next one gets, byte for byte; nothing else of the first one's files is there. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Scenario } from '../bed/scenario.js';

const SIZE_BYTES = 3 * 2 ** 20 + 1;

function digestOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

export const scenario: Scenario<{ digest: string; input: string }> = {
  async before(machine) {
    const input = join(machine.workFolder, 'input');
    writeFileSync(input, randomBytes(SIZE_BYTES));
    await machine.until('luod', () => machine.luoctl(['status']).catch(() => undefined));
    const put = `exec luoctl --dir "$0" blob put trace < "$1"`;
    machine.log(await machine.must(['sh', '-c', put, machine.luodFolder, input]));
    return { digest: digestOf(input), input };
  },

  async after(machine, { digest, input }) {
    assert.equal(existsSync(input), false);
    const output = join(machine.workFolder, 'output');
    await machine.until('the blob', async () => {
      const told = await machine.luoctl<{ blobs: { name: string }[] }>(['blob', 'list']).catch(() => undefined);
      return told?.blobs.some(({ name }) => name === 'trace') || undefined;
    });
    const get = `exec luoctl --dir "$0" blob get trace > "$1"`;
    machine.log(await machine.must(['sh', '-c', get, machine.luodFolder, output]));
    assert.equal(digestOf(output), digest);
  },
};
