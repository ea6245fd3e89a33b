// Goal: the table of handles says who holds what, forgets nothing over luod's death, and moves things only at the commit.
// Method: the table alone; its journal is replayed into a second one after each step, and both must agree.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../../src/base/limits.js';
import { Handles, dependencyKey, handleInfo, waitingInfo, type Handle } from '../../src/daemon/handles.js';
import type { JournalRecord } from '../../src/protocol/journal.js';

function handle(name: string, holder: string | null = 'a#1', more: Partial<Handle> = {}): Handle {
  return {
    key: `0:a/fd:${name}`,
    owner: '0:a',
    kind: 'fd',
    name,
    compatible: 'x/1',
    policy: 'fail',
    wants: { handover: 'keep', kexec: 'leave' },
    requested: null,
    type: 'memfd',
    sizeBytes: 4096,
    viable: { handover: { ok: true, reason: '' }, kexec: { ok: false, reason: 'no' } },
    dependencies: [],
    marked: false,
    hasFd: true,
    seq: 1,
    holder,
    leftDirty: false,
    ...more,
  };
}

/** A table and the check that its journal, and its snapshot, give the same one. */
function table(): { handles: Handles; check: () => void } {
  const journal: JournalRecord[] = [];
  const handles = new Handles((record) => journal.push(JSON.parse(JSON.stringify(record)) as JournalRecord));
  const check = (): void => {
    for (const records of [journal, handles.snapshot()]) {
      const other = new Handles(() => assert.fail('replay writes nothing'));
      for (const record of records) assert.ok(other.replay(record));
      const sorted = (of: Handles): unknown[] => of.all().sort((a, b) => (a.key < b.key ? -1 : 1));
      assert.deepEqual(sorted(other), sorted(handles));
      for (const one of ['a#1', 'a#2']) {
        assert.deepEqual(other.declared(one), handles.declared(one));
        assert.deepEqual([...other.claims(one)], [...handles.claims(one)]);
        assert.deepEqual(other.heldBy(one).length, handles.heldBy(one).length);
      }
    }
  };
  return { handles, check };
}

test('a registered handle is held, and found by key, owner and holder', () => {
  const { handles, check } = table();
  handles.register(handle('m'));
  assert.equal(handles.size, 1);
  assert.equal(handles.get('0:a/fd:m')?.holder, 'a#1');
  assert.deepEqual(
    handles.ofOwner('0:a').map((one) => one.name),
    ['m'],
  );
  assert.deepEqual(handles.ofOwner('0:b'), []);
  assert.equal(handles.heldBy('a#1').length, 1);
  check();
});

test('what a dead holder left waits for its owner, dirty only if it could have been writing', () => {
  for (const [left, before, dirty] of [
    ['clean', true, false],
    ['dirty', false, true],
    ['same', false, false],
    ['same', true, true],
  ] as const) {
    const { handles, check } = table();
    handles.register(handle('m', 'a#1', { leftDirty: before }));
    handles.orphan('a#1', left);
    assert.equal(handles.get('0:a/fd:m')?.holder, null);
    assert.equal(handles.get('0:a/fd:m')?.leftDirty, dirty, `${left} after ${before}`);
    assert.equal(handles.waitingFor('0:a', null).length, 1);
    assert.equal(handles.waitingFor('0:b', null).length, 0);
    check();
  }
});

test('what came over torn stays so until somebody has it who could write, and was told', () => {
  for (const [left, stays] of [
    ['clean', undefined],
    ['dirty', undefined],
    ['same', true],
  ] as const) {
    const { handles, check } = table();
    handles.register(handle('m', null, { cameTorn: true }));
    assert.equal(handles.update('0:a/fd:m', { holder: 'a#1' }).cameTorn, true);
    handles.orphan('a#1', left);
    assert.equal(handles.get('0:a/fd:m')?.cameTorn, stays, left);
    check();
  }
  const { handles, check } = table();
  handles.register(handle('m', null, { cameTorn: true }));
  handles.claim('a#2', '0:a/fd:m', 'claimed');
  handles.abort('a#2');
  assert.equal(handles.get('0:a/fd:m')?.cameTorn, true);
  handles.claim('a#2', '0:a/fd:m', 'claimed');
  handles.commit(null, 'a#2');
  assert.equal(handles.get('0:a/fd:m')?.cameTorn, undefined);
  check();
});

test('a successor may claim what its predecessor holds, and nothing has moved before the commit', () => {
  const { handles, check } = table();
  handles.register(handle('m'));
  assert.equal(handles.waitingFor('0:a', 'a#1').length, 1);
  assert.equal(handles.waitingFor('0:a', null).length, 0);
  handles.claim('a#2', '0:a/fd:m', 'claimed');
  handles.declare('a#2', handle('new', 'a#2'));
  assert.equal(handles.get('0:a/fd:m')?.holder, 'a#1');
  assert.equal(handles.get('0:a/fd:new'), undefined);
  assert.ok(handles.isDeclared('a#2', '0:a/fd:new'));
  check();
});

test('at the commit claims and declarations become the successor’s, releases are told, the rest waits', () => {
  const { handles, check } = table();
  for (const name of ['claimed', 'released', 'left']) handles.register(handle(name));
  handles.claim('a#2', '0:a/fd:claimed', 'claimed');
  handles.claim('a#2', '0:a/fd:released', 'released');
  handles.claim('a#2', '0:a/fd:gone', 'released');
  handles.declare('a#2', handle('new', 'a#2'));
  assert.deepEqual(handles.commit('a#1', 'a#2'), ['0:a/fd:released']);
  assert.deepEqual(
    handles.all().map((one) => [one.name, one.holder]),
    [
      ['claimed', 'a#2'],
      ['released', null],
      ['left', null],
      ['new', 'a#2'],
    ],
  );
  assert.deepEqual(handles.declared('a#2'), []);
  assert.equal(handles.claims('a#2').size, 0);
  check();
});

test('an abort forgets claims and gives the declarations back, whose fds go; a second one has nothing', () => {
  const { handles, check } = table();
  handles.register(handle('m'));
  handles.claim('a#2', '0:a/fd:m', 'claimed');
  handles.declare('a#2', handle('new', 'a#2'));
  assert.deepEqual(
    handles.abort('a#2').map((one) => one.name),
    ['new'],
  );
  assert.deepEqual(handles.abort('a#2'), []);
  assert.equal(handles.get('0:a/fd:m')?.holder, 'a#1');
  check();
});

test('a commit without a predecessor takes what waited', () => {
  const { handles, check } = table();
  handles.register(handle('m', null, { leftDirty: true }));
  handles.claim('a#2', '0:a/fd:m', 'claimed');
  handles.commit(null, 'a#2');
  assert.equal(handles.get('0:a/fd:m')?.holder, 'a#2');
  assert.equal(handles.get('0:a/fd:m')?.leftDirty, false);
  check();
});

test('a removed handle is gone from every index, its claims too', () => {
  const { handles, check } = table();
  handles.register(handle('m'));
  handles.claim('a#2', '0:a/fd:m', 'claimed');
  handles.remove('0:a/fd:m');
  handles.remove('0:a/fd:m');
  assert.equal(handles.size, 0);
  assert.deepEqual(handles.ofOwner('0:a'), []);
  assert.deepEqual(handles.heldBy('a#1'), []);
  assert.equal(handles.claims('a#2').size, 0);
  check();
});

test('a change of an unknown handle is refused', () => {
  assert.throws(() => table().handles.update('0:a/fd:none', { requested: true }), { code: 'HANDLE_UNKNOWN' });
});

test('limits refuse by name what would be one too many, declarations counted', () => {
  const { handles } = table();
  for (let n = 0; n < LIMITS.handlesPerOwnerMax - 1; n += 1) handles.register(handle(`h${n}`));
  handles.checkRoom('0:a', 'a#1', 1);
  handles.declare('a#2', handle('new', 'a#2'));
  const limited = { code: 'LIMIT_REACHED', data: { limit: 'handlesPerOwnerMax' } };
  assert.throws(() => handles.checkRoom('0:a', 'a#2', 1), limited);
  assert.throws(() => handles.checkRoom('0:b', 'b#1', LIMITS.handlesPerOwnerMax + 1), limited);
});

test('numbers go on after a replay', () => {
  const { handles } = table();
  handles.register(handle('m', 'a#1', { seq: 41 }));
  assert.equal(handles.nextSeq(), 42);
});

test('a record of another part is not taken', () => {
  assert.equal(table().handles.replay({ kind: 'service' }), false);
});

test('what is shown says whether it is claimed and torn; a dependency without an owner is of one’s own', () => {
  const one = handle('m', null, { meta: { a: 1 } });
  assert.deepEqual([handleInfo(one, true).claimed, handleInfo(one, true).torn], [false, true]);
  assert.deepEqual(waitingInfo(one, false).meta, { a: 1 });
  assert.equal('meta' in handleInfo(handle('x'), false), false);
  assert.equal(dependencyKey('0:a', { kind: 'device', name: 'd' }), '0:a/device:d');
  assert.equal(dependencyKey('0:a', { owner: '0:b', kind: 'global', name: 'g' }), '0:b/global:g');
});
