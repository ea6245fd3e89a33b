// Goal: a vetoed finish is asked for again at once when something happened, else now and then, and never in a loop.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { FinishAgain } from '../../../src/daemon/kexec/finish-again.js';

function watched(
  context: TestContext,
  possible = true,
): { again: FinishAgain; tries: () => number; allow: () => void } {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  let tries = 0;
  let isPossible = possible;
  const again = new FinishAgain(() => {
    if (isPossible) tries += 1;
    return isPossible;
  }, 5_000);
  context.after(() => again.stop());
  return { again, tries: () => tries, allow: () => (isPossible = true) };
}

test('what follows from a veto asks for nothing by itself, however often it comes', (context) => {
  const { again, tries } = watched(context);
  for (let changes = 0; changes < 100; changes += 1) again.ask();
  assert.equal(tries(), 1);
});

test('while nothing happens it is tried at intervals', (context) => {
  const { again, tries } = watched(context);
  again.ask();
  again.ask();
  context.mock.timers.tick(4_999);
  assert.equal(tries(), 1);
  context.mock.timers.tick(1);
  assert.equal(tries(), 2);
  // Without a new change nobody waits for anything.
  context.mock.timers.tick(60_000);
  assert.equal(tries(), 2);
});

test('something that may change the veto is a reason to try at once', (context) => {
  const { again, tries } = watched(context);
  again.ask();
  again.something();
  again.ask();
  assert.equal(tries(), 2);
  again.ask();
  context.mock.timers.tick(5_000);
  assert.equal(tries(), 3, 'the clock of the try before it runs no more');
});

test('what is news while it cannot be tried is news when it can', (context) => {
  const { again, tries, allow } = watched(context, false);
  again.ask();
  allow();
  again.ask();
  assert.equal(tries(), 1);
});

test('stopped, it tries nothing any more', (context) => {
  const { again, tries } = watched(context);
  again.ask();
  again.ask();
  again.stop();
  context.mock.timers.tick(60_000);
  again.something();
  again.ask();
  assert.equal(tries(), 1);
});
