// Goal: a hook is run by the letter of its contract, and whatever it does instead is an error that names it, in time, with nothing left
// running. Method: shell scripts in a folder of our own; the process that was killed is a second set of hooks on the same records.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LuoError } from '../../src/base/errors.js';
import {
  checkHook,
  findHooks,
  globalsService,
  HOOK_STATE_BYTES_MAX,
  HookRecords,
  Hooks,
  runHook,
  type Hook,
  type HookCall,
  type HookContext,
} from '../../src/handles/global/index.js';

const root = mkdtempSync(join(tmpdir(), 'luo-hooks-'));
after(() => rmSync(root, { recursive: true }));
const folder = join(root, 'globals.d');
const calls = join(root, 'calls');
const recordsFolder = join(root, 'records');
const uid = process.getuid!();
let logged: string[] = [];

beforeEach(() => {
  for (const path of [folder, recordsFolder]) rmSync(path, { recursive: true, force: true });
  for (const path of [calls, join(root, 'pid')]) rmSync(path, { force: true });
  mkdirSync(folder, { mode: 0o755 });
  logged = [];
});

/** A hook; `body` is what it does, `$1` the call. */
function hook(name: string, body: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}
/** One that writes down each call with its stdin, and says `CALL(stdin)`. */
const RECORDING = `in=$(cat); echo "$1 <$in>" >> ${calls}; printf '%s(%s)' "$1" "$in"`;
const called = (): string[] => (existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : []);
const log = (line: string): unknown => logged.push(line);

function run(
  name: string,
  call: HookCall,
  more: { state?: string; deadlineMs?: number; signal?: AbortSignal } = {},
): Promise<string> {
  const { state = '', deadlineMs = 5000, signal } = more;
  const path = join(folder, name);
  const common = { name, path, call, state: Buffer.from(state), deadlineMs, graceMs: 200, log };
  return runHook({ ...common, ...(signal ? { signal } : {}) }).then(String);
}

async function failure(work: Promise<unknown>): Promise<LuoError> {
  try {
    await work;
  } catch (error) {
    assert.equal((error as LuoError).code, 'HOOK_FAILED', String(error));
    return error as LuoError;
  }
  return assert.fail('it did not fail');
}

/** The process that wrote its pid there is gone, or goes now. */
async function gone(pidFile: string): Promise<void> {
  const pid = Number(readFileSync(pidFile, 'utf8'));
  assert.ok(pid > 1);
  for (let turn = 0; turn < 250; turn += 1) {
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : '';
    if (stat === '' || stat.includes(') Z ')) return;
    await sleep(20);
  }
  assert.fail(`process ${pid} lives on`);
}

suite('which files are hooks', () => {
  test('executable files of a folder, in order of their names; no folder has none', () => {
    hook('b', '');
    hook('a', '');
    assert.deepEqual(findHooks(folder, uid).hooks, [
      { name: 'a', path: join(folder, 'a') },
      { name: 'b', path: join(folder, 'b') },
    ]);
    assert.deepEqual(findHooks(join(root, 'none'), uid), { hooks: [], refused: [] });
  });

  test('what cannot be run, or has no name of a handle, is refused by name', () => {
    hook('.hidden', '');
    hook('a b', '');
    mkdirSync(join(folder, 'folder'));
    symlinkSync('/nowhere', join(folder, 'link'));
    writeFileSync(join(folder, 'readme'), '');
    const { hooks, refused } = findHooks(folder, uid);
    assert.deepEqual(hooks, []);
    assert.deepEqual(
      refused.map(({ name }) => name),
      ['.hidden', 'a b', 'folder', 'link', 'readme'],
    );
    assert.match(refused.find(({ name }) => name === 'readme')!.reason, /not executable/);
    assert.match(refused.find(({ name }) => name === 'link')!.reason, /ENOENT/);
  });

  test('what others than its owner can write is refused', () => {
    const path = hook('loose', '');
    for (const mode of [0o775, 0o757, 0o777]) {
      chmodSync(path, mode);
      assert.match(checkHook(path, uid)!, /written by others/, mode.toString(8));
    }
    chmodSync(path, 0o700);
    assert.equal(checkHook(path, uid), null);
  });

  test('what belongs to somebody else is refused', () => {
    const path = hook('foreign', '');
    const stranger = uid === 0 ? 12_345 : uid;
    if (uid === 0) chownSync(path, stranger, stranger);
    assert.match(checkHook(path, 99_999)!, new RegExp(`belongs to user ${stranger}`));
  });

  test('in a folder that others can write, nothing is run, whatever leads there', () => {
    const path = hook('one', '');
    chmodSync(folder, 0o777);
    assert.match(checkHook(path, uid)!, /folder .* written by others/);
    const other = join(root, 'other.d');
    mkdirSync(other, { mode: 0o755 });
    symlinkSync(path, join(other, 'one'));
    assert.match(checkHook(join(other, 'one'), uid)!, /folder .*globals\.d' can be written/);
    chmodSync(folder, 0o755);
    assert.equal(checkHook(join(other, 'one'), uid), null);
    rmSync(other, { recursive: true });
  });

  test('luod starts a service for them only when there is something executable', () => {
    const program = '/x/globals.js';
    assert.equal(globalsService({ program, folder: join(root, 'none') }), undefined);
    writeFileSync(join(folder, 'readme'), '');
    assert.equal(globalsService({ program, folder }), undefined);
    hook('one', '');
    const service = globalsService({ program, folder })!;
    assert.deepEqual([service.name, service.argv.slice(1)], ['luo-globals', [program, '--folder', folder]]);
  });
});

suite('one call', () => {
  test('gets its name, the earlier state on stdin, and gives the new one on stdout, byte for byte', async () => {
    hook('one', 'echo "$1 in $PWD" >&2; cat');
    const state = Buffer.from([0, 255, 10, 13, 128]).toString('latin1');
    const said = await runHook({
      ...{ name: 'one', path: join(folder, 'one'), call: 'freeze', state: Buffer.from(state, 'latin1') },
      ...{ deadlineMs: 5000, graceMs: 200, log },
    });
    assert.equal(said.toString('latin1'), state);
    assert.deepEqual(logged, ['freeze in /']);
  });

  test('is told what it is called for, and has nothing of what makes its caller a participant', async () => {
    hook('one', 'env');
    process.env['LUO_SECRET'] = 'secret';
    process.env['NOTIFY_SOCKET'] = '/notify';
    try {
      const said = await runHook({
        ...{
          name: 'one',
          path: join(folder, 'one'),
          call: 'prepare',
          state: Buffer.alloc(0),
          env: { LUO_ATTEMPT: '7' },
        },
        ...{ deadlineMs: 5000, graceMs: 200, log },
      });
      const env = String(said);
      assert.match(env, /^LUO_ATTEMPT=7$/m);
      assert.match(env, /^PATH=/m);
      assert.doesNotMatch(env, /LUO_SECRET|NOTIFY_SOCKET/);
    } finally {
      delete process.env['LUO_SECRET'];
      delete process.env['NOTIFY_SOCKET'];
    }
  });

  test('may leave its stdin unread, however much there is', async () => {
    hook('one', 'echo enough');
    assert.equal(await run('one', 'prepare', { state: 'x'.repeat(1024 * 1024) }), 'enough\n');
  });

  test('that ends with another code than 0, or by a signal, failed', async () => {
    hook('code', 'echo some; exit 7');
    hook('signal', 'kill -USR1 $$');
    const { data, handle } = await failure(run('code', 'prepare'));
    assert.deepEqual([data, handle], [{ hook: 'code', call: 'prepare', code: 7, signal: null }, 'code']);
    assert.equal((await failure(run('signal', 'freeze'))).data?.['signal'], 'SIGUSR1');
  });

  test('of a file that is gone, or that the kernel cannot run, failed', async () => {
    await failure(run('none', 'prepare'));
    writeFileSync(join(folder, 'noise'), 'no program\0', { mode: 0o755 });
    await failure(run('noise', 'prepare'));
    writeFileSync(join(folder, 'lost'), '#!/no/such/shell\n', { mode: 0o755 });
    await failure(run('lost', 'prepare'));
  });

  test('that writes as much as a state may have is right; one byte more, or without end, failed and is ended', async () => {
    hook('full', `head -c ${HOOK_STATE_BYTES_MAX} /dev/zero`);
    hook('more', `head -c ${HOOK_STATE_BYTES_MAX + 1} /dev/zero`);
    hook('endless', `echo $$ > ${root}/pid; exec cat /dev/zero`);
    assert.equal((await run('full', 'prepare')).length, HOOK_STATE_BYTES_MAX);
    await failure(run('more', 'prepare'));
    await failure(run('endless', 'freeze'));
    await gone(join(root, 'pid'));
  });

  test('has no state to give outside of prepare and freeze: whatever it writes there is passed over', async () => {
    hook('chatty', 'head -c 300000 /dev/zero');
    for (const call of ['restore', 'finish', 'cancel'] as const) assert.equal(await run('chatty', call), '');
  });

  test('that hangs is told to end, and may do so in good order; it failed all the same', async () => {
    hook('slow', `trap 'echo tidied > ${calls}; exit 0' TERM; echo $$ > ${root}/pid; while :; do sleep 0.05; done`);
    const error = await failure(run('slow', 'prepare', { deadlineMs: 300 }));
    assert.match(error.message, /300 ms/);
    assert.deepEqual(called(), ['tidied']);
    await gone(join(root, 'pid'));
  });

  test('that does not end when told is killed, with what it had started', async () => {
    hook('deaf', `trap '' TERM; (trap '' TERM; echo $$ > ${root}/pid; sleep 1000) & while :; do sleep 0.05; done`);
    await failure(run('deaf', 'freeze', { deadlineMs: 300 }));
    await gone(join(root, 'pid'));
  });

  test('that nobody waits for any more is ended, also before it began', async () => {
    hook('slow', `echo $$ > ${root}/pid; exec sleep 1000`);
    const given = new AbortController();
    const running = failure(run('slow', 'prepare', { signal: given.signal }));
    await sleep(200);
    given.abort();
    await running;
    await gone(join(root, 'pid'));
    await failure(run('slow', 'prepare', { signal: given.signal }));
  });

  test('that leaves a process with its output open has said what it had said; the process is ended', async () => {
    hook('forks', `sleep 1000 & echo $! > ${root}/pid; echo state`);
    assert.equal(await run('forks', 'prepare'), 'state\n');
    await gone(join(root, 'pid'));
    assert.match(logged.join('\n'), /left behind/);
  });

  test('that leaves one in another session is not waited for, and that one is left alone', async () => {
    hook(
      'daemon',
      `setsid sh -c 'echo $$ > ${root}/pid; exec sleep 1000' & while [ ! -s ${root}/pid ]; do sleep 0.02; done; echo state`,
    );
    assert.equal(await run('daemon', 'prepare'), 'state\n');
    process.kill(Number(readFileSync(join(root, 'pid'), 'utf8')), 'SIGKILL');
    await gone(join(root, 'pid'));
  });

  test('says on stderr what it likes; of too much, or too long lines, only the beginning is logged', async () => {
    hook('lines', 'seq 1 5000 >&2; head -c 5000 /dev/zero | tr "\\0" x >&2');
    await run('lines', 'finish');
    assert.equal(logged.length, 201);
    assert.deepEqual([logged[0], logged[199]], ['1', '200']);
    hook('long', 'head -c 5000 /dev/zero | tr "\\0" x >&2');
    logged = [];
    await run('long', 'finish');
    assert.deepEqual(
      logged.map((line) => line.length),
      [1000],
    );
  });
});

suite('an update', () => {
  const context = (more: Partial<HookContext> = {}): HookContext => ({
    ...{ attempt: 3, deadlineMs: 10_000, signal: new AbortController().signal, gap: 'handover' },
    ...more,
  });
  /** As a new process has it: nothing known but what is in the records. */
  function processOf(
    name = 'one',
    options: { timeoutMs?: number; bootId?: string } = {},
  ): { hooks: Hooks; hook: Hook } {
    const { timeoutMs = 5000, bootId = 'this-boot' } = options;
    const hooks = new Hooks({ uid, records: new HookRecords(recordsFolder, bootId), timeoutMs, log });
    return { hooks, hook: hooks.add(name, join(folder, name)) };
  }
  const records = (bootId = 'this-boot'): HookRecords => new HookRecords(recordsFolder, bootId);
  const nothingIsOpen = (): void => assert.equal(existsSync(recordsFolder), false);

  test('that goes through: each call gets what the one before said, and the end is told once', async () => {
    hook('one', RECORDING);
    const { hooks, hook: one } = processOf();
    await one.prepare(context());
    await one.freeze(context());
    await hooks.go(context());
    await one.finish(context());
    await one.finish(context());
    await hooks.go(context());
    assert.deepEqual(called(), ['prepare <>', 'freeze <prepare()>', 'restore <freeze(prepare())>', 'finish <>']);
    nothingIsOpen();
  });

  test('in which another process goes on: it restores what was said at freeze, once', async () => {
    hook('one', RECORDING);
    const old = processOf();
    const prepared = await old.hook.prepare(context());
    const frozen = await old.hook.freeze(context());
    const next = processOf();
    next.hook.receive(JSON.parse(JSON.stringify(prepared)));
    next.hook.receive(JSON.parse(JSON.stringify(frozen)));
    assert.equal(called().length, 2, 'nothing is restored before it is decided');
    await next.hooks.go(context());
    await next.hook.finish(context());
    assert.deepEqual(called().slice(2), ['restore <freeze(prepare())>', 'finish <>']);
    nothingIsOpen();
  });

  test('that is cancelled after prepare, or after freeze, is undone with the last state', async () => {
    hook('one', RECORDING);
    const { hook: one } = processOf();
    await one.prepare(context());
    await one.cancel(context());
    await one.prepare(context());
    await one.freeze(context());
    await one.cancel(context());
    await one.cancel(context());
    assert.deepEqual(
      called().filter((call) => call.startsWith('cancel')),
      ['cancel <prepare()>', 'cancel <freeze(prepare())>'],
    );
    nothingIsOpen();
  });

  test('that never asked it for anything says nothing to it', async () => {
    hook('one', RECORDING);
    const { hooks, hook: one } = processOf();
    await hooks.go(context());
    await one.cancel(context());
    await one.finish(context());
    assert.equal(await hooks.veto(context()), undefined);
    assert.deepEqual(called(), []);
  });

  test('whose prepare failed cancels it too: it may have done half', async () => {
    hook('one', `echo "$1" >> ${calls}; [ "$1" != prepare ]`);
    const { hook: one } = processOf();
    await failure(one.prepare(context()));
    await one.cancel(context());
    assert.deepEqual(called(), ['prepare', 'cancel']);
    nothingIsOpen();
  });

  test('whose cancel or finish fails goes on, and the log says so', async () => {
    hook('one', '[ "$1" != cancel ] && [ "$1" != finish ]');
    const { hooks, hook: one } = processOf();
    await one.prepare(context());
    await one.cancel(context());
    await one.prepare(context());
    await one.freeze(context());
    await hooks.go(context());
    await one.finish(context());
    assert.equal(logged.filter((line) => line.includes('going on without it')).length, 2);
    nothingIsOpen();
  });

  test('whose time is used up by one hook fails the next without running it', async () => {
    hook('one', 'exec sleep 1000');
    hook('two', RECORDING);
    const hooks = new Hooks({ uid, records: records(), timeoutMs: 5000, log });
    const [one, two] = ['one', 'two'].map((name) => hooks.add(name, join(folder, name)));
    const given = context({ deadlineMs: 300 });
    await failure(one!.prepare(given));
    await sleep(100);
    assert.match((await failure(two!.prepare(given))).message, /no time/);
    assert.deepEqual(called(), []);
  });

  test('has no more time for one call than the limit for one hook', async () => {
    hook('one', 'exec sleep 1000');
    assert.match((await failure(processOf('one', { timeoutMs: 150 }).hook.prepare(context()))).message, /150 ms/);
  });

  test('meets a hook that others can write by now: it is not run', async () => {
    const path = hook('one', RECORDING);
    const { hook: one } = processOf();
    await one.prepare(context());
    chmodSync(path, 0o777);
    await failure(one.freeze(context()));
    assert.deepEqual(called(), ['prepare <>']);
  });

  test('a state that this version cannot read is refused', () => {
    const { hook: one } = processOf();
    for (const saved of [null, {}, 'text', { hook: 2, of: 'freeze', state: '' }, { hook: 1, of: 'finish', state: '' }])
      assert.throws(() => one.receive(saved), { code: 'PROTO_INVALID' }, JSON.stringify(saved));
  });
});

suite('a process that was killed', () => {
  const context: HookContext = { attempt: 1, deadlineMs: 10_000, signal: new AbortController().signal, gap: 'kexec' };
  function processOf(bootId = 'this-boot'): { hooks: Hooks; hook: Hook } {
    const hooks = new Hooks({ uid, records: new HookRecords(recordsFolder, bootId), timeoutMs: 5000, log });
    return { hooks, hook: hooks.add('one', join(folder, 'one')) };
  }

  test('between prepare and the decision: the next one undoes it', async () => {
    hook('one', RECORDING);
    await processOf().hook.prepare(context);
    const next = processOf();
    await next.hooks.go(context);
    assert.deepEqual(called(), ['prepare <>', 'cancel <prepare()>']);
    assert.equal(existsSync(recordsFolder), false);
  });

  test('while its hook ran: the hook is ended before it is undone', async () => {
    hook('one', `echo "$1" >> ${calls}; [ "$1" = cancel ] || { echo $$ > ${root}/pid; exec sleep 1000; }`);
    const { hook: one } = processOf();
    const running = failure(one.prepare(context));
    for (
      let turn = 0;
      turn < 250 && new HookRecords(recordsFolder, 'this-boot').read('one')?.process === null;
      turn += 1
    )
      await sleep(20);
    await processOf().hooks.go(context);
    await gone(join(root, 'pid'));
    await running;
    assert.deepEqual(called(), ['prepare', 'cancel']);
  });

  test('in an earlier boot: there is nothing to undo in this one', async () => {
    hook('one', RECORDING);
    await processOf('earlier-boot').hook.prepare(context);
    await processOf().hooks.go(context);
    assert.deepEqual(called(), ['prepare <>']);
    assert.deepEqual(new HookRecords(recordsFolder, 'this-boot').names(), []);
  });

  test('with its kernel, before anything was frozen: what was said at prepare is restored', async () => {
    hook('one', RECORDING);
    const prepared = await processOf('earlier-boot').hook.prepare(context);
    const next = processOf();
    next.hook.receive(prepared);
    await next.hooks.go(context);
    assert.deepEqual(called(), ['prepare <>', 'restore <prepare()>']);
    assert.match(logged.join('\n'), /not frozen/);
  });

  test('a record that cannot be read is none', () => {
    mkdirSync(recordsFolder);
    for (const text of ['', '{', '{}', 'null']) {
      writeFileSync(join(recordsFolder, 'one.json'), text);
      assert.deepEqual(new HookRecords(recordsFolder, 'this-boot').names(), []);
    }
  });

  test('that is told to end ends what runs', async () => {
    hook('one', `echo $$ > ${root}/pid; exec sleep 1000`);
    const { hooks, hook: one } = processOf();
    const running = failure(one.prepare(context));
    await sleep(300);
    hooks.end();
    assert.equal((await running).data?.['signal'], 'SIGKILL');
    await gone(join(root, 'pid'));
  });
});

suite('a restore that fails', () => {
  const context: HookContext = { attempt: 1, deadlineMs: 10_000, signal: new AbortController().signal, gap: 'kexec' };
  const WANTS_FILE = `[ "$1" != restore ] || [ -e ${root}/mended ]`;
  const path = join(recordsFolder, 'one.json');
  function processOf(): { hooks: Hooks; hook: Hook } {
    const hooks = new Hooks({ uid, records: new HookRecords(recordsFolder), timeoutMs: 5000, log });
    return { hooks, hook: hooks.add('one', join(folder, 'one')) };
  }
  async function failed(): Promise<{ hooks: Hooks; hook: Hook }> {
    rmSync(join(root, 'mended'), { force: true });
    hook('one', `${RECORDING}; ${WANTS_FILE}`);
    const made = processOf();
    await made.hook.prepare(context);
    await made.hook.freeze(context);
    await made.hooks.go(context);
    assert.equal(made.hook.isPending, true);
    return made;
  }

  test('keeps its state and puts finish off, with what to do', async () => {
    const { hooks } = await failed();
    const reason = await hooks.veto(context);
    assert.match(reason!, /restore of the hook 'one'/);
    assert.ok(reason!.includes(path));
    assert.ok(existsSync(path));
  });

  test('is tried again with the same state when finish is asked for, and then there is nothing against it', async () => {
    const { hooks, hook: one } = await failed();
    writeFileSync(join(root, 'mended'), '');
    await sleep(2100);
    assert.equal(await hooks.veto(context), undefined);
    await one.finish(context);
    const tries = called().filter((call) => call.startsWith('restore'));
    assert.deepEqual(tries, ['restore <freeze(prepare())>', 'restore <freeze(prepare())>']);
    assert.equal(existsSync(recordsFolder), false);
  });

  test('is tried again by the next process, too', async () => {
    await failed();
    writeFileSync(join(root, 'mended'), '');
    const next = processOf();
    await next.hooks.go(context);
    assert.equal(next.hook.isPending, false);
    assert.equal(called().at(-1), 'restore <freeze(prepare())>');
  });

  test('is given up when its record is removed', async () => {
    const { hooks } = await failed();
    rmSync(path);
    assert.equal(await hooks.veto(context), undefined);
    assert.match(logged.join('\n'), /given up/);
  });

  test('of a hook that is gone keeps the state until it is back', async () => {
    hook('one', RECORDING);
    const { hooks, hook: one } = processOf();
    await one.prepare(context);
    await one.freeze(context);
    rmSync(join(folder, 'one'));
    await hooks.go(context);
    assert.match((await hooks.veto(context))!, /ENOENT/);
    hook('one', RECORDING);
    await sleep(2100);
    assert.equal(await hooks.veto(context), undefined);
    assert.equal(called().at(-1), 'restore <freeze(prepare())>');
  });
});
