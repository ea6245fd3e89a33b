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
    // The kernel lists no names: a blob of the last one is there for whoever asks for it by its own.
    const get = `exec luoctl --dir "$0" blob get trace > "$1"`;
    await machine.until('luod with the blob', async () => {
      const { code, stderr } = await machine.exec(['sh', '-c', get, machine.luodFolder, output]);
      machine.log(stderr);
      return code === 0 || undefined;
    });
    assert.equal(digestOf(output), digest);
  },
};
