// Goal: tools find luod by one rule, and are told the truth when it is not there or goes away.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import { connectLuod, luodSocketPath } from '../../src/client/index.js';
import { FakeLuod } from './fake-luod.js';

describe('where luod is', () => {
  test('an option goes before the environment, the socket before the directory', () => {
    const env = { LUO_DIR: '/env', XDG_RUNTIME_DIR: '/run/user/7' };
    assert.equal(luodSocketPath({ socket: '/s', dir: '/d', env }), '/s');
    assert.equal(luodSocketPath({ dir: '/d', env }), '/d/luod.sock');
    assert.equal(luodSocketPath({ env }), '/env/luod.sock');
  });

  test('without any of them root has /run/luo and others their runtime directory', (t) => {
    t.mock.method(process as { getuid: () => number }, 'getuid', () => 0);
    assert.equal(luodSocketPath({ env: { XDG_RUNTIME_DIR: '/run/user/7' } }), '/run/luo/luod.sock');
    t.mock.method(process as { getuid: () => number }, 'getuid', () => 7);
    assert.equal(luodSocketPath({ env: { XDG_RUNTIME_DIR: '/run/user/7' } }), '/run/user/7/luo/luod.sock');
  });

  test('where nothing says so, it is an error that names the remedy', (t) => {
    t.mock.method(process as { getuid: () => number }, 'getuid', () => 7);
    assert.throws(() => luodSocketPath({ env: {} }), { code: 'LUOD_UNREACHABLE', remedy: /--dir/ });
  });
});

describe('a control connection', () => {
  let luod: FakeLuod;
  beforeEach(async () => {
    luod = await FakeLuod.start();
  });
  afterEach(() => luod.stop());

  test('says hello without joining', async () => {
    const control = await connectLuod({ dir: luod.dir });
    assert.equal(control.hello.participant, null);
    assert.equal(control.socketPath, luod.socketPath);
    control.close();
  });

  test('nobody there is LUOD_UNREACHABLE with the path', async () => {
    await assert.rejects(connectLuod({ dir: '/nowhere' }), {
      code: 'LUOD_UNREACHABLE',
      message: /\/nowhere\/luod\.sock/,
    });
    luod.die();
    await assert.rejects(connectLuod({ dir: luod.dir }), { code: 'LUOD_UNREACHABLE', message: new RegExp(luod.dir) });
  });

  test('a refused hello keeps its code', async () => {
    luod.refusal = new LuoError('AUTH_DENIED', 'not you');
    await assert.rejects(connectLuod({ dir: luod.dir }), { code: 'AUTH_DENIED' });
  });

  test('a refusal of a request keeps its code, and the connection', async () => {
    const control = await connectLuod({ dir: luod.dir });
    await assert.rejects(control.request('status', {}), { code: 'PROTO_UNKNOWN_METHOD' });
    await assert.rejects(control.request('claim', { kind: 'fd', name: 'x' }), { code: 'HANDLE_UNKNOWN' });
    control.close();
  });

  test('a luod that goes away ends open requests and says so once', async () => {
    const control = await connectLuod({ dir: luod.dir });
    let closed = 0;
    control.onClose(() => (closed += 1));
    luod.silent = true;
    const asking = control.request('ready', {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    await luod.stop();
    await assert.rejects(asking, { code: 'PROTO_CLOSED' });
    assert.equal(closed, 1);
  });

  test('a request can be given up by its signal and by its deadline', async () => {
    const control = await connectLuod({ dir: luod.dir });
    luod.silent = true;
    await assert.rejects(control.request('ready', {}, { signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
    await assert.rejects(control.request('ready', {}, { deadlineMs: 20 }), { code: 'PROTO_TIMEOUT' });
    control.close();
  });
});
