// Goal: the ioctls of a session answer as the kernel's do. Method: one test for each errno of each call, and for each
// rule of close, finish and the jump; the order of what follows is compared word by word.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { inOrder, modelOf, PROFILES, refsOf, step } from '../../src/model/index.js';
import { Machine, memfd } from './machine.js';

/** A machine whose session `s` came over the jump with the given tokens; refs are 1, 2, … in their order. */
function afterJump(tokens: readonly bigint[]): { machine: Machine; session: number } {
  const machine = new Machine();
  const outgoing = machine.create('s');
  tokens.forEach((token, index) => machine.preserve(outgoing, token, { ref: index + 1 }));
  machine.kexec();
  return { machine, session: machine.retrieve('s') };
}

suite('PRESERVE_FD', () => {
  test('on an incoming session it is EINVAL', () => {
    const { machine, session } = afterJump([]);
    machine.refuses({ op: 'preserveFd', session, token: 1n, file: memfd(9) }, 'EINVAL');
  });

  test('a token that is used in this session is EEXIST, in another one it is free', () => {
    const machine = new Machine();
    const session = machine.create('a');
    const other = machine.create('b');
    machine.preserve(session, 1n, { ref: 1 });
    machine.refuses({ op: 'preserveFd', session, token: 1n, file: memfd(2) }, 'EEXIST');
    machine.preserve(other, 1n, { ref: 2 });
  });

  test('a bad fd is EBADF', () => {
    const machine = new Machine();
    machine.refuses({ op: 'preserveFd', session: machine.create('a'), token: 1n, file: null }, 'EBADF');
  });

  test('a kind that no handler accepts is ENOENT: the kernel has one for memfds only', () => {
    const machine = new Machine();
    const session = machine.create('a');
    for (const kind of ['chardev', 'socket', 'hugetlb', 'file', 'pipe'])
      machine.refuses({ op: 'preserveFd', session, token: 1n, file: memfd(1, { kind }) }, 'ENOENT');
  });

  test('the profile of the handover accepts every kind', () => {
    const machine = new Machine(PROFILES.any);
    const session = machine.create('a');
    for (const [index, kind] of ['chardev', 'socket', 'hugetlb', 'file', 'pipe'].entries())
      machine.preserve(session, BigInt(index), { ref: index, kind });
  });

  test('the same file again is EBUSY: in this session, and in any other', () => {
    const machine = new Machine();
    const session = machine.create('a');
    const other = machine.create('b');
    machine.preserve(session, 1n, { ref: 1, identity: 'inode 5' });
    machine.refuses({ op: 'preserveFd', session, token: 2n, file: memfd(2, { identity: 'inode 5' }) }, 'EBUSY');
    machine.refuses({ op: 'preserveFd', session: other, token: 1n, file: memfd(2, { identity: 'inode 5' }) }, 'EBUSY');
  });

  test('a file is free again after its session was closed', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.preserve(session, 1n, { ref: 1 });
    machine.ok({ op: 'closeSession', session });
    machine.preserve(machine.create('b'), 1n, { ref: 1 });
  });

  test('a file that was retrieved and not finished is EBUSY, and free after finish', () => {
    const { machine, session } = afterJump([1n]);
    machine.ok({ op: 'retrieveFd', session, token: 1n });
    const next = machine.create('next');
    machine.refuses({ op: 'preserveFd', session: next, token: 1n, file: memfd(1) }, 'EBUSY');
    machine.ok({ op: 'finish', session });
    machine.preserve(next, 1n, { ref: 1 });
  });

  test('what its handler refuses is passed on, and leaves nothing behind', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.refuses(
      { op: 'preserveFd', session, token: 1n, file: memfd(1, { handlerErrno: 'EOPNOTSUPP' }) },
      'EOPNOTSUPP',
    );
    machine.preserve(session, 1n, { ref: 1 });
  });

  test('the limit of files in a session is ENOSPC', () => {
    const machine = new Machine({ ...PROFILES['7.3'], filesPerSessionMax: 1 });
    const session = machine.create('a');
    machine.preserve(session, 1n, { ref: 1 });
    machine.refuses({ op: 'preserveFd', session, token: 2n, file: memfd(2) }, 'ENOSPC');
  });

  test('checks come in the order EINVAL, EEXIST, ENOSPC, EBADF, ENOENT, EBUSY, handler', () => {
    const machine = new Machine({ ...PROFILES['7.3'], filesPerSessionMax: 1 });
    const session = machine.create('a');
    machine.preserve(session, 1n, { ref: 1 });
    const bad = { kind: 'socket', identity: 'inode 1', handlerErrno: 'EFBIG' };
    machine.refuses({ op: 'preserveFd', session, token: 1n, file: null }, 'EEXIST');
    machine.refuses({ op: 'preserveFd', session, token: 2n, file: null }, 'ENOSPC');
    const roomy = new Machine();
    const other = roomy.create('a');
    roomy.preserve(other, 1n, { ref: 1 });
    roomy.refuses({ op: 'preserveFd', session: other, token: 2n, file: null }, 'EBADF');
    roomy.refuses({ op: 'preserveFd', session: other, token: 2n, file: memfd(2, bad) }, 'ENOENT');
    roomy.refuses({ op: 'preserveFd', session: other, token: 2n, file: memfd(2, { ...bad, kind: 'memfd' }) }, 'EBUSY');
  });

  test('tokens are all of u64', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.preserve(session, 0n, { ref: 1 });
    machine.preserve(session, 0xffff_ffff_ffff_ffffn, { ref: 2 });
    machine.preserve(session, 0x1_0000_0000n, { ref: 3 });
    machine.kexec();
    const incoming = machine.retrieve('a');
    assert.deepEqual(machine.ok({ op: 'retrieveFd', session: incoming, token: 0x1_0000_0000n }), {
      kind: 'file',
      ref: 3,
      first: true,
    });
  });

  test('500 files in one session keep their order', () => {
    const machine = new Machine();
    const session = machine.create('a');
    for (let index = 0; index < 500; index += 1) machine.preserve(session, BigInt(index * 4096), { ref: index });
    assert.deepEqual(
      inOrder(machine.state.sessions.get(session)!).map((file) => file.ref),
      Array.from({ length: 500 }, (_, index) => index),
    );
  });

  test('an undone preserve leaves token and file free, and the others alone', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.preserve(session, 1n, { ref: 1 });
    machine.preserve(session, 2n, { ref: 2 });
    machine.ok({ op: 'undoPreserve', session, token: 1n });
    assert.deepEqual(machine.happened, ['release 1 unpreserve']);
    machine.preserve(session, 1n, { ref: 1 });
    machine.refuses({ op: 'undoPreserve', session, token: 3n }, 'ENOENT');
  });
});

suite('RETRIEVE_FD', () => {
  test('on an outgoing session it is EINVAL', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.preserve(session, 1n, { ref: 1 });
    machine.refuses({ op: 'retrieveFd', session, token: 1n }, 'EINVAL');
  });

  test('an unknown token is ENOENT', () => {
    const { machine, session } = afterJump([1n]);
    machine.refuses({ op: 'retrieveFd', session, token: 2n }, 'ENOENT');
  });

  test('every token is ENOENT after finish', () => {
    const { machine, session } = afterJump([1n]);
    machine.ok({ op: 'retrieveFd', session, token: 1n });
    machine.ok({ op: 'finish', session });
    machine.refuses({ op: 'retrieveFd', session, token: 1n }, 'ENOENT');
  });

  test('a second success is the same open file', () => {
    const { machine, session } = afterJump([1n]);
    assert.deepEqual(machine.ok({ op: 'retrieveFd', session, token: 1n }), { kind: 'file', ref: 1, first: true });
    assert.deepEqual(machine.ok({ op: 'retrieveFd', session, token: 1n }), { kind: 'file', ref: 1, first: false });
  });

  test('a failed retrieve fails the same way again', () => {
    const { machine, session } = afterJump([1n]);
    assert.deepEqual(machine.do({ op: 'retrieveFd', session, token: 1n, handlerErrno: 'ENOMEM' }), {
      ok: false,
      errno: 'ENOMEM',
    });
    machine.refuses({ op: 'retrieveFd', session, token: 1n }, 'ENOMEM');
    machine.refuses({ op: 'retrieveFd', session, token: 1n, handlerErrno: 'EIO' }, 'ENOMEM');
  });

  test('a failed retrieve does not touch the other tokens', () => {
    const { machine, session } = afterJump([1n, 2n]);
    machine.do({ op: 'retrieveFd', session, token: 1n, handlerErrno: 'ENOMEM' });
    machine.ok({ op: 'retrieveFd', session, token: 2n });
  });

  test('without a free fd it is EMFILE, which is not remembered', () => {
    const { machine, session } = afterJump([1n]);
    machine.refuses({ op: 'retrieveFd', session, token: 1n, fdErrno: 'EMFILE' }, 'EMFILE');
    machine.ok({ op: 'retrieveFd', session, token: 1n });
  });

  test('an answer that cannot be written is EFAULT, and may be tried again', () => {
    const { machine, session } = afterJump([1n]);
    assert.deepEqual(machine.do({ op: 'retrieveFd', session, token: 1n, replyFault: true }), {
      ok: false,
      errno: 'EFAULT',
    });
    assert.deepEqual(machine.ok({ op: 'retrieveFd', session, token: 1n }), { kind: 'file', ref: 1, first: false });
  });

  test('a file that is another one after the jump is EBUSY under its new identity', () => {
    const { machine, session } = afterJump([1n]);
    machine.ok({ op: 'retrieveFd', session, token: 1n, identity: 'inode 77' });
    const next = machine.create('next');
    machine.refuses({ op: 'preserveFd', session: next, token: 1n, file: memfd(9, { identity: 'inode 77' }) }, 'EBUSY');
    machine.ok({ op: 'finish', session });
    machine.preserve(next, 1n, { ref: 9, identity: 'inode 77' });
  });

  test('any order is good', () => {
    const { machine, session } = afterJump([1n, 2n, 3n]);
    for (const token of [3n, 1n, 2n]) machine.ok({ op: 'retrieveFd', session, token });
  });
});

suite('FINISH', () => {
  test('on an outgoing session it is EINVAL', () => {
    const machine = new Machine();
    machine.refuses({ op: 'finish', session: machine.create('a') }, 'EINVAL');
  });

  test('a reserved field that is not 0 is EINVAL', () => {
    const { machine, session } = afterJump([]);
    machine.refuses({ op: 'finish', session, reserved: 1 }, 'EINVAL');
  });

  test('a veto is EBUSY, and nothing is finished', () => {
    const { machine, session } = afterJump([1n, 2n]);
    machine.refuses({ op: 'finish', session, vetoes: [1n] }, 'EBUSY');
    machine.ok({ op: 'retrieveFd', session, token: 2n });
  });

  test('it may be repeated, also when empty', () => {
    const { machine, session } = afterJump([1n]);
    machine.ok({ op: 'finish', session });
    machine.ok({ op: 'finish', session });
    assert.deepEqual(machine.effects, []);
  });

  test('files are finished last first, and what nobody took is lost', () => {
    const { machine, session } = afterJump([1n, 2n, 3n]);
    machine.ok({ op: 'retrieveFd', session, token: 2n });
    machine.ok({ op: 'finish', session });
    assert.deepEqual(machine.happened, ['release 3 finish lost', 'release 2 finish', 'release 1 finish lost']);
  });

  test('an answer that cannot be written is EFAULT, after everything was finished', () => {
    const { machine, session } = afterJump([1n]);
    assert.deepEqual(machine.do({ op: 'finish', session, replyFault: true }), { ok: false, errno: 'EFAULT' });
    assert.deepEqual(machine.happened, ['release 1 finish lost']);
    machine.refuses({ op: 'retrieveFd', session, token: 1n }, 'ENOENT');
  });
});

suite('GET_NAME', () => {
  test('it works on both directions', () => {
    const machine = new Machine();
    assert.deepEqual(machine.ok({ op: 'getName', session: machine.create('s') }), { kind: 'name', name: 's' });
    const after = afterJump([]);
    assert.deepEqual(after.machine.ok({ op: 'getName', session: after.session }), { kind: 'name', name: 's' });
  });

  test('a reserved field that is not 0 is EINVAL, an answer that cannot be written EFAULT', () => {
    const machine = new Machine();
    const session = machine.create('s');
    machine.refuses({ op: 'getName', session, reserved: 4 }, 'EINVAL');
    machine.refuses({ op: 'getName', session, replyFault: true }, 'EFAULT');
  });
});

suite('close', () => {
  test('an outgoing session unpreserves its files, last first, and is gone', () => {
    const machine = new Machine();
    const session = machine.create('a');
    for (const ref of [1, 2, 3]) machine.preserve(session, BigInt(ref), { ref });
    machine.ok({ op: 'closeSession', session });
    assert.deepEqual(machine.happened, [
      'release 3 unpreserve',
      'release 2 unpreserve',
      'release 1 unpreserve',
      'end 1',
    ]);
    assert.deepEqual(refsOf(machine.state), []);
  });

  test('an incoming session is finished by it', () => {
    const { machine, session } = afterJump([1n, 2n]);
    machine.ok({ op: 'retrieveFd', session, token: 1n });
    machine.ok({ op: 'closeSession', session });
    assert.deepEqual(machine.happened, ['release 2 finish lost', 'release 1 finish', 'end 1']);
  });

  test('a closed session is EBADF to every call', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.ok({ op: 'closeSession', session });
    machine.refuses({ op: 'preserveFd', session, token: 1n, file: memfd(1) }, 'EBADF');
    machine.refuses({ op: 'retrieveFd', session, token: 1n }, 'EBADF');
    machine.refuses({ op: 'finish', session }, 'EBADF');
    machine.refuses({ op: 'getName', session }, 'EBADF');
    machine.refuses({ op: 'closeSession', session }, 'EBADF');
  });
});

suite('the jump into the next kernel', () => {
  test('outgoing becomes incoming, and the device is free', () => {
    const machine = new Machine();
    machine.preserve(machine.create('a'), 1n, { ref: 1 });
    machine.ok({ op: 'kexec' });
    assert.deepEqual(machine.happened, ['freeze 1']);
    machine.ok({ op: 'openDevice' });
    machine.retrieve('a');
  });

  test('incoming sessions are not carried again, retrieved or not', () => {
    const machine = new Machine();
    machine.preserve(machine.create('taken'), 1n, { ref: 1 });
    machine.preserve(machine.create('left'), 1n, { ref: 2 });
    machine.kexec();
    machine.ok({ op: 'retrieveFd', session: machine.retrieve('taken'), token: 1n });
    machine.ok({ op: 'kexec' });
    assert.deepEqual(machine.happened, ['release 1 kexec', 'end 1', 'release 2 kexec lost', 'end 2']);
    machine.ok({ op: 'openDevice' });
    machine.refuses({ op: 'retrieveSession', name: 'taken' }, 'ENOENT');
    machine.refuses({ op: 'retrieveSession', name: 'left' }, 'ENOENT');
  });

  test('sessions freeze by creation, files by preserving', () => {
    const machine = new Machine();
    const a = machine.create('a');
    const b = machine.create('b');
    machine.preserve(b, 1n, { ref: 1 });
    machine.preserve(a, 9n, { ref: 2 });
    machine.preserve(a, 3n, { ref: 3 });
    machine.ok({ op: 'kexec' });
    assert.deepEqual(machine.happened, ['freeze 2', 'freeze 3', 'freeze 1']);
  });

  test('a refusal to freeze unfreezes in its session first to last, then the earlier sessions, the latest first', () => {
    const machine = new Machine();
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => machine.create(name)) as [number, number, number, number];
    machine.preserve(a, 1n, { ref: 1 });
    machine.preserve(a, 2n, { ref: 2 });
    machine.preserve(b, 1n, { ref: 3 });
    machine.preserve(b, 2n, { ref: 4 });
    for (const [index, token] of [1n, 2n, 3n].entries()) machine.preserve(c, token, { ref: 5 + index });
    machine.preserve(d, 1n, { ref: 8 });
    const before = machine.state;
    const result = machine.do({ op: 'kexec', freezeFailure: { session: c, token: 3n, errno: 'EINVAL' } });
    assert.deepEqual(result, { ok: false, errno: 'EINVAL' });
    assert.deepEqual(machine.happened, [
      ...['freeze 1', 'freeze 2', 'freeze 3', 'freeze 4', 'freeze 5', 'freeze 6'],
      ...['unfreeze 5', 'unfreeze 6', 'unfreeze 3', 'unfreeze 4', 'unfreeze 1', 'unfreeze 2'],
    ]);
    assert.equal(machine.state, before, 'everything stays preserved');
    machine.kexec();
  });

  test('an old retrieve error does not survive another jump of the same file', () => {
    const { machine, session } = afterJump([1n]);
    machine.do({ op: 'retrieveFd', session, token: 1n, handlerErrno: 'EIO' });
    machine.ok({ op: 'finish', session });
    machine.preserve(machine.create('again'), 1n, { ref: 1 });
    machine.kexec();
    machine.ok({ op: 'retrieveFd', session: machine.retrieve('again'), token: 1n });
  });
});

suite('the handover to the next program', () => {
  test('takes nothing from anybody: incoming sessions stay', () => {
    const machine = new Machine(PROFILES.any);
    machine.preserve(machine.create('a'), 1n, { ref: 1 });
    machine.ok({ op: 'handover' });
    machine.preserve(machine.create('b'), 1n, { ref: 2 });
    machine.ok({ op: 'handover' });
    assert.deepEqual(machine.effects, []);
    machine.retrieve('a');
    machine.retrieve('b');
  });

  test('carries only the sessions that are named', () => {
    const machine = new Machine(PROFILES.any);
    const a = machine.create('a');
    const b = machine.create('b');
    machine.ok({ op: 'handover', sessions: [b] });
    machine.retrieve('b');
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'ENOENT');
    machine.preserve(a, 1n, { ref: 1 });
  });

  test('onto a waiting session of that name is EEXIST, and nothing crosses', () => {
    const machine = new Machine(PROFILES.any);
    machine.create('a');
    machine.ok({ op: 'handover' });
    machine.create('a');
    machine.create('b');
    machine.refuses({ op: 'handover' }, 'EEXIST');
    machine.refuses({ op: 'retrieveSession', name: 'b' }, 'ENOENT');
  });

  test('a file that waits is still EBUSY elsewhere, since its old holder may live', () => {
    const machine = new Machine(PROFILES.any);
    machine.preserve(machine.create('a'), 1n, { ref: 1 });
    machine.ok({ op: 'handover' });
    machine.refuses({ op: 'preserveFd', session: machine.create('b'), token: 1n, file: memfd(1) }, 'EBUSY');
  });
});

test('a model of found sessions answers as the one that was lost', () => {
  const { state, ids } = modelOf(PROFILES.any, [
    {
      name: 'out',
      direction: 'outgoing',
      held: true,
      files: [{ token: 4n, ref: 1, kind: 'socket', identity: 'x', retrieved: 'untried' }],
    },
    {
      name: 'in',
      direction: 'incoming',
      held: false,
      files: [{ token: 4n, ref: 2, kind: 'pipe', identity: 'y', retrieved: 'untried' }],
    },
  ]);
  const machine = new Machine(PROFILES.any);
  machine.state = { ...state, deviceOpen: true };
  machine.refuses({ op: 'createSession', name: 'out' }, 'EEXIST');
  machine.refuses({ op: 'preserveFd', session: ids[0]!, token: 4n, file: memfd(3) }, 'EEXIST');
  machine.refuses({ op: 'preserveFd', session: ids[0]!, token: 5n, file: memfd(3, { identity: 'y' }) }, 'EBUSY');
  assert.equal(machine.retrieve('in'), ids[1]);
  assert.deepEqual(machine.ok({ op: 'retrieveFd', session: ids[1]!, token: 4n }), {
    kind: 'file',
    ref: 2,
    first: true,
  });
});

test('an op leaves the state that it was given as it was', () => {
  const machine = new Machine();
  const session = machine.create('a');
  const before = machine.state;
  const one = step(before, { op: 'preserveFd', session, token: 1n, file: memfd(1) });
  assert.equal(before.sessions.get(session)!.files.size, 0);
  assert.equal(before.identities.size, 0);
  const two = step(before, { op: 'preserveFd', session, token: 1n, file: memfd(2) });
  assert.deepEqual([refsOf(one.state), refsOf(two.state)], [[1], [2]]);
});
