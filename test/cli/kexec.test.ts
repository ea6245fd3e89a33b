// Goal: the verbs of the kexec gap ask for what was typed, show what an operator needs in the night, and end with the right
// code. Method: luoctl in this process against a fake luod.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import type { PreflightReport, Status, Timeline } from '../../src/protocol/spec.js';
import type { Responder } from '../../src/transport/index.js';
import { memfdCreate, write } from '../../src/sys/index.js';
import { FakeLuod, NONE, WithFds } from './fake-luod.js';
import { luoctl, startLuoctl } from './luoctl.js';
import * as samples from './samples.js';

let fake: FakeLuod;
beforeEach(async () => {
  fake = await FakeLuod.start();
});
afterEach(() => fake.close());

const paramsOf = (method: string): unknown => fake.asked.findLast((each) => each.method === method)?.params;

// ---------------------------------------------------------------------------------------------- load, unload

test('load sends absolute paths and the command line that was typed, and says what was loaded', async () => {
  const { code, out } = await luoctl(
    fake.dir,
    ['load', 'bzImage', '--initrd', '../initrd', '--append', 'liveupdate=on'],
    {
      cwd: '/boot/new',
    },
  );
  assert.equal(code, 0);
  assert.deepEqual(paramsOf('load'), {
    kernel: '/boot/new/bzImage',
    initrd: '/boot/initrd',
    append: 'liveupdate=on',
  });
  assert.equal(
    out,
    `loaded        /boot/vmlinuz-7.3.4, Linux 7.3.4
initrd        -
command line  root=/dev/vda liveupdate=on
`,
  );
});

test('load sends an empty command line as one, and --reuse-cmdline as it is', async () => {
  assert.equal((await luoctl(fake.dir, ['load', '/k', '--cmdline', ''])).code, 0);
  assert.deepEqual(paramsOf('load'), { kernel: '/k', cmdline: '' });
  assert.equal((await luoctl(fake.dir, ['load', '/k', '--reuse-cmdline', '--json'])).code, 0);
  assert.deepEqual(paramsOf('load'), { kernel: '/k', reuseCmdline: true });
});

test('a kernel that is refused is told with errno and remedy, as text and as JSON', async () => {
  fake.answers.load = () => {
    throw new LuoError('IMAGE_REFUSED', "'/k' is not loaded: no key of this kernel signed it", {
      errno: 'EKEYREJECTED',
      remedy: 'use a kernel that is signed for this machine',
    });
  };
  const { code, err, out } = await luoctl(fake.dir, ['load', '/k']);
  assert.equal(code, 1);
  assert.equal(out, '');
  assert.match(err, /\[IMAGE_REFUSED, EKEYREJECTED\]\n {2}to do: use a kernel that is signed/);
  const [told] = (await luoctl(fake.dir, ['load', '/k', '--json'])).json() as { error: { code: string } }[];
  assert.equal(told!.error.code, 'IMAGE_REFUSED');
});

test('unload says that no kernel is loaded', async () => {
  assert.equal((await luoctl(fake.dir, ['unload'])).out, 'no kernel is loaded\n');
  assert.deepEqual((await luoctl(fake.dir, ['unload', '--json'])).json(), [{ unloaded: true }]);
});

test('where this luod cannot cross the gap, every verb of it says why', async () => {
  const refuse = (): never => {
    throw new LuoError('LIVEUPDATE_MISSING', 'this luod cannot cross the kexec gap: it does not run as root');
  };
  Object.assign(fake.answers, { load: refuse, unload: refuse, preflight: refuse, kexec: refuse, blobList: refuse });
  for (const args of [['load', '/k'], ['unload'], ['preflight'], ['kexec'], ['blob', 'list']]) {
    const { code, err } = await luoctl(fake.dir, args);
    assert.equal(code, 1, args.join(' '));
    assert.match(err, /it does not run as root \[LIVEUPDATE_MISSING, ENODEV\]/);
  }
});

// ---------------------------------------------------------------------------------------------- preflight

const failing: PreflightReport = {
  ...samples.preflight,
  ok: false,
  checks: [
    ...samples.preflight.checks,
    { check: 'luo-abi', result: 'fail', reason: 'luo-v5 and luo-v6: it would panic', remedy: 'use the same ABI' },
  ],
};

test('the golden preflight: failures first, each with what to do right below it', async () => {
  fake.answers.preflight = () => failing;
  const { code, out } = await luoctl(fake.dir, ['preflight', '/boot/vmlinuz-7.3.4']);
  assert.equal(code, 1);
  assert.equal(
    out,
    `Linux 7.2.13 -> /boot/vmlinuz-7.3.4, Linux 7.3.4

✗ FAIL  luo-abi     luo-v5 and luo-v6: it would panic
                    to do: use the same ABI
! warn  sparse      it has holes
                    to do: fill them
✓ pass  liveupdate  this kernel has /dev/liveupdate

refused: 1 check fails, so luoctl kexec does not go; --force CHECK overrides one
`,
  );
});

test('a preflight with warnings is ok, and says how many', async () => {
  const { code, out } = await luoctl(fake.dir, ['preflight']);
  assert.equal(code, 0);
  assert.deepEqual(paramsOf('preflight'), {});
  assert.match(out, /^ok, with 1 warning: what is to survive would come over; blackout about 1\.2 s$/m);
});

test('preflight of a kernel sends what load would', async () => {
  await luoctl(fake.dir, ['preflight', 'k', '--initrd', 'i', '--reuse-cmdline', '--append', 'x'], { cwd: '/boot' });
  assert.deepEqual(paramsOf('preflight'), { kernel: '/boot/k', initrd: '/boot/i', reuseCmdline: true, append: 'x' });
});

test('a preflight without a kernel says so', async () => {
  fake.answers.preflight = () => ({
    ...samples.preflight,
    ok: false,
    target: { release: null, kernel: null },
    checks: [{ check: 'image-loaded', result: 'fail', reason: 'no kernel is loaded', remedy: 'luoctl load KERNEL' }],
    predictedBlackoutMs: null,
  });
  const { code, out } = await luoctl(fake.dir, ['preflight']);
  assert.equal(code, 1);
  assert.match(out, /^Linux 7\.2\.13 -> \(no kernel\)$/m);
  assert.match(out, /^✗ FAIL {2}image-loaded {2}no kernel is loaded\n {22}to do: luoctl load KERNEL$/m);
});

test('of many findings of one kind five are shown, with one remedy; with -v all, and JSON has all', async () => {
  const many = Array.from({ length: 20 }, (_, index) => ({
    check: 'handle',
    result: 'fail' as const,
    reason: `'0:s${index}/fd:a' does not cross: no kernel handler preserves sockets`,
    remedy: 'let it say leave',
  }));
  fake.answers.preflight = () => ({ ...failing, checks: [...many, ...samples.preflight.checks] });
  const { out } = await luoctl(fake.dir, ['preflight']);
  assert.equal(out.match(/does not cross/g)!.length, 5);
  assert.equal(out.match(/let it say leave/g)!.length, 1);
  assert.match(out, /and 15 more like it \(-v shows all\)/);
  assert.match(out, /20 checks fail/);
  assert.equal((await luoctl(fake.dir, ['preflight', '-v'])).out.match(/does not cross/g)!.length, 20);
  const [report] = (await luoctl(fake.dir, ['preflight', '--json'])).json() as PreflightReport[];
  assert.equal(report!.checks.length, 22);
});

test('a preflight in colour is aligned as without', async () => {
  fake.answers.preflight = () => failing;
  const plain = (await luoctl(fake.dir, ['preflight'])).out;
  const colour = (await luoctl(fake.dir, ['preflight'], { tty: true })).out;
  assert.match(colour, /\u001b\[31m✗ FAIL\u001b\[0m/);
  assert.equal(colour.replace(/\u001b\[\d+m/g, ''), plain);
});

test('words of others in a check reach the terminal without their control characters', async () => {
  const nasty = { ...failing.checks[0]!, reason: 'a\u001b[2Jb' };
  fake.answers.preflight = () => ({ ...failing, checks: [nasty] });
  assert.match((await luoctl(fake.dir, ['preflight'])).out, /a\ufffd\[2Jb/);
});

// ---------------------------------------------------------------------------------------------- plan

for (const args of [
  ['plan', '--kexec'],
  ['plan', '--gap', 'kexec'],
]) {
  test(`luoctl ${args.join(' ')} shows the plan of everything, then the preflight of the loaded kernel`, async () => {
    fake.answers.plan = () => ({ ...samples.plan, gap: 'kexec' });
    fake.answers.preflight = () => failing;
    const { code, out } = await luoctl(fake.dir, args);
    assert.equal(code, 0, 'to look is no failure');
    assert.deepEqual(paramsOf('plan'), { gap: 'kexec' });
    assert.deepEqual(paramsOf('preflight'), {});
    for (const words of ['predicted blackout', 'STEP', 'LEFT BEHIND', '✗ FAIL  luo-abi', 'refused: 1 check fails'])
      assert.ok(out.includes(words), words);
    const [json] = (await luoctl(fake.dir, [...args, '--json'])).json() as { preflight: PreflightReport }[];
    assert.deepEqual(json, { ...samples.plan, gap: 'kexec', preflight: failing });
  });
}

test('a plan is shown also where the gap cannot be crossed, with the reason', async () => {
  fake.answers.preflight = () => {
    throw new LuoError('LIVEUPDATE_MISSING', 'this luod cannot cross the kexec gap: it does not run as root');
  };
  const { code, out } = await luoctl(fake.dir, ['plan', '--kexec']);
  assert.equal(code, 0);
  assert.match(out, /STEP(.*\n)*no preflight: this luod cannot cross/);
  const [json] = (await luoctl(fake.dir, ['plan', '--kexec', '--json'])).json() as { preflight: { error: object } }[];
  assert.equal((json!.preflight.error as { code: string }).code, 'LIVEUPDATE_MISSING');
});

test('a preflight that fails as a request is an error of the plan', async () => {
  fake.answers.preflight = () => {
    throw new LuoError('INTERNAL', 'oh');
  };
  assert.equal((await luoctl(fake.dir, ['plan', '--kexec'])).code, 1);
});

test('a plan of a handover asks for no preflight', async () => {
  await luoctl(fake.dir, ['plan', 'cache']);
  assert.equal(paramsOf('preflight'), undefined);
});

// ---------------------------------------------------------------------------------------------- kexec

const { returned } = samples;

test('kexec sends checks to override, limits and --direct', async () => {
  fake.answers.kexec = () => returned;
  const limits = ['--blackout-max', '4s', '--prepare-max', '1m', '--claim-max', '5m'];
  await luoctl(fake.dir, ['kexec', '--force', 'scratch', '--force', 'initrd', '--direct', ...limits]);
  assert.deepEqual(paramsOf('kexec'), {
    force: ['scratch', 'initrd'],
    direct: true,
    limits: { blackoutMs: 4000, prepareMs: 60_000, claimMs: 300_000 },
  });
  await luoctl(fake.dir, ['kexec']);
  assert.deepEqual(paramsOf('kexec'), {});
});

const refusal = (): never => {
  throw new LuoError('PREFLIGHT_FAILED', 'preflight fails: luo-abi: it would panic', {
    data: { checks: [{ check: 'luo-abi', result: 'fail', reason: 'it would panic', remedy: 'use the same ABI' }] },
  });
};

test('kexec that the preflight refuses shows the checks that failed, then the error, and ends with 1', async () => {
  fake.answers.kexec = refusal;
  const { code, err, out } = await luoctl(fake.dir, ['kexec']);
  assert.equal(code, 1);
  assert.equal(out, '');
  assert.equal(
    err,
    `✗ FAIL  luo-abi  it would panic
                 to do: use the same ABI
luoctl kexec: preflight fails: luo-abi: it would panic [PREFLIGHT_FAILED, ENOTSUP]
  to do: luoctl preflight shows every check with its remedy; --force CHECK overrides one.
`,
  );
});

test('the JSON of a refused kexec has the checks', async () => {
  fake.answers.kexec = refusal;
  const [told] = (await luoctl(fake.dir, ['kexec', '--json'])).json() as {
    error: { code: string; data: { checks: { check: string }[] } };
    exitCode: number;
  }[];
  assert.equal(told!.error.code, 'PREFLIGHT_FAILED');
  assert.equal(told!.error.data.checks[0]!.check, 'luo-abi');
  assert.equal(told!.exitCode, 1);
});

for (const code of ['KEXEC_REFUSED', 'IMAGE_MISSING', 'LIVEUPDATE_HELD', 'STATE_BUSY'] as const) {
  test(`kexec that is refused with ${code} ends with 1: nothing was touched`, async () => {
    fake.answers.kexec = () => {
      throw new LuoError(code, 'no');
    };
    const { code: exit, err } = await luoctl(fake.dir, ['kexec']);
    assert.equal(exit, 1);
    assert.match(err, new RegExp(`\\[${code}`));
  });
}

test('kexec that came back ends with 3 and says that everything serves again, and in which kernel', async () => {
  fake.answers.kexec = () => returned;
  const { code, err, out } = await luoctl(fake.dir, ['kexec']);
  assert.equal(code, 3);
  assert.equal(out, '');
  assert.match(err, /\[KEXEC_RETURNED, EINVAL\]/);
  assert.match(err, /^ {2}undone in attempt 7: everything serves again under Linux 7\.2\.13$/m);
  const { json } = await luoctl(fake.dir, ['kexec', '--json']);
  assert.deepEqual(json(), [{ ...returned, stuck: [] }]);
});

test('kexec that was undone but for a member that does not answer names it and ends with 5', async () => {
  fake.answers.kexec = () => ({ ...returned, error: { code: 'CALL_TIMEOUT', message: 'freeze of proxy#1 timed out' } });
  fake.answers.status = () => ({ ...samples.status, stuck: ['proxy#1'] });
  const { code, err } = await luoctl(fake.dir, ['kexec']);
  assert.equal(code, 5);
  assert.match(err, /stuck: proxy#1/);
  assert.doesNotMatch(err, /everything serves again/);
});

test('Ctrl-C before the decision cancels, and the end is told as undone', async () => {
  let kexec: Responder;
  fake.answers.kexec = ({ reply }) => {
    kexec = reply;
    running.interrupt();
    return NONE;
  };
  fake.answers.cancel = () => {
    kexec.result({ ...returned, error: { code: 'UPDATE_CANCELLED', message: 'cancelled by the operator' } });
    return { stuck: [] };
  };
  const running = startLuoctl(fake.dir, ['kexec']);
  const { code, err } = await running.ended;
  assert.equal(code, 3);
  assert.match(err, /cancelling; Ctrl-C again leaves/);
  assert.match(err, /UPDATE_CANCELLED/);
});

test('a second Ctrl-C leaves; luod goes on', async () => {
  fake.answers.kexec = () => {
    running.interrupt();
    running.interrupt();
    return NONE;
  };
  const running = startLuoctl(fake.dir, ['kexec']);
  assert.equal((await running.ended).code, 1);
});

test('what to look at afterwards is said before the jump, once: there is nobody to say it later', async () => {
  const told: string[] = [];
  fake.answers.kexec = ({ reply }) => {
    reply.progress({ what: 'freeze.sent', participant: 'cache#1', phase: 'freezing' });
    reply.progress({ what: 'decide.sent', detail: { want: 'committed' } });
    reply.progress({ what: 'jump' });
    return NONE;
  };
  const running = startLuoctl(fake.dir, ['kexec'], {
    onText(all, run) {
      told.push(all);
      // As nothing ends this process here, it is left by hand.
      if (all.includes('afterwards') && told.length === 1) {
        run.interrupt();
        run.interrupt();
      }
    },
  });
  const { err } = await running.ended;
  assert.match(
    told[0]!,
    /^luoctl: all have stopped, this kernel is being replaced; afterwards: luoctl status, luoctl timeline\n$/,
  );
  assert.equal(err.match(/afterwards/g)!.length, 1);
});

test('an abort that is being decided is not announced as a jump', async () => {
  fake.answers.kexec = ({ reply }) => {
    reply.progress({ what: 'decide.sent', detail: { want: 'aborted' } });
    return returned;
  };
  assert.doesNotMatch((await luoctl(fake.dir, ['kexec'])).err, /is being replaced/);
});

test('progress of a kexec is one rewritten line on a terminal, and lines with -v', async () => {
  fake.answers.kexec = ({ reply }) => {
    reply.progress({ what: 'prepare.sent', participant: 'cache#1', phase: 'preparing' });
    return returned;
  };
  const terminal = await luoctl(fake.dir, ['kexec'], { tty: true, env: { NO_COLOR: '1' } });
  assert.match(terminal.err, /^\r\u001b\[Kkexec: prepare\.sent cache#1 \(preparing\)\r\u001b\[Kluoctl kexec: no image/);
  assert.match((await luoctl(fake.dir, ['kexec', '-v'])).err, /^kexec: prepare\.sent cache#1 \(preparing\)$/m);
});

/** A kexec that the next luod of the same kernel knows of. */
const next = (change: Partial<Timeline>): Timeline => ({
  ...samples.timeline,
  attempt: 8,
  gap: 'kexec',
  scope: ['cache#1', 'proxy#1'],
  ...change,
});

test('a luod that is killed at the jump is waited for: the next one says that everything was undone', async () => {
  let timelines = [samples.timeline];
  fake.answers.timeline = () => ({ timelines });
  fake.answers.kexec = ({ reply }) => {
    reply.progress({ what: 'decide.sent', detail: { want: 'committed' } });
    setTimeout(() => {
      fake.vanish();
      setTimeout(() => {
        timelines = [samples.timeline, next({ state: 'running', outcome: null, endNs: null })];
        void fake.listen();
        setTimeout(() => {
          const error = { code: 'UPDATE_FAILED', message: 'luod was restarted during the update' };
          timelines = [samples.timeline, next({ state: 'rolled-back', outcome: 'aborted', error })];
        }, 150);
      }, 50);
    }, 20);
    return NONE;
  };
  const { code, err } = await luoctl(fake.dir, ['kexec']);
  assert.equal(code, 3, err);
  assert.match(err, /all have stopped/);
  assert.match(err, /luod is gone and this kernel is not/);
  assert.match(err, /undone in attempt 8: everything serves again/);
});

test('a luod that is killed before it began leaves no kexec to wait for', async () => {
  fake.answers.kexec = () => {
    fake.drop();
    return NONE;
  };
  const { code, err } = await luoctl(fake.dir, ['kexec']);
  assert.equal(code, 1);
  assert.match(err, /knows of no such kexec \[PROTO_CLOSED/);
  assert.match(err, /This kernel still runs/);
});

test('an update of a service that ended meanwhile is not taken for the kexec', async () => {
  let timelines = [samples.timeline];
  fake.answers.timeline = () => ({ timelines });
  fake.answers.kexec = () => {
    timelines = [samples.timeline, next({ gap: 'handover' })];
    fake.drop();
    return NONE;
  };
  assert.match((await luoctl(fake.dir, ['kexec'])).err, /knows of no such kexec/);
});

// ---------------------------------------------------------------------------------------------- blobs

test('blob put sends standard input, and --replace when it is given', async () => {
  const { code, out } = await luoctl(fake.dir, ['blob', 'put', 'notes'], { stdin: 'hello' });
  assert.equal(code, 0);
  assert.equal(out, 'notes: 5 B for the next kernel\n');
  assert.deepEqual(fake.asked.at(-1), { method: 'blobPut', params: { name: 'notes' }, fds: 1 });
  const { json } = await luoctl(fake.dir, ['blob', 'put', 'notes', '--replace', '--json'], { stdin: '' });
  assert.deepEqual(paramsOf('blobPut'), { name: 'notes', replace: true });
  assert.deepEqual(json(), [{ name: 'notes', sizeBytes: 5 }]);
});

test('blob list and blob drop, as text and as JSON', async () => {
  assert.equal((await luoctl(fake.dir, ['blob', 'list'])).out, 'BLOB   SIZE  DIRECTION\nnotes  5 B   outgoing\n');
  assert.equal((await luoctl(fake.dir, ['blob', 'drop', 'notes'])).out, 'dropped notes\n');
  assert.deepEqual(paramsOf('blobDrop'), { name: 'notes' });
  assert.deepEqual((await luoctl(fake.dir, ['blob', 'drop', 'notes', '--json'])).json(), [{ dropped: 'notes' }]);
  fake.answers.blobList = () => ({ blobs: [] });
  assert.equal((await luoctl(fake.dir, ['blob', 'list'])).out, 'no blobs\n');
  assert.deepEqual((await luoctl(fake.dir, ['blob', 'list', '--json'])).json(), [{ blobs: [] }]);
});

test('blob get writes the whole content; with --json it describes it; binary does not go to a terminal', async () => {
  using memfd = memfdCreate('test');
  write(memfd.fd, Buffer.from('text\n'));
  fake.answers.blobGet = () => new WithFds({ name: 'notes', sizeBytes: 5, direction: 'incoming' }, [memfd.fd]);
  assert.equal((await luoctl(fake.dir, ['blob', 'get', 'notes'], { tty: true })).out, 'text\n');
  assert.deepEqual((await luoctl(fake.dir, ['blob', 'get', 'notes', '--json'])).json(), [
    { name: 'notes', sizeBytes: 5, direction: 'incoming' },
  ]);
  write(memfd.fd, Buffer.of(0));
  const { code, err, out } = await luoctl(fake.dir, ['blob', 'get', 'notes'], { tty: true });
  assert.equal(code, 2);
  assert.match(err, /is binary/);
  assert.equal(out, '');
  assert.equal((await luoctl(fake.dir, ['blob', 'get', 'notes'])).out, 'text\n\0');
});

for (const [action, method, code] of [
  ['put', 'blobPut', 'BLOB_EXISTS'],
  ['get', 'blobGet', 'BLOB_UNKNOWN'],
  ['get', 'blobGet', 'CLAIM_LOST'],
  ['drop', 'blobDrop', 'BLOB_UNKNOWN'],
] as const) {
  test(`blob ${action} that is refused with ${code} says so`, async () => {
    fake.answers[method] = () => {
      throw new LuoError(code, 'no');
    };
    const { code: exit, err } = await luoctl(fake.dir, ['blob', action, 'notes'], { stdin: 'x' });
    assert.equal(exit, 1);
    assert.match(err, new RegExp(`\\[${code}`));
  });
}

// ---------------------------------------------------------------------------------------------- status

const withKexec = (kexec: Partial<Status['kexec']>): void => {
  fake.answers.status = () => ({ ...samples.status, kexec: { ...samples.status.kexec, ...kexec } });
};

test('the golden status after a jump: what is loaded, where it came from, what nobody claimed', async () => {
  withKexec({
    image: { ...samples.image, initrd: '/boot/initrd' },
    imageLoaded: true,
    arrived: { from: '7.2.13', attempt: 4, torn: false },
    unclaimed: [
      { handle: '0:cache/fd:index', owner: '0:cache', policy: 'fail', sizeBytes: 1024, ageMs: 90_500 },
      {
        handle: '0:db/fd:pages',
        owner: '0:db',
        policy: 'hold',
        sizeBytes: null,
        ageMs: 600_000,
        error: { code: 'CLAIM_LOST', message: 'it did not come over: ENOMEM' },
      },
    ],
  });
  const { out } = await luoctl(fake.dir, ['status']);
  assert.equal(
    out.split('\nSERVICE')[0],
    `state      normal, generation 3
luod       version 0.1.0, pid 100, restarts 2, in /run/luo
keeper     pid 99, 5 of 1024 fds
loaded     /boot/vmlinuz-7.3.4 with /boot/initrd, Linux 7.3.4, at 2026-01-02T03:04:05.000Z
arrived    from Linux 7.2.13 by attempt 4
unclaimed  2 handles; luoctl discard HANDLE lets go of one

UNCLAIMED         OWNER    SIZE   AGE     POLICY  ERROR
0:cache/fd:index  0:cache  1 KiB  90 s    fail    -
0:db/fd:pages     0:db     -      10 min  hold    it did not come over: ENOMEM [CLAIM_LOST]
`,
  );
});

test('status says of an arrival that it was torn, or could not be taken over', async () => {
  withKexec({ arrived: { from: '7.2.13', attempt: 4, torn: true } });
  assert.match((await luoctl(fake.dir, ['status'])).out, /^arrived .*; torn: the jump came without a freeze$/m);
  const error = { code: 'MANIFEST_TOO_NEW', message: 'written by a newer luod' };
  withKexec({ arrived: { from: '', attempt: 0, torn: true, error } });
  assert.match((await luoctl(fake.dir, ['status'])).out, /^arrived +written by a newer luod \[MANIFEST_TOO_NEW\]$/m);
});

test('status says that somebody else has loaded a kernel', async () => {
  withKexec({ imageLoaded: true });
  assert.match((await luoctl(fake.dir, ['status'])).out, /^loaded +a kernel that luod does not know/m);
});

test('status -v says whether this luod can cross the gap, and if not, why', async () => {
  assert.match((await luoctl(fake.dir, ['status', '-v'])).out, /^kexec +possible, from Linux 7\.2\.13$/m);
  withKexec({ available: false, reason: 'it does not run as root' });
  assert.match((await luoctl(fake.dir, ['status', '-v'])).out, /^kexec +not here: it does not run as root$/m);
  assert.doesNotMatch((await luoctl(fake.dir, ['status'])).out, /^kexec/m);
});
