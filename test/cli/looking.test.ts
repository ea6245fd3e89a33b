// Goal: watch, logs, timeline and doctor show what there is, live where they say so, and end when they should.
import assert from 'node:assert/strict';
import { appendFileSync, closeSync, mkdtempSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { chromeTrace } from '../../src/cli/chrome-trace.js';
import type { Timeline } from '../../src/protocol/spec.js';
import type { DoctorCheck } from '../../src/ports/doctor.js';
import { FakeLuod, NONE } from './fake-luod.js';
import { luoctl, startLuoctl } from './luoctl.js';
import * as samples from './samples.js';

const folder = mkdtempSync(join(tmpdir(), 'luo-looking-'));
after(() => rmSync(folder, { recursive: true }));
let fake: FakeLuod;
beforeEach(async () => {
  fake = await FakeLuod.start();
});
afterEach(() => fake.close());

test('watch shows state, steps and services as they come, and Ctrl-C ends it well', async () => {
  const running = startLuoctl(fake.dir, ['watch'], {
    onText(all, run) {
      if (all === 'state    normal, generation 3\n') {
        fake.tell('state', { state: 'normal', phase: 'preparing', generation: 3 });
        fake.tell('update', { what: 'freeze.sent', participant: 'cache#1', phase: 'freezing' });
        fake.tell('service', samples.service);
      }
      if (all.includes('service')) run.interrupt();
    },
  });
  const { code, out } = await running.ended;
  assert.equal(code, 0);
  assert.equal(
    out,
    `state    normal, generation 3
state    normal, preparing, generation 3
update   freeze.sent cache#1 (freezing)
service  cache running, pid 4711
`,
  );
});

test('watch --until ends in that state, but not while something runs', async () => {
  fake.answers.watch = () => ({ state: 'normal', phase: 'preparing', generation: 3 });
  const { code, json } = await startLuoctl(fake.dir, ['watch', '--until', 'normal', '--json'], {
    onText(all) {
      if (all.split('\n').length === 2) fake.tell('state', { state: 'normal', phase: null, generation: 4 });
    },
  }).ended;
  assert.equal(code, 0);
  assert.deepEqual(
    json().map((line) => (line as { data: unknown }).data),
    [
      { state: 'normal', phase: 'preparing', generation: 3 },
      { state: 'normal', phase: null, generation: 4 },
    ],
  );
});

test('watch goes on with the next luod', async () => {
  let times = 0;
  fake.answers.watch = () => {
    times += 1;
    if (times === 1) setImmediate(() => fake.drop());
    return { state: times === 1 ? 'prepared' : 'normal', phase: null, generation: times };
  };
  const { code, out, err } = await luoctl(fake.dir, ['watch', '--until', 'normal']);
  assert.equal(code, 0);
  assert.equal(out, 'state    prepared, generation 1\nstate    normal, generation 2\n');
  assert.match(err, /waiting for it to come back/);
});

test('Ctrl-C ends watch also while luod does not answer', async () => {
  fake.answers.watch = () => {
    running.interrupt();
    return NONE;
  };
  const running = startLuoctl(fake.dir, ['watch']);
  assert.equal((await running.ended).code, 0);
});

test('Ctrl-C ends watch also while it waits for the next luod', async () => {
  const { code } = await startLuoctl(fake.dir, ['watch'], {
    onText(all, run) {
      if (all === 'state    normal, generation 3\n') fake.vanish();
      if (all.includes('waiting')) run.interrupt();
    },
  }).ended;
  assert.equal(code, 0);
});

test('watch without luod is exit code 4, not a wait', async () => {
  assert.equal((await luoctl('/nowhere', ['watch'])).code, 4);
});

test('an event that luoctl does not know is shown as it is', async () => {
  const { out } = await startLuoctl(fake.dir, ['watch'], {
    onText(all, run) {
      if (all.split('\n').length === 2) fake.tell('novelty', { a: 1 });
      if (all.includes('novelty')) run.interrupt();
    },
  }).ended;
  assert.match(out, /^novelty {2}\{"a":1\}$/m);
});

/** Answers logs with the file at `path`, opened anew each time. */
function serveLog(path: string): void {
  fake.answers.logs = ({ reply }) => {
    const fd = openSync(path, 'r');
    reply.result({ path }, [fd]);
    closeSync(fd);
    return NONE;
  };
}

test('logs shows the whole log, and its last lines with -n', async () => {
  const path = join(folder, 'plain.log');
  writeFileSync(path, 'one\ntwo\nthree\n');
  serveLog(path);
  assert.equal((await luoctl(fake.dir, ['logs', 'cache'])).out, 'one\ntwo\nthree\n');
  assert.equal((await luoctl(fake.dir, ['logs', '-n', '2'])).out, 'two\nthree\n');
  assert.equal((await luoctl(fake.dir, ['logs', '-n', '0'])).out, '');
  assert.equal((await luoctl(fake.dir, ['logs', '-n', '99'])).out, 'one\ntwo\nthree\n');
  assert.deepEqual(
    fake.asked.map((each) => each.params),
    [{ name: 'cache' }, {}, {}, {}],
  );
});

test('the last lines of a log that is larger than a piece, and ends without a newline', async () => {
  const path = join(folder, 'large.log');
  const lines = Array.from({ length: 30_000 }, (_, index) => `line ${index}`);
  writeFileSync(path, lines.join('\n'));
  serveLog(path);
  for (const count of [1, 20_000]) {
    const { out } = await luoctl(fake.dir, ['logs', '-n', String(count)]);
    assert.equal(out, lines.slice(-count).join('\n'));
  }
});

test('logs -f goes on with what is appended and follows a rotation, until Ctrl-C', async () => {
  const path = join(folder, 'rotated.log');
  writeFileSync(path, 'one\n');
  serveLog(path);
  const { code, out } = await startLuoctl(fake.dir, ['logs', '-f'], {
    onText(all, run) {
      if (all === 'one\n') appendFileSync(path, 'two\n');
      if (all === 'one\ntwo\n') {
        appendFileSync(path, 'three\n');
        renameSync(path, `${path}.1`);
        writeFileSync(path, 'four\n');
      }
      if (all.endsWith('four\n')) run.interrupt();
    },
  }).ended;
  assert.equal(code, 0);
  assert.equal(out, 'one\ntwo\nthree\nfour\n');
});

test('logs --json names the file', async () => {
  const path = join(folder, 'named.log');
  writeFileSync(path, '');
  serveLog(path);
  assert.deepEqual((await luoctl(fake.dir, ['logs', '--json'])).json(), [{ path }]);
});

test('the golden timeline: milliseconds from its start', async () => {
  const { out } = await luoctl(fake.dir, ['timeline']);
  const lines = out.split('\n');
  assert.equal(
    lines[0],
    'attempt 7 (handover) of cache#1: done, started 2026-01-02T03:04:05.000Z, took 50 ms, blackout 5 ms; luod died 1 times',
  );
  assert.equal(lines[1], '        MS  WHAT          PARTICIPANT  PHASE       DETAIL');
  assert.equal(lines[4], '     11.00  freeze.acked  cache#1      freezing    {"fds":3}');
});

test('timeline --format json gives the timeline itself', async () => {
  const { json } = await luoctl(fake.dir, ['timeline', '--format', 'json']);
  assert.deepEqual(json(), [samples.timeline]);
  assert.deepEqual((await luoctl(fake.dir, ['timeline', '--json'])).json(), [samples.timeline]);
});

test('timeline --format chrome is one JSON object of trace events', async () => {
  const { json } = await luoctl(fake.dir, ['timeline', '--format', 'chrome']);
  assert.deepEqual(json(), [JSON.parse(JSON.stringify(chromeTrace(samples.timeline)))]);
});

test('the chrome trace has a span per call, per blackout and for the whole, in microseconds', () => {
  const { traceEvents } = chromeTrace(samples.timeline);
  const spans = traceEvents.filter((event) => event.ph === 'X').map(({ name, ts, dur }) => [name, ts, dur]);
  assert.deepEqual(spans, [
    ['attempt 7', 0, 50_000],
    ['freeze', 10_000, 1000],
    ['blackout', 10_000, 5000],
    ['go', 14_000, 1000],
  ]);
  const instants = traceEvents.filter((event) => event.ph === 'i');
  assert.deepEqual(
    instants.map(({ name, ts, s }) => [name, ts, s]),
    [
      ['begun', 0, 't'],
      ['decided', 13_000, 't'],
      ['retire.sent', 16_000, 't'],
    ],
  );
});

test('each participant of the chrome trace has a named row of its own', () => {
  const { traceEvents } = chromeTrace(samples.timeline);
  const rows = new Map(
    traceEvents.filter((event) => event.name === 'thread_name').map((event) => [event.args!.name, event.tid]),
  );
  assert.deepEqual([...rows.keys()], ['update', 'cache#1', 'cache#2']);
  assert.equal(new Set(rows.values()).size, 3);
  assert.ok(traceEvents.filter((event) => event.name === 'go').every((event) => event.tid === rows.get('cache#2')));
});

test('a chrome trace of a running or empty update has no event without a time', () => {
  const running = chromeTrace({ ...samples.timeline, endNs: null, outcome: null, state: 'running' });
  const empty = chromeTrace({ ...samples.timeline, events: [], endNs: null, blackouts: { 'cache#1': 3 } });
  for (const event of [...running.traceEvents, ...empty.traceEvents]) {
    assert.ok(Number.isFinite(event.ts) && event.ts >= 0);
    if (event.ph === 'X') assert.ok(Number.isFinite(event.dur) && event.dur! >= 0);
  }
  assert.equal(running.traceEvents.find((event) => event.name === 'retire')?.dur, 0);
});

test('a timeline over a kexec says between which kernels the clocks are joined, and how far off that may be', async () => {
  fake.answers.timeline = () => ({ timelines: [samples.crossing] });
  const { out } = await luoctl(fake.dir, ['timeline']);
  const lines = out.split('\n');
  assert.match(lines[0]!, /^attempt 7 \(kexec\) .* blackout 4\.01 s ±1000 ms$/);
  const jump = lines.findIndex((line) => / jump /.test(line));
  assert.equal(lines[jump + 1], '— kernel 7.2.13 → 7.3.4, ±1000 ms —');
  assert.match(lines[jump + 2]!, /^ +3950\.00 +go\.sent +cache#2/);
  assert.equal(lines.at(-1), '');
});

test('an arrival that says nothing of clocks and kernels, or too much, is still one line', async () => {
  const arrived = (detail: unknown) =>
    luoctlTimeline({ ...samples.crossing, events: [{ ns: 1_000_000_000, what: 'arrived', detail }] });
  assert.match(await arrived(undefined), /^— kernel \? → \?, clocks not compared —$/m);
  assert.match(await arrived({ from: 7, to: '', uncertaintyMs: 'much' }), /^— kernel \? → \?, clocks not compared —$/m);
  assert.match(
    await arrived({ from: '7\u001b[2J', to: '8', uncertaintyMs: 1 }),
    /^— kernel 7\ufffd\[2J → 8, ±1 ms —$/m,
  );
});

async function luoctlTimeline(timeline: Timeline): Promise<string> {
  fake.answers.timeline = () => ({ timelines: [timeline] });
  return (await luoctl(fake.dir, ['timeline'])).out;
}

test('the chrome trace of a kexec has a row that says which kernel ran when', () => {
  const { traceEvents, otherData } = chromeTrace(samples.crossing);
  const row = traceEvents.find((event) => event.name === 'thread_name' && event.args!.name === 'kernel')!.tid;
  const onRow = traceEvents.filter((event) => event.tid === row && event.ph !== 'M');
  assert.deepEqual(
    onRow.map(({ name, ph, ts, dur }) => [name, ph, ts, dur]),
    [
      ['Linux 7.2.13', 'X', 0, 14_000],
      ['kernel 7.2.13 → 7.3.4, ±1000 ms', 'i', 3_900_000, undefined],
      ['Linux 7.3.4', 'X', 3_900_000, 150_000],
    ],
  );
  assert.equal(otherData.uncertaintyMs, 1000);
  assert.equal(chromeTrace(samples.timeline).otherData.uncertaintyMs, null);
});

test('clocks that were joined badly, so that the next kernel seems to begin before the jump, give no negative length', () => {
  const early = samples.crossing.events.map((event, index) => (index < 5 ? event : { ...event, ns: event.ns - 4.5e9 }));
  const { traceEvents } = chromeTrace({
    ...samples.crossing,
    events: early,
    endNs: 550_000_000,
    blackoutMs: -490,
    blackouts: { 'cache#1': -490 },
  });
  for (const event of traceEvents) if (event.ph === 'X') assert.ok(event.dur! >= 0, event.name);
});

const check = (change: Partial<DoctorCheck>): DoctorCheck => ({
  check: 'pidfd',
  gap: 'handover',
  result: 'pass',
  reason: 'found',
  remedy: null,
  ...change,
});

test('doctor needs no luod; what only the other gap lacks is no failure', async () => {
  const doctor = [
    check({}),
    check({ check: 'kho', gap: 'kexec', result: 'fail', reason: 'no', remedy: 'boot with kho=on' }),
  ];
  const { code, out } = await luoctl('/nowhere', ['doctor'], { doctor });
  assert.equal(code, 0);
  assert.equal(
    out,
    `RESULT  GAP       CHECK  FOUND
pass    handover  pidfd  found
fail    kexec     kho    no

to do
kho: boot with kho=on
`,
  );
  assert.equal((await luoctl('/nowhere', ['doctor', '--gap', 'kexec'], { doctor })).code, 1);
});

test('doctor fails when the handover, or both gaps, cannot work, and not for a warning', async () => {
  const run = async (change: Partial<DoctorCheck>) =>
    (await luoctl('/nowhere', ['doctor'], { doctor: [check(change)] })).code;
  assert.equal(await run({ result: 'fail' }), 1);
  assert.equal(await run({ result: 'fail', gap: null }), 1);
  assert.equal(await run({ result: 'warn' }), 0);
});
