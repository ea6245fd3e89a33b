// Goal: what luod knows of its sessions is what a later luod reads of them, and content that is not what was frozen is told to
// whoever claims it. Method: sessions over a backend that is a map, their records read by another object.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { LuoError } from '../../../src/base/errors.js';
import { DELEGATE_TOKEN_MIN, OutgoingSessions } from '../../../src/daemon/kexec/outgoing.js';
import { Kexec, type KexecHost } from '../../../src/daemon/kexec/kexec.js';
import type { Arrival } from '../../../src/daemon/kexec/incoming.js';
import { Handles, type Handle } from '../../../src/daemon/handles.js';
import type { Backend, DeviceResetter, HeldFd, KexecMachine, Session } from '../../../src/ports/index.js';
import type { JournalRecord } from '../../../src/protocol/journal.js';
import { dupFd, memfdCreate, pwrite, type OwnedFd } from '../../../src/sys/index.js';
import { FakeCustody } from '../fakes.js';

class FakeBackend implements Backend {
  readonly gap = 'kexec';
  readonly capabilities = { files: 'memfd', listable: false } as const;
  /** Names of which somebody has a copy. */
  readonly copies = new Set<string>();
  readonly incoming: Session[] = [];

  create(name: string): Promise<Session> {
    if (this.copies.has(name)) return Promise.reject(new LuoError('SYS', 'exists', { errno: 'EEXIST' }));
    return Promise.resolve(session(name, 'outgoing', new Map()));
  }
  retrieve(): Promise<Session> {
    return Promise.reject(new LuoError('SYS', 'none', { errno: 'ENOENT' }));
  }
  recover(): Promise<readonly Session[]> {
    return Promise.resolve(this.incoming);
  }
}

function session(name: string, direction: Session['direction'], files: ReadonlyMap<bigint, OwnedFd>): Session {
  return {
    name,
    direction,
    preserve: () => Promise.resolve(),
    retrieve: (token) => Promise.resolve<HeldFd>(dupFd(files.get(token)!.fd)),
    finish: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

/** What a later luod says of them. */
function readAgain(records: readonly JournalRecord[]): OutgoingSessions {
  const later = new OutgoingSessions(new FakeBackend(), () => assert.fail('replaying writes nothing'));
  for (const record of records) assert.ok(later.replay(record), record.kind);
  return later;
}

test('outgoing sessions: the records say the same as the object that wrote them', async () => {
  const backend = new FakeBackend();
  const records: JournalRecord[] = [];
  const sessions = new OutgoingSessions(backend, (record) => records.push(record));
  const same = (): void => {
    const later = readAgain(records);
    assert.deepEqual(later.snapshot(), sessions.snapshot());
    assert.deepEqual(readAgain(sessions.snapshot()).snapshot(), sessions.snapshot());
    assert.deepEqual(later.all(), sessions.all());
  };

  assert.equal(await sessions.open('0:a', 7, 'one'), 'one');
  assert.equal(await sessions.open('0:a', 7), 'one');
  await sessions.preserve('0:a', '0:a/fd:x', 3, { sizeBytes: 10 });
  await sessions.preserve('0:a', '0:a/fd:y', 4, { sizeBytes: null });
  sessions.setDigest('0:a', '0:a/fd:x', 'abc');
  same();
  assert.deepEqual(sessions.all()[0]!.preserved, [
    { key: '0:a/fd:x', token: '1', sizeBytes: 10, digest: 'abc' },
    { key: '0:a/fd:y', token: '2', sizeBytes: null },
  ]);

  await sessions.open('0:d', 7, 'two');
  assert.equal(
    sessions.delegate('0:d', (name) => (name === 'two' ? 9 : -1)),
    9,
  );
  sessions.note('0:d', { key: '0:d/fd:z', token: String(DELEGATE_TOKEN_MIN), sizeBytes: 1 });
  const before = records.length;
  assert.throws(() => sessions.note('0:d', { key: '0:d/fd:z', token: '5', sizeBytes: 1 }), { code: 'PROTO_INVALID' });
  assert.throws(() => sessions.setDigest('0:nobody', 'k', 'abc'), { code: 'SESSION_MISSING' });
  assert.equal(records.length, before, 'a refusal leaves no record');
  same();

  backend.copies.add('two');
  await assert.rejects(sessions.drop('0:d'), { code: 'SESSION_COPY_LEFT' });
  await sessions.drop('0:a');
  same();
  assert.deepEqual(sessions.all(), []);
  assert.deepEqual(await sessions.copies(), ['0:d']);
  backend.copies.delete('two');
  assert.deepEqual(await sessions.copies(), []);
  same();
});

const NO_RESETTER: DeviceResetter = { reset: () => Promise.reject(new Error('there are no devices')) };

test('a handle that was altered after its freeze is torn from when it leaves its session', async () => {
  const backend = new FakeBackend();
  const custody = new FakeCustody();
  const errors: unknown[] = [];
  const handles = new Handles(() => undefined);
  const host = {
    log: { error: (what: unknown) => errors.push(what) },
    custody: custody.asCustody,
    handles,
    ownOwner: '0:(luod)',
    append: () => undefined,
    changed: () => undefined,
    serves: () => false,
  } as unknown as KexecHost;
  const machine = { chargeProblem: () => null } as unknown as KexecMachine;
  const kexec = new Kexec({ machine, backend: () => backend, reason: '', resetter: NO_RESETTER }, host);
  const files = new Map<bigint, OwnedFd>();
  const preserved = ['same', 'other', 'unknown'].map((name, index) => {
    const fd = memfdCreate(name);
    pwrite(fd.fd, Buffer.from(name), 0);
    files.set(BigInt(index), fd);
    const digest = createHash('sha256').update('same').digest('hex');
    return {
      key: `0:a/fd:${name}`,
      token: String(index),
      sizeBytes: name.length,
      ...(name === 'unknown' ? {} : { digest }),
    };
  });
  backend.incoming.push(session('s', 'incoming', files));
  const arrival: Arrival = {
    attempt: 1,
    from: '7.2.13',
    torn: false,
    atMs: Date.now(),
    claimMs: 60_000,
    sessions: [{ name: 's', owner: '0:a', preserved }],
  };
  kexec.replay({ kind: 'kexec.arrival', arrival });
  await kexec.begin();
  try {
    for (const { key } of preserved) {
      assert.ok(kexec.isWaiting(key));
      handles.register({ key, owner: '0:a', holder: null } as Handle);
      await kexec.retrieve(handles.get(key)!);
      assert.ok(!kexec.isWaiting(key));
      assert.equal(custody.get(`handle/${key}`)?.fds.length, 1);
    }
    assert.deepEqual(
      handles.all().map(({ cameTorn }) => cameTorn),
      [undefined, true, undefined],
    );
    assert.deepEqual(errors, [{ handle: '0:a/fd:other' }]);
    const later = new Kexec({ machine, backend: () => backend, reason: '', resetter: NO_RESETTER }, host);
    for (const record of kexec.snapshot()) assert.ok(later.replay(record), record.kind);
    assert.ok(!later.isWaiting('0:a/fd:other'));
  } finally {
    kexec.detach();
    custody.close();
    for (const fd of files.values()) fd.close();
  }
});

test('the next attempt begins when the sessions of the last one are finished: before, nothing of them can be preserved again', async () => {
  const backend = new FakeBackend();
  const custody = new FakeCustody();
  const happened: string[] = [];
  let release: () => void = () => undefined;
  backend.incoming.push({
    ...session('luod', 'incoming', new Map()),
    finish: () =>
      new Promise((resolve) => {
        release = () => {
          happened.push('finished');
          resolve();
        };
      }),
  });
  const host = {
    log: { error: () => undefined },
    custody: custody.asCustody,
    handles: new Handles(() => undefined),
    ownOwner: '0:(luod)',
    append: () => undefined,
    changed: () => undefined,
    serves: () => false,
    arrivalOver: () => happened.push('over'),
    plan: () => ({ members: [], steps: [], go: [], left: [], scope: [] }),
    run: () => {
      happened.push('begun');
      return Promise.resolve({});
    },
  } as unknown as KexecHost;
  const machine = { chargeProblem: () => null } as unknown as KexecMachine;
  const kexec = new Kexec({ machine, backend: () => backend, reason: '', resetter: NO_RESETTER }, host);
  const arrival: Arrival = {
    attempt: 1,
    from: '7.2.13',
    torn: false,
    atMs: Date.now(),
    claimMs: 60_000,
    sessions: [{ name: 'luod', owner: '0:(luod)', preserved: [] }],
  };
  kexec.replay({ kind: 'kexec.arrival', arrival });
  await kexec.begin();
  try {
    const over = kexec.over('committed');
    const next = kexec.prepare(undefined);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(happened, []);
    release();
    await Promise.all([over, next]);
    assert.deepEqual(happened, ['finished', 'over', 'begun']);
  } finally {
    kexec.detach();
    custody.close();
  }
});
