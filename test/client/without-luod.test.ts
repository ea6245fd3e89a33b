// Goal: in the moment in which luod is gone no two generations act, and none waits for ever where the record says more.
// Method: real processes; the scripted luod dies in each phase, with each content of the keeper's record.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { closeAll } from '../../src/sys/index.js';
import { FakeLuod, type FakeMember, type Parcel } from './fake-luod.js';
import { LineClient } from './line-client.js';
import { listeningPort } from './ports.js';

describe('without luod', () => {
  let luod: FakeLuod;
  let old: FakeMember;
  let client: LineClient;
  let parcels: Parcel[];

  beforeEach(async () => {
    luod = await FakeLuod.start();
    old = await luod.startFirst('line-service');
    client = await LineClient.open(listeningPort(luod, 'listener'));
    assert.equal(await client.ask('INCR 7'), ':1');
    parcels = [];
  });
  afterEach(async () => {
    client.close();
    closeAll(parcels.flatMap((one) => one.fds));
    await luod.stop();
  });

  const prepared = async (next?: FakeMember): Promise<void> => {
    if (next === undefined) luod.attempt += 1;
    parcels.push(await luod.prepare(old, next));
  };
  const frozen = async (options: Parameters<FakeLuod['freeze']>[1] = {}): Promise<Parcel> => {
    const parcel = await luod.freeze(old, options);
    parcels.push(parcel);
    return parcel;
  };
  const exitOf = (member: FakeMember): Promise<unknown> => {
    const child = [...luod.children].find((one) => one.pid === member.pid);
    assert(child !== undefined);
    return once(child, 'exit');
  };

  test('running: it serves on, comes back, and says who it was', async () => {
    luod.die();
    assert.equal(await client.ask('INCR 7'), ':2');
    await luod.listen();
    await old.heard('resumed');
    assert.deepEqual(old.resumes, [{ attempt: null, phase: 'running' }]);
    assert.equal(await client.ask('INCR 7'), ':3');
  });

  test('prepared: it serves on and reports it; a cancel ends it', async () => {
    await prepared();
    luod.die();
    assert.equal(await client.ask('INCR 7'), ':2');
    await luod.listen();
    await old.heard('resumed');
    assert.deepEqual(old.resumes, [{ attempt: 1, phase: 'prepared' }]);
    await old.call('cancel', { attempt: 1, deadlineMs: 1000 });
    assert.equal(await client.ask('INCR 7'), ':3');
  });

  test('frozen, nothing recorded: it writes `aborted`, thaws, and reports that', async () => {
    await prepared();
    await frozen();
    client.write('INCR 7\n');
    luod.die();
    assert.equal(await client.line(), ':2');
    assert.equal(luod.decisions.get(1)?.outcome, 'aborted');
    await luod.listen();
    await old.heard('resumed');
    assert.deepEqual(old.resumes, [{ attempt: 1, phase: 'thawed' }]);
    await old.call('cancel', { attempt: 1, deadlineMs: 1000 });
    assert.equal(await client.ask('INCR 7'), ':3', 'a late cancel changes nothing');
  });

  test('frozen, `committed` recorded: it ends without serving a byte more', async () => {
    await prepared();
    await frozen();
    client.write('INCR 7\n');
    luod.decide('committed');
    const exited = exitOf(old);
    luod.die();
    assert.deepEqual(await exited, [0, null]);
    assert.equal(client.buffered, 0);
  });

  test('frozen bystander, `committed` recorded: it goes on', async () => {
    await prepared();
    await frozen({ replaced: false });
    luod.decide('committed');
    luod.die();
    assert.equal(await client.ask('INCR 7'), ':2');
    await luod.listen();
    await old.heard('resumed');
    assert.deepEqual(old.resumes, [{ attempt: 1, phase: 'gone-on' }]);
  });

  test('frozen, keeper gone too: it stays frozen until a keeper answers', async () => {
    await prepared();
    await frozen();
    luod.keeperDies();
    luod.die();
    client.write('INCR 7\n');
    await new Promise((resolve) => setTimeout(resolve, 400));
    assert.equal(client.buffered, 0);
    await luod.listenAsKeeper();
    assert.equal(await client.line(), ':2');
  });

  test('frozen, a keeper that lost its record: it stays frozen until the record is written again', async () => {
    await prepared();
    await frozen();
    const record = luod.decisions.get(1)!;
    luod.decisions.clear();
    luod.die();
    client.write('INCR 7\n');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(client.buffered, 0);
    luod.decisions.set(1, { ...record, outcome: 'aborted' });
    assert.equal(await client.line(), ':2');
  });

  test('frozen, keeper gone, successor dead: it thaws, since nobody else can act', async () => {
    const next = await luod.startSuccessor('line-service');
    await prepared(next);
    await frozen({ successor: next });
    luod.keeperDies();
    luod.die();
    client.write('INCR 7\n');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(client.buffered, 0, 'while the successor lives it waits');
    process.kill(next.pid, 'SIGKILL');
    assert.equal(await client.line(), ':2');
  });

  test('frozen, the blackout is over while luod is there: it asks the keeper and thaws', async () => {
    await prepared();
    await frozen({ deadlineMs: 150 });
    assert.equal(await client.ask('INCR 7'), ':2');
    assert.equal(luod.decisions.get(1)?.outcome, 'aborted');
  });

  test('frozen, the blackout is over but committed: it ends', async () => {
    await prepared();
    const exited = exitOf(old);
    await frozen({ deadlineMs: 150 });
    luod.decide('committed');
    assert.deepEqual(await exited, [0, null]);
  });

  test('ready successor, `committed` recorded: it goes, with every connection', async () => {
    const next = await luod.startSuccessor('line-service');
    await prepared(next);
    const parcel = await frozen({ successor: next });
    await luod.restore(next, 'frozen', [parcel]);
    await next.heard('ready');
    luod.decide('committed');
    const exited = exitOf(old);
    luod.die();
    assert.equal(await client.ask('PID'), String(next.pid));
    assert.equal(await client.ask('INCR 7'), ':2');
    assert.deepEqual(await exited, [0, null]);
    await luod.listen();
    await next.heard('resumed');
    assert.deepEqual(next.resumes, [{ attempt: 1, phase: 'gone-on' }]);
    await next.call('go', { attempt: 1, deadlineMs: 1000 });
    assert.equal(await client.ask('INCR 7'), ':3', 'a late go changes nothing');
  });

  test('ready successor, `aborted` recorded: it ends, and the old one has its connections', async () => {
    const next = await luod.startSuccessor('line-service');
    await prepared(next);
    const parcel = await frozen({ successor: next });
    await luod.restore(next, 'frozen', [parcel]);
    await next.heard('ready');
    luod.decide('aborted');
    const exited = exitOf(next);
    luod.die();
    assert.deepEqual(await exited, [0, null]);
    assert.equal(await client.ask('PID'), String(old.pid));
  });

  test('both sides, nothing recorded: the old one aborts, the successor ends, one of them serves', async () => {
    const next = await luod.startSuccessor('line-service');
    await prepared(next);
    const parcel = await frozen({ successor: next });
    await luod.restore(next, 'frozen', [parcel]);
    await next.heard('ready');
    const exited = exitOf(next);
    luod.die();
    assert.deepEqual(await exited, [0, null]);
    assert.equal(await client.ask('PID'), String(old.pid));
    assert.equal(await client.ask('INCR 7'), ':2');
  });

  test('ready successor whose old process is dead, nothing recorded: it waits for the record', async () => {
    const next = await luod.startSuccessor('line-service');
    await prepared(next);
    const parcel = await frozen({ successor: next });
    await luod.restore(next, 'frozen', [parcel]);
    await next.heard('ready');
    process.kill(old.pid, 'SIGKILL');
    luod.die();
    client.write('PID\n');
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(client.buffered, 0);
    luod.decide('committed');
    assert.equal(await client.line(), String(next.pid));
  });

  test('successor in standby: it comes back, reports it, and ends at cancel', async () => {
    const next = await luod.startSuccessor('line-service');
    luod.die();
    await luod.listen();
    await next.heard('resumed');
    assert.deepEqual(next.resumes, [{ attempt: 1, phase: 'standby' }]);
    const exited = exitOf(next);
    await next.call('cancel', { attempt: 1, deadlineMs: 1000 });
    assert.deepEqual(await exited, [0, null]);
  });

  test('a luod that knows nobody any more is given everything again', async () => {
    luod.die();
    for (const kept of luod.handles.values()) kept.fd?.close();
    luod.handles.clear();
    luod.forgetful = true;
    await luod.listen();
    await old.heard('ready');
    assert.deepEqual([...luod.handles.keys()].sort(), ['fd:counters', 'fd:listener']);
    luod.forgetful = false;
    const next = await luod.update(old, 'line-service');
    assert.equal(await client.ask('PID'), String(next.pid));
    assert.equal(await client.ask('INCR 7'), ':2');
  });

  test('a crash between go and freeze: the restarted one has the memory, torn, and no foreign connection', async () => {
    process.kill(old.pid, 'SIGKILL');
    await client.closed();
    for (const kept of luod.handles.values()) kept.torn = true;
    luod.spawn('line-service', {}, 'restart');
    const again = await luod.joined();
    await again.heard('ready');
    await again.call('go', { attempt: 0, deadlineMs: 1000 });
    const fresh = await LineClient.open(listeningPort(luod, 'listener'));
    const state = JSON.parse(await fresh.ask('STATE')) as Record<string, unknown>;
    assert.deepEqual(state, { restored: 0, greeting: 0, torn: true, created: false, generation: 1, role: 'restart' });
    assert.equal(await fresh.ask('INCR 7'), ':2');
    fresh.close();
  });

  test('a successor that dies after commit is replaced by one that gets every parcel: the connections go on', async () => {
    const next = await luod.startSuccessor('line-service');
    await prepared(next);
    client.write('ECHO ha');
    await new Promise((resolve) => setTimeout(resolve, 20));
    const parcel = await frozen({ successor: next });
    await luod.restore(next, 'frozen', [parcel]);
    await next.heard('ready');
    luod.decide('committed');
    const exited = exitOf(next);
    process.kill(next.pid, 'SIGKILL');
    await exited;
    await old.call('retire', { attempt: 1, deadlineMs: 1000 });
    luod.spawn('line-service', {}, 'restart');
    const again = await luod.joined();
    await again.heard('ready');
    await luod.restore(again, 'frozen', parcels);
    await again.call('go', { attempt: 1, deadlineMs: 1000 });
    client.write('lf\n');
    assert.equal(await client.line(), 'half');
    assert.equal(await client.ask('PID'), String(again.pid));
  });

  test('an old process that died before its freeze: its connections are cut, not continued in the middle', async () => {
    await prepared();
    process.kill(old.pid, 'SIGKILL');
    luod.spawn('line-service', {}, 'restart');
    const again = await luod.joined();
    await again.heard('ready');
    await luod.restore(again, 'frozen', parcels);
    closeAll(parcels.flatMap((one) => one.fds));
    await again.call('go', { attempt: 1, deadlineMs: 1000 });
    await client.closed();
    const fresh = await LineClient.open(listeningPort(luod, 'listener'));
    assert.equal(await fresh.ask('PID'), String(again.pid));
    fresh.close();
  });
});
