// Goal: what is taken up of a luod that died together with its keeper is what it wrote in this boot and what its participants give again;
// everything else is refused or named as lost. Method: journals in a folder, and the table of what is missing by itself.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Custody } from '../../src/daemon/custody.js';
import { Handles, type Handle } from '../../src/daemon/handles.js';
import { bootId } from '../../src/daemon/journal.js';
import { Remains, readRemains } from '../../src/daemon/remains.js';
import type { FdDescription } from '../../src/ports/index.js';
import { JOURNAL_VERSION, encodeHeader, encodeRecord, type JournalRecord } from '../../src/protocol/journal.js';
import { closeAll, memfdCreate, pipe, type OwnedFd } from '../../src/sys/index.js';

// ---------------------------------------------------------------------------------------------- the journal

function withJournal(bytes: Uint8Array[], use: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'luo-remains-'));
  try {
    writeFileSync(join(dir, 'journal'), Buffer.concat(bytes));
    use(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const ofThisBoot = encodeHeader(JOURNAL_VERSION, bootId());
const engine = (type: string, attempt = 7): JournalRecord => ({ kind: 'engine', record: { v: 1, type, attempt } });

function typesIn(records: readonly JournalRecord[]): unknown[] {
  withJournal([ofThisBoot, ...records.map(encodeRecord)], (dir) => (records = readRemains(dir)!));
  return records.map(({ record }) => (record as { type: string }).type);
}

test('a folder without a journal, and one of another boot, of none, or without a record: nothing is left', () => {
  const dir = mkdtempSync(join(tmpdir(), 'luo-remains-'));
  assert.equal(readRemains(dir), undefined);
  rmSync(dir, { recursive: true });
  const record = encodeRecord({ kind: 'a' });
  for (const bytes of [[encodeHeader(JOURNAL_VERSION, 'another'), record], [encodeHeader(), record], [ofThisBoot]]) {
    withJournal(bytes, (folder) => assert.equal(readRemains(folder), undefined));
  }
});

test('a journal of this boot gives its records, also when its last line was being written', () => {
  const half = encodeRecord({ kind: 'b' }).subarray(0, 12);
  withJournal([ofThisBoot, encodeRecord({ kind: 'a' }), half], (dir) => {
    assert.deepEqual(readRemains(dir), [{ kind: 'a' }]);
  });
});

test('a damaged journal, one that is too new, and a link to another one are refused, with what to do', () => {
  const wrong = Buffer.from(encodeRecord({ kind: 'a' }));
  wrong[12]! ^= 1;
  const isNamed = (error: { code?: string; remedy?: string }, code: string): boolean =>
    error.code === code && error.remedy?.includes('move') === true;
  withJournal([ofThisBoot, wrong, encodeRecord({ kind: 'b' })], (dir) => {
    assert.throws(
      () => readRemains(dir),
      (error: object) => isNamed(error, 'JOURNAL_DAMAGED'),
    );
  });
  withJournal([encodeHeader(JOURNAL_VERSION + 1, bootId())], (dir) => {
    assert.throws(
      () => readRemains(dir),
      (error: object) => isNamed(error, 'JOURNAL_TOO_NEW'),
    );
  });
  withJournal([ofThisBoot, encodeRecord({ kind: 'a' })], (dir) => {
    const other = mkdtempSync(join(tmpdir(), 'luo-remains-'));
    symlinkSync(join(dir, 'journal'), join(other, 'journal'));
    assert.throws(() => readRemains(other), { code: 'ELOOP' });
    rmSync(other, { recursive: true });
  });
});

test('an attempt whose members may have frozen counts as one for which the decision was asked for', () => {
  assert.deepEqual(typesIn([engine('attempt'), engine('freezing')]), ['attempt', 'freezing', 'deciding']);
});

test('an attempt of which more is known, or in which nothing froze, is taken as it is', () => {
  for (const types of [
    ['attempt'],
    ['attempt', 'standby'],
    ['attempt', 'freezing', 'deciding'],
    ['attempt', 'freezing', 'aborting'],
    ['attempt', 'freezing', 'deciding', 'decided'],
    ['attempt', 'freezing', 'settled'],
  ]) {
    assert.deepEqual(typesIn(types.map((type) => engine(type))), types);
  }
  const later = [engine('attempt', 6), engine('freezing', 6), engine('settled', 6), engine('attempt', 7)];
  assert.deepEqual(typesIn(later).length, later.length, 'an earlier attempt says nothing of the last one');
});

// ---------------------------------------------------------------------------------------------- what is missing

const viable = { handover: { ok: true, reason: '' }, kexec: { ok: false, reason: 'no' } };

function handle(name: string, holder: string | null, more: Partial<Handle> = {}): Handle {
  const wants = { handover: 'keep', kexec: 'leave' } as const;
  return {
    ...{
      key: `0:a/fd:${name}`,
      owner: '0:a',
      kind: 'fd',
      name,
      compatible: 'x/1',
      policy: 'fail',
      wants,
      requested: null,
    },
    ...{ type: 'memfd', sizeBytes: 1, viable, dependencies: [], marked: false, hasFd: true, seq: 1, holder },
    ...{ leftDirty: false, ...more },
  };
}

interface Table {
  readonly remains: Remains;
  readonly handles: Handles;
  readonly kept: Map<string, OwnedFd[]>;
  readonly journal: JournalRecord[];
}

/** Old process a#1 and its successor a#2, of which nothing is in the keeper but what `kept` names. */
function table(kept: readonly string[] = []): Table {
  const journal: JournalRecord[] = [];
  const handles = new Handles(() => undefined);
  for (const one of [handle('one', 'a#1'), handle('two', 'a#1'), handle('waits', null)]) handles.register(one);
  handles.register(handle('state', 'a#1', { hasFd: false }));
  handles.claim('a#2', '0:a/fd:one', 'claimed');
  handles.claim('a#2', '0:a/fd:two', 'released');
  handles.declare('a#2', handle('new', 'a#2'));
  const entries = new Map<string, OwnedFd[]>(kept.map((name) => [name, []]));
  const custody = {
    get: (name: string) => (entries.has(name) ? {} : undefined),
    put: async (name: string, _owner: string, _meta: unknown, fds: OwnedFd[]) => void entries.set(name, fds),
  } as unknown as Custody;
  const describe = (fd: number): FdDescription => ({
    type: fd === notMemory ? 'pipe' : 'memfd',
    label: 'x',
    sizeBytes: 99,
    viable,
  });
  const remains = new Remains(handles, custody, { describe }, (record) => journal.push(record));
  remains.begin(['a#1', 'a#2'], []);
  return { remains, handles, kept: entries, journal };
}
let notMemory = -1;

test('each process is asked for what it held, claimed or declared, and for nothing that is there or has no fd', () => {
  const { remains } = table();
  const names = (id: string): string[] => remains.owed({ id, owner: '0:a' }).map(({ name }) => name);
  assert.deepEqual(names('a#1'), ['one', 'two']);
  assert.deepEqual(names('a#2'), ['one', 'new']);
  assert.deepEqual(names('b#1'), []);
  const whole = table(['one', 'two', 'waits', 'new'].map((name) => `handle/0:a/fd:${name}`));
  assert.deepEqual(whole.remains.owed({ id: 'a#1', owner: '0:a' }), []);
});

test('what is missing cannot be handed over, and can again when it was given', async () => {
  const { remains, handles, kept } = table();
  assert.equal(handles.get('0:a/fd:one')!.viable.handover.ok, false);
  const fd = memfdCreate('one');
  await remains.refill({ id: 'a#2', owner: '0:a' }, { kind: 'fd', name: 'one' }, fd);
  assert.deepEqual(kept.get('handle/0:a/fd:one'), [fd]);
  assert.deepEqual(handles.get('0:a/fd:one')!.viable, viable);
  assert.equal(handles.get('0:a/fd:one')!.sizeBytes, 99);
  assert.deepEqual(
    remains.owed({ id: 'a#1', owner: '0:a' }).map(({ name }) => name),
    ['two'],
    'one copy is enough',
  );
  fd.close();
});

test('a refill by somebody else, of something else, twice, or of another kind is refused, and its fd closed', async () => {
  const { remains, kept } = table();
  const [one, other] = pipe();
  other.close();
  notMemory = one.fd;
  const tries = [
    { giver: 'a#1', name: 'one', fd: one, code: 'CLAIM_INCOMPATIBLE' },
    { giver: 'b#1', name: 'one', fd: memfdCreate('x'), code: 'HANDLE_UNKNOWN' },
    { giver: 'a#1', name: 'state', fd: memfdCreate('x'), code: 'HANDLE_UNKNOWN' },
    { giver: 'a#2', name: 'two', fd: memfdCreate('x'), code: 'HANDLE_UNKNOWN' },
  ];
  for (const { giver, name, fd, code } of tries) {
    await assert.rejects(remains.refill({ id: giver, owner: '0:a' }, { kind: 'fd', name }, fd), { code });
    assert.equal(fd.isOpen, false);
  }
  notMemory = -1;
  const first = memfdCreate('x');
  await remains.refill({ id: 'a#1', owner: '0:a' }, { kind: 'fd', name: 'one' }, first);
  const again = memfdCreate('x');
  await assert.rejects(remains.refill({ id: 'a#2', owner: '0:a' }, { kind: 'fd', name: 'one' }, again), {
    code: 'HANDLE_UNKNOWN',
  });
  assert.equal(again.isOpen, false);
  closeAll([...kept.values()].flat());
});

test('who waits for a process goes on when it has given all, or when the time is over', async () => {
  const { remains, kept } = table();
  let given = false;
  const waiting = remains.whenGiven({ id: 'a#2', owner: '0:a' }, 60_000).then(() => (given = true));
  await remains.refill({ id: 'a#2', owner: '0:a' }, { kind: 'fd', name: 'one' }, memfdCreate('x'));
  assert.equal(given, false);
  await remains.refill({ id: 'a#2', owner: '0:a' }, { kind: 'fd', name: 'new' }, memfdCreate('x'));
  await waiting;
  await remains.whenGiven({ id: 'a#1', owner: '0:a' }, 1);
  closeAll([...kept.values()].flat());
});

test('lost is what no living process has, once, until the operator has seen it', () => {
  const { remains } = table();
  assert.deepEqual(
    remains.giveUp(() => true),
    ['0:a/fd:waits'],
    'nobody held it',
  );
  assert.deepEqual(
    remains.giveUp((id) => id === 'a#2'),
    ['0:a/fd:two'],
    'the successor had released it',
  );
  assert.deepEqual(
    remains.giveUp((id) => id === 'a#2'),
    [],
  );
  assert.deepEqual(remains.lost, ['0:a/fd:waits', '0:a/fd:two']);
  remains.seen();
  assert.deepEqual(remains.lost, []);
  assert.deepEqual(remains.giveUp(() => false).toSorted(), ['0:a/fd:new', '0:a/fd:one']);
});

test('a luod that is restarted meanwhile knows what is missing and what is lost', () => {
  const { remains, handles, journal } = table();
  remains.giveUp(() => true);
  for (const records of [journal, remains.snapshot()]) {
    const next = new Remains(handles, undefined as never, undefined as never, () => undefined);
    for (const record of records) assert.ok(next.replay(record));
    assert.deepEqual(next.owed({ id: 'a#1', owner: '0:a' }), remains.owed({ id: 'a#1', owner: '0:a' }));
    assert.deepEqual(next.lost, remains.lost);
  }
  assert.equal(remains.replay({ kind: 'handle' }), false);
});
