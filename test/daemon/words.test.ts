// Goal: the pure parts of the daemon: notification messages, words of services, file names, timelines, log rotation.
// Method: values in, values out; one temporary folder for the files.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  appendFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LIMITS } from '../../src/base/limits.js';
import { checkName } from '../../src/daemon/check-name.js';
import { rotate } from '../../src/daemon/log-file.js';
import { isFdName, parseNotify } from '../../src/daemon/notify-message.js';
import {
  BACK_OFF,
  backOffMs,
  describeExit,
  ownerOf,
  runWord,
  wantsRestart,
  type InstanceRecord,
  type ServiceRecord,
} from '../../src/daemon/service.js';
import { StateFiles, fileNameOf } from '../../src/daemon/state-files.js';
import { Timelines } from '../../src/daemon/timeline.js';
import type { JournalRecord } from '../../src/protocol/journal.js';

function withFolder(use: (dir: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const dir = mkdtempSync(join(tmpdir(), 'luo-daemon-'));
    try {
      await use(dir);
    } finally {
      rmSync(dir, { recursive: true });
    }
  };
}

test('a notification is read line by line, and what it does not say is not so', () => {
  const message = parseNotify('READY=1\nSTATUS=a=b\nMAINPID=77\nFDSTORE=1\nFDNAME=http\n');
  assert.deepEqual(message, {
    ready: true,
    reloading: false,
    stopping: false,
    status: 'a=b',
    mainPid: 77,
    fdStore: true,
    fdStoreRemove: false,
    fdName: 'http',
    barrier: false,
  });
});

test('nonsense in a notification is ignored', () => {
  for (const text of ['', '\n\n', '=', 'READY', 'READY=yes', 'ready=1', ' READY=1', 'MAINPID=x', 'MAINPID=1', '\0']) {
    const message = parseNotify(text);
    assert.deepEqual(
      [message.ready, message.mainPid, message.fdStore],
      [false, undefined, false],
      JSON.stringify(text),
    );
  }
  assert.equal(parseNotify(`STATUS=${'x'.repeat(5000)}`).status?.length, 1000);
});

test('the name of a stored fd is printable, has no colon, and is not too long', () => {
  for (const name of ['a', 'http.socket', 'with space', 'x'.repeat(255)]) assert.ok(isFdName(name), name);
  for (const name of ['', 'a:b', 'ü', 'a\tb', 'x'.repeat(256)]) {
    assert.equal(isFdName(name), false, name);
    assert.equal(parseNotify(`FDSTORE=1\nFDNAME=${name}`).fdName, undefined);
  }
});

test('restarts follow the policy; an unknown end counts as a failure', () => {
  const exits = [
    { code: 0, signal: null },
    { code: 1, signal: null },
    { code: null, signal: 'SIGKILL' },
    { code: null, signal: null, unknown: true },
  ];
  assert.deepEqual(
    exits.map((exit) => wantsRestart('no', exit)),
    [false, false, false, false],
  );
  assert.deepEqual(
    exits.map((exit) => wantsRestart('on-failure', exit)),
    [false, true, true, true],
  );
  assert.deepEqual(
    exits.map((exit) => wantsRestart('always', exit)),
    [true, true, true, true],
  );
  assert.deepEqual(exits.map(describeExit), ['exit code 0', 'exit code 1', 'SIGKILL', 'unknown exit status']);
});

test('delays double up to their limit', () => {
  const delays = Array.from({ length: BACK_OFF.attemptsMax }, (_, n) => backOffMs(n));
  assert.deepEqual(delays.slice(0, 4), [100, 200, 400, 800]);
  assert.equal(delays.at(-1), BACK_OFF.lastMs);
  assert.equal(backOffMs(1000), BACK_OFF.lastMs);
});

test('the word of a service says what its processes do, and why there is none', () => {
  const parked = { wanted: 'parked', failed: false } as ServiceRecord;
  const wanted = { wanted: 'running', failed: false } as ServiceRecord;
  const ready = { ready: true } as InstanceRecord;
  const starting = { ready: false } as InstanceRecord;
  assert.equal(runWord(wanted, ready, undefined, false), 'running');
  assert.equal(runWord(wanted, starting, undefined, false), 'starting');
  assert.equal(runWord(wanted, ready, starting, false), 'updating');
  assert.equal(runWord(wanted, undefined, undefined, true), 'backing-off');
  assert.equal(runWord({ ...wanted, failed: true }, undefined, undefined, false), 'failed');
  assert.equal(runWord(parked, undefined, undefined, false), 'parked');
  assert.equal(runWord(wanted, undefined, undefined, false), 'exited');
  assert.equal(ownerOf(0, 'a'), '0:a');
});

test('names are bounded in bytes, and must be text', () => {
  checkName('ü'.repeat(100));
  assert.throws(() => checkName('ü'.repeat(101)), { code: 'LIMIT_REACHED', data: { limit: 'nameBytesMax' } });
  for (const name of ['\ud83d', 'a\udc00b']) assert.throws(() => checkName(name), { code: 'PROTO_INVALID' });
  checkName('🚀');
});

test('every string has a file name of its own, and none leaves its folder', () => {
  const names = [
    '0:a/fd:m',
    '0:a,fd:m',
    'ü',
    '🚀',
    '\ud83d',
    '%2F',
    '',
    'a\nb',
    'x'.repeat(5000),
    `${'x'.repeat(5000)}y`,
  ];
  const files = names.map(fileNameOf);
  assert.equal(files[0], '0:a,fd:m');
  assert.equal(files[3], '%F0%9F%9A%80');
  for (const file of files) {
    assert.ok(Buffer.byteLength(file) <= 240);
    assert.match(file, /^[A-Za-z0-9_.:@#+=,%~-]*$/);
  }
  assert.equal(new Set(files).size, names.length);
});

test(
  'a log beyond its bound is copied and emptied, and its writer goes on; a shorter one and a missing one are left',
  withFolder((dir) => {
    const log = join(dir, 'a.log');
    assert.equal(rotate(log, 10), false);
    writeFileSync(log, '0123456789');
    assert.equal(rotate(log, 10), false);
    appendFileSync(log, 'x');
    assert.equal(rotate(log, 10), true);
    assert.equal(readFileSync(log, 'utf8'), '');
    assert.equal(readFileSync(`${log}.1`, 'utf8'), '0123456789x');
    writeFileSync(log, 'second time round');
    assert.equal(rotate(log, 10), true);
    assert.equal(readFileSync(`${log}.1`, 'utf8'), 'second time round');
    assert.deepEqual(readdirSync(dir).sort(), ['a.log', 'a.log.1']);
  }),
);

const calm = { state: 'normal', phase: null, generation: 3, handles: new Map(), participants: new Map() } as const;

test(
  'state files show what was last told, and the marker goes over by a rename',
  withFolder(async (dir) => {
    const files = new StateFiles(dir, (error) => assert.fail(String(error)));
    await files.adopt();
    files.show(calm);
    files.show({ ...calm, state: 'prepared', phase: 'freezing', handles: new Map([['h', '{}\n']]) });
    await files.flush();
    assert.equal(readFileSync(join(dir, 'state'), 'utf8'), 'prepared\n');
    assert.equal(readFileSync(join(dir, 'phase'), 'utf8'), 'freezing\n');
    assert.equal(readFileSync(join(dir, 'generation'), 'utf8'), '3\n');
    assert.equal(readFileSync(join(dir, 'handles/h'), 'utf8'), '{}\n');
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.startsWith('in-')),
      ['in-prepared'],
    );
    await files.remove();
    assert.deepEqual(readdirSync(dir), []);
  }),
);

test(
  'a new luod goes on from the marker of the dead one and removes its stale files',
  withFolder(async (dir) => {
    mkdirSync(join(dir, 'handles'));
    for (const name of ['in-updated', 'handles/old', 'handles/old.new']) writeFileSync(join(dir, name), '');
    const files = new StateFiles(dir, (error) => assert.fail(String(error)));
    await files.adopt();
    assert.ok(existsSync(join(dir, 'in-updated')), 'there is one before anything was shown');
    files.show(calm);
    await files.flush();
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.startsWith('in-')),
      ['in-normal'],
    );
    assert.deepEqual(readdirSync(join(dir, 'handles')), []);
  }),
);

test(
  'a folder that is gone is told once per change, and the next change is tried again',
  withFolder(async (dir) => {
    const errors: unknown[] = [];
    const inner = join(dir, 'inner');
    mkdirSync(inner);
    const files = new StateFiles(inner, (error) => errors.push(error));
    await files.adopt();
    rmSync(inner, { recursive: true });
    files.show(calm);
    await files.flush();
    assert.equal(errors.length, 1);
    mkdirSync(join(inner, 'handles'), { recursive: true });
    files.show(calm);
    await files.flush();
    assert.equal(readFileSync(join(inner, 'state'), 'utf8'), 'normal\n');
  }),
);

function timelines(): { made: Timelines; journal: JournalRecord[] } {
  const journal: JournalRecord[] = [];
  return { made: new Timelines((record) => journal.push(record)), journal };
}

test('the blackout is from the first freeze sent to the last go acknowledged, for each member and altogether', () => {
  const made = new Timelines(() => undefined);
  const ms = (value: number): number => 1_000_000 * value;
  made.replay({ kind: 'timeline.begin', attempt: 1, gap: 'handover', scope: ['a', 'b'], startedAt: '', startNs: 0 });
  for (const [what, member, at, participant] of [
    ['freeze.sent', 'a#1', 10, 'a#1'],
    ['freeze.sent', 'b#1', 11, 'b#1'],
    ['freeze.sent', 'a#1', 12, 'a#1'],
    ['go.acked', 'a#1', 14, 'a#2'],
    ['go.acked', 'b#1', 18, 'b#2'],
    ['go.acked', 'c#1', 99, 'c#2'],
  ] as const) {
    const event = { ns: ms(at), what, participant, detail: { member } };
    made.replay({ kind: 'timeline.events', attempt: 1, events: [event] });
  }
  made.replay({ kind: 'timeline.end', attempt: 1, state: 'done', outcome: 'committed', endNs: ms(100) });
  const timeline = made.get(1)!;
  assert.deepEqual(timeline.blackouts, { 'a#1': 4, 'b#1': 7 });
  assert.equal(timeline.blackoutMs, 8);
  assert.equal(made.predictMs(['b', 'a']), 8);
  assert.equal(made.predictMs(['a']), null);
});

test('an update that froze nobody has no blackout; one that was undone has that of its thaw', () => {
  const { made } = timelines();
  made.begin(1, 'handover', ['a']);
  made.end(1, 'rolled-back', 'aborted', { code: 'X', message: 'y' });
  assert.equal(made.get(1)?.blackoutMs, null);
  assert.equal(made.get(1)?.error?.code, 'X');
  made.begin(2, 'handover', ['a']);
  made.event(2, 'freeze.sent', { participant: 'a#1' });
  made.event(2, 'cancel.acked', { participant: 'a#1' });
  made.end(2, 'rolled-back', 'aborted', undefined);
  assert.ok(made.get(2)!.blackoutMs! >= 0);
  assert.equal(made.predictMs(['a']), null, 'what was undone predicts nothing');
});

test('deaths of luod are counted, and old attempts make room for new ones', () => {
  const { made } = timelines();
  made.begin(0, 'handover', ['a']);
  made.event(0, 'luod.recovered');
  made.event(0, 'luod.recovered');
  assert.equal(made.get(0)?.luodDeaths, 2);
  for (let attempt = 1; attempt <= LIMITS.timelinesMax; attempt += 1) made.begin(attempt, 'handover', ['a']);
  assert.equal(made.get(0), undefined);
  assert.equal(made.all().length, LIMITS.timelinesMax);
  assert.equal(made.last()?.attempt, LIMITS.timelinesMax);
  made.event(0, 'of an attempt that is not kept');
  made.end(0, 'done', 'committed', undefined);
  assert.equal(made.replay({ kind: 'other' }), false);
});

test('that an attempt came over a kexec is to be told once, in its own timeline', () => {
  const { made } = timelines();
  made.begin(1, 'kexec', ['a']);
  assert.equal(made.untoldJoin(1), undefined);
  made.replay({ kind: 'timeline.join', attempt: 1, from: '7.2.13', offsetNs: 5, uncertaintyMs: 1000 });
  made.begin(2, 'handover', ['a']);
  assert.equal(made.untoldJoin(2), undefined);
  assert.deepEqual(made.untoldJoin(1), { attempt: 1, from: '7.2.13', offsetNs: 5, uncertaintyMs: 1000 });
  made.event(1, 'arrived');
  assert.equal(made.untoldJoin(1), undefined);
});

test('a snapshot is the whole of it', () => {
  const { made } = timelines();
  made.begin(1, 'handover', ['a']);
  made.event(1, 'x', { participant: 'p', detail: { a: 1 } });
  made.end(1, 'done', 'committed', undefined);
  const other = new Timelines(() => undefined);
  for (const record of made.snapshot()) assert.ok(other.replay(record));
  assert.deepEqual(other.all(), made.all());
});
