// Goal: the verbs of the kexec gap ask for what was typed, show what an operator needs, and end with the right code.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { LuoError } from '../../src/base/errors.js';
import { FakeLuod, NONE } from './fake-luod.js';
import { luoctl } from './luoctl.js';
import * as samples from './samples.js';

const fake = await FakeLuod.start();
after(() => fake.close());

test('load sends absolute paths and the command line that was typed', async () => {
  const { code, out } = await luoctl(fake.dir, [
    'load',
    'bzImage',
    '--initrd',
    'initrd.img',
    '--append',
    'liveupdate=on',
  ]);
  assert.equal(code, 0);
  const { params } = fake.asked.at(-1)!;
  assert.match((params as { kernel: string }).kernel, /^\/.*bzImage$/);
  assert.match((params as { initrd: string }).initrd, /^\/.*initrd\.img$/);
  assert.equal((params as { append: string }).append, 'liveupdate=on');
  assert.match(out, /Linux 7\.3\.4/);
});

test('--cmdline and --reuse-cmdline exclude each other', async () => {
  const { code, err } = await luoctl(fake.dir, ['load', 'k', '--cmdline', 'x', '--reuse-cmdline']);
  assert.equal(code, 2);
  assert.match(err, /exclude each other/);
});

test('preflight shows failures first, each with what to do, and ends with 1', async () => {
  const report = {
    ...samples.preflight,
    ok: false,
    checks: [
      ...samples.preflight.checks,
      {
        check: 'luo-abi',
        result: 'fail' as const,
        reason: 'luo-v5 and luo-v6: it would panic',
        remedy: 'use the same ABI',
      },
    ],
  };
  fake.answers.preflight = () => report;
  const { code, out } = await luoctl(fake.dir, ['preflight', '/boot/next']);
  assert.equal(code, 1);
  assert.ok(out.indexOf('luo-abi') < out.indexOf('liveupdate'), out);
  assert.match(out, /to do\n(.*\n)* {2}luo-abi: use the same ABI/);
  const json = JSON.parse((await luoctl(fake.dir, ['preflight', '--json'])).out) as typeof report;
  assert.equal(json.checks.length, 3);
  fake.answers.preflight = () => samples.preflight;
  assert.equal((await luoctl(fake.dir, ['preflight'])).code, 0);
});

test('kexec that is refused by the preflight shows the checks that failed', async () => {
  fake.answers.kexec = () => {
    throw new LuoError('PREFLIGHT_FAILED', 'preflight fails: luo-abi', {
      data: { checks: [{ check: 'luo-abi', result: 'fail', reason: 'it would panic', remedy: null }] },
    });
  };
  const { code, err } = await luoctl(fake.dir, ['kexec', '--force', 'scratch', '--force', 'initrd', '--direct']);
  assert.equal(code, 1);
  assert.match(err, /FAIL +luo-abi +it would panic/);
  assert.deepEqual(fake.asked.at(-1)!.params, { force: ['scratch', 'initrd'], direct: true });
});

test('kexec that came back ends with 3 and says that everything serves again', async () => {
  fake.answers.kexec = () => ({
    ...samples.committed,
    outcome: 'aborted',
    error: { code: 'KEXEC_RETURNED', message: 'the kernel did not start the next one' },
  });
  const { code, err } = await luoctl(fake.dir, ['kexec']);
  assert.equal(code, 3);
  assert.match(err, /KEXEC_RETURNED/);
  assert.match(err, /everything serves again/);
});

test('kexec whose connection ends after the jump is done; before it, that is an error', async () => {
  fake.answers.kexec = ({ fake: luod, reply }) => {
    reply.progress({ what: 'jump' });
    setImmediate(() => luod.drop());
    return NONE;
  };
  assert.equal((await luoctl(fake.dir, ['kexec'])).code, 0);
  fake.answers.kexec = ({ fake: luod }) => {
    setImmediate(() => luod.drop());
    return NONE;
  };
  assert.notEqual((await luoctl(fake.dir, ['kexec'])).code, 0);
});

test('blob put sends standard input, list shows both directions, and what is no verb of blob is a usage error', async () => {
  const put = await luoctl(fake.dir, ['blob', 'put', 'notes'], { stdin: 'hello' });
  assert.equal(put.code, 0);
  assert.equal(fake.asked.at(-1)!.fds, 1);
  assert.match((await luoctl(fake.dir, ['blob', 'list'])).out, /notes .* outgoing/);
  assert.equal((await luoctl(fake.dir, ['blob', 'burn', 'notes'])).code, 2);
  assert.equal((await luoctl(fake.dir, ['blob', 'put'])).code, 2);
});

test('status says which kernel is loaded, where it came from, and what nobody claimed', async () => {
  fake.answers.status = () => ({
    ...samples.status,
    kexec: {
      ...samples.status.kexec,
      image: samples.image,
      imageLoaded: true,
      arrived: { from: '7.2.13', attempt: 4, torn: true },
      unclaimed: [
        {
          handle: '0:cache/fd:index',
          owner: '0:cache',
          policy: 'fail',
          sizeBytes: 1024,
          ageMs: 90_000,
          error: { code: 'CLAIM_LOST', message: 'ENOMEM' },
        },
      ],
    },
  });
  const { out } = await luoctl(fake.dir, ['status']);
  assert.match(out, /kernel +\/boot\/vmlinuz-7\.3\.4 is loaded/);
  assert.match(out, /arrived +from Linux 7\.2\.13 by attempt 4, torn/);
  assert.match(out, /unclaimed +0:cache\/fd:index, 1 KiB, policy fail.*ENOMEM/);
});
