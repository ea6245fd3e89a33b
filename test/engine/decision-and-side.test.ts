/**
 * Goal: the two small reducers that others run: the keeper's record, and what a process does without luod. Method: each
 * rule by itself; together they are proved in exhaustive.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decide, DECISIONS_MAX, noDecisions, openAttempt } from '../../src/protocol/decision.js';
import { mayResume, startSide, stepSide, type SideEvent, type SideState } from '../../src/protocol/side.js';

const open = openAttempt(noDecisions, 1, 'key');

test('nothing is decided until somebody wants something', () => {
  assert.deepEqual(decide(open, 1, 'key'), { decisions: open, outcome: null });
});

test('the first writer wins, whoever asks afterwards', () => {
  for (const [first, second] of [
    ['committed', 'aborted'],
    ['aborted', 'committed'],
  ] as const) {
    const answer = decide(open, 1, 'key', first);
    assert.ok('outcome' in answer);
    const later = decide(answer.decisions, 1, 'key', second);
    assert.ok('outcome' in later);
    assert.equal(later.outcome, first);
    assert.equal(later.decisions, answer.decisions, 'nothing was written');
  }
});

test('an attempt that is not there is DECISION_NONE', () => {
  assert.deepEqual(decide(noDecisions, 1, 'key', 'aborted'), { error: 'DECISION_NONE' });
  assert.deepEqual(decide(open, 2, 'key'), { error: 'DECISION_NONE' });
});

test('a wrong key is KEEPER_KEY, and writes nothing', () => {
  assert.deepEqual(decide(open, 1, 'other', 'aborted'), { error: 'KEEPER_KEY' });
});

test('opening again changes neither key nor outcome', () => {
  const committed = openAttempt(open, 1, 'key', 'committed');
  assert.equal(committed.attempts[0]!.outcome, 'committed', 'there was none');
  assert.deepEqual(openAttempt(committed, 1, 'key', 'aborted'), committed);
  assert.deepEqual(openAttempt(committed, 1, 'other', 'aborted'), committed);
});

test('only the last attempts are remembered', () => {
  let decisions = noDecisions;
  for (let attempt = 1; attempt <= DECISIONS_MAX + 1; attempt += 1) decisions = openAttempt(decisions, attempt, 'key');
  assert.equal(decisions.attempts.length, DECISIONS_MAX);
  assert.deepEqual(decide(decisions, 1, 'key'), { error: 'DECISION_NONE' });
  assert.ok('outcome' in decide(decisions, 2, 'key'));
});

// ---------------------------------------------------------------------------------------------- a side

/** The actions that these events lead to, one after the other. */
function run(side: SideState, ...events: readonly SideEvent[]): string[] {
  const actions: string[] = [];
  let state = side;
  for (const event of events) {
    const next = stepSide(state, event);
    state = next.state;
    actions.push(...next.actions.map((action) => (action.do === 'ask' ? `ask ${action.want}` : action.do)));
  }
  return actions;
}

const hangup: SideEvent = { type: 'hangup' };
const back: SideEvent = { type: 'back' };
const deadline: SideEvent = { type: 'deadline' };
const again: SideEvent = { type: 'again' };
const dead: SideEvent = { type: 'successorsDead' };
const answer = (got: 'committed' | 'aborted' | 'none' | 'unreachable'): SideEvent => ({ type: 'answer', answer: got });
const called = (call: 'cancel' | 'go' | 'retire'): SideEvent => ({ type: 'called', call });

for (const [name, role, events, actions] of [
  ['an old one goes by the word of luod: cancel', 'old', [called('cancel')], ['thaw']],
  ['an old one goes by the word of luod: retire', 'old', [called('retire')], ['retire']],
  ['a bystander goes on at go', 'bystander', [called('go')], ['goOn']],
  ['a bystander thaws at cancel', 'bystander', [called('cancel')], ['thaw']],
  ['a successor goes on at go', 'successor', [called('go')], ['goOn']],
  ['a frozen one whose luod hangs up asks and does not thaw by itself', 'old', [hangup], ['ask aborted']],
  ['aborted thaws, whoever wrote it', 'old', [hangup, answer('aborted')], ['ask aborted', 'thaw']],
  ['committed retires the old one', 'old', [hangup, answer('committed')], ['ask aborted', 'retire']],
  ['a bystander goes on either way', 'bystander', [hangup, answer('committed')], ['ask aborted', 'goOn']],
  ['a bystander thaws when aborted', 'bystander', [hangup, answer('aborted')], ['ask aborted', 'thaw']],
  ['the blackout deadline asks although luod lives', 'old', [deadline], ['ask aborted']],
  ['a successor does not hurry at the deadline', 'successor', [deadline], []],
  ['a successor only reads', 'successor', [hangup], ['read']],
  ['a successor that reads committed goes on', 'successor', [hangup, answer('committed')], ['read', 'goOn']],
  ['a successor that reads aborted ends', 'successor', [hangup, answer('aborted')], ['read', 'end']],
  [
    'a successor that reads nothing waits and reads again',
    'successor',
    [hangup, answer('none'), again],
    ['read', 'wait', 'read'],
  ],
  [
    'a keeper without the record is asked again',
    'old',
    [hangup, answer('none'), again],
    ['ask aborted', 'wait', 'ask aborted'],
  ],
  [
    'luod and keeper unreachable: it stays frozen',
    'old',
    [hangup, answer('unreachable'), again, answer('unreachable')],
    ['ask aborted', 'wait', 'ask aborted', 'wait'],
  ],
  [
    'luod and keeper unreachable and every successor dead: it thaws',
    'old',
    [hangup, answer('unreachable'), dead],
    ['ask aborted', 'wait', 'thaw'],
  ],
  ['the same, the successor dead first', 'old', [dead, hangup, answer('unreachable')], ['ask aborted', 'thaw']],
  ['successors dead and luod alive: luod decides', 'old', [dead], []],
  [
    'successors dead, keeper unreachable, luod alive: it waits',
    'old',
    [dead, deadline, answer('unreachable')],
    ['ask aborted', 'wait'],
  ],
  ['a successor without anybody waits for good', 'successor', [hangup, answer('unreachable')], ['read', 'wait']],
  [
    'luod is back before the next question: nothing is asked',
    'old',
    [hangup, answer('none'), back, again],
    ['ask aborted', 'wait'],
  ],
  ['a second hang-up while asking asks no second time', 'old', [hangup, deadline, hangup], ['ask aborted']],
  ['nothing follows once it is settled', 'old', [called('cancel'), hangup, answer('committed'), deadline], ['thaw']],
] as const) {
  test(name, () => {
    assert.deepEqual(run(startSide(role), ...events), actions);
  });
}

test('over kexec committed is no end: only luod’s word counts from then on', () => {
  const side = startSide('old', 'kexec');
  assert.deepEqual(run(side, hangup, answer('committed'), again, deadline), ['ask aborted']);
  assert.deepEqual(run(side, hangup, answer('committed'), back, called('cancel')), ['ask aborted', 'thaw']);
});

test('a process with a question under way may not report where it stands', () => {
  const asking = stepSide(startSide('successor'), hangup).state;
  assert.equal(mayResume(asking), false);
  assert.equal(mayResume(stepSide(asking, answer('none')).state), true);
});
