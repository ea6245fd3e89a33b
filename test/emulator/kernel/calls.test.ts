// Goal: the emulated kernel answers as the real one, errno by errno, whatever the program does meanwhile; what is preserved
// comes over a jump as a real kernel hands it back; faults act where they are ordered. Method: C programs under luoctl emulate,
// which check for themselves what they are answered.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Workshop, luoctl, start, withoutCompiler } from '../support.js';

const workshop = new Workshop();
const needsCompiler = { skip: withoutCompiler };
const built = new Map<string, string>();

/** The program NAME.c, built once. */
function program(name: string, options: readonly string[] = []): string {
  const key = [name, ...options].join(' ');
  if (!built.has(key)) built.set(key, workshop.build(name, options));
  return built.get(key)!;
}

/** Run a command line of luoctl emulate to its end. */
async function emulate(...words: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const { code, out, err } = await start([luoctl, 'emulate', ...words]).ended;
  return { code, out, err };
}

suite('what a program is answered', needsCompiler, () => {
  for (const [name, fact] of [
    ['checks', 'number, address, command word, direction, size and tail are checked in the kernel’s order'],
    ['names', 'names are 1 to 63 bytes, unique among outgoing sessions, and free again at the close'],
    ['busy', 'the device is busy until its last copy is closed, and a session cannot be opened by its path in /proc'],
    ['preserving', 'a file is preserved once, whatever descriptor names it, and only shared memory is'],
    ['frozen', 'a preserved file keeps its size, and gets its freedom back at the close of the session'],
    ['limit', 'a program at its limit of descriptors is told so before anything else, and nothing happens'],
    ['paths', 'the device is found by every path that leads to it, and by no other'],
    ['storm', 'signals while calls wait leave no session and no descriptor'],
    ['threads', 'threads work with sessions of their own at once'],
    ['killed', 'a program that is killed in a call leaves nothing'],
    ['loading', 'an image is loaded and unloaded; a jump without one is refused; there is no io_uring'],
  ] as const) {
    test(fact, async () => {
      const { code, out } = await emulate('--', program('rules'), name);
      assert.deepEqual([code, out], [0, `pass ${name}\n`]);
    });
  }

  test('a static program is answered the same', async () => {
    const { code, out } = await emulate('--', program('rules', ['-static']), 'checks', 'busy', 'preserving');
    assert.deepEqual([code, out], [0, 'pass checks\npass busy\npass preserving\n']);
  });

  test('strict mode answers the same', async () => {
    const { code, out } = await emulate('--strict', '--', program('rules'), 'checks', 'busy', 'paths', 'frozen');
    assert.deepEqual([code, out], [0, 'pass checks\npass busy\npass frozen\npass paths\n']);
  });

  test('in strict mode the path is a character device of root, opens of every kind work, and no other path has changed', async () => {
    const script = [
      'test -c /dev/liveupdate && echo character',
      'test -e /dev/liveupdate2 || echo alone',
      'test -c /dev/null && echo null',
      'stat -c "%F %a %u" /dev/liveupdate',
      'cat < /dev/liveupdate && echo read',
      'exec 5< /dev/liveupdate && readlink /proc/self/fd/5',
      'test -L /dev/liveupdate || echo no-link',
    ].join('\n');
    const { code, out } = await emulate('--strict', '--', 'sh', '-c', script);
    const wanted = ['character', 'alone', 'null', 'character special file 600 0', 'read', '/dev/liveupdate', 'no-link'];
    assert.deepEqual([code, out.trim().split('\n')], [0, wanted]);
  });
});

suite('a jump', needsCompiler, () => {
  test('carries content, size, position and the seals of before, and loses what the kernel loses', async () => {
    const carry = program('carry');
    const { code, out } = await emulate('--init', `${carry} after`, '--', carry, 'before');
    assert.deepEqual([code, out], [0, 'after done\n']);
  });
});

const BEFORE_OK =
  'open=ok reopen=ok create=ok create-again=ok preserve-1=ok preserve-2=ok preserve-7=ok name=ok load=ok';
const AFTER_OK =
  'open=ok retrieve-session=ok retrieve-session-again=EINVAL retrieve-7=ok retrieve-7-again=ok retrieve-1=ok finish=ok ' +
  'after-close=ENOENT';

/** What the two programs of steps.c say under `faults`, one after the other. */
async function steps(...faults: string[]): Promise<string> {
  const client = program('steps');
  const words = faults.flatMap((fault) => ['--fault', fault]);
  const { code, out } = await emulate(...words, '--init', `${client} after`, '--', client, 'before');
  assert.equal(code, 0);
  return out.trim();
}

suite('a fault on order', needsCompiler, () => {
  test('is nowhere where none is ordered', async () => {
    assert.equal(await steps(), `${BEFORE_OK} ${AFTER_OK}`);
  });

  for (const [fault, was, is] of [
    ['open:ENOMEM', 'open=ok', 'open=ENOMEM'],
    ['preserve:2:ENOMEM', 'preserve-2=ok', 'preserve-2=ENOMEM'],
    ['preserve:token=7:EIO:always', 'preserve-7=ok', 'preserve-7=EIO'],
    ['get-name:EIO', 'name=ok', 'name=EIO'],
    ['load:ENOEXEC', 'load=ok', 'load=ENOEXEC reboot=EINVAL reboot-again=EINVAL'],
    ['freeze:EBUSY', 'load=ok', 'load=ok reboot=EBUSY'],
    ['freeze:token=2:EIO', 'load=ok', 'load=ok reboot=EIO'],
  ] as const) {
    test(`${fault} acts before the jump`, async () => {
      const out = await steps(fault);
      assert.ok(out.startsWith(BEFORE_OK.replace(was, is)), out);
    });
  }

  for (const [fault, was, is] of [
    [
      'retrieve-session:ENOMEM',
      'retrieve-session=ok retrieve-session-again=EINVAL',
      'retrieve-session=ENOMEM retrieve-session-again=ok',
    ],
    ['retrieve:token=7:EIO', 'retrieve-7=ok retrieve-7-again=ok', 'retrieve-7=EIO retrieve-7-again=EIO'],
    ['finish:EBUSY', 'finish=ok', 'finish=EBUSY'],
    // Refused at the close too: listed for ever, to be had by nobody.
    ['finish:EBUSY:always', 'finish=ok after-close=ENOENT', 'finish=EBUSY after-close=EINVAL'],
  ] as const) {
    test(`${fault} acts after the jump`, async () => {
      assert.equal(await steps(fault), `${BEFORE_OK} ${AFTER_OK.replace(was, is)}`);
    });
  }

  test('open:EIO stays until the next boot', async () => {
    const out = await steps('open:EIO');
    assert.match(out, /^open=EIO reopen=EIO create=EBADF/);
  });

  test('a delay delays its call, and it succeeds then', async () => {
    const begun = performance.now();
    assert.equal(await steps('preserve:delay=300'), `${BEFORE_OK} ${AFTER_OK}`);
    assert.ok(performance.now() - begun >= 300);
  });

  test('what is no fault is refused with the grammar, and no program is started', async () => {
    const { code, out, err } = await emulate('--fault', 'freeze:delay=5', '--', 'echo', 'started');
    assert.notEqual(code, 0);
    assert.equal(out, '');
    assert.match(err, /POINT\[:SELECTOR\]/);
  });
});

suite('the trace', needsCompiler, () => {
  test('has each call as one JSON object a line, in order', async () => {
    const { err } = await emulate('--trace=json', '--init', 'true', '--', program('steps'), 'before');
    const events = err
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { event: string; call?: string; result?: number; token?: string });
    const calls = events.filter(({ event }) => event === 'call').map(({ call }) => call);
    assert.deepEqual(calls.slice(0, 4), ['openat', 'openat', 'CREATE_SESSION', 'CREATE_SESSION']);
    assert.deepEqual(
      events.filter(({ call }) => call === 'PRESERVE_FD').map(({ token, result }) => [token, result]),
      [1, 2, 7].map((token) => [String(token), 0]),
    );
  });
});
