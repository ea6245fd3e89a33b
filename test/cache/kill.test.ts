// Goal: a writer that is killed with SIGKILL at any instant loses nothing that it had done, and leaves no mix.
// Method: a child process works through a plan on a shared memfd; it is killed after a random time, again and again, on
// the same memory. After each death the repaired content must be that of the plan, with or without the operation that
// was running. The seed of a failing run is in its message.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PROT } from '../../src/abi/linux.js';
import { Mapping, ftruncate, memfdCreate } from '../../src/sys/index.js';
import { problemsOf } from '../../examples/cache/verify.js';
import { TestStore } from './fixtures.js';
import { type Model, STORE_BYTES, planned, predict } from './kill-plan.js';

const ROUNDS = 25;
const WRITER = fileURLToPath(new URL('kill-writer.js', import.meta.url));

/** The key at which the content differs from the model, or undefined. */
function difference(tested: TestStore, model: Model): string | undefined {
  const content = tested.content();
  for (const key of new Set([...content.keys(), ...model.keys()])) {
    const wanted = model.get(key);
    if (content.get(key) !== wanted?.value || tested.expiryOf(key) !== wanted?.expiry) return key;
  }
  return undefined;
}

/** Let a writer go on for a random time and kill it. */
async function writeAndDie(seed: number, memoryFd: number, doneFd: number): Promise<void> {
  const writer = spawn(process.execPath, [WRITER, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit', memoryFd, doneFd],
  });
  const exited = once(writer, 'exit');
  await Promise.race([once(writer.stdout!, 'data'), exited]);
  await sleep(randomInt(1, 12));
  writer.kill('SIGKILL');
  assert.deepEqual(await exited, [null, 'SIGKILL']);
}

test(`a writer killed ${ROUNDS} times at random instants loses nothing`, async (t) => {
  const seed = randomInt(2 ** 31);
  const [memory, counter] = [memfdCreate('cache-kill-test'), memfdCreate('cache-kill-count')];
  ftruncate(memory.fd, STORE_BYTES);
  ftruncate(counter.fd, 4096);
  const protection = PROT.READ | PROT.WRITE;
  const [view, doneView] = [
    Mapping.map({ fd: memory.fd, sizeBytes: STORE_BYTES, protection }),
    Mapping.map({ fd: counter.fd, sizeBytes: 4096, protection }),
  ];
  t.after(() => {
    for (const mapping of [view, doneView]) mapping.unmap();
    for (const fd of [memory, counter]) fd.close();
  });
  const done = new Float64Array(doneView.buffer);
  const model: Model = new Map();
  let predicted = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    await writeAndDie(seed, memory.fd, counter.fd);
    const where = `seed ${seed}, round ${round}, operation ${done[0]}`;
    for (; predicted < done[0]!; predicted += 1) predict(model, seed, predicted);
    const repaired = new TestStore([view.buffer], { torn: true });
    assert.deepEqual(problemsOf(repaired.store), [], where);
    if (difference(repaired, model) === undefined) continue;
    // The operation that ran is done already, and was not counted.
    predict(model, seed, predicted);
    predicted += 1;
    done[0] = predicted;
    const key = difference(repaired, model);
    assert.equal(key, undefined, `${where}: key '${key}' differs; it was ${planned(seed, predicted - 1).kind}`);
  }
  assert.ok(done[0]! > ROUNDS * 10, `only ${done[0]} operations were done`);
});
