// Goal: names, claims, sizes, and the ways in: what a program may do, and what it is told when it may not.
// Method: the library in this process, against a scripted luod in this process; wrong environments as child processes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { SEAL } from '../../src/abi/index.js';
import { MARK_BYTES, decodeMark, encodeMark, markOffset } from '../../src/abi/memory-mark.js';
import { LuoError } from '../../src/base/errors.js';
import { join, type Luo } from '../../src/client/index.js';
import type { OwnedFd } from '../../src/sys/index.js';
import { addSeals, eventfd, ftruncate, memfdCreate, pread, pwrite, read, write } from '../../src/sys/index.js';
import { FakeLuod } from './fake-luod.js';
import { LineClient } from './line-client.js';

describe('a member', () => {
  let luod: FakeLuod;
  const members: Luo[] = [];
  const enter = async (role: FakeLuod['nextRole'] = 'first'): Promise<Luo> => {
    luod.nextRole = role;
    const luo = await join({ socket: luod.socketPath, service: 'test', secret: 's', onFailure: 'throw', waitMs: 500 });
    members.push(luo);
    return luo;
  };
  beforeEach(async () => {
    luod = await FakeLuod.start();
  });
  afterEach(async () => {
    for (const luo of members.splice(0)) await luo.leave();
    await luod.stop();
  });

  test('memory that is created is zeroed, of its size, writable, sealed, and marked dirty', async () => {
    const luo = await enter();
    const memory = await luo.memory('index', { sizeBytes: 10_000, compatible: 'index/3' });
    assert.equal(memory.buffer.byteLength, 10_000);
    assert.equal(memory.created && memory.writable && !memory.torn, true);
    assert.ok(new Uint8Array(memory.buffer).every((byte) => byte === 0));
    const kept = luod.handles.get('fd:index')!;
    assert.equal(kept.spec.compatible, 'index/3');
    assert.equal(kept.spec.marked, true);
    assert.throws(() => ftruncate(kept.fd!.fd, 0), { errnoName: 'EPERM' });
    assert.deepEqual(readMark(kept.fd!.fd, 10_000), { dirty: true, generation: 0 });
  });

  test('memory that waits is claimed with its content, read-only until go', async () => {
    const first = await enter();
    new Uint8Array((await first.memory('index', { sizeBytes: 5000 })).buffer).set([1, 2, 3]);
    const next = await enter('restart');
    assert.deepEqual(
      next.waiting.map((one) => one.name),
      ['index'],
    );
    const claimed = await next.memory('index', {});
    assert.equal(claimed.created, false);
    assert.equal(claimed.sizeBytes, 5000);
    assert.deepEqual([...new Uint8Array(claimed.buffer, 0, 3)], [1, 2, 3]);
    assert.equal(claimed.writable, false);
    assert.throws(() => claimed.assertWritable(), { code: 'STATE_INVALID' });
    assert.deepEqual(next.waiting, []);
  });

  test('luod’s word that one waits goes before the list of hello: it is claimed, not created', async () => {
    const next = await enter('restart');
    const fd = regionFd(4096);
    luod.handles.set('fd:late', { spec: { kind: 'fd', name: 'late', compatible: 'late/1' }, fd, torn: true });
    const memory = await next.memory('late', { sizeBytes: 4096 });
    assert.equal(memory.created, false);
    assert.equal(memory.torn, true);
  });

  test('memory of another size than what is kept is refused, and stays claimed by nobody here', async () => {
    await (await enter()).memory('index', { sizeBytes: 4096 });
    const next = await enter('restart');
    await assert.rejects(next.memory('index', { sizeBytes: 8192 }), { code: 'CLIENT_SIZE' });
  });

  for (const sizeBytes of [undefined, 0, -1, 1.5, NaN, 2 ** 53]) {
    test(`memory of ${sizeBytes} bytes is refused`, async () => {
      await assert.rejects((await enter()).memory('index', sizeBytes === undefined ? {} : { sizeBytes }), {
        code: 'CLIENT_SIZE',
      });
    });
  }

  for (const [what, fd] of [
    ['a file whose size is not sealed', () => unsealed(8192)],
    ['a file of a size that no region has', () => unsealed(5000)],
    ['something that is no file with a size', () => eventfd()],
  ] as const) {
    test(`${what} is not taken as memory`, async () => {
      const next = await enter('restart');
      luod.handles.set('fd:odd', { spec: { kind: 'fd', name: 'odd', compatible: 'odd/1' }, fd: fd(), torn: false });
      await assert.rejects(next.memory('odd', {}), { code: 'CLAIM_INCOMPATIBLE' });
    });
  }

  test('a rehearsal of the program that fails is the error of ready, and what was rehearsed before it is gone', async () => {
    const next = await enter('successor');
    await next.listen(createServer(), { port: 0, host: '127.0.0.1' });
    const sockets = (): string[] => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP'));
    const before = sockets();
    next.rehearse(() => Promise.reject(new Error('not this time')));
    await assert.rejects(next.ready(), /not this time/);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(sockets(), before);
  });

  test('a damaged mark is torn, whatever luod says', async () => {
    const next = await enter('restart');
    const fd = regionFd(4096);
    pwrite(fd.fd, Buffer.from([0xff]), markOffset(4096) + 20);
    luod.handles.set('fd:odd', { spec: { kind: 'fd', name: 'odd', compatible: 'odd/1' }, fd, torn: false });
    assert.equal((await next.memory('odd', {})).torn, true);
  });

  test('an incompatible version is refused by its compatible string', async () => {
    await (await enter()).memory('index', { sizeBytes: 4096, compatible: 'index/1' });
    const next = await enter('restart');
    await assert.rejects(next.memory('index', { compatible: 'index/2' }), { code: 'CLAIM_INCOMPATIBLE' });
    assert.equal((await next.memory('index', { compatible: 'index/2', accepts: ['index/1'] })).created, false);
  });

  test('a name is used once', async () => {
    const luo = await enter();
    await luo.memory('a', { sizeBytes: 1 });
    await assert.rejects(luo.memory('a', { sizeBytes: 1 }), { code: 'HANDLE_EXISTS' });
    await assert.rejects(luo.listen(createServer(), { name: 'a' }), { code: 'HANDLE_EXISTS' });
    const both = await Promise.allSettled([luo.memory('b', { sizeBytes: 1 }), luo.memory('b', { sizeBytes: 1 })]);
    assert.deepEqual(both.map((one) => one.status).sort(), ['fulfilled', 'rejected']);
    luo.state('s', { save: () => 1, restore: () => {} });
    assert.throws(() => luo.state('s', { save: () => 1, restore: () => {} }), { code: 'HANDLE_EXISTS' });
  });

  test('any fd is given by one and claimed by the next; without one to give it is unknown', async () => {
    const first = await enter();
    const event = eventfd(5);
    (await first.fd('event', event.fd)).close();
    event.close();
    const next = await enter('restart');
    const claimed = await next.fd('event');
    const bytes = Buffer.alloc(8);
    assert.equal(read(claimed.fd, bytes), 8);
    assert.equal(bytes.readBigUInt64LE(), 5n);
    claimed.close();
    await assert.rejects(next.fd('nothing'), { code: 'HANDLE_UNKNOWN' });
  });

  test('what waits may be released, what does not wait may not', async () => {
    await (await enter()).memory('old', { sizeBytes: 1 });
    const next = await enter('restart');
    await next.release('old');
    assert.deepEqual(next.waiting, []);
    await assert.rejects(next.release('old'), { code: 'HANDLE_UNKNOWN' });
  });

  test('a registration is taken back once', async () => {
    const luo = await enter();
    await luo.memory('a', { sizeBytes: 1 });
    await luo.unregister('a');
    assert.equal(luod.handles.has('fd:a'), false);
    await assert.rejects(luo.unregister('a'), { code: 'HANDLE_UNKNOWN' });
    assert.equal((await luo.memory('a', { sizeBytes: 1 })).created, true);
  });

  test('a device brings the devices above it, each needing those above', async () => {
    const sysfs = joinPath(luod.dir, 'sys');
    mkdirSync(joinPath(sysfs, 'devices/bus/bridge/card'), { recursive: true });
    for (const device of ['bus', 'bus/bridge', 'bus/bridge/card']) {
      symlinkSync('/', joinPath(sysfs, 'devices', device, 'subsystem'));
    }
    const luo = await join({ socket: luod.socketPath, sysfs, onFailure: 'throw' });
    members.push(luo);
    await luo.global('iommu', {});
    await luo.device('/devices/bus/bridge/card', {}, { dependencies: [{ kind: 'global', name: 'iommu' }] });
    const needs = (name: string): string[] =>
      luod.handles.get(`device:${name}`)!.spec.dependencies!.map((one) => one.name);
    assert.deepEqual(needs('bus'), []);
    assert.deepEqual(needs('bridge'), ['bus']);
    assert.deepEqual(needs('card'), ['iommu', 'bridge', 'bus']);
    assert.equal(luod.handles.get('device:card')!.spec.path, '/devices/bus/bridge/card');
  });

  test('device and global callbacks run at each step, and what they return reaches the successor', async () => {
    const first = await enter();
    const seen: string[] = [];
    await first.global('clock', {
      prepare: () => 'early',
      freeze: () => ({ late: true }),
      cancel: () => seen.push('cancel'),
    });
    const old = await luod.joined();
    void first.ready();
    await old.heard('ready');
    await old.call('go', { attempt: 0, deadlineMs: 1000 });
    luod.attempt = 1;
    const { attempt, key } = luod.open();
    const handles = [{ kind: 'global' as const, name: 'clock' }];
    const common = { attempt, gap: 'handover' as const, deadlineMs: 1000, handles, replaced: true };
    const prepared = await old.call('prepare', common);
    const frozen = await old.call('freeze', { ...common, key, keeperSocket: luod.keeperPath });

    const next = await enter('restart');
    await next.global('clock', {
      restore: (_context, saved) => seen.push(JSON.stringify(saved)),
      finish: () => seen.push('finish'),
    });
    const member = await luod.joined();
    const ready = next.ready();
    await member.heard('ready');
    await luod.restore(member, 'frozen', [
      { part: 'prepared', parcel: prepared.result.parcel, fds: [] },
      { part: 'frozen', parcel: frozen.result.parcel, fds: [] },
    ]);
    await member.call('go', { attempt, deadlineMs: 1000 });
    assert.equal((await ready).role, 'restart');
    await member.call('finish', { attempt, deadlineMs: 1000 });
    await old.call('cancel', { attempt, deadlineMs: 1000 });
    assert.deepEqual(seen, ['"early"', '{"late":true}', 'finish', 'cancel']);
  });

  test('callbacks hear prepare, freeze, thaw, and a bystander its go; a veto is asked', async () => {
    const luo = await enter();
    const heard: string[] = [];
    for (const event of ['prepare', 'freeze', 'thaw', 'cancel', 'go', 'finish'] as const) {
      luo.on(event, () => heard.push(event));
    }
    let reason: string | undefined = 'a backup is running';
    luo.canFinish(() => reason);
    const memory = await luo.memory('m', { sizeBytes: 4096 });
    const member = await luod.joined();
    void luo.ready();
    await member.heard('ready');
    await member.call('go', { attempt: 0, deadlineMs: 1000 });
    luod.attempt = 1;
    await luod.prepare(member);
    await luod.freeze(member);
    assert.equal(luo.frozen, true);
    assert.equal(readMark(luod.handles.get('fd:m')!.fd!.fd, 4096).dirty, false);
    await member.call('cancel', { attempt: 1, deadlineMs: 1000 });
    assert.equal(luo.frozen, false);
    assert.equal(readMark(luod.handles.get('fd:m')!.fd!.fd, 4096).dirty, true);
    assert.equal(memory.writable, true);
    luod.attempt = 2;
    await luod.prepare(member);
    await member.call('cancel', { attempt: 2, deadlineMs: 1000 });
    luod.attempt = 3;
    await luod.prepare(member);
    await luod.freeze(member, { replaced: false });
    await member.call('go', { attempt: 3, deadlineMs: 1000 });
    const asked = { attempt: 3, deadlineMs: 1000 };
    assert.deepEqual((await member.call('canFinish', asked)).result, { ok: false, reason: 'a backup is running' });
    reason = undefined;
    assert.deepEqual((await member.call('canFinish', asked)).result, { ok: true });
    await member.call('finish', asked);
    assert.deepEqual(heard, [
      'go',
      'prepare',
      'freeze',
      'thaw',
      'prepare',
      'cancel',
      'prepare',
      'freeze',
      'go',
      'finish',
    ]);
  });

  test('freeze without prepare is refused, and changes nothing', async () => {
    const luo = await enter();
    const member = await luod.joined();
    void luo.ready();
    await member.heard('ready');
    await member.call('go', { attempt: 0, deadlineMs: 1000 });
    luod.attempt = 1;
    luod.open();
    await assert.rejects(luod.freeze(member), { code: 'STATE_INVALID' });
    assert.equal(luo.frozen, false);
  });

  test('a prepare that is cancelled while it runs hears so by its signal, and is undone', async () => {
    const luo = await enter();
    const heard: string[] = [];
    luo.on('prepare', ({ signal }) => once(signal, 'abort').then(() => heard.push('aborted')));
    luo.on('cancel', () => heard.push('cancel'));
    const member = await luod.joined();
    void luo.ready();
    await member.heard('ready');
    await member.call('go', { attempt: 0, deadlineMs: 1000 });
    luod.attempt = 1;
    const preparing = luod.prepare(member);
    await member.call('cancel', { attempt: 1, deadlineMs: 1000 });
    await preparing;
    assert.deepEqual(heard, ['aborted', 'cancel']);
  });

  test('a server that listens by itself already is refused with the remedy', async () => {
    const luo = await enter();
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    await assert.rejects(luo.listen(server, { port: 0 }), { code: 'STATE_INVALID', remedy: /luo\.listen/ });
    server.close();
  });

  test('what waits under the name and does not listen is not listened on', async () => {
    const next = await enter('restart');
    luod.handles.set('fd:listener', {
      spec: { kind: 'fd', name: 'listener', compatible: 'listener/1' },
      fd: eventfd(),
      torn: false,
    });
    await assert.rejects(next.listen(createServer(), {}), { code: 'CLAIM_INCOMPATIBLE' });
  });

  test('a TLS server says that its connections cannot be handed over', async () => {
    const luo = await enter();
    const listener = await luo.listen(createTlsServer({}), { port: 0, host: '127.0.0.1' });
    assert.equal(listener.handsOver, false);
    assert.equal(listener.reason?.code, 'CLIENT_TLS');
  });

  test('bytes can be given back only to a connection of luo', async () => {
    const luo = await enter();
    const { Socket } = await import('node:net');
    assert.throws(() => luo.giveBack(new Socket(), Buffer.from('x')), { code: 'HANDLE_UNKNOWN' });
  });
});

describe('the way in', () => {
  test('without LUO_SOCKET everything works, and nothing is kept', async () => {
    const before = process.env['LUO_SOCKET'];
    delete process.env['LUO_SOCKET'];
    const luo = await join();
    if (before !== undefined) process.env['LUO_SOCKET'] = before;
    assert.equal(luo.detached, true);
    assert.equal(luo.role, 'first');
    const memory = await luo.memory('m', { sizeBytes: 100 });
    new Uint8Array(memory.buffer)[99] = 7;
    const event = eventfd(3);
    const given = await luo.fd('event', event.fd);
    write(given.fd, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
    let restored = 0;
    luo.state('s', { save: () => 1, restore: () => (restored += 1) });
    const server = createServer((socket) => socket.on('data', (bytes) => socket.write(bytes)));
    const listener = await luo.listen(server, { port: 0, host: 'localhost' });
    let went = 0;
    luo.on('go', () => (went += 1));
    assert.equal(server.listening, false, 'it accepts from ready() on');
    assert.deepEqual(await luo.ready(), { role: 'first', attempt: 0, generation: 0 });
    const client = await LineClient.open((listener.address as { port: number }).port);
    assert.equal(await client.ask('hello'), 'hello');
    assert.deepEqual([went, restored], [1, 0]);
    await assert.rejects(luo.release('m'), { code: 'HANDLE_UNKNOWN' });
    client.close();
    given.close();
    event.close();
    server.close();
    await luo.unregister('listener');
    await luo.leave();
  });

  const probe = async (env: Record<string, string>, source: string): Promise<{ code: number; stderr: string }> => {
    const index = fileURLToPath(new URL('../../src/client/index.js', import.meta.url));
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', `import { join } from '${index}';\n${source}`],
      {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let stderr = '';
    child.stderr.on('data', (bytes) => (stderr += String(bytes)));
    const [code] = (await once(child, 'close')) as [number];
    return { code, stderr };
  };

  test('LUO_SOCKET set and nobody there: it waits, says why, and ends with 69', async () => {
    const { code, stderr } = await probe(
      { LUO_SOCKET: '/nowhere/luod.sock' },
      'await join({ waitMs: 200 }); process.exit(0);',
    );
    assert.equal(code, 69);
    assert.match(
      stderr,
      /cannot join: luod did not answer at '\/nowhere\/luod.sock' within 200 ms \[LUOD_UNREACHABLE\]/,
    );
  });

  test('a caught failure cannot turn into an empty start, unless the program asked for that', async () => {
    const source = 'await join({ waitMs: 10 }).catch(() => {}); process.exit(0);';
    assert.equal((await probe({ LUO_SOCKET: '/nowhere/luod.sock' }, source)).code, 69);
    const asked = `await join({ waitMs: 10, onFailure: 'throw' }).catch((e) => process.exit(e.code === 'LUOD_UNREACHABLE' ? 7 : 8));`;
    assert.equal((await probe({ LUO_SOCKET: '/nowhere/luod.sock' }, asked)).code, 7);
  });

  test('luod’s refusal ends it at once, by its code', async () => {
    const luod = await FakeLuod.start();
    luod.refusal = new LuoError('AUTH_SECRET', 'this is not the secret of service test');
    const { code, stderr } = await probe({ LUO_SOCKET: luod.socketPath }, 'await join(); process.exit(0);');
    assert.equal(code, 69);
    assert.match(stderr, /AUTH_SECRET/);
    await luod.stop();
  });

  test('a luod that comes within the time is waited for', async () => {
    const luod = await FakeLuod.start();
    luod.die();
    const joining = join({ socket: luod.socketPath, waitMs: 5000, onFailure: 'throw' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await luod.listen();
    const luo = await joining;
    assert.equal(luo.detached, false);
    await luo.leave();
    await luod.stop();
  });

  test('a program that has nothing left to do ends although it is a member', async () => {
    const luod = await FakeLuod.start();
    const ending = probe({ LUO_SOCKET: luod.socketPath }, 'const luo = await join(); await luo.ready();');
    const member = await luod.joined();
    await member.heard('ready');
    await member.call('go', { attempt: 0, deadlineMs: 1000 });
    assert.equal((await ending).code, 0);
    await luod.stop();
  });
});

function readMark(fd: number, sizeBytes: number): { dirty: boolean; generation: number } {
  const bytes = Buffer.alloc(MARK_BYTES);
  pread(fd, bytes, markOffset(sizeBytes));
  const reading = decodeMark(bytes);
  assert(reading.kind === 'mark');
  return { dirty: reading.mark.dirty, generation: reading.mark.generation };
}

function unsealed(bytes: number): OwnedFd {
  const fd = memfdCreate('test');
  ftruncate(fd.fd, bytes);
  return fd;
}

function regionFd(sizeBytes: number): OwnedFd {
  const fd = unsealed(markOffset(sizeBytes) + 4096);
  pwrite(fd.fd, encodeMark({ dirty: false, sizeBytes, generation: 1, attempt: 1, sequence: 1 }), markOffset(sizeBytes));
  addSeals(fd.fd, SEAL.SHRINK | SEAL.GROW);
  return fd;
}
