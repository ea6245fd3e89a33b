// Goal: upstream's own selftests, unmodified, pass under the emulator: the 15 of liveupdate.c, and the four programs of two
// stages with a simulated kexec between them, linked dynamically, statically, and without a C library.
// Method: what tools/selftests has built, through bin/luoctl as a user types it.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './support.js';
import { JUMP, emulate } from './typed.js';

const BUILT = join(root, '.cache/selftests');
const skip = existsSync(join(BUILT, 'version')) ? false : 'needs upstream’s selftests: tools/selftests builds them';

for (const kind of ['dynamic', 'static']) {
  test(`the 15 of liveupdate.c pass (${kind})`, { skip }, async () => {
    const { code, out, err } = await emulate([join(BUILT, kind, 'liveupdate')]);
    assert.equal(code, 0, out + err);
    assert.equal(out.match(/^ok \d+ liveupdate_device\.\w+$/gm)?.length, 15, out);
    assert.match(out, /^# Totals: pass:15 fail:0 xfail:0 xpass:0 skip:0 error:0$/m);
  });
}

/** What each says at the end of its second stage. */
const TWO_STAGES = {
  luo_kexec_simple: 'SIMPLE KEXEC TEST PASSED',
  luo_multi_session: 'MULTI-SESSION KEXEC TEST PASSED',
  luo_stress_files: 'MANY-FILES KEXEC TEST PASSED (500 files)',
  luo_stress_sessions: 'MANY-SESSIONS KEXEC TEST PASSED (2000 sessions)',
} as const;

for (const kind of ['dynamic', 'static', 'nolibc']) {
  for (const [name, passed] of Object.entries(TWO_STAGES)) {
    test(`${name} passes over a simulated kexec (${kind})`, { skip }, async () => {
      const program = join(BUILT, kind, name);
      const { code, out, err } = await emulate(
        ['sh', '-c', `"$0" -s 1 && ${JUMP}`, program],
        ['--init', `'${program}' -s 2`],
      );
      assert.equal(code, 0, out + err);
      assert.ok(out.includes('[STAGE 1]') && out.includes('[STAGE 2]'), out + err);
      assert.ok(out.includes(passed), out + err);
    });
  }
}

test('stage 2 without a stage 1 fails, as on a machine that was booted cold', { skip }, async () => {
  const { code, out } = await emulate([join(BUILT, 'dynamic/luo_kexec_simple'), '-s', '2']);
  assert.notEqual(code, 0, out);
  assert.ok(!out.includes('PASSED'), out);
});
