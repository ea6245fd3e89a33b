// Goal: whoever follows an update hears of everything, in order; in a blackout later, but not much later. Method: a clock that is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProgressFeed } from '../../src/daemon/progress.js';

function follow(feed: ProgressFeed): { heard: string[]; end: () => void } {
  const heard: string[] = [];
  return { heard, end: feed.listen(({ what }) => heard.push(what)) };
}

test('what happens in a blackout is told when that is over, in its order', () => {
  const feed = new ProgressFeed();
  const { heard } = follow(feed);
  feed.tell({ what: 'prepared' });
  feed.hold();
  feed.tell({ what: 'freeze' });
  feed.hold();
  feed.tell({ what: 'go' });
  assert.deepEqual(heard, ['prepared']);
  feed.release();
  feed.tell({ what: 'finish' });
  assert.deepEqual(heard, ['prepared', 'freeze', 'go', 'finish']);
});

test('a long blackout is followed as it goes on', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const feed = new ProgressFeed();
  const { heard } = follow(feed);
  feed.hold();
  feed.tell({ what: 'freeze' });
  context.mock.timers.tick(20);
  assert.deepEqual(heard, ['freeze']);
  feed.tell({ what: 'frozen' });
  assert.deepEqual(heard, ['freeze', 'frozen']);
});

test('who follows no longer has heard of everything until then', () => {
  const feed = new ProgressFeed();
  const { heard, end } = follow(feed);
  feed.hold();
  feed.tell({ what: 'freeze' });
  end();
  feed.tell({ what: 'go' });
  feed.release();
  assert.deepEqual(heard, ['freeze']);
});
