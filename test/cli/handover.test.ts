// Goal: update, rollback and prepare tell their outcome truly: rolled back, stuck, cancelled by Ctrl-C, or completed by
// another luod after the first one was killed.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import type { Timeline } from '../../src/protocol/spec.js';
import type { Responder } from '../../src/transport/index.js';
import { FakeLuod, NONE } from './fake-luod.js';
import { luoctl, startLuoctl } from './luoctl.js';
import * as samples from './samples.js';

let fake: FakeLuod;
beforeEach(async () => {
  fake = await FakeLuod.start();
});
afterEach(() => fake.close());

test('a rolled back update says where and why, that the old version goes on, and ends with exit code 3', async () => {
  fake.answers.update = () => samples.aborted;
  const { code, err, out } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 3);
  assert.equal(out, '');
  assert.equal(
    err,
    `luoctl update cache: the successor ended with exit 1 before standby [SUCCESSOR_DIED, ESRCH]
  where: phase preparing, participant cache#2
  to do: Read why in luoctl logs NAME, mend the new version, update again.
  rolled back in attempt 7: the old version goes on (pid 4711)
`,
  );
});

test('an old version that had to be started again is told with its new pid', async () => {
  fake.answers.update = () => ({ ...samples.aborted, pidAfter: 4900 });
  const { code, err } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 3);
  assert.match(err, /the old version was started again \(pid 4900\)/);
});

test('the JSON of a rolled back update is the result with its error and who is stuck', async () => {
  fake.answers.update = () => samples.aborted;
  const { code, json } = await luoctl(fake.dir, ['update', 'cache', '--json']);
  assert.equal(code, 3);
  assert.deepEqual(json(), [{ ...samples.aborted, stuck: [] }]);
});

test('a rolled back update that left somebody stuck names them and ends with exit code 5', async () => {
  fake.answers.update = () => samples.aborted;
  fake.answers.status = () => ({ ...samples.status, stuck: ['proxy#1'] });
  const { code, err } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 5);
  assert.match(err, /stuck: proxy#1/);
});

test('an aborted update without a reason still says that it was rolled back', async () => {
  const { error: _error, ...rest } = samples.aborted;
  fake.answers.update = () => rest;
  const { code, err } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 3);
  assert.match(err, /UPDATE_FAILED/);
});

test('a committed update whose finish is vetoed is told as both, and ends with exit code 1', async () => {
  const error = { code: 'FINISH_VETO', message: 'finish is refused by proxy#1' };
  fake.answers.update = () => ({ ...samples.committed, error });
  const { code, err, out } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 1);
  assert.match(out, /^cache: updated/);
  assert.match(err, /FINISH_VETO/);
});

test('a code of a newer luod keeps its name', async () => {
  fake.answers.update = () => ({ ...samples.aborted, error: { code: 'NEW_THING', message: 'news' } });
  const { code, err } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 3);
  assert.match(err, /NEW_THING: news/);
});

test('progress is one rewritten line on a terminal, lines with -v, and nothing otherwise', async () => {
  fake.answers.update = ({ reply }) => {
    reply.progress({ what: 'freeze.sent', participant: 'cache#1', phase: 'freezing' });
    reply.progress({ what: 'decided' });
    return samples.committed;
  };
  const terminal = await luoctl(fake.dir, ['update', 'cache'], { tty: true });
  assert.match(
    terminal.err,
    /^\r\u001b\[Kupdate of 'cache': freeze\.sent cache#1 \(freezing\)\r\u001b\[K.*decided\r\u001b\[K$/,
  );
  const lines = await luoctl(fake.dir, ['update', 'cache', '-v']);
  assert.equal(lines.err, "update of 'cache': freeze.sent cache#1 (freezing)\nupdate of 'cache': decided\n");
  assert.equal((await luoctl(fake.dir, ['update', 'cache'])).err, '');
});

test('Ctrl-C cancels, waits for the rollback and ends with exit code 3', async () => {
  let update: Responder;
  fake.answers.update = ({ reply }) => {
    update = reply;
    running.interrupt();
    return NONE;
  };
  fake.answers.cancel = () => {
    update.result({ ...samples.aborted, error: { code: 'UPDATE_CANCELLED', message: 'cancelled by the operator' } });
    return { stuck: [] };
  };
  const running = startLuoctl(fake.dir, ['update', 'cache']);
  const { code, err } = await running.ended;
  assert.equal(code, 3);
  assert.match(err, /cancelling; Ctrl-C again leaves/);
  assert.match(err, /UPDATE_CANCELLED/);
  assert.ok(fake.asked.some((each) => each.method === 'cancel'));
});

test('Ctrl-C after the decision says that it is too late, and the update is told as done', async () => {
  let update: Responder;
  fake.answers.update = ({ reply }) => {
    update = reply;
    running.interrupt();
    return NONE;
  };
  fake.answers.cancel = () => {
    setTimeout(() => update.result(samples.committed), 20);
    throw new LuoError('STATE_INVALID', 'the update is decided');
  };
  const running = startLuoctl(fake.dir, ['update', 'cache']);
  const { code, err } = await running.ended;
  assert.equal(code, 0);
  assert.match(err, /not cancelled: too late/);
});

test('a second Ctrl-C leaves with exit code 1 and says that luod goes on', async () => {
  fake.answers.update = () => {
    running.interrupt();
    running.interrupt();
    return NONE;
  };
  const running = startLuoctl(fake.dir, ['update', 'cache']);
  const { code, err } = await running.ended;
  assert.equal(code, 1);
  assert.match(err, /left; luod goes on/);
});

test('Ctrl-C in prepare cancels as well', async () => {
  let prepare: Responder;
  fake.answers.prepare = ({ reply }) => {
    prepare = reply;
    running.interrupt();
    return NONE;
  };
  fake.answers.cancel = () => {
    prepare.error(new LuoError('UPDATE_CANCELLED', 'cancelled by the operator'));
    return { stuck: [] };
  };
  const running = startLuoctl(fake.dir, ['prepare', 'cache']);
  assert.equal((await running.ended).code, 3);
});

/** A timeline of the update that the next luod knows of. */
const next = (change: Partial<Timeline>): Timeline => ({ ...samples.timeline, attempt: 8, ...change });

test('when luod is killed during an update, the next luod is asked and its outcome told', async () => {
  let timelines = [samples.timeline];
  fake.answers.timeline = () => ({ timelines });
  fake.answers.update = () => {
    fake.vanish();
    setTimeout(() => {
      timelines = [samples.timeline, next({ state: 'running', outcome: null, endNs: null, blackoutMs: null })];
      void fake.listen();
      setTimeout(() => (timelines = [samples.timeline, next({ blackoutMs: 31 })]), 150);
    }, 50);
    return NONE;
  };
  const { code, err, out } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 0, err);
  assert.match(err, /luod is gone; waiting/);
  assert.match(out, /^cache: updated, generation 3, attempt 8; blackout 31 ms; pid 4711\n$/);
});

test('a luod that dies twice during an update is waited for twice', async () => {
  let timelines = [samples.timeline];
  fake.answers.update = () => {
    timelines = [samples.timeline, next({})];
    fake.drop();
    return NONE;
  };
  let times = 0;
  fake.answers.timeline = () => {
    times += 1;
    if (times === 2) {
      fake.drop();
      return NONE;
    }
    return { timelines };
  };
  const { code, err } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 0, err);
  assert.equal(times, 3);
});

test('an update that the next luod rolled back ends with exit code 3', async () => {
  let timelines = [samples.timeline];
  fake.answers.timeline = () => ({ timelines });
  fake.answers.rollback = () => {
    timelines = [
      next({ state: 'rolled-back', outcome: 'aborted', error: { code: 'UPDATE_FAILED', message: 'luod died' } }),
    ];
    fake.drop();
    return NONE;
  };
  const { code, err } = await luoctl(fake.dir, ['rollback', 'cache']);
  assert.equal(code, 3);
  assert.match(err, /rolled back in attempt 8/);
});

test('a request of which the next luod knows nothing is a failure that says how to find out', async () => {
  fake.answers.update = () => {
    fake.drop();
    return NONE;
  };
  const { code, err } = await luoctl(fake.dir, ['update', 'cache']);
  assert.equal(code, 1);
  assert.match(err, /knows of no such update of 'cache' \[PROTO_CLOSED/);
  assert.match(err, /luoctl status cache/);
});

test('an update that continues a prepared attempt is followed by the number of that one', async () => {
  let timelines = [samples.timeline, next({ state: 'running', outcome: null, endNs: null })];
  fake.answers.timeline = () => ({ timelines });
  fake.answers.update = () => {
    timelines = [samples.timeline, next({})];
    fake.drop();
    return NONE;
  };
  assert.match((await luoctl(fake.dir, ['update', 'cache'])).out, /attempt 8/);
});

test('an attempt of another service is not taken for ours', async () => {
  let timelines = [samples.timeline];
  fake.answers.timeline = () => ({ timelines });
  fake.answers.update = () => {
    timelines = [samples.timeline, next({ scope: ['cache2#1', 'cache#x'] })];
    fake.drop();
    return NONE;
  };
  assert.match((await luoctl(fake.dir, ['update', 'cache'])).err, /knows of no such update/);
});

test('update luod waits until another process answers, and names both', async () => {
  let pid = 100;
  fake.answers.updateLuod = () => {
    setTimeout(() => {
      pid = 101;
      fake.drop();
    }, 80);
    return { pidBefore: 100 };
  };
  fake.answers.status = () => ({ ...samples.status, luod: { ...samples.status.luod, pid, version: '0.2.0' } });
  const { code, out, err } = await luoctl(fake.dir, ['update', 'luod']);
  assert.equal(code, 0, err);
  assert.equal(out, 'luod: replaced, version 0.2.0; pid 100 -> 101\n');
});

test('update luod with a new command sends it, and a refusal is an error', async () => {
  fake.answers.updateLuod = () => {
    throw new LuoError('JOURNAL_TOO_NEW', 'the new luod cannot read the journal');
  };
  const { code, err } = await luoctl(fake.dir, ['update', 'luod', '--', '/bin/sh', 'x']);
  assert.equal(code, 1);
  assert.match(err, /JOURNAL_TOO_NEW/);
  assert.deepEqual(fake.asked, [{ method: 'updateLuod', params: { argv: ['/bin/sh', 'x'] }, fds: 0 }]);
});
