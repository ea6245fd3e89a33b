// Goal: hooks take part in an update when, and only when, something depends on them, and hear exactly one end of what they began,
// whoever dies. Method: the built luod with the built program `globals`; hooks are shell scripts that write down each call.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StartLuodOptions, TestLuod } from '../../src/testing/index.js';
import { isAlive, json, killLuod, read, root, service, status, until, withLuod } from '../integration/harness.js';

const SERVICE = 'luo-globals';
const globals = join(root, 'dist/src/bin/globals.js');
const dependent = join(root, 'dist/test/handles/programs/dependent.js');

/** What a hook does unless a test says otherwise: writes down the call with its stdin, and says `CALL(stdin)`. */
const record = (calls: string): string => `in=$(cat); echo "$1 <$in>" >> ${calls}; printf '%s(%s)' "$1" "$in"`;
const WENT_THROUGH = ['prepare <>', 'freeze <prepare()>', 'restore <freeze(prepare())>', 'finish <>'];
const CANCELLED_PREPARE = ['prepare <>', 'cancel <prepare()>'];
const CANCELLED_FREEZE = ['prepare <>', 'freeze <prepare()>', 'cancel <freeze(prepare())>'];

interface UpdateAnswer {
  readonly outcome?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

class Scene {
  readonly luod: TestLuod;
  readonly folder: string;

  constructor(luod: TestLuod) {
    this.luod = luod;
    this.folder = join(luod.scratch, 'globals.d');
    mkdirSync(this.folder, { mode: 0o755 });
  }

  /** @param body what it does after it has written down its call */
  hook(name: string, body = ''): void {
    const path = join(this.folder, name);
    writeFileSync(path, `#!/bin/sh\n${record(join(this.luod.scratch, `${name}.calls`))}\n${body}\n`);
    chmodSync(path, 0o755);
  }

  called(name: string): string[] {
    const path = join(this.luod.scratch, `${name}.calls`);
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  }

  log(): string {
    return read(join(this.luod.dir, 'logs', `${SERVICE}.log`));
  }

  get pending(): string {
    return join(this.luod.dir, 'globals');
  }

  async start(...more: string[]): Promise<void> {
    await json(this.luod, [
      'run',
      '--name',
      SERVICE,
      '--',
      process.execPath,
      globals,
      '--folder',
      this.folder,
      ...more,
    ]);
  }

  async depend(name: string, ...on: string[]): Promise<void> {
    await json(this.luod, ['run', '--name', name, '--', process.execPath, dependent, SERVICE, ...on]);
  }

  /** @param code of luoctl: 3, it was rolled back */
  async update(name: string, code: 0 | 3 = 0): Promise<UpdateAnswer> {
    const answer = await this.luod.luoctl(['update', name, '--json']);
    assert.equal(answer.code, code, answer.stdout + answer.stderr);
    return JSON.parse(answer.stdout.trim().split('\n').at(-1)!) as UpdateAnswer;
  }

  async untilNormal(): Promise<void> {
    await until('the state normal', async () => {
      const { state, phase } = await status(this.luod);
      return state === 'normal' && phase === null;
    });
  }
}

const scene = (use: (scene: Scene) => Promise<void>, options: StartLuodOptions = {}): Promise<void> =>
  withLuod((luod) => use(new Scene(luod)), options);

suite('hooks under luod', () => {
  test('are handles that nobody keeps for themselves: an update of others leaves them alone', () =>
    scene(async (s) => {
      s.hook('one');
      await s.start();
      await s.depend('plain');
      const { handles } = await status(s.luod);
      const one = handles.find((handle) => handle.kind === 'global')!;
      assert.deepEqual([one.name, one.owner], ['one', `${process.getuid!()}:${SERVICE}`]);
      assert.deepEqual(one.wants, { handover: 'leave', kexec: 'leave' });
      await s.update('plain');
      await s.untilNormal();
      assert.deepEqual(s.called('one'), []);
    }));

  test('are pulled by what depends on them, and by nothing else', () =>
    scene(async (s) => {
      for (const name of ['one', 'two', 'three']) s.hook(name);
      await s.start();
      await s.depend('app', 'one', 'three');
      const plan = await json<{ pulled: { handle: string; path: string[] }[] }>(s.luod, ['plan', 'app']);
      assert.deepEqual(plan.pulled.map(({ handle }) => handle.split(':').at(-1)).sort(), ['one', 'three']);
      assert.match(plan.pulled[0]!.path[0]!, /app\/fd:data$/);
      const { pid } = await service(s.luod, SERVICE);
      await s.update('app');
      await s.untilNormal();
      assert.deepEqual(s.called('one'), WENT_THROUGH);
      assert.deepEqual(s.called('three'), WENT_THROUGH);
      assert.deepEqual(s.called('two'), []);
      assert.equal((await service(s.luod, SERVICE)).pid, pid, 'it is a bystander');
      assert.equal(existsSync(s.pending), false);
    }));

  test('that are not there stop the update of what needs them, with the path', () =>
    scene(async (s) => {
      s.hook('one');
      await s.start();
      await s.depend('app', 'missing');
      const { pid } = await service(s.luod, 'app');
      const answer = await s.luod.luoctl(['update', 'app']);
      assert.notEqual(answer.code, 0);
      assert.match(answer.stderr, /PLAN_MISSING/);
      assert.match(answer.stderr, /app\/fd:data/);
      assert.equal((await service(s.luod, 'app')).pid, pid);
    }));

  test('that must not be run are no handles, and the log says why', () =>
    scene(async (s) => {
      s.hook('good');
      s.hook('loose');
      chmodSync(join(s.folder, 'loose'), 0o777);
      writeFileSync(join(s.folder, 'readme'), '');
      await s.start();
      const { handles } = await status(s.luod);
      assert.deepEqual(
        handles.map((handle) => handle.name),
        ['good'],
      );
      assert.match(s.log(), /^loose is no hook: .*written by others/m);
      assert.match(s.log(), /^readme is no hook: it is not executable/m);
    }));

  test('of which there are none leave a service that waits for some', () =>
    scene(async (s) => {
      await s.start();
      assert.match(s.log(), /there are no hooks/);
      s.hook('one');
      await s.update(SERVICE);
      await s.untilNormal();
      await s.depend('app', 'one');
      await s.update('app');
      await s.untilNormal();
      assert.deepEqual(s.called('one'), WENT_THROUGH);
    }));
});

suite('a hook that does not do what it should', () => {
  test('fails in prepare: the update is off, the service runs on, and the hook is told', () =>
    scene(async (s) => {
      s.hook('bad', 'echo no, not now >&2; [ "$1" = cancel ]');
      for (const name of ['a-good', 'z-good']) s.hook(name);
      await s.start();
      await s.depend('app', 'a-good', 'bad', 'z-good');
      const { pid } = await service(s.luod, 'app');
      const { outcome, error } = await s.update('app', 3);
      assert.equal(outcome, 'aborted');
      assert.match(error!.message, /hook 'bad'/);
      assert.match(s.log(), /bad: prepare: no, not now/);
      await s.untilNormal();
      // What prepare would have said is not known.
      assert.deepEqual(s.called('bad'), ['prepare <>', 'cancel <>']);
      assert.deepEqual(s.called('a-good'), CANCELLED_PREPARE);
      assert.deepEqual(s.called('z-good'), []);
      assert.equal((await service(s.luod, 'app')).pid, pid);
      assert.equal(existsSync(s.pending), false);
    }));

  test('fails in freeze: everybody thaws, and the hooks are told', () =>
    scene(async (s) => {
      s.hook('bad', '[ "$1" != freeze ]');
      s.hook('good');
      await s.start();
      await s.depend('app', 'good', 'bad');
      await s.update('app', 3);
      await s.untilNormal();
      // What freeze would have said is not known: it is undone with what there is.
      assert.deepEqual(s.called('bad'), ['prepare <>', 'freeze <prepare()>', 'cancel <prepare()>']);
      assert.ok(s.called('good').at(-1)!.startsWith('cancel'));
      assert.deepEqual((await status(s.luod)).stuck, []);
      // It can be tried again.
      s.hook('bad');
      await s.update('app');
      await s.untilNormal();
      assert.deepEqual(s.called('bad').slice(-4), WENT_THROUGH);
    }));

  test('hangs in freeze: it is ended in time, so that the update can be called off in time', () =>
    scene(async (s) => {
      s.hook('slow', '[ "$1" != freeze ] || exec sleep 1000');
      await s.start('--timeout', '300');
      await s.depend('app', 'slow');
      const { error } = await s.update('app', 3);
      assert.match(error!.message, /300 ms/);
      await s.untilNormal();
      assert.equal(s.called('slow').at(-1), 'cancel <prepare()>');
    }));

  test('says more than a state may have: the update is off', () =>
    scene(async (s) => {
      s.hook('large', '[ "$1" != prepare ] || exec head -c 70000 /dev/zero');
      await s.start();
      await s.depend('app', 'large');
      assert.match((await s.update('app', 3)).error!.message, /65536/);
      await s.untilNormal();
    }));

  test('says as much as it may, of any bytes: all of it comes back', () =>
    scene(async (s) => {
      const path = join(s.luod.scratch, 'state');
      writeFileSync(
        join(s.folder, 'full'),
        `#!/bin/sh
        case $1 in prepare) ;; freeze) head -c 65536 /dev/urandom | tee ${path};; restore) cmp - ${path};; esac`,
        { mode: 0o755 },
      );
      await s.start();
      await s.depend('app', 'full');
      await s.update('app');
      await s.untilNormal();
    }));

  test('fails in restore: the update goes on, its finish waits, and is done when the hook is mended', () =>
    scene(async (s) => {
      const mended = join(s.luod.scratch, 'mended');
      s.hook('bad', `[ "$1" != restore ] || [ -e ${mended} ]`);
      await s.start();
      await s.depend('app', 'bad');
      const { pid } = await service(s.luod, 'app');
      await s.luod.luoctl(['update', 'app']);
      const now = await until('the state updated', async () => {
        const found = await status(s.luod);
        return found.state === 'updated' && found.phase === null && found;
      });
      assert.notEqual(now.services.find((one) => one.name === 'app')!.pid, pid, 'the new version serves');
      const refusal = await s.luod.luoctl(['finish']);
      assert.notEqual(refusal.code, 0);
      assert.match(refusal.stderr, /hook 'bad'/);
      assert.ok(refusal.stderr.includes(join(s.pending, 'bad.json')));
      writeFileSync(mended, '');
      await until('a finish', async () => (await s.luod.luoctl(['finish'])).code === 0);
      await s.untilNormal();
      assert.equal(s.called('bad').at(-1), 'finish <>');
      assert.equal(existsSync(s.pending), false);
    }));

  test('fails in restore and is given up by the operator: finish waits no more', () =>
    scene(async (s) => {
      s.hook('bad', '[ "$1" != restore ]');
      await s.start();
      await s.depend('app', 'bad');
      await s.luod.luoctl(['update', 'app']);
      await until('its state', () => existsSync(join(s.pending, 'bad.json')));
      rmSync(join(s.pending, 'bad.json'));
      await until('a finish', async () => {
        const done = await s.luod.luoctl(['finish']);
        return done.code === 0 || (await status(s.luod)).state === 'normal';
      });
      await s.untilNormal();
      rmSync(s.pending, { recursive: true, force: true });
    }));
});

suite('when processes die', () => {
  test('the program dies while its hook runs: the update is off, and the next one undoes', () =>
    scene(async (s) => {
      const pidFile = join(s.luod.scratch, 'pid');
      s.hook('slow', `[ "$1" != prepare ] || { echo $$ > ${pidFile}; exec sleep 1000; }`);
      await s.start();
      await s.depend('app', 'slow');
      const updating = s.update('app', 3);
      await until('the hook', () => existsSync(pidFile) && existsSync(join(s.pending, 'slow.json')));
      await sleep(100);
      process.kill((await service(s.luod, SERVICE)).pid!, 'SIGKILL');
      await updating;
      await until('the undo', () => s.called('slow').length === 2);
      assert.equal(s.called('slow')[1], 'cancel <>');
      assert.equal(isAlive(Number(readFileSync(pidFile, 'utf8'))), false);
      await until('the end of the record', () => !existsSync(s.pending));
      await s.untilNormal();
    }));

  for (const [point, histories] of [
    ['luod.prepare.sent', [[], CANCELLED_PREPARE]],
    ['luod.prepared', [[], CANCELLED_PREPARE]],
    ['luod.freeze.sent', [CANCELLED_PREPARE, CANCELLED_FREEZE]],
    ['luod.frozen', [CANCELLED_PREPARE, CANCELLED_FREEZE]],
    ['luod.decide.before', [CANCELLED_FREEZE]],
    ['luod.decide.after', [WENT_THROUGH]],
    ['luod.go.sent', [WENT_THROUGH]],
    ['luod.go.acked', [WENT_THROUGH]],
    ['luod.finish.sent', [WENT_THROUGH]],
  ] as const) {
    test(`luod dies at ${point}: the hook hears one end of what it was asked to begin`, () =>
      scene(async (s) => {
        s.hook('one');
        await s.start();
        await s.depend('app', 'one');
        s.luod.arm(point, 'kill');
        await s.luod.luoctl(['update', 'app']);
        await until('luod’s death', () => s.luod.hits().length > 0);
        await s.untilNormal();
        await until('the end of the record', () => !existsSync(s.pending));
        const words = histories.map((calls) => calls.join());
        assert.ok(words.includes(s.called('one').join()), s.called('one').join());
        assert.deepEqual((await status(s.luod)).stuck, []);
      }));
  }

  test('luod dies at rest: hooks are there as before', () =>
    scene(async (s) => {
      s.hook('one');
      await s.start();
      await s.depend('app', 'one');
      const { pid } = await service(s.luod, SERVICE);
      await killLuod(s.luod);
      await until('both', async () => (await status(s.luod)).participants.every((one) => one.connected));
      assert.equal((await service(s.luod, SERVICE)).pid, pid);
      await s.update('app');
      await s.untilNormal();
      assert.deepEqual(s.called('one'), WENT_THROUGH);
    }));

  test('the program is killed at rest: the next one has the same hooks', () =>
    scene(async (s) => {
      s.hook('one');
      await s.start();
      await s.depend('app', 'one');
      const before = (await service(s.luod, SERVICE)).pid!;
      process.kill(before, 'SIGKILL');
      await until('the next process', async () => {
        const { pid, run } = await service(s.luod, SERVICE);
        return pid !== null && pid !== before && run === 'running';
      });
      await s.update('app');
      await s.untilNormal();
      assert.deepEqual(s.called('one'), WENT_THROUGH);
    }));
});

suite('the program itself', () => {
  test('is updated like any service: new hooks are found, hooks that are gone are let go of', () =>
    scene(async (s) => {
      s.hook('stays');
      s.hook('goes');
      await s.start();
      rmSync(join(s.folder, 'goes'));
      s.hook('comes');
      await s.update(SERVICE);
      await s.untilNormal();
      await until('the new set', async () => {
        const names = (await status(s.luod)).handles.map((handle) => handle.name).sort();
        return names.join() === 'comes,stays';
      });
      assert.deepEqual(s.called('stays'), []);
      await s.depend('app', 'stays', 'comes');
      await s.update('app');
      await s.untilNormal();
      assert.deepEqual(s.called('stays'), WENT_THROUGH);
      assert.deepEqual(s.called('comes'), WENT_THROUGH);
    }));

  test('without luod says so and ends', () => {
    const { status: code, stderr } = spawnSync(process.execPath, [globals], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] },
    });
    assert.equal(code, 1);
    assert.match(stderr, /LUO_SOCKET/);
  });

  test('refuses options that it does not know, and times that are none', () => {
    for (const args of [['--what'], ['--timeout', '0'], ['--timeout', 'soon']]) {
      const { status: code, stderr } = spawnSync(process.execPath, [globals, ...args], { encoding: 'utf8' });
      assert.equal(code, 1, args.join(' '));
      assert.match(stderr, /luo-globals: /);
    }
  });
});

suite('the sysctl hook', () => {
  const hook = join(root, 'examples/globals/sysctl');
  /** A tree like /proc/sys, and a list. */
  function tree(
    luod: { scratch: string },
    files: Record<string, string>,
    list: string,
  ): (call: string, state?: string) => ReturnType<typeof run> {
    const at = join(luod.scratch, 'sys');
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(at, path, '..'), { recursive: true });
      writeFileSync(join(at, path), text);
    }
    writeFileSync(join(luod.scratch, 'list'), list);
    const env = { ...process.env, SYSCTL_ROOT: at, SYSCTL_LIST: join(luod.scratch, 'list') };
    const run = (call: string, state = '') => {
      const { status: code, stdout, stderr } = spawnSync(hook, [call], { input: state, encoding: 'utf8', env });
      return { code, stdout, stderr };
    };
    return run;
  }

  test('brings back under luod what was changed between freeze and restore', () =>
    scene(async (s) => {
      const at = join(s.luod.scratch, 'sys/vm');
      mkdirSync(at, { recursive: true });
      writeFileSync(join(at, 'swappiness'), '60\n');
      writeFileSync(join(s.luod.scratch, 'list'), 'vm.swappiness\n');
      const env = `SYSCTL_ROOT=${s.luod.scratch}/sys SYSCTL_LIST=${s.luod.scratch}/list`;
      // Between the two another kernel would have its own value.
      const text = `#!/bin/sh\n[ $1 != restore ] || echo 10 > ${at}/swappiness\n${env} exec ${hook} "$1"\n`;
      writeFileSync(join(s.folder, 'sysctl'), text, { mode: 0o755 });
      await s.start();
      await s.depend('app', 'sysctl');
      await s.update('app');
      await s.untilNormal();
      assert.equal(read(join(at, 'swappiness')), '60\n');
      assert.match(s.log(), /vm\/swappiness: 60 \(was 10\)/);
    }));

  test('saves what its list names, patterns and slashes too, and restores what differs', () =>
    scene(async (s) => {
      const files = {
        'vm/a': '1\n',
        'vm/b': '2\n',
        'net/x/wide': '4\t5\t6\n',
        'net/x/eth0.7/f': '1\n',
        'kernel/c': '3\n',
      };
      const run = tree(s.luod, files, '# mine\nvm.*\nnet.x.wide # three\nnet/x/eth0.7/f\nvm.a');
      const { code, stdout } = run('prepare');
      assert.deepEqual([code, stdout], [0, 'net/x/eth0.7/f\t1\nnet/x/wide\t4\t5\t6\nvm/a\t1\nvm/b\t2\n']);
      writeFileSync(join(s.luod.scratch, 'sys/net/x/wide'), '0\n');
      const restored = run('restore', stdout);
      assert.deepEqual([restored.code, restored.stderr], [0, 'net/x/wide: 4\t5\t6 (was 0)\n']);
      assert.equal(read(join(s.luod.scratch, 'sys/net/x/wide')), '4\t5\t6\n');
      assert.deepEqual(run('finish'), { code: 0, stdout: '', stderr: '' });
      assert.deepEqual(run('cancel', stdout), { code: 0, stdout: '', stderr: '' });
      return Promise.resolve();
    }));

  test('refuses what is not there, not readable and writable, not of vm or net, or of several lines', () =>
    scene((s) => {
      for (const [list, said] of [
        ['vm.none', /there is no 'vm\.none'/],
        ['vm.none*', /there is no/],
        ['kernel.panic', /neither of vm nor of net/],
        ['vm/../kernel/panic', /leads out/],
        ['vm.trigger', /cannot be read and written/],
        ['vm.lines', /more than one line/],
      ] as const) {
        const run = tree(
          s.luod,
          { 'vm/a': '1\n', 'kernel/panic': '0\n', 'vm/lines': '1\n2\n', 'vm/trigger': '' },
          `vm.a\n${list}\n`,
        );
        chmodSync(join(s.luod.scratch, 'sys/vm/trigger'), 0o200);
        const { code, stderr } = run('prepare');
        assert.equal(code, 1, list);
        assert.match(stderr, said, list);
        rmSync(join(s.luod.scratch, 'sys'), { recursive: true });
      }
      return Promise.resolve();
    }));

  test('names what it cannot restore, and restores the rest', () =>
    scene((s) => {
      const run = tree(s.luod, { 'vm/a': '1\n', 'vm/b': '1\n' }, 'vm.*');
      const { code, stderr } = run('restore', 'vm/gone\t5\nvm/b\t2\n');
      assert.equal(code, 1);
      assert.match(stderr, /there is no 'vm\/gone' any more/);
      assert.equal(read(join(s.luod.scratch, 'sys/vm/b')), '2\n');
      return Promise.resolve();
    }));

  test('without a list, or with an unknown word, says so', () =>
    scene((s) => {
      const run = tree(s.luod, { 'vm/a': '1\n' }, '');
      assert.deepEqual(run('prepare'), { code: 0, stdout: '', stderr: '' });
      assert.equal(run('thaw').code, 2);
      rmSync(join(s.luod.scratch, 'list'));
      assert.equal(run('prepare').code, 1);
      return Promise.resolve();
    }));
});
