// Goal: whoever is killed, and at whatever point of an update: no acknowledged write is lost and no torn memory goes
// unnoticed, one generation serves again soon, connections end only with the process that served them, nothing is left
// over, and the next update works.
// Method: the real luod and a service under load; the process that passes a fault point stands still there while the
// victim gets SIGKILL. The table at the end has a line per row.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { FAULT_POINTS } from '../../src/base/fault-points.js';
import { EVERY_POINT, LATER_AND_SEVERAL, ORDER, WITH_THE_CACHE, nameOf, type Row } from './rows.js';
import { Scene, type Played } from './scene.js';
import type { WorkloadName } from './workload.js';

/** So many rows on one luod: with each death it takes its time before the next start. */
const ROWS_OF_A_SCENE = 24;

/** Lines of the table, by row, for each service. */
const table = { counters: new Map<Row, string>(), cache: new Map<Row, string>() };

/** Play rows one after the other on luods of their own. */
async function playAll(t: TestContext, workload: WorkloadName, rows: readonly Row[]): Promise<void> {
  let scene: Scene | undefined;
  let played = 0;
  const end = async (): Promise<void> => {
    const stopped = await scene?.stop();
    scene = undefined;
    played = 0;
    assert.deepEqual(stopped?.forced ?? [], [], 'everything ends in good order');
    assert.deepEqual(
      (stopped?.files ?? []).filter((file) => !/^logs(\/|$)/.test(file)),
      [],
    );
  };
  for (const row of rows) {
    await t.test(
      `${nameOf(row)} (${workload}): nothing is lost, one generation serves, the next update works`,
      async () => {
        try {
          scene ??= await Scene.start(workload);
          played += 1;
          table[workload].set(row, lineOf(workload, row, await scene.play(row)));
        } catch (error) {
          await scene?.stop();
          scene = undefined;
          played = 0;
          throw error;
        }
        if (played === ROWS_OF_A_SCENE) await end();
      },
    );
  }
  await t.test(`after ${rows.length} rows (${workload}) luod ends in good order and leaves nothing`, end);
}

function lineOf(workload: WorkloadName, row: Row, played: Played): string {
  const outcome = `${played.outcome}${played.restarted ? ', restarted' : ''}${played.killed ? '' : ' (not there)'}`;
  const connections = played.connectionsLost === 0 ? 'kept' : `${played.connectionsLost} ended`;
  const cells = [nameOf(row).padEnd(62), workload.padEnd(9), outcome.padEnd(28), played.seconds.toFixed(2).padStart(7)];
  return [...cells, 'whole', connections].join('  ');
}

test('the matrix has every fault point', () => {
  assert.deepEqual([...ORDER].sort(), [...FAULT_POINTS].sort());
});

test('crash matrix', { concurrency: 2 }, async (t) => {
  const half = Math.ceil(EVERY_POINT.length / 2);
  await Promise.all([
    t.test('every actor at every point, first half', (t) => playAll(t, 'counters', EVERY_POINT.slice(0, half))),
    t.test('every actor at every point, second half', (t) => playAll(t, 'counters', EVERY_POINT.slice(half))),
    t.test('later points, and several deaths', (t) => playAll(t, 'counters', LATER_AND_SEVERAL)),
    t.test('some rows with the cache', (t) => playAll(t, 'cache', WITH_THE_CACHE)),
  ]);
  const heads = ['killed'.padEnd(62), 'service'.padEnd(9), 'outcome'.padEnd(28), 'seconds', 'data ', 'connections'];
  // By point and actor, as people look for it; rows are played in another order.
  const place = ({ point }: Row): number => (FAULT_POINTS as readonly string[]).indexOf(point);
  const sorted = [...EVERY_POINT].sort((a, b) => place(a) - place(b));
  const lines = [...sorted, ...LATER_AND_SEVERAL].flatMap((row) => table.counters.get(row) ?? []);
  console.log([heads.join('  '), ...lines, ...table.cache.values()].join('\n'));
});
