// Goal: a cache of 128 MiB, filled by the npm redis client, survives the change of the kernel and the change back: the story of
// `npm run demo:kexec`, with what it promises.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tellKexecStory } from '../../examples/kexec/story.js';
import { kernels } from './bed/kernels.js';

test('every key of 128 MiB is there after the jump, and after the jump back', async () => {
  const { from, to } = kernels();
  const { jumps } = await tellKexecStory({
    stateBytes: 128 * 2 ** 20,
    tell: (what) => (how) => console.log(`${what}: ${how}`),
  });
  assert.deepEqual(
    jumps.map((jump) => [jump.kernelBefore, jump.kernelAfter]),
    [
      [from.version, to.version],
      [to.version, from.version],
    ],
  );
  for (const jump of jumps) {
    assert.ok(jump.keysBefore > 100_000);
    assert.equal(jump.keysAfter, jump.keysBefore);
    assert.equal(jump.keysWrong, 0);
    assert.equal(jump.unclaimed, 0);
    assert.ok(jump.blackoutMs > 0 && jump.blackoutUncertaintyMs < 2000);
    const order = ['prepare.sent', 'freeze.sent', 'jump', 'arrived', 'restart.started', 'go.acked', 'settled'];
    const places = order.map((what) =>
      jump.timeline.events.findIndex((event) => event.what === what && event.participant !== 'luod'),
    );
    assert.deepEqual(
      places,
      [...places].sort((a, b) => a - b),
      'the timeline joins both kernels in order',
    );
    assert.ok(!places.includes(-1), order[places.indexOf(-1)]);
  }
});
