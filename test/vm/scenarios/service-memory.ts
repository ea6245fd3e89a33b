/** A service with one region of memory: started again by luod of the next kernel, it finds there what it had written. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machine, Scenario } from '../bed/scenario.js';

const NAME = 'one';
const SIZE_BYTES = 2 ** 20;
/** Where the participant says what it found; gone with the kernel. */
const folderOf = (machine: Machine): string => join(machine.runFolder, 'p');

interface Found {
  readonly role: string;
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
}

interface Status {
  readonly state: string;
  readonly phase: string | null;
  readonly generation: number;
}

function found(machine: Machine): Promise<Found> {
  const path = join(folderOf(machine), `${NAME}.json`);
  return machine.until('what the service found', () =>
    existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Found) : undefined,
  );
}

export const scenario: Scenario<{ generation: number }> = {
  async before(machine) {
    const program = join(machine.packageFolder, 'dist/test/vm/guest/participant.js');
    const options = JSON.stringify({ folder: folderOf(machine) });
    await machine.luoctl(['run', '--name', NAME, '--', 'node', program, NAME, String(SIZE_BYTES), options]);
    const first = await found(machine);
    assert.deepEqual([first.created, first.wrong], [true, 0]);
    const { generation } = await machine.luoctl<Status>(['status']);
    return { generation };
  },

  async after(machine, { generation }) {
    const { role, created, torn, wrong } = await found(machine);
    assert.deepEqual({ role, created, torn, wrong }, { role: 'restart', created: false, torn: false, wrong: 0 });
    const status = await machine.until('the end of the update', async () => {
      const now = await machine.luoctl<Status>(['status']).catch(() => undefined);
      return now?.state === 'normal' && now.phase === null ? now : undefined;
    });
    assert.equal(status.generation, generation + 1);
  },
};
