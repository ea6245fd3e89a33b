// Goal: the protocol is for any language: a program of plain Python, with a client of at most 60 lines, is handed over,
// thawed, and goes by the keeper's record when luod is gone. Method: real processes under a scripted luod.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { closeAll } from '../../src/sys/index.js';
import { FakeLuod, type FakeMember } from './fake-luod.js';
import { LineClient } from './line-client.js';
import { listeningPort } from './ports.js';

const folder = fileURLToPath(new URL('../../../examples/python/', import.meta.url));

function missing(): string | false {
  try {
    execFileSync('python3', [
      '-c',
      'import sys, socket, os; socket.recv_fds; os.memfd_create; sys.exit(sys.version_info < (3, 9))',
    ]);
    return false;
  } catch {
    return 'needs python3 of at least 3.9';
  }
}

describe('a program in Python', { skip: missing() }, () => {
  let luod: FakeLuod;
  let old: FakeMember;
  let pid: number;
  const spawn = (role: FakeLuod['nextRole']): number =>
    luod.spawnCommand(['python3', `${folder}counter.py`], role).pid!;
  const count = async (): Promise<[number, number]> => {
    const client = await LineClient.open(listeningPort(luod, 'listener'));
    const [number, by] = (await client.line()).split(' ').map(Number);
    client.close();
    return [number!, by!];
  };

  beforeEach(async () => {
    luod = await FakeLuod.start();
    pid = spawn('first');
    old = await luod.joined();
    await old.heard('ready');
    await old.call('go', { attempt: 0, deadlineMs: 1000 });
    assert.deepEqual(await count(), [1, pid]);
  });
  afterEach(() => luod.stop());

  const frozenWithSuccessor = async (): Promise<FakeMember> => {
    luod.attempt += 1;
    spawn('successor');
    const next = await luod.joined();
    await next.heard('standby');
    await luod.prepare(old, next);
    const frozen = await luod.freeze(old, { successor: next });
    await luod.restore(next, 'frozen', [frozen]);
    closeAll(frozen.fds);
    await next.heard('ready');
    return next;
  };

  test('its client has at most 60 lines and imports the standard library only', () => {
    const text = readFileSync(`${folder}luo.py`, 'utf8');
    assert.ok(text.trimEnd().split('\n').length <= 60);
    assert.deepEqual(text.match(/^(?:import|from) .*$/gm), ['import json, os, socket, time']);
  });

  test('it is handed over with its count and its listening socket, three times', async () => {
    for (let round = 1; round <= 3; round += 1) {
      const next = await frozenWithSuccessor();
      luod.decide('committed');
      await next.call('go', { attempt: luod.attempt, deadlineMs: 1000 });
      await old.call('retire', { attempt: luod.attempt, deadlineMs: 1000 });
      await next.call('finish', { attempt: luod.attempt, deadlineMs: 1000 });
      assert.deepEqual(await count(), [round + 1, next.pid]);
      old = next;
    }
  });

  test('a client of the blackout waits in the backlog', async () => {
    const next = await frozenWithSuccessor();
    const counting = count();
    luod.decide('committed');
    await next.call('go', { attempt: luod.attempt, deadlineMs: 1000 });
    await old.call('retire', { attempt: luod.attempt, deadlineMs: 1000 });
    assert.deepEqual(await counting, [2, next.pid]);
  });

  test('aborted: it thaws and counts on, and its successor ends', async () => {
    const next = await frozenWithSuccessor();
    luod.decide('aborted');
    await old.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    await next.call('cancel', { attempt: luod.attempt, deadlineMs: 1000 });
    await next.heard('closed');
    assert.deepEqual(await count(), [2, pid]);
  });

  test('frozen without luod and nothing recorded: it writes `aborted`, thaws, and comes back saying so', async () => {
    await frozenWithSuccessor();
    luod.die();
    assert.deepEqual(await count(), [2, pid]);
    assert.equal(luod.decisions.get(1)?.outcome, 'aborted');
    await luod.listen();
    await old.heard('resumed');
    assert.deepEqual(old.resumes, [{ attempt: 1, phase: 'thawed' }]);
  });

  test('frozen without luod and `committed` recorded: it ends, and its successor goes on', async () => {
    const next = await frozenWithSuccessor();
    luod.decide('committed');
    const exited = once(
      [...luod.children].find((child) => child.pid === pid)!,
      'exit',
    );
    luod.die();
    assert.deepEqual(await exited, [0, null]);
    assert.deepEqual(await count(), [2, next.pid]);
  });

  test('running without luod: it counts on and comes back', async () => {
    luod.die();
    assert.deepEqual(await count(), [2, pid]);
    await luod.listen();
    await old.heard('resumed');
    assert.deepEqual(old.resumes, [{ attempt: null, phase: 'running' }]);
    assert.deepEqual(await count(), [3, pid]);
  });
});
