/**
 * Goal: what a plan selects, refuses and orders. Method: small registries by hand; then that the work for a large one
 * grows with handles and edges, counted and not timed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../../src/base/limits.js';
import { handleKey, type Gap, type Kind, type Want } from '../../src/base/words.js';
import { mayDepend, peers, plan, Registry, toCome, type PlanWork } from '../../src/engine/index.js';
import { cycleThrough, components, type Graph } from '../../src/engine/graph.js';
import { freezeOrder, goOrder, prepareOrder, undoOrder } from '../../src/engine/order.js';
import { advance, startRun, type Order } from '../../src/engine/run.js';
import type { Plan } from '../../src/engine/types.js';
import { VIABLE } from './driver.js';

/** A graph of edges as pairs (from, to), flat. */
function graphOf(size: number, pairs: Int32Array): Graph {
  const starts = new Int32Array(size + 1);
  for (let index = 0; index < pairs.length; index += 2) starts[pairs[index]! + 1]! += 1;
  for (let node = 0; node < size; node += 1) starts[node + 1]! += starts[node]!;
  const fill = starts.slice(0, size);
  const targets = new Int32Array(pairs.length / 2);
  for (let index = 0; index < pairs.length; index += 2) {
    const from = pairs[index]!;
    targets[fill[from]!] = pairs[index + 1]!;
    fill[from]! += 1;
  }
  return { size, starts, targets };
}

interface Given {
  readonly viable?: boolean;
  readonly want?: Want;
  readonly needs?: readonly string[];
}

/** `p/fd:x` etc.; participants appear in the order of their first handle. */
function registry(handles: Readonly<Record<string, Given>>): Registry {
  const made = new Registry();
  for (const [key, { viable = true, want = 'keep', needs = [] }] of Object.entries(handles)) {
    const [owner, rest] = key.split('/') as [string, string];
    const [kind, name] = rest.split(':') as [Kind, string];
    if (!made.participants.has(owner)) made.addParticipant({ id: owner, owner });
    const verdict = { ok: viable, reason: viable ? '' : 'no kernel handler' };
    made.register(owner, [
      {
        kind,
        name,
        compatible: 'x/1',
        viable: { handover: verdict, kexec: verdict },
        wants: { handover: want, kexec: want },
        dependencies: needs,
      },
    ]);
  }
  return made;
}

const of = (
  given: Readonly<Record<string, Given>>,
  scope: readonly string[] | 'all' = 'all',
  gap: Gap = 'handover',
): Plan => plan(registry(given), { gap, scope });
const steps = (made: Plan): string[] =>
  made.steps.map((step) => `${made.members[step.member]!.participant} ${step.kind} ${step.handles.length}`);
const handlesInOrder = (made: Plan): string[] => made.steps.flatMap((step) => step.handles);

/** The nodes of an order in waves: what runs at the same time. */
function waves(order: Order): number[][] {
  const out: number[][] = [];
  let wave: number[] = [];
  const start = (node: number): boolean => {
    wave.push(node);
    return false;
  };
  let run = advance(startRun(order), null, start);
  while (wave.length > 0) {
    const done = wave;
    out.push(done);
    wave = [];
    for (const node of done) run = advance(run, node, start);
  }
  return out;
}

// ---------------------------------------------------------------------------------------------- selection

test('an empty scope, or nobody at all, is PLAN_EMPTY', () => {
  assert.throws(() => plan(new Registry(), { gap: 'handover', scope: 'all' }), { code: 'PLAN_EMPTY' });
  assert.throws(() => of({ 'a/fd:x': {} }, ['nobody']), { code: 'PLAN_EMPTY' });
  assert.throws(() => of({ 'a/fd:x': {} }, []), { code: 'PLAN_EMPTY' });
});

test('a participant without handles is a member with one empty step', () => {
  const made = new Registry();
  made.addParticipant({ id: 'a', owner: 'a' });
  assert.deepEqual(steps(plan(made, { gap: 'handover', scope: ['a'] })), ['a fd 0']);
});

test('an unviable keep fails and is named', () => {
  assert.throws(
    () => of({ 'a/fd:x': { viable: false } }),
    (error: { code: string; data: { path: string[] } }) => {
      assert.equal(error.code, 'PLAN_UNVIABLE');
      assert.deepEqual(error.data.path, ['a/fd:x']);
      return true;
    },
  );
});

test('an unviable leave is listed with its reason, a viable one with its owner’s wish', () => {
  const made = of({ 'a/fd:x': { viable: false, want: 'leave' }, 'a/fd:y': { want: 'leave' }, 'a/fd:z': {} });
  assert.deepEqual(made.left, [
    { handle: 'a/fd:x', reason: 'no kernel handler' },
    { handle: 'a/fd:y', reason: 'its owner leaves it behind' },
  ]);
  assert.deepEqual(handlesInOrder(made), ['a/fd:z']);
});

test('the operator’s request keeps what its owner leaves, and unrequest leaves what its owner keeps', () => {
  const made = registry({ 'a/fd:x': { want: 'leave' }, 'a/fd:y': {} });
  made.request('a/fd:x', true);
  made.request('a/fd:y', false);
  const got = plan(made, { gap: 'handover', scope: 'all' });
  assert.deepEqual(handlesInOrder(got), ['a/fd:x']);
  assert.deepEqual(got.left, [{ handle: 'a/fd:y', reason: 'the operator unrequested it' }]);
  assert.throws(() => made.request('a/fd:none', true), { code: 'HANDLE_UNKNOWN' });
});

test('what is needed is pulled in, with the path that led to it; its participant is a bystander', () => {
  const made = of(
    {
      'a/fd:vfio': { needs: ['b/device:nic'] },
      'b/device:nic': { needs: ['b/device:bridge'], want: 'leave' },
      'b/device:bridge': { needs: ['c/global:iommu'], want: 'leave' },
      'c/global:iommu': {},
      'd/fd:other': {},
    },
    ['a'],
  );
  assert.deepEqual(made.pulled, [
    { handle: 'b/device:nic', path: ['a/fd:vfio', 'b/device:nic'] },
    { handle: 'b/device:bridge', path: ['a/fd:vfio', 'b/device:nic', 'b/device:bridge'] },
    { handle: 'c/global:iommu', path: ['a/fd:vfio', 'b/device:nic', 'b/device:bridge', 'c/global:iommu'] },
  ]);
  assert.deepEqual(
    made.members.map((member) => [member.participant, member.replaced]),
    [
      ['a', true],
      ['b', false],
      ['c', false],
    ],
  );
  assert.deepEqual(made.left, [], 'pulled in is not left behind');
});

for (const [name, given, code, path] of [
  [
    'missing',
    { 'a/fd:x': { needs: ['b/fd:y'] }, 'b/fd:y': { needs: ['c/fd:z'] } },
    'PLAN_MISSING',
    ['a/fd:x', 'b/fd:y', 'c/fd:z'],
  ],
  [
    'unviable',
    { 'a/fd:x': { needs: ['b/fd:y'] }, 'b/fd:y': { viable: false, want: 'leave' } },
    'PLAN_UNVIABLE',
    ['a/fd:x', 'b/fd:y'],
  ],
] as const) {
  test(`a dependency that is ${name} fails and the path is named`, () => {
    assert.throws(
      () => of(given, ['a']),
      (error: { code: string; message: string; data: { path: string[] } }) => {
        assert.equal(error.code, code);
        assert.deepEqual(error.data.path, path);
        assert.ok(error.message.includes('a/fd:x'));
        return true;
      },
    );
  });
}

test('a dependency that the operator unrequested fails the plan', () => {
  const made = registry({ 'a/fd:x': { needs: ['b/fd:y'] }, 'b/fd:y': {} });
  made.request('b/fd:y', false);
  assert.throws(() => plan(made, { gap: 'handover', scope: ['a'] }), { code: 'PLAN_UNVIABLE' });
});

// ---------------------------------------------------------------------------------------------- order

test('prepare: fds, what is used first; devices from the leaves; globals, what is used first', () => {
  const made = of({
    'a/fd:user': { needs: ['b/fd:used', 'a/device:leaf'] },
    'b/fd:used': {},
    'a/device:leaf': { needs: ['b/device:root'] },
    'b/device:root': { needs: ['b/global:late'] },
    'b/global:late': { needs: ['a/global:early'] },
    'a/global:early': {},
  });
  assert.deepEqual(handlesInOrder(made), [
    'b/fd:used',
    'a/fd:user',
    'a/device:leaf',
    'b/device:root',
    'a/global:early',
    'b/global:late',
  ]);
  assert.deepEqual(waves(prepareOrder(made)), [[0], [1], [2], [3], [4], [5]]);
  // Only fds turn round.
  assert.deepEqual(waves(freezeOrder(made)), [[1], [0], [2], [3], [4], [5]]);
});

test('handles of one participant and kind are one step as long as nobody else comes between', () => {
  const chain = of({ 'a/fd:1': {}, 'a/fd:2': { needs: ['a/fd:1'] }, 'a/fd:3': { needs: ['a/fd:2'] } });
  assert.deepEqual(steps(chain), ['a fd 3']);
  assert.deepEqual(handlesInOrder(chain), ['a/fd:1', 'a/fd:2', 'a/fd:3']);
  const between = of({ 'a/fd:1': {}, 'b/fd:2': { needs: ['a/fd:1'] }, 'a/fd:3': { needs: ['b/fd:2'] } });
  assert.deepEqual(steps(between), ['a fd 1', 'b fd 1', 'a fd 1']);
  assert.deepEqual(between.members[0]!.steps, [0, 2]);
});

test('steps with no path between them run at the same time', () => {
  const made = of({ 'a/fd:x': { needs: ['c/fd:z'] }, 'b/fd:y': { needs: ['c/fd:z'] }, 'c/fd:z': {}, 'd/fd:w': {} });
  assert.deepEqual(
    waves(prepareOrder(made)).map((wave) =>
      wave.map((step) => made.members[made.steps[step]!.member]!.participant).sort(),
    ),
    [
      ['c', 'd'],
      ['a', 'b'],
    ],
  );
});

test('dependencies across kinds include and do not order', () => {
  const made = of({ 'a/fd:x': { needs: ['b/device:d'] }, 'b/device:d': {}, 'b/fd:y': { needs: ['a/fd:x'] } });
  assert.ok(made.steps.every((step) => step.after.every((before) => made.steps[before]!.kind === step.kind)));
});

test('restore and go: holders of globals, then of devices, then of fds; what is used first', () => {
  const made = of({
    'fds/fd:x': { needs: ['used/fd:y'] },
    'used/fd:y': {},
    'dev/device:d': {},
    'glob/global:g': {},
  });
  const names = waves(goOrder(made)).map((wave) => wave.map((member) => made.members[member]!.participant));
  assert.deepEqual(names, [['glob'], ['dev'], ['used'], ['fds']]);
});

test('undo is the reverse of the recorded completion along the edges, and only of those included', () => {
  const made = of({ 'a/fd:x': { needs: ['b/fd:y'] }, 'b/fd:y': { needs: ['c/fd:z'] }, 'c/fd:z': {} });
  const undo = (touched: readonly number[], included: readonly number[]): number[][] =>
    waves(
      undoOrder(
        made,
        (member) => touched[member]!,
        (member) => included.includes(member),
      ),
    );
  assert.deepEqual(undo([3, 2, 1], [0, 1, 2]), [[0], [1], [2]], 'after prepare');
  assert.deepEqual(undo([4, 5, 6], [0, 1, 2]), [[2], [1], [0]], 'after freeze');
  assert.deepEqual(undo([Infinity, 2, 1], [0, 2]), [[2, 0]], 'no edge between those two');
  assert.deepEqual(undo([Infinity, Infinity, 1], [0, 1, 2]), [[0], [1], [2]], 'two answers are missing');
});

// ---------------------------------------------------------------------------------------------- cycles

test('fds in a cycle are prepared in order of registration, each told who is still to come', () => {
  const made = of({
    'kvm/fd:vm': { needs: ['vfio/fd:dev'] },
    'iommu/fd:ioas': { needs: ['kvm/fd:vm'] },
    'vfio/fd:dev': { needs: ['iommu/fd:ioas'] },
    'user/fd:u': { needs: ['vfio/fd:dev'] },
  });
  assert.deepEqual(handlesInOrder(made), ['kvm/fd:vm', 'iommu/fd:ioas', 'vfio/fd:dev', 'user/fd:u']);
  assert.deepEqual(waves(prepareOrder(made)), [[0], [1], [2], [3]]);
  assert.deepEqual(
    [0, 1, 2, 3].map((step) => toCome(made, step)),
    [['iommu/fd:ioas', 'vfio/fd:dev'], ['vfio/fd:dev'], [], []],
  );
  assert.deepEqual(peers(made, 1), ['kvm/fd:vm', 'vfio/fd:dev']);
  assert.deepEqual(waves(freezeOrder(made)), [[3], [2], [1], [0]]);
  assert.deepEqual(waves(goOrder(made)).flat().length, 4, 'members in a circle still all get their go');
});

for (const kind of ['device', 'global'] as const) {
  test(`a cycle of kind ${kind} is PLAN_CYCLE with the cycle printed`, () => {
    const given = {
      [`a/${kind}:x`]: { needs: [`b/${kind}:y`] },
      [`b/${kind}:y`]: { needs: [`c/${kind}:z`] },
      [`c/${kind}:z`]: { needs: [`a/${kind}:x`] },
    };
    assert.throws(
      () => of(given),
      (error: { code: string; message: string; data: { cycle: string[] } }) => {
        assert.equal(error.code, 'PLAN_CYCLE');
        assert.equal(error.data.cycle.length, 3);
        for (const key of Object.keys(given)) assert.ok(error.message.includes(key));
        return true;
      },
    );
    assert.throws(() => of({ [`a/${kind}:x`]: { needs: [`a/${kind}:x`] } }), { code: 'PLAN_CYCLE' });
  });
}

test('an fd that needs itself is prepared once', () => {
  assert.deepEqual(handlesInOrder(of({ 'a/fd:x': { needs: ['a/fd:x'] } })), ['a/fd:x']);
});

// ---------------------------------------------------------------------------------------------- registration

test('dependencies point inside a kind, from fd to device or global, or from device to global', () => {
  const allowed = ['fd fd', 'fd device', 'fd global', 'device device', 'device global', 'global global'];
  for (const from of ['fd', 'device', 'global'] as const) {
    for (const to of ['fd', 'device', 'global'] as const) {
      const may = allowed.includes(`${from} ${to}`);
      assert.equal(mayDepend(from, to), may);
      const made = registry({ 'a/fd:x': {} });
      const one = { kind: from, name: 'n', compatible: 'x/1', viable: VIABLE, dependencies: [`b/${to}:m`] };
      if (may) made.register('a', [one]);
      else assert.throws(() => made.register('a', [one]), { code: 'PLAN_DIRECTION' });
    }
  }
});

test('what is no handle key is no dependency', () => {
  const one = { kind: 'fd', name: 'n', compatible: 'x/1', viable: VIABLE, dependencies: ['nonsense'] } as const;
  assert.throws(() => registry({ 'a/fd:x': {} }).register('a', [one]), { code: 'PLAN_DIRECTION' });
});

test('a name that exists is HANDLE_EXISTS, also twice in one request, and nothing of it is registered', () => {
  const made = registry({ 'a/fd:x': {} });
  const one = (name: string) => ({ kind: 'fd', name, compatible: 'x/1', viable: VIABLE }) as const;
  assert.throws(() => made.register('a', [one('new'), one('x')]), { code: 'HANDLE_EXISTS' });
  assert.throws(() => made.register('a', [one('new'), one('new')]), { code: 'HANDLE_EXISTS' });
  assert.equal(made.handles.size, 1);
  made.register('a', [{ ...one('x'), kind: 'device' }]);
  assert.equal(made.handles.size, 2, 'the same name in another kind is another handle');
});

test('limits are refused by name', () => {
  const made = registry({ 'a/fd:x': {} });
  const one = (name: string) => ({ kind: 'fd', name, compatible: 'x/1', viable: VIABLE }) as const;
  const many = Array.from({ length: LIMITS.handlesPerOwnerMax }, (_, index) => one(`n${index}`));
  const refusedBy = (limit: string) => (error: { code: string; data: { limit: string } }) =>
    error.code === 'LIMIT_REACHED' && error.data.limit === limit;
  assert.throws(() => made.register('a', many), refusedBy('handlesPerOwnerMax'));
  const needs = Array.from({ length: LIMITS.dependenciesMax + 1 }, (_, index) => `b/fd:${index}`);
  assert.throws(() => made.register('a', [{ ...one('y'), dependencies: needs }]), refusedBy('dependenciesMax'));
  made.remove('a/fd:x');
  made.register('a', many);
  assert.equal(made.handles.size, LIMITS.handlesPerOwnerMax);
});

test('a participant that goes takes its handles along; moved handles stay', () => {
  const made = registry({ 'a/fd:x': {}, 'b/fd:y': {} });
  made.moveHandles('a', 'b');
  made.removeParticipant('a');
  assert.deepEqual([...made.handles.keys()], ['a/fd:x', 'b/fd:y']);
  made.removeParticipant('b');
  assert.equal(made.handles.size, 0);
  assert.throws(() => made.register('b', []), { code: 'HANDLE_UNKNOWN' });
});

// ---------------------------------------------------------------------------------------------- size

test('components of a chain of 200,000 need no stack, and a circle is found through any of its nodes', () => {
  const count = 200_000;
  const pairs = Int32Array.from({ length: count * 2 }, (_, index) => ((index + 1) >> 1) % count);
  const chain = components(graphOf(count, pairs.subarray(0, (count - 1) * 2)));
  assert.equal(chain.count, count);
  const circle = graphOf(5, Int32Array.of(0, 1, 1, 2, 2, 0, 3, 4));
  const found = components(circle);
  assert.equal(found.count, 3);
  for (const start of [0, 1, 2]) assert.equal(cycleThrough(circle, found, start).length, 3);
});

/** Three kinds, three edges a handle, as a large machine might have them. */
function large(count: number): Registry {
  const made = new Registry();
  const owners = Math.ceil(count / 50);
  for (let owner = 0; owner < owners; owner += 1) made.addParticipant({ id: `p${owner}`, owner: `p${owner}` });
  const kindOf = (index: number): Kind => (index < count / 10 ? 'global' : index < (count * 4) / 10 ? 'device' : 'fd');
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const keys: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const kind = kindOf(index);
    const owner = `p${index % owners}`;
    const dependencies = index === 0 ? [] : [1, 2, 3].map(() => keys[random(index)]!);
    made.register(owner, [{ kind, name: `${index}`, compatible: 'x/1', viable: VIABLE, dependencies }]);
    keys.push(handleKey({ owner, kind, name: `${index}` }));
  }
  return made;
}

test('the work of a plan grows with handles and edges', () => {
  const workFor = (count: number): number => {
    const work: PlanWork = { operations: 0 };
    plan(large(count), { gap: 'handover', scope: 'all' }, work);
    return work.operations;
  };
  const [small, big] = [workFor(1_000), workFor(10_000)];
  assert.ok(big / small < 11, `10 times the handles took ${(big / small).toFixed(2)} times the work`);
  assert.ok(small > 4_000, 'it was counted');
});

test('every handle of a large plan comes after what it waits for', () => {
  const made = large(3_000);
  const got = plan(made, { gap: 'handover', scope: 'all' });
  const at = new Map<string, number>();
  for (const [position, key] of handlesInOrder(got).entries()) at.set(key, position);
  assert.equal(at.size, 3_000);
  for (const handle of made.handles.values()) {
    for (const key of handle.dependencies) {
      if (made.handles.get(key)!.kind !== handle.kind) continue;
      const [first, second] = handle.kind === 'device' ? [handle.key, key] : [key, handle.key];
      assert.ok(at.get(first)! < at.get(second)!);
    }
  }
  assert.equal(waves(prepareOrder(got)).flat().length, got.steps.length);
  assert.equal(waves(freezeOrder(got)).flat().length, got.steps.length);
});
