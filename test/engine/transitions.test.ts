/**
 * Every row of the tables of docs/state-machine.md, one test each, by name. Method: a scripted daemon (driver.ts), which
 * also checks that no irreversible effect precedes its line in the journal.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { handlesDeath, mayBeReady, recover, shown, stuckNames } from '../../src/engine/index.js';
import { plan } from '../../src/engine/index.js';
import type { Effect, Event, JournalRecord } from '../../src/engine/types.js';
import { noDecisions } from '../../src/protocol/decision.js';
import { Driver, failed, planOf, registryOf, type Command } from './driver.js';

/** Members 0 and 1 are replaced, both use 2, a bystander. */
const OLD = (member: number) => ({ member, side: 'old' }) as const;
const NEW = (member: number) => ({ member, side: 'new' }) as const;

const isCall =
  (method: string, member?: number) =>
  (command: Command): boolean =>
    command.type === 'call' && command.method === method && (member === undefined || command.actor.member === member);
const isType =
  (type: Command['type']) =>
  (command: Command): boolean =>
    command.type === type;

/** Run until nothing but what `hold` names is left. */
function until(hold: (command: Command) => boolean, target: 'prepared' | 'finished' = 'finished'): Driver {
  const driver = new Driver();
  driver.prepare(planOf(), target);
  return driver.settle(hold);
}

function codeOf(effects: readonly Effect[]): string | undefined {
  const refused = effects.find((effect) => effect.type === 'refused');
  return refused?.type === 'refused' ? refused.error.code : undefined;
}

function cancels(driver: Driver): string[] {
  return driver.calls().filter((call) => call.startsWith('cancel'));
}

function ends(driver: Driver): string[] {
  return driver.effects.flatMap((effect) =>
    effect.type === 'endProcess' && effect.actor ? [`${effect.actor.member} ${effect.actor.side}`] : [],
  );
}

const restarts = (driver: Driver): string[] =>
  driver.effects.flatMap((effect) =>
    effect.type === 'restart' ? [`${effect.actor.member} ${effect.actor.side}`] : [],
  );

// ---------------------------------------------------------------------------------------------- transitions

test('T1 prepare in normal leads to prepared', () => {
  const driver = until(() => false, 'prepared');
  assert.deepEqual(
    { ...shown(driver.state), attempt: 1 },
    { state: 'prepared', phase: null, stage: 'prepared', attempt: 1 },
  );
  assert.equal(driver.lastSettled().state, 'prepared');
  assert.equal(driver.lastSettled().outcome, null);
});

test('T2 continue in prepared leads to normal by way of the commit', () => {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'continue', request: 9 });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.equal(driver.lastSettled().error, null);
  assert.deepEqual(
    driver.lines().filter((line) => line !== 'acked' && line !== 'standby'),
    ['attempt', 'freezing', 'deciding', 'decided', 'finishing', 'settled'],
  );
  assert.equal(driver.state.attempt, null);
  assert.equal(driver.state.open.size, 0);
});

test('T3 state and phase are shown as the transition goes on', () => {
  const driver = new Driver();
  const seen: string[] = [];
  const note = (): void => {
    const { state, phase } = shown(driver.state);
    const words = `${state} ${phase ?? '-'}`;
    if (seen.at(-1) !== words) seen.push(words);
  };
  driver.prepare(planOf());
  note();
  for (let command = driver.pending[0]; command; command = driver.pending.find((one) => one.type !== 'timer')) {
    driver.answer(command);
    note();
  }
  assert.deepEqual(seen, [
    'normal preparing',
    'prepared freezing',
    'frozen committing',
    'updated finishing',
    'normal -',
  ]);
});

for (const method of ['prepare', 'freeze', 'go', 'canFinish', 'finish'] as const) {
  test(`T4 a second request while ${method} is under way is STATE_BUSY`, () => {
    const driver = until(isCall(method));
    const before = driver.state;
    assert.equal(codeOf(driver.prepare(planOf(), 'finished', 2)), 'STATE_BUSY');
    assert.equal(codeOf(driver.send({ type: 'continue', request: 7 })), 'STATE_BUSY');
    assert.equal(codeOf(driver.send({ type: 'finish', request: 8 })), 'STATE_BUSY');
    assert.deepEqual(driver.state, before, 'nothing has changed');
  });
}

test('T5 prepare in prepared and in updated is STATE_INVALID', () => {
  assert.equal(codeOf(until(() => false, 'prepared').prepare(planOf(), 'finished', 2)), 'STATE_INVALID');
  assert.equal(codeOf(vetoed().prepare(planOf(), 'finished', 2)), 'STATE_INVALID');
});

test('T6 cancel in prepared leads to normal', () => {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'cancel', request: 2 });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'aborted');
  assert.equal(driver.lastSettled().error?.code, 'UPDATE_CANCELLED');
  assert.equal(shown(driver.state).state, 'normal');
  assert.equal(driver.has('timer'), false, 'the limit of prepared is cleared');
});

for (const [name, hold] of [
  ['opening', isType('open')],
  ['standby', isType('standby')],
  ['preparing', isCall('prepare')],
  ['freezing', isCall('freeze')],
  ['restoring', (c: Command) => c.type === 'call' && c.part === 'frozen'],
] as const) {
  test(`T7 cancel while ${name} leads to normal`, () => {
    const driver = until(hold);
    assert.equal(shown(driver.state).stage, name);
    driver.send({ type: 'cancel', request: 2 });
    driver.settle();
    assert.equal(driver.lastSettled().error?.code, 'UPDATE_CANCELLED');
    assert.equal(driver.state.attempt, null);
    assert.equal(driver.state.open.size, 0);
    assert.ok(!driver.calls().some((call) => call.startsWith('go') || call.startsWith('retire')));
  });
}

test('T8 cancel in normal is STATE_INVALID', () => {
  assert.equal(codeOf(new Driver().send({ type: 'cancel', request: 1 })), 'STATE_INVALID');
});

test('T9 cancel in updated is STATE_INVALID', () => {
  assert.equal(codeOf(vetoed().send({ type: 'cancel', request: 1 })), 'STATE_INVALID');
});

test('T10 cancel after decide(committed) was sent is STATE_BUSY and changes nothing', () => {
  const driver = until(isType('decide'));
  assert.equal(codeOf(driver.send({ type: 'cancel', request: 1 })), 'STATE_BUSY');
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
});

function vetoed(): Driver {
  const driver = until(isCall('canFinish', 2));
  driver.reply(driver.call('canFinish', 2), failed('answered', 'FINISH_VETO'));
  return driver.settle();
}

test('T11 finish in updated leads to normal', () => {
  const driver = vetoed();
  driver.send({ type: 'finish', request: 4 });
  driver.settle();
  assert.equal(driver.lastSettled().state, 'normal');
  assert.equal(driver.lastSettled().outcome, 'committed');
});

test('T12 finish in normal and in prepared is STATE_INVALID', () => {
  assert.equal(codeOf(new Driver().send({ type: 'finish', request: 1 })), 'STATE_INVALID');
  assert.equal(codeOf(until(() => false, 'prepared').send({ type: 'finish', request: 1 })), 'STATE_INVALID');
});

for (const how of ['answered', 'timeout'] as const) {
  test(`T13 a canFinish that is ${how} with an error vetoes by name and nobody gets finish`, () => {
    const driver = until(isCall('canFinish', 2));
    driver.reply(driver.call('canFinish', 2), failed(how, 'FINISH_VETO'));
    driver.settle();
    const settled = driver.lastSettled();
    assert.equal(settled.state, 'updated');
    assert.equal(settled.error?.code, 'FINISH_VETO');
    assert.deepEqual(settled.error?.data, { vetoes: ['c'] });
    assert.ok(!driver.calls().some((call) => call.startsWith('finish')));
    assert.ok(!driver.lines().includes('finishing'));
  });
}

test('T14 continue in normal is STATE_INVALID', () => {
  assert.equal(codeOf(new Driver().send({ type: 'continue', request: 1 })), 'STATE_INVALID');
});

/** Member 2 did not answer its cancel. */
function stuckInUndo(): Driver {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'cancel', request: 2 });
  driver.settle(isCall('cancel', 2));
  driver.reply(driver.call('cancel', 2), failed('timeout'));
  return driver.settle();
}

test('T15 prepare with a stuck one in its plan is STATE_STUCK naming it; without it the plan goes through', () => {
  const driver = stuckInUndo();
  const refused = driver.prepare(planOf(), 'finished', 2).find((effect) => effect.type === 'refused');
  assert.ok(refused?.type === 'refused');
  assert.equal(refused.error.code, 'STATE_STUCK');
  assert.deepEqual(refused.error.data, { stuck: ['c'] });
  driver.prepare(plan(registryOf(['x']), { gap: 'handover', scope: 'all' }), 'finished', 2);
  driver.settle();
  assert.equal(driver.lastSettled().attempt, 2);
  assert.equal(driver.lastSettled().outcome, 'committed');
});

test('T16 the limit of prepared cancels', () => {
  const driver = until(() => false, 'prepared');
  driver.fire('prepared');
  driver.settle();
  assert.equal(driver.lastSettled().error?.code, 'UPDATE_CANCELLED');
  assert.equal(shown(driver.state).state, 'normal');
});

test('T17 a record that says aborted thaws everybody', () => {
  const driver = until(isType('decide'));
  const { id } = driver.command('decide');
  driver.pending = driver.pending.filter((command) => command.id !== id);
  driver.send({ type: 'decided', id, outcome: 'aborted' });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'aborted');
  assert.equal(driver.lastSettled().error?.code, 'UPDATE_FAILED');
  assert.deepEqual(cancels(driver).sort(), ['cancel 0 old', 'cancel 1 old', 'cancel 2 old']);
  assert.ok(!driver.calls().some((call) => call.startsWith('go')));
});

test('T18 a jump that came back thaws everybody and reports the cause', () => {
  const driver = new Driver();
  driver.prepare(planOf('kexec'));
  driver.settle();
  assert.equal(driver.lastSettled().error?.message, 'reboot failed');
  assert.deepEqual(
    driver.lines().filter((line) => line !== 'acked'),
    ['attempt', 'freezing', 'deciding', 'decided', 'returned', 'settled'],
  );
  assert.equal(cancels(driver).length, 3);
  assert.ok(!driver.kinds().includes('standby'), 'no successors over this gap');
});

test('T19 while a retired process lives no successor starts; if it never ends the attempt fails', () => {
  const driver = until(isType('endProcess'));
  assert.equal(driver.lastSettled().outcome, 'committed', 'finish does not wait for it');
  driver.prepare(plan(registryOf(['x']), { gap: 'handover', scope: 'all' }));
  driver.settle(isType('endProcess'));
  assert.equal(shown(driver.state).stage, 'opening');
  const other = new Driver(driver.state);
  other.journal = [...driver.journal];
  other.pending = [...driver.pending];
  driver.settle();
  assert.equal(driver.lastSettled().attempt, 2);
  assert.equal(driver.lastSettled().outcome, 'committed');
  other.fire('linger');
  other.settle(isType('endProcess'));
  assert.equal(other.lastSettled().error?.code, 'SUCCESSOR_TIMEOUT');
});

test('T20 a go without an answer rests in updated; its late answer finishes', () => {
  const driver = until(isCall('go', 0));
  const go = driver.call('go', 0);
  driver.reply(go, failed('timeout'));
  driver.settle();
  assert.equal(driver.lastSettled().state, 'updated');
  assert.equal(driver.lastSettled().error?.code, 'CALL_TIMEOUT');
  assert.deepEqual(driver.lastSettled().stuck, ['new 0']);
  assert.equal(codeOf(driver.send({ type: 'finish', request: 5 })), 'STATE_STUCK');
  driver.send({ type: 'late', id: go.id, ok: true });
  driver.settle();
  assert.equal(driver.lastSettled().state, 'normal');
  assert.deepEqual(stuckNames(driver.state), []);
});

for (const [name, hold] of [
  ['freezing', isCall('freeze', 2)],
  ['restoring', (c: Command) => c.type === 'call' && c.part === 'frozen'],
] as const) {
  test(`T21 the blackout limit while ${name} rolls back`, () => {
    const driver = until(hold);
    driver.fire('blackout');
    driver.settle();
    assert.equal(driver.lastSettled().error?.code, 'UPDATE_FAILED');
    assert.deepEqual(driver.lastSettled().error?.data, { limit: 'blackoutMs' });
    assert.equal(driver.lastSettled().outcome, 'aborted');
  });
}

test('T21 the blackout limit is cleared by the decision', () => {
  const driver = until(isCall('go'));
  assert.ok(!driver.pending.some((command) => command.type === 'timer' && command.name === 'blackout'));
});

// ---------------------------------------------------------------------------------------------- undo

test('U1 a failed prepare is not cancelled; those prepared before are', () => {
  const driver = until(isCall('prepare', 0));
  driver.reply(driver.call('prepare', 0), failed('answered'));
  driver.settle();
  assert.deepEqual(cancels(driver), ['cancel 1 old', 'cancel 2 old'], 'the user before what it uses');
  assert.equal(driver.lastSettled().error?.code, 'CALL_FAILED');
  assert.equal(driver.lastSettled().error?.participant, 'a');
  assert.ok(!driver.kinds().includes('decide'), 'no freeze was sent, so nobody else can decide');
});

test('U2 a prepare that was not answered gets its cancel at once', () => {
  const driver = until(isCall('prepare', 0));
  driver.reply(driver.call('prepare', 0), failed('timeout'));
  driver.settle();
  assert.deepEqual(cancels(driver), ['cancel 1 old', 'cancel 0 old', 'cancel 2 old']);
  assert.equal(driver.lastSettled().error?.code, 'CALL_TIMEOUT');
  assert.deepEqual(driver.lastSettled().stuck, [], 'it answered its cancel, so it runs');
});

test('U3 a failed freeze cancels everybody, in reverse order of their answers', () => {
  const driver = until((command) => isCall('freeze', 1)(command));
  assert.deepEqual(
    driver.calls().filter((call) => call.startsWith('freeze')),
    ['freeze 0 old', 'freeze 1 old'],
    'users stop first',
  );
  driver.reply(driver.call('freeze', 1), failed('answered'));
  driver.settle(isCall('cancel'));
  // 0 answered its freeze before 1 failed; 2 was only prepared, and is undone after those that use it.
  assert.deepEqual(cancels(driver), ['cancel 1 old', 'cancel 0 old']);
  driver.settle();
  assert.deepEqual(cancels(driver), ['cancel 1 old', 'cancel 0 old', 'cancel 2 old']);
});

test('U3 when what is used was frozen last it thaws before its users', () => {
  const driver = until((command) => command.type === 'call' && command.part === 'frozen');
  driver.send({ type: 'cancel', request: 3 });
  driver.settle();
  assert.deepEqual(cancels(driver), ['cancel 2 old', 'cancel 0 old', 'cancel 1 old']);
});

test('U4 a success that arrives after its undo was answered is undone again', () => {
  const driver = until(isCall('prepare', 0));
  const call = driver.call('prepare', 0);
  driver.reply(call, failed('timeout'));
  driver.settle();
  assert.equal(driver.state.attempt, null);
  driver.send({ type: 'late', id: call.id, ok: true });
  assert.deepEqual(stuckNames(driver.state), ['a']);
  assert.equal(driver.call('cancel', 0).participant, 'a');
  driver.settle();
  assert.deepEqual(stuckNames(driver.state), []);
  assert.equal(driver.state.open.size, 0);
});

test('U4 a late failure needs no undo', () => {
  const driver = until(isCall('prepare', 0));
  const call = driver.call('prepare', 0);
  driver.reply(call, failed('timeout'));
  driver.settle();
  driver.send({ type: 'late', id: call.id, ok: false });
  assert.equal(cancels(driver).length, 3);
  assert.equal(driver.state.open.size, 0);
});

test('U5 an error of a cancel is recorded and the transition completes', () => {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'cancel', request: 2 });
  driver.settle(isCall('cancel', 1));
  driver.reply(driver.call('cancel', 1), failed('answered'));
  driver.settle();
  assert.deepEqual(driver.lastSettled().stuck, []);
  assert.deepEqual(
    driver.lastSettled().errors.map((error) => `${error.participant} ${error.method} ${error.error.code}`),
    ['b cancel CALL_FAILED'],
  );
});

test('U6 a cancel without an answer makes stuck by name; its late answer ends it', () => {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'cancel', request: 2 });
  driver.settle(isCall('cancel', 2));
  const cancel = driver.call('cancel', 2);
  driver.reply(cancel, failed('timeout'));
  driver.settle();
  assert.deepEqual(driver.lastSettled().stuck, ['c']);
  assert.equal(shown(driver.state).state, 'normal');
  driver.send({ type: 'late', id: cancel.id, ok: true });
  driver.settle();
  assert.deepEqual(stuckNames(driver.state), []);
  assert.equal(driver.lines().at(-1), 'unstuck');
});

test('U7 every successor is ended', () => {
  const driver = until(isCall('freeze'));
  driver.send({ type: 'cancel', request: 2 });
  driver.settle();
  assert.deepEqual(ends(driver), ['0 new', '1 new']);
});

test('U8 a member that was never called gets no cancel', () => {
  const driver = until(isCall('prepare', 2));
  driver.reply(driver.call('prepare', 2), failed('answered'));
  driver.settle();
  assert.deepEqual(cancels(driver), []);
  assert.deepEqual(ends(driver), ['0 new', '1 new']);
});

test('U9 what was handed over is dropped after the line that says the member runs', () => {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'cancel', request: 2 });
  driver.settle(isCall('cancel', 0));
  const dropped = (): number[] => driver.effects.flatMap((e) => (e.type === 'dropParcels' ? [e.member] : []));
  assert.ok(!dropped().includes(0));
  driver.settle();
  assert.deepEqual(dropped().sort(), [0, 1, 2]);
  for (const member of [0, 1, 2]) {
    const line = driver.effects.findIndex(
      (e) => e.type === 'journal' && e.record.type === 'acked' && e.record.member === member,
    );
    assert.ok(line < driver.effects.findIndex((e) => e.type === 'dropParcels' && e.member === member));
  }
});

for (const [how, event] of [
  ['its word', { type: 'resolved', participant: 'c', attempt: 1 }],
  ['its death', { type: 'stuckDied', participant: 'c' }],
] as readonly (readonly [string, Event])[]) {
  test(`U10 stuck ends by ${how}`, () => {
    const driver = stuckInUndo();
    driver.send(event);
    driver.settle();
    assert.deepEqual(stuckNames(driver.state), []);
    assert.equal(driver.state.open.size, 0);
  });
}

test('U10 forget kills a stuck one, and refuses one that is not', () => {
  const driver = stuckInUndo();
  assert.equal(codeOf(driver.send({ type: 'forget', request: 3, participant: 'a' })), 'STATE_INVALID');
  driver.send({ type: 'forget', request: 4, participant: 'c' });
  assert.equal(driver.command('endProcess').participant, 'c');
});

test('U10 a word for another attempt does not end it', () => {
  const driver = stuckInUndo();
  driver.send({ type: 'resolved', participant: 'c', attempt: 7 });
  assert.deepEqual(stuckNames(driver.state), ['c']);
});

test('U11 a stuck member that reconnects prepared gets its cancel again', () => {
  const driver = stuckInUndo();
  driver.send({ type: 'resolved', participant: 'c', attempt: 1, phase: 'prepared' });
  assert.deepEqual(stuckNames(driver.state), ['c']);
  driver.settle();
  assert.deepEqual(stuckNames(driver.state), []);
});

test('U12 a member that did not answer finish gets it again when it reconnects', () => {
  const driver = until(isCall('finish', 2));
  driver.reply(driver.call('finish', 2), failed('timeout'));
  driver.settle();
  driver.send({ type: 'resolved', participant: 'c', attempt: 1 });
  assert.deepEqual(stuckNames(driver.state), ['c']);
  assert.equal(driver.call('finish', 2).participant, 'c');
  driver.settle();
  assert.deepEqual(stuckNames(driver.state), []);
});

// ---------------------------------------------------------------------------------------------- deaths

for (const method of ['prepare', 'freeze'] as const) {
  test(`D1 a member that dies in ${method} is started again, after its successor is gone`, () => {
    const driver = until(isCall(method, 0));
    driver.send({ type: 'died', actor: OLD(0) });
    driver.reply(driver.call(method, 0), failed('lost'));
    assert.deepEqual(restarts(driver), []);
    driver.settle(isType('endProcess'));
    assert.deepEqual(restarts(driver), [], 'the successor is not gone yet');
    driver.settle();
    assert.deepEqual(restarts(driver), ['0 old']);
    assert.equal(driver.lastSettled().outcome, 'aborted');
    assert.equal(driver.lastSettled().error?.code, 'MEMBER_DIED');
    assert.ok(!cancels(driver).includes('cancel 0 old'));
  });
}

test('D1 a restart that fails is recorded, and its parcels stay', () => {
  const driver = until(isCall('freeze', 0));
  driver.send({ type: 'died', actor: OLD(0) });
  driver.settle(isType('restart'));
  const { id } = driver.command('restart');
  driver.pending = driver.pending.filter((command) => command.id !== id);
  driver.send({ type: 'restarted', id, result: { ok: false, error: { code: 'SERVICE_START_FAILED', message: 'no' } } });
  driver.settle();
  assert.equal(driver.lastSettled().errors.at(-1)?.error.code, 'SERVICE_START_FAILED');
  assert.ok(!driver.effects.some((effect) => effect.type === 'dropParcels' && effect.member === 0));
});

test('D2 the death of an old process after its freeze was answered does not abort', () => {
  const driver = until(isCall('freeze', 2));
  driver.send({ type: 'died', actor: OLD(0) });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.deepEqual(restarts(driver), []);
  assert.ok(!driver.calls().includes('retire 0 old'));
});

for (const hold of [isCall('prepare'), isCall('freeze'), (c: Command) => c.type === 'call' && c.part === 'frozen']) {
  test('D3 the death of a successor before the decision aborts', () => {
    const driver = until(hold);
    driver.send({ type: 'died', actor: NEW(1) });
    driver.settle();
    assert.equal(driver.lastSettled().outcome, 'aborted');
    assert.equal(driver.lastSettled().error?.code, 'SUCCESSOR_DIED');
    assert.deepEqual(ends(driver), ['0 new'], 'the dead one needs no end');
  });
}

test('D4 a successor that dies while committed is asked for is started again when the answer is committed', () => {
  const driver = until(isType('decide'));
  driver.send({ type: 'died', actor: NEW(0) });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.deepEqual(restarts(driver), ['0 new']);
  assert.ok(!driver.calls().includes('go 0 new'));
});

test('D4 the same, and the answer is aborted', () => {
  const driver = until(isType('decide'));
  driver.send({ type: 'died', actor: NEW(0) });
  const { id } = driver.command('decide');
  driver.pending = driver.pending.filter((command) => command.id !== id);
  driver.send({ type: 'decided', id, outcome: 'aborted' });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'aborted');
  assert.deepEqual(restarts(driver), []);
});

test('D5 a successor that dies before its go is acknowledged is started again when the old one is gone', () => {
  const driver = until((command) => isCall('go', 0)(command) || isType('endProcess')(command));
  driver.send({ type: 'died', actor: NEW(0) });
  driver.reply(driver.call('go', 0), failed('lost'));
  driver.settle(isType('endProcess'));
  assert.deepEqual(restarts(driver), [], 'the old one is not gone yet');
  assert.ok(handlesDeath(driver.state, NEW(0)));
  driver.settle();
  assert.deepEqual(restarts(driver), ['0 new']);
  assert.equal(driver.lastSettled().state, 'normal');
  assert.ok(driver.calls().includes('finish 0 new'));
});

test('D5 a successor that answers go with an error is ended and another one is started', () => {
  const driver = until(isCall('go', 0));
  driver.reply(driver.call('go', 0), failed('answered'));
  driver.settle();
  assert.ok(ends(driver).includes('0 new'));
  assert.deepEqual(restarts(driver), ['0 new']);
  assert.equal(driver.lastSettled().state, 'normal');
});

test('D6 the death of a process that acts is not the engine’s, and finish goes on without it', () => {
  const driver = until(isCall('canFinish'));
  assert.equal(handlesDeath(driver.state, NEW(0)), false);
  driver.send({ type: 'died', actor: NEW(0) });
  driver.settle();
  assert.equal(driver.lastSettled().state, 'normal');
  assert.deepEqual(restarts(driver), []);
  assert.ok(!driver.calls().includes('finish 0 new'));
});

test('D7 a frozen bystander that dies is started again at its go', () => {
  const driver = until((command) => command.type === 'call' && command.part === 'frozen');
  driver.send({ type: 'died', actor: OLD(2) });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.deepEqual(restarts(driver), ['2 old']);
  assert.ok(!driver.calls().includes('go 2 old'));
});

/** Luod dies at this point; another one takes up its journal. */
function afterDeath(before: Driver): Driver {
  const { state, effects } = recover(before.journal);
  const driver = new Driver(state);
  driver.journal = [...before.journal];
  driver.decisions = before.decisions;
  driver.take(state, effects);
  return driver;
}

test('D8 luod dies before the line freezing: undo without a decision', () => {
  const driver = afterDeath(until(isCall('prepare', 0)));
  driver.settle();
  for (const member of [0, 1, 2]) driver.send({ type: 'resumed', actor: OLD(member), phase: 'prepared' });
  driver.settle();
  assert.ok(!driver.kinds().includes('decide'));
  assert.deepEqual(cancels(driver), ['cancel 0 old', 'cancel 1 old', 'cancel 2 old']);
  assert.deepEqual(ends(driver), ['0 new', '1 new']);
  assert.equal(driver.lastSettled().outcome, 'aborted');
});

test('D8 who does not come back is stuck', () => {
  const driver = afterDeath(until(isCall('prepare', 0)));
  driver.settle();
  driver.send({ type: 'resumed', actor: OLD(0), phase: 'running' });
  driver.send({ type: 'died', actor: OLD(1) });
  driver.settle();
  assert.deepEqual(restarts(driver), ['1 old']);
  driver.fire('resume');
  driver.settle();
  assert.deepEqual(driver.lastSettled().stuck, ['c']);
});

for (const hold of [isCall('freeze'), isType('decide')]) {
  test('D9 luod dies after freezing without a decision: it asks for aborted', () => {
    const driver = afterDeath(until(hold));
    assert.equal(driver.command('journal').record.type, 'aborting');
    driver.settle(isType('decide'));
    assert.equal(driver.command('decide').want, 'aborted');
    driver.settle();
    driver.send({ type: 'resumed', actor: OLD(0), phase: 'thawed' });
    driver.send({ type: 'resumed', actor: OLD(1), phase: 'frozen' });
    driver.send({ type: 'resumed', actor: OLD(2), phase: 'running' });
    driver.settle();
    assert.deepEqual(cancels(driver), ['cancel 1 old'], 'only one has not thawed by itself');
    assert.equal(driver.lastSettled().outcome, 'aborted');
  });
}

test('D10 luod dies after the keeper recorded committed: go, retire, finish', () => {
  const before = until(isType('decide'));
  const decide = before.command('decide');
  before.answer(decide);
  // The answer came, but luod died before it could write it.
  before.journal = before.journal.filter((record) => record.type !== 'decided');
  const driver = afterDeath(before);
  driver.settle();
  assert.equal(shown(driver.state).stage, 'going');
  driver.send({ type: 'resumed', actor: NEW(0), phase: 'ready' });
  driver.send({ type: 'resumed', actor: NEW(1), phase: 'gone-on' });
  driver.send({ type: 'resumed', actor: OLD(0), phase: 'frozen' });
  driver.send({ type: 'died', actor: OLD(1) });
  driver.send({ type: 'resumed', actor: OLD(2), phase: 'frozen' });
  driver.settle();
  assert.ok(driver.calls().includes('go 0 new'));
  assert.ok(!driver.calls().includes('go 1 new'), 'it read the decision itself');
  assert.ok(driver.calls().includes('go 2 old'));
  assert.equal(driver.lastSettled().state, 'normal');
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.equal(driver.state.lingering, 0);
});

/** A kexec: what follows as long as nobody but the members of the dead luod's attempt comes back. */
function thawsAfterDeath(driver: Driver): void {
  driver.settle();
  for (const member of [0, 1, 2]) driver.send({ type: 'resumed', actor: OLD(member), phase: 'frozen' });
  driver.settle();
  assert.ok(!driver.has('jump') && !driver.kinds().includes('jump'), 'nobody jumps any more');
  assert.deepEqual(cancels(driver).sort(), ['cancel 0 old', 'cancel 1 old', 'cancel 2 old']);
  assert.ok(!driver.calls().some((call) => call.startsWith('go')));
  const settled = driver.lastSettled();
  assert.deepEqual([settled.state, settled.outcome, settled.stuck], ['normal', 'aborted', []]);
  assert.equal(settled.error?.code, 'UPDATE_FAILED', 'the cause is reported');
  assert.match(settled.error?.message ?? '', /luod was restarted/);
}

/** A kexec until luod has sent what `hold` names. */
function kexecUntil(hold: (command: Command) => boolean): Driver {
  const driver = new Driver();
  driver.prepare(planOf('kexec'));
  return driver.settle(hold);
}

const isDecidedLine = (command: Command): boolean => command.type === 'journal' && command.record.type === 'decided';

test('D20 luod dies before the keeper recorded committed: no jump, everybody thaws by aborted', () => {
  const driver = afterDeath(kexecUntil(isType('decide')));
  thawsAfterDeath(driver);
  assert.ok(!driver.lines().includes('returned'), 'there was nothing to return from');
});

test('D20 luod dies after the keeper recorded committed, before its line: returned, then everybody thaws', () => {
  const driver = afterDeath(kexecUntil(isDecidedLine));
  driver.settle(isType('call'));
  assert.deepEqual(
    driver.lines(),
    ['attempt', 'freezing', 'deciding', 'aborting', 'decided', 'returned'],
    'nobody is thawed before it is written',
  );
  thawsAfterDeath(driver);
});

test('D20 luod dies after the line decided, before reboot(2): returned, then everybody thaws', () => {
  const driver = afterDeath(kexecUntil(isType('jump')));
  driver.settle(isType('call'));
  assert.deepEqual(driver.lines(), ['attempt', 'freezing', 'deciding', 'decided', 'returned']);
  thawsAfterDeath(driver);
});

test('D20 the next luod dies too, after any of its lines: still no jump', () => {
  for (const line of ['aborting', 'decided', 'returned']) {
    for (const isWritten of [false, true]) {
      const first = afterDeath(kexecUntil(isDecidedLine));
      first.settle((command) => command.type === 'journal' && command.record.type === line);
      const { record } = first.command('journal');
      assert.equal(record.type, line);
      if (isWritten) first.journal.push(record);
      const second = afterDeath(first);
      thawsAfterDeath(second);
      assert.equal(second.lines().filter((type) => type === 'returned').length, 1, `${line} ${isWritten}`);
    }
  }
});

test('D20 the keeper dies while the next luod asks: its record is gone, and nobody jumps', () => {
  const driver = afterDeath(kexecUntil(isDecidedLine));
  driver.settle(isType('decide'));
  const { id } = driver.command('decide');
  driver.pending = driver.pending.filter((command) => command.id !== id);
  driver.decisions = noDecisions;
  driver.send({ type: 'decided', id, outcome: 'lost' });
  driver.send({ type: 'keeperLost' });
  thawsAfterDeath(driver);
});

test('D11 luod dies after finishing: finish again', () => {
  const driver = afterDeath(until(isCall('finish')));
  for (const actor of [NEW(0), NEW(1), OLD(2)]) driver.send({ type: 'resumed', actor, phase: 'running' });
  driver.settle();
  assert.deepEqual(driver.calls(), ['finish 0 new', 'finish 1 new', 'finish 2 old']);
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.deepEqual(ends(driver).sort(), ['0 old', '1 old']);
});

/** The keeper dies; who was asked hears so. */
function keeperDies(driver: Driver): void {
  for (const command of driver.pending) {
    if (command.type === 'decide') driver.send({ type: 'decided', id: command.id, outcome: 'lost' });
    if (command.type === 'open') driver.send({ type: 'opened', id: command.id, ok: false });
  }
  driver.pending = driver.pending.filter((command) => command.type !== 'decide' && command.type !== 'open');
  driver.decisions = { attempts: [] };
  driver.send({ type: 'keeperLost' });
}

for (const hold of [isType('open'), isType('standby'), isCall('prepare')]) {
  test('D12 the keeper dies before the first freeze: the record is opened again and the attempt goes on', () => {
    const driver = until(hold);
    keeperDies(driver);
    assert.equal(driver.command('open').outcome, undefined);
    driver.settle();
    assert.equal(driver.lastSettled().outcome, 'committed');
  });
}

test('D13 the keeper dies while members freeze: aborted is written into the new one', () => {
  const driver = until(isCall('freeze'));
  keeperDies(driver);
  driver.settle(isType('open'));
  assert.equal(driver.command('open').outcome, 'aborted');
  assert.ok(driver.lines().includes('aborting'));
  driver.settle();
  assert.equal(driver.lastSettled().error?.code, 'KEEPER_LOST');
});

test('D14 the keeper dies while committed is asked for, every successor connected: aborted', () => {
  const driver = until(isType('decide'));
  keeperDies(driver);
  driver.settle(isType('open'));
  assert.equal(driver.command('open').outcome, 'aborted');
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'aborted');
  assert.deepEqual(ends(driver), ['0 new', '1 new']);
});

function unheard(): Driver {
  const driver = until(isType('decide'));
  driver.send({ type: 'hangup', actor: NEW(0) });
  keeperDies(driver);
  driver.settle();
  assert.ok(!driver.has('open'), 'no record before it is heard of');
  assert.equal(driver.settled().length, 0);
  return driver;
}

test('D15 the same, a successor lost: one that went on means committed', () => {
  const driver = unheard();
  driver.send({ type: 'resumed', actor: NEW(0), phase: 'gone-on' });
  assert.equal(driver.command('open').outcome, 'committed');
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.ok(!driver.calls().includes('go 0 new'));
});

test('D15 the same, and it is still ready: aborted', () => {
  const driver = unheard();
  driver.send({ type: 'resumed', actor: NEW(0), phase: 'ready' });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'aborted');
});

test('D15 the same, and the operator cancels: it is ended first', () => {
  const driver = unheard();
  driver.send({ type: 'cancel', request: 3 });
  driver.settle(isType('endProcess'));
  assert.ok(!driver.has('open'));
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'aborted');
});

test('D16 the old process that thawed with luod, keeper and successor dead is kept after a commit', () => {
  const before = until(isCall('go'));
  const driver = afterDeath(before);
  driver.send({ type: 'died', actor: NEW(0) });
  driver.send({ type: 'resumed', actor: OLD(0), phase: 'thawed' });
  driver.send({ type: 'resumed', actor: NEW(1), phase: 'gone-on' });
  driver.send({ type: 'died', actor: OLD(1) });
  driver.send({ type: 'resumed', actor: OLD(2), phase: 'frozen' });
  driver.settle();
  assert.ok(driver.effects.some((effect) => effect.type === 'keptOld' && effect.member === 0));
  assert.deepEqual(restarts(driver), []);
  assert.ok(!ends(driver).includes('0 old'));
  assert.equal(driver.lastSettled().state, 'normal');
});

test('D17 the death of a member in prepared cancels at once', () => {
  const driver = until(() => false, 'prepared');
  driver.send({ type: 'died', actor: OLD(2) });
  driver.settle();
  assert.equal(driver.lastSettled().error?.code, 'MEMBER_DIED');
  assert.deepEqual(restarts(driver), ['2 old']);
});

test('D18 a frozen member that only loses its connection does not abort', () => {
  const driver = until((command) => command.type === 'call' && command.part === 'frozen');
  driver.send({ type: 'hangup', actor: OLD(0) });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
  assert.ok(ends(driver).includes('0 old'), 'it cannot be asked to retire, so it is ended');
});

test('D19 luod dies after the attempt, a retired process not gone yet: it is ended', () => {
  const driver = afterDeath(until(isType('endProcess')));
  assert.equal(driver.state.attempt, null);
  const ended = driver.effects.flatMap((effect) => (effect.type === 'endProcess' ? [effect.participant] : []));
  assert.deepEqual(ended, ['a', 'b']);
  assert.equal(driver.state.lingering, 2);
  driver.settle();
  assert.equal(driver.state.lingering, 0);
});

/** The next kernel: a luod that reads what the last one decided, and starts everybody again. */
function arrived(): Driver {
  const driver = kexecUntil(isType('jump'));
  driver.journal.push({ v: 1, type: 'arrived', attempt: 1 });
  return afterDeath(driver);
}

/** The process of member 2 that was started again ends while it is told of the finish. */
function diesInFinish(driver: Driver): void {
  driver.reply(driver.call('finish', 2), failed('lost'));
  driver.settle();
  assert.deepEqual(driver.lastSettled().stuck, ['restarted 2'], 'by the name of the process that was asked');
  driver.send({ type: 'stuckDied', participant: 'restarted 2' });
  driver.settle();
  assert.deepEqual(stuckNames(driver.state), []);
  assert.deepEqual(stuckNames(recover(driver.journal).state), []);
}

test('D21 started again after a jump, a process dies while it is told of the finish: it is stuck no more', () => {
  const driver = arrived().settle(isCall('finish', 2));
  assert.deepEqual(restarts(driver).sort(), ['0 old', '1 old', '2 old']);
  diesInFinish(driver);
});

test('D21 the same of a bystander that was started again at its go', () => {
  const driver = until((command) => command.type === 'call' && command.part === 'frozen');
  driver.send({ type: 'died', actor: OLD(2) });
  driver.settle(isCall('finish', 2));
  diesInFinish(driver);
});

test('D21 the same when luod died in between: who was started again is in the line acked', () => {
  const driver = afterDeath(arrived().settle(isCall('finish')));
  for (const member of [0, 1, 2]) driver.send({ type: 'resumed', actor: OLD(member), phase: 'running' });
  diesInFinish(driver.settle(isCall('finish', 2)));
});

test('D21 a successor that was started again keeps its name over a restart of luod', () => {
  const first = until(isCall('go', 0));
  first.send({ type: 'died', actor: NEW(0) });
  first.settle(isCall('finish', 0));
  const driver = afterDeath(first);
  driver.send({ type: 'resumed', actor: NEW(0), phase: 'running' });
  assert.equal(driver.call('finish', 0).participant, 'restarted 0');
});

// ---------------------------------------------------------------------------------------------- other facts

test('ready is accepted from a successor in restoring only', () => {
  const early = until(isCall('freeze'));
  assert.equal(mayBeReady(early.state, 0), false);
  const driver = until((command) => command.type === 'call' && command.part === 'frozen');
  assert.equal(mayBeReady(driver.state, 0), true);
  assert.equal(mayBeReady(driver.state, 2), false, 'a bystander has no successor');
  driver.send({ type: 'ready', member: 0 });
  assert.equal(shown(driver.state).stage, 'restoring', 'ready without an answer to restore is not enough');
});

test('a member without a living process is neither prepared nor frozen, and gets a successor', () => {
  const registry = registryOf(['a']);
  registry.updateParticipant('a', { alive: false });
  const driver = new Driver();
  driver.prepare(plan(registry, { gap: 'handover', scope: 'all' }));
  driver.settle();
  assert.deepEqual(driver.calls(), ['restore 0 new', 'go 0 new', 'canFinish 0 new', 'finish 0 new']);
  assert.equal(driver.lastSettled().outcome, 'committed');
});

test('the successor of a plain program starts after its freeze', () => {
  const registry = registryOf(['a']);
  registry.updateParticipant('a', { protocol: 'plain' });
  const driver = new Driver();
  driver.prepare(plan(registry, { gap: 'handover', scope: 'all' }));
  driver.settle(isCall('freeze'));
  assert.ok(!driver.kinds().includes('standby'));
  driver.reply(driver.call('freeze'), { ok: true });
  driver.send({ type: 'died', actor: OLD(0) });
  driver.settle();
  assert.equal(driver.lastSettled().outcome, 'committed');
});

test('when the successor of a plain program fails the old command is started again', () => {
  const registry = registryOf(['a']);
  registry.updateParticipant('a', { protocol: 'plain' });
  const driver = new Driver();
  driver.prepare(plan(registry, { gap: 'handover', scope: 'all' }));
  driver.settle(isCall('freeze'));
  driver.reply(driver.call('freeze'), { ok: true });
  driver.send({ type: 'died', actor: OLD(0) });
  const { id } = driver.command('standby');
  driver.pending = driver.pending.filter((command) => command.id !== id);
  driver.send({ type: 'standby', id, result: { ok: false, error: { code: 'SUCCESSOR_TIMEOUT', message: 'no' } } });
  driver.settle();
  assert.deepEqual(restarts(driver), ['0 old']);
  assert.equal(driver.lastSettled().error?.code, 'SUCCESSOR_TIMEOUT');
});

test('finish that is not answered makes stuck and the transition completes', () => {
  const driver = until(isCall('finish', 2));
  driver.reply(driver.call('finish', 2), failed('timeout'));
  driver.settle();
  assert.equal(driver.lastSettled().state, 'normal');
  assert.deepEqual(driver.lastSettled().stuck, ['c']);
});

test('an attempt number that was used is refused', () => {
  const driver = until(() => false);
  assert.equal(codeOf(driver.prepare(planOf(), 'finished', 1)), 'STATE_INVALID');
});

test('a result without its command is ignored', () => {
  const driver = until(() => false, 'prepared');
  const { state } = driver;
  const record = state.attempt;
  for (const event of [
    { type: 'late', id: 999, ok: true },
    { type: 'ready', member: 77 },
    { type: 'died', actor: OLD(77) },
    { type: 'resolved', participant: 'nobody', attempt: 1 },
    { type: 'stuckDied', participant: 'nobody' },
  ] as const) {
    assert.deepEqual(driver.send(event), []);
    assert.deepEqual(driver.state.attempt, record);
  }
});

test('who is stuck is remembered over a restart of luod, and forgotten when it was resolved', () => {
  const driver = stuckInUndo();
  assert.deepEqual(stuckNames(recover(driver.journal).state), ['c']);
  driver.send({ type: 'resolved', participant: 'c', attempt: 1 });
  driver.settle();
  assert.deepEqual(stuckNames(recover(driver.journal).state), []);
  assert.equal(recover(driver.journal).state.lastAttempt, 1);
});

test('a journal that contradicts itself is refused', () => {
  const driver = until(() => false);
  const decided = driver.journal.find((record) => record.type === 'decided')!;
  const broken: JournalRecord[] = [
    ...driver.journal.filter((record) => record.type !== 'settled'),
    { ...decided, type: 'decided', outcome: 'aborted' },
  ];
  assert.throws(() => recover(broken), { code: 'JOURNAL_DAMAGED' });
});

test('every row of docs/state-machine.md has its test here, and every test its row', () => {
  const rowsIn = (text: string, pattern: RegExp): Set<string> => new Set([...text.matchAll(pattern)].map((m) => m[1]!));
  const doc = rowsIn(readFileSync('docs/state-machine.md', 'utf8'), /^\| ([TUD]\d+) +\|/gm);
  const tests = rowsIn(readFileSync('test/engine/transitions.test.ts', 'utf8'), /test\(\s*['`]([TUD]\d+) /g);
  assert.ok(doc.size > 40);
  assert.deepEqual([...tests].sort(), [...doc].sort());
});
