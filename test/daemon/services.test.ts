// Goal: restarts back off and come to an end, and what FDSTORE=1 keeps is a handle like any other. Method: the parts alone, on a
// custody that starts nothing, with the clock in the test's hands.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, test } from 'node:test';
import { pino } from 'pino';
import { LuoError } from '../../src/base/errors.js';
import { LIMITS } from '../../src/base/limits.js';
import { FdStore } from '../../src/daemon/fd-store.js';
import { Handles } from '../../src/daemon/handles.js';
import type { Instance } from '../../src/daemon/instance.js';
import { parseNotify } from '../../src/daemon/notify-message.js';
import { BACK_OFF, backOffMs } from '../../src/daemon/service.js';
import { Services } from '../../src/daemon/services.js';
import { describers } from '../../src/handles/index.js';
import type { JournalRecord } from '../../src/protocol/journal.js';
import { dupFd, eventfd, memfdCreate, type OwnedFd } from '../../src/sys/index.js';
import { FakeCustody } from './fakes.js';

/** Services whose every start fails, in a folder of their own. */
async function withServices(
  use: (services: Services, spawned: () => number, journal: JournalRecord[]) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'luo-services-'));
  const custody = new FakeCustody();
  let count = 0;
  const spawn = async (): Promise<never> => {
    count += 1;
    throw new LuoError('SERVICE_START_FAILED', 'no');
  };
  const journal: JournalRecord[] = [];
  const services = new Services({
    dir,
    uid: 0,
    socketPath: join(dir, 'luod.sock'),
    log: pino({ level: 'silent' }),
    custody: Object.assign(custody, { spawn }).asCustody,
    append: (record) => journal.push(record),
    listenFds: () => ({ names: [], fds: [] }),
    hasKept: () => false,
    onFdStore: () => undefined,
    onGivenFds: () => undefined,
    settle: async () => undefined,
    onGone: () => false,
    changed: () => undefined,
  });
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    await use(services, () => count, journal);
  } finally {
    mock.timers.reset();
    services.detach();
    custody.close();
    rmSync(dir, { recursive: true });
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

const command = { name: 'a', argv: ['sh'], cwd: '/', env: {} };

test('a service that fails ten times in a row is failed, and nobody tries again until the operator does', () =>
  withServices(async (services, spawned, journal) => {
    await assert.rejects(services.run(command), { code: 'SERVICE_START_FAILED' });
    assert.equal(spawned(), 1);
    services.reviveIfWanted('a');
    for (let n = 0; n < BACK_OFF.attemptsMax; n += 1) {
      assert.equal(services.status('a').run, 'backing-off');
      mock.timers.tick(backOffMs(n) - 1);
      await settle();
      assert.equal(spawned(), n + 1, `not before ${backOffMs(n)} ms`);
      mock.timers.tick(1);
      await settle();
      assert.equal(spawned(), n + 2);
    }
    assert.equal(services.status('a').run, 'failed');
    assert.equal(services.status('a').restarts, BACK_OFF.attemptsMax);
    mock.timers.tick(10 * BACK_OFF.lastMs);
    services.reviveIfWanted('a');
    await settle();
    assert.equal(spawned(), BACK_OFF.attemptsMax + 1);
    await assert.rejects(services.start('a'), { code: 'SERVICE_START_FAILED' });
    assert.equal(spawned(), BACK_OFF.attemptsMax + 2, 'the operator’s start is a start');
    const last = journal.findLast((record) => record.kind === 'service');
    assert.equal((last?.service as { failed: boolean }).failed, false);
  }));

test('a stop ends the back-off, and a parked service is not revived', () =>
  withServices(async (services, spawned) => {
    await assert.rejects(services.run(command));
    services.reviveIfWanted('a');
    assert.equal((await services.stop('a')).run, 'parked');
    mock.timers.tick(60_000);
    services.reviveIfWanted('a');
    services.reviveIfDue('a');
    await settle();
    assert.equal(spawned(), 1);
  }));

test('after luod’s restart only what its policy wants is started', () =>
  withServices(async (services, spawned) => {
    for (const restart of ['no', 'on-failure', 'always'] as const) {
      await assert.rejects(services.run({ ...command, name: restart, restart }));
      services.reviveIfDue(restart);
    }
    services.reviveIfDue('nobody');
    assert.deepEqual(
      services.statuses().map((one) => one.run),
      ['exited', 'backing-off', 'backing-off'],
    );
    assert.equal(spawned(), 3);
  }));

test('the number of services is bounded, by name', () =>
  withServices(async (services) => {
    for (let n = 0; n < LIMITS.servicesMax; n += 1)
      await assert.rejects(services.run({ ...command, name: `s${n}` }), { code: 'SERVICE_START_FAILED' });
    await assert.rejects(services.run(command), { code: 'LIMIT_REACHED', data: { limit: 'servicesMax' } });
    services.forget('s0');
    await assert.rejects(services.run(command), { code: 'SERVICE_START_FAILED' });
  }));

test('the journal gives the same services back', () =>
  withServices(async (services, _spawned, journal) => {
    await assert.rejects(services.run(command));
    await assert.rejects(services.run({ ...command, name: 'b' }));
    services.forget('b');
    mock.timers.reset();
    const known = services.record('a');
    await withServices(async (other) => {
      for (const record of journal) assert.ok(other.replay(record));
      assert.deepEqual(other.names(), ['a']);
      assert.deepEqual(other.record('a'), known);
      assert.equal(other.replay({ kind: 'handle' }), false);
    });
  }));

function store(): { fdStore: FdStore; handles: Handles; custody: FakeCustody; tell: Tell } {
  const custody = new FakeCustody();
  const handles = new Handles(() => undefined);
  const fdStore = new FdStore(handles, custody.asCustody, describers.fd);
  const tell: Tell = (id, text, fds = [], onTrial = false) =>
    fdStore.told({ id, statusText: undefined } as Instance, '0:a', parseNotify(text), fds, onTrial);
  return { fdStore, handles, custody, tell };
}
type Tell = (id: string, text: string, fds?: OwnedFd[], onTrial?: boolean) => void;

test('stored fds come back in the order in which they came, a name may stand for several', () => {
  const { fdStore, handles, custody, tell } = store();
  tell('a#1', 'FDSTORE=1\nFDNAME=two', [eventfd(0), eventfd(0)]);
  tell('a#1', 'FDSTORE=1\nFDNAME=one/with', [eventfd(0)]);
  assert.deepEqual(fdStore.listenFds('0:a').names, ['two', 'two', 'one/with']);
  assert.deepEqual(
    handles.all().map((one) => one.name),
    ['two', 'two#2', 'one_with'],
  );
  assert.deepEqual(fdStore.listenFds('0:b').names, []);
  custody.close();
});

test('the same open file is kept once under a name, and again under another', () => {
  const { handles, custody, tell } = store();
  const memfd = memfdCreate('m');
  tell('a#1', 'FDSTORE=1\nFDNAME=x', [dupFd(memfd.fd)]);
  tell('a#1', 'FDSTORE=1\nFDNAME=x', [dupFd(memfd.fd)]);
  tell('a#1', 'FDSTORE=1\nFDNAME=y', [dupFd(memfd.fd)]);
  assert.equal(handles.size, 2);
  memfd.close();
  custody.close();
});

test('what a successor stores and removes counts from the commit on', () => {
  for (const outcome of ['committed', 'aborted']) {
    const { fdStore, handles, custody, tell } = store();
    tell('a#1', 'FDSTORE=1\nFDNAME=old', [eventfd(0)]);
    fdStore.claimAll({ id: 'a#2' } as Instance, '0:a', true);
    assert.equal(handles.get('0:a/fd:old')?.holder, 'a#1');
    tell('a#2', 'FDSTORE=1\nFDNAME=new', [eventfd(0)], true);
    tell('a#2', 'FDSTOREREMOVE=1\nFDNAME=old', [], true);
    assert.deepEqual(fdStore.listenFds('0:a').names, ['old']);
    if (outcome === 'committed') {
      assert.deepEqual(handles.commit('a#1', 'a#2'), ['0:a/fd:old']);
      assert.equal(handles.get('0:a/fd:new')?.holder, 'a#2');
    } else {
      custody.drop(handles.abort('a#2').map((one) => `handle/${one.key}`));
      assert.deepEqual(fdStore.listenFds('0:a').names, ['old']);
      assert.equal(custody.entries.size, 1);
    }
    custody.close();
  }
});

test('a restarted process holds what it was given', () => {
  const { fdStore, handles, custody, tell } = store();
  tell('a#1', 'FDSTORE=1', [eventfd(0)]);
  handles.orphan('a#1', 'clean');
  fdStore.claimAll({ id: 'a#2' } as Instance, '0:a', false);
  assert.equal(handles.get('0:a/fd:stored')?.holder, 'a#2');
  custody.close();
});

test('an fd that the keeper refuses is no handle', async () => {
  const { handles, custody, tell } = store();
  custody.refusal = new LuoError('LIMIT_REACHED', 'full');
  tell('a#1', 'FDSTORE=1', [eventfd(0)]);
  await settle();
  assert.equal(handles.size, 0);
});
