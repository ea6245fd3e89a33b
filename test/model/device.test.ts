// Goal: the device node and its two ioctls answer as the kernel's do. Method: one test for each errno of each call.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { PROFILES } from '../../src/model/index.js';
import { Machine, memfd } from './machine.js';

suite('open of the device', () => {
  test('a second open while the first is held is EBUSY, and possible again after its close', () => {
    const machine = new Machine();
    machine.refuses({ op: 'openDevice' }, 'EBUSY');
    machine.ok({ op: 'closeDevice' });
    machine.ok({ op: 'openDevice' });
  });

  test('open is EIO for ever when what came over the gap cannot be read', () => {
    const machine = new Machine();
    machine.create('a');
    machine.ok({ op: 'kexec', damaged: true });
    machine.refuses({ op: 'openDevice' }, 'EIO');
    machine.refuses({ op: 'openDevice' }, 'EIO');
  });

  test('a broken incoming state ends with the next kernel', () => {
    const machine = new Machine();
    machine.ok({ op: 'kexec', damaged: true });
    machine.ok({ op: 'kexec' });
    machine.ok({ op: 'openDevice' });
  });

  test('closing the device has no effect on sessions', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.ok({ op: 'closeDevice' });
    assert.deepEqual(machine.effects, []);
    machine.preserve(session, 1n, { ref: 1 });
  });

  test('a closed device creates nothing and retrieves nothing: EBADF', () => {
    const machine = new Machine(PROFILES['7.3'], false);
    machine.refuses({ op: 'createSession', name: 'a' }, 'EBADF');
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'EBADF');
    machine.refuses({ op: 'closeDevice' }, 'EBADF');
  });
});

suite('CREATE_SESSION', () => {
  test('an empty name is EINVAL', () => {
    new Machine().refuses({ op: 'createSession', name: '' }, 'EINVAL');
  });

  test('64 bytes without a NUL are EINVAL', () => {
    new Machine().refuses({ op: 'createSession', name: 'X'.repeat(64) }, 'EINVAL');
  });

  test('63 bytes are a name', () => {
    const machine = new Machine();
    const session = machine.create('A'.repeat(63));
    assert.deepEqual(machine.ok({ op: 'getName', session }), { kind: 'name', name: 'A'.repeat(63) });
  });

  test('a duplicate outgoing name is EEXIST', () => {
    const machine = new Machine();
    machine.create('a');
    machine.refuses({ op: 'createSession', name: 'a' }, 'EEXIST');
  });

  test('names are compared by bytes', () => {
    const machine = new Machine();
    machine.create('a');
    machine.create('A');
    machine.create('a ');
  });

  test('a name is free again after its session was closed', () => {
    const machine = new Machine();
    const session = machine.create('a');
    machine.ok({ op: 'closeSession', session });
    machine.create('a');
  });

  test('an outgoing session may have the name of an incoming one that is not finished', () => {
    const machine = new Machine();
    machine.create('a');
    machine.kexec();
    machine.retrieve('a');
    machine.create('a');
    machine.refuses({ op: 'createSession', name: 'a' }, 'EEXIST');
  });

  test('the limit of sessions is ENOSPC, and is checked before the name is looked up', () => {
    const machine = new Machine({ ...PROFILES['7.3'], sessionsMax: 2 });
    machine.create('a');
    machine.create('b');
    machine.refuses({ op: 'createSession', name: 'c' }, 'ENOSPC');
    machine.refuses({ op: 'createSession', name: 'a' }, 'ENOSPC');
  });

  test('without a free fd it is EMFILE, before the name is looked at', () => {
    const machine = new Machine();
    machine.refuses({ op: 'createSession', name: '', fdErrno: 'EMFILE' }, 'EMFILE');
    machine.refuses({ op: 'createSession', name: 'a', fdErrno: 'ENFILE' }, 'ENFILE');
  });

  test('an answer that cannot be written is EFAULT and drops the session', () => {
    const machine = new Machine();
    machine.refuses({ op: 'createSession', name: 'a', replyFault: true }, 'EFAULT');
    machine.create('a');
  });

  test('2000 sessions are created and closed', () => {
    const machine = new Machine();
    const sessions = Array.from({ length: 2000 }, (_, index) => machine.create(`many-test-${index}`));
    assert.equal(machine.state.sessions.size, 2000);
    for (const session of sessions) machine.ok({ op: 'closeSession', session });
    assert.equal(machine.state.sessions.size + machine.state.outgoing.size, 0);
  });
});

suite('RETRIEVE_SESSION', () => {
  test('an unknown name is ENOENT, so are an empty and an unterminated one', () => {
    const machine = new Machine();
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'ENOENT');
    machine.refuses({ op: 'retrieveSession', name: '' }, 'ENOENT');
    machine.refuses({ op: 'retrieveSession', name: 'X'.repeat(64) }, 'ENOENT');
  });

  test('an outgoing session is ENOENT', () => {
    const machine = new Machine();
    machine.create('a');
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'ENOENT');
  });

  test('a second retrieve is EINVAL', () => {
    const machine = new Machine();
    machine.create('a');
    machine.kexec();
    machine.retrieve('a');
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'EINVAL');
  });

  test('a session that was retrieved and closed is ENOENT', () => {
    const machine = new Machine();
    machine.create('a');
    machine.kexec();
    machine.ok({ op: 'closeSession', session: machine.retrieve('a') });
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'ENOENT');
  });

  test('a session that was closed while finish was refused is EINVAL for ever', () => {
    const machine = new Machine();
    machine.preserve(machine.create('a'), 7n, { ref: 1 });
    machine.kexec();
    const session = machine.retrieve('a');
    machine.ok({ op: 'closeSession', session, vetoes: [7n] });
    assert.deepEqual(machine.effects, []);
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'EINVAL');
    machine.refuses({ op: 'finish', session }, 'EBADF');
  });

  test('without a free fd it is EMFILE, before the name is looked up', () => {
    const machine = new Machine();
    machine.refuses({ op: 'retrieveSession', name: 'none', fdErrno: 'EMFILE' }, 'EMFILE');
    machine.create('a');
    machine.kexec();
    machine.refuses({ op: 'retrieveSession', name: 'a', fdErrno: 'EMFILE' }, 'EMFILE');
    machine.retrieve('a');
  });

  test('an answer that cannot be written is EFAULT and discards the data', () => {
    const machine = new Machine();
    machine.preserve(machine.create('a'), 7n, { ref: 1 });
    machine.kexec();
    assert.deepEqual(machine.do({ op: 'retrieveSession', name: 'a', replyFault: true }), {
      ok: false,
      errno: 'EFAULT',
    });
    assert.deepEqual(machine.happened, ['release 1 finish lost', 'end 1']);
    machine.refuses({ op: 'retrieveSession', name: 'a' }, 'ENOENT');
  });

  test('empty sessions come over the gap', () => {
    const machine = new Machine();
    machine.create('flag');
    machine.kexec();
    machine.ok({ op: 'finish', session: machine.retrieve('flag') });
  });
});

test('a file that is preserved stays so when the answer cannot be written', () => {
  const machine = new Machine();
  const session = machine.create('a');
  assert.deepEqual(machine.do({ op: 'preserveFd', session, token: 1n, file: memfd(1), replyFault: true }), {
    ok: false,
    errno: 'EFAULT',
  });
  assert.deepEqual(machine.happened, ['preserve 1']);
  machine.refuses({ op: 'preserveFd', session, token: 1n, file: memfd(2) }, 'EEXIST');
});
