// Goal: whoever follows an update hears of everything, in order, and soon; in a blackout a little later. Method: a clock that is told.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { ProgressFeed } from '../../src/daemon/progress.js';

function follow(context: TestContext): { feed: ProgressFeed; heard: string[]; end: () => void } {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const feed = new ProgressFeed();
  const heard: string[] = [];
  return { feed, heard, end: feed.listen(({ what }) => heard.push(what)) };
}

test('what happens at the same time is told together, soon', (context) => {
  const { feed, heard } = follow(context);
  feed.tell({ what: 'standby' });
  feed.tell({ what: 'prepare' });
  assert.deepEqual(heard, []);
  context.mock.timers.tick(5);
  assert.deepEqual(heard, ['standby', 'prepare']);
});

test('in a blackout it waits for the end, also what came just before', (context) => {
  const { feed, heard } = follow(context);
  feed.tell({ what: 'prepared' });
  feed.hold();
  feed.tell({ what: 'freeze' });
  context.mock.timers.tick(19);
  feed.tell({ what: 'go' });
  assert.deepEqual(heard, []);
  feed.flush();
  assert.deepEqual(heard, ['prepared', 'freeze', 'go']);
});

test('a long blackout is followed while it lasts', (context) => {
  const { feed, heard } = follow(context);
  feed.tell({ what: 'prepared' });
  feed.hold();
  feed.tell({ what: 'freeze' });
  context.mock.timers.tick(20);
  assert.deepEqual(heard, ['prepared', 'freeze']);
  feed.tell({ what: 'frozen' });
  context.mock.timers.tick(5);
  assert.deepEqual(heard, ['prepared', 'freeze', 'frozen']);
});

test('who follows no longer has heard of everything until then, and of nothing after', (context) => {
  const { feed, heard, end } = follow(context);
  feed.tell({ what: 'freeze' });
  end();
  feed.tell({ what: 'go' });
  context.mock.timers.tick(20);
  assert.deepEqual(heard, ['freeze']);
});
