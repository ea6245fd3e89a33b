// Goal: what is kept soon is mirrored at once, and in the keeper before whatever is asked of it next. Method: a real store at the other
// end of the channel.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Custody } from '../../src/daemon/custody.js';
import { createLogger } from '../../src/daemon/logger.js';
import { Peer } from '../../src/transport/index.js';
import { closeAll, memfdCreate, socketpair } from '../../src/sys/index.js';
import { leakCheck } from '../sys/support.js';

leakCheck();

/** A keeper that writes down what it is asked, and holds nothing. */
async function withCustody(work: (custody: Custody, asked: string[]) => Promise<void>): Promise<void> {
  const [ours, theirs] = socketpair();
  const asked: string[] = [];
  const keeper = new Peer(theirs, {
    onRequest: (method, params, fds, reply) => {
      asked.push(`${method} ${(params as { name?: string }).name ?? ''}`.trim());
      closeAll(fds);
      const list = { pid: process.pid, entries: [], fdsMax: 100, attempts: [], luodDeaths: 0 };
      reply.result(method === 'list' ? list : method === 'decide' ? { outcome: 'committed' } : { dropped: 1 });
    },
  });
  const custody = await Custody.open(ours, {
    log: createLogger('silent'),
    keeperArgv: ['false'],
    onKeeperReplaced: () => assert.fail('the keeper lives'),
    onFatal: (error) => assert.fail(error),
  });
  asked.length = 0;
  try {
    await work(custody, asked);
  } finally {
    custody.close();
    keeper.close();
  }
}

test('it is mirrored at once, and sent before the decision', () =>
  withCustody(async (custody, asked) => {
    custody.putSoon('parcel/1', '0:a', { n: 1 }, [memfdCreate('parcel')]);
    assert.equal(custody.get('parcel/1')?.fds.length, 1);
    assert.equal(await custody.decide(1, 'key', 'committed'), 'committed');
    assert.deepEqual(asked, ['put parcel/1', 'decide']);
  }));

test('without anything else it is sent when the turn is over', () =>
  withCustody(async (custody, asked) => {
    custody.putSoon('parcel/1', '0:a', null, []);
    for (let turn = 0; asked.length === 0 && turn < 100; turn += 1) await nextTurn();
    assert.deepEqual(asked, ['put parcel/1']);
  }));

test('what was dropped meanwhile is never heard of', () =>
  withCustody(async (custody, asked) => {
    custody.putSoon('parcel/1', '0:a', null, [memfdCreate('parcel')]);
    await custody.dropNow(['parcel/1']);
    assert.equal(custody.get('parcel/1'), undefined);
    assert.deepEqual(asked, ['drop']);
  }));
