// Goal: a program that knows only systemd's protocols is updated with its sockets kept, and whatever goes wrong, its old
// version is back on them. Method: examples/sd-notify/echo.py, and small Python programs that store and remove fds.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import type { UpdateResult } from '../../src/protocol/spec.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import {
  asOperator,
  ask,
  assertNothingLeft,
  echo,
  hasPython,
  isAlive,
  json,
  killLuod,
  read,
  service,
  status,
  until,
} from './harness.js';

const options = hasPython ? {} : { skip: 'needs python3' };
let luod: TestLuod;
before(async () => {
  luod = await startLuod();
});
after(async () => {
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, []);
  assertNothingLeft(stopped.files);
});
afterEach(async () => {
  for (const { name } of (await status(luod)).services) {
    await asOperator(luod, async (peer) => {
      await ask(peer, 'stop', { name, timeoutMs: 2000 });
      await ask(peer, 'discard', { name });
    });
  }
  assert.deepEqual((await status(luod)).handles, []);
  assert.deepEqual((await status(luod)).stuck, []);
});

function portFile(): string {
  return join(luod.scratch, 'port');
}

async function runEcho(): Promise<number> {
  const ran = await luod.luoctl(['run', '--name', 'echo', '--', 'python3', echo, portFile(), 'v1']);
  assert.equal(ran.code, 0, ran.stderr);
  return Number(read(portFile()));
}

/** A connection that has sent its line and waits for the answer. */
async function asking(port: number, line: string): Promise<{ socket: Socket; answer: Promise<string> }> {
  const socket = createConnection(port, '127.0.0.1');
  await once(socket, 'connect');
  const answer = (async () => {
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    return text.trim();
  })();
  socket.write(`${line}\n`);
  return { socket, answer };
}

async function answer(port: number, line: string): Promise<string> {
  return (await asking(port, line)).answer;
}

/** A Python program that speaks sd_notify: `notify(text, fds)` and `listen` (name to fd) are there. */
function python(body: string): string[] {
  const path = join(luod.scratch, `p${(programs += 1)}.py`);
  writeFileSync(
    path,
    `import array, os, signal, socket, sys, time
def notify(text, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [], 0, os.environ["NOTIFY_SOCKET"])
names = os.environ.get("LISTEN_FDNAMES", "").split(":") if os.environ.get("LISTEN_PID") == str(os.getpid()) else []
assert len(names) == int(os.environ.get("LISTEN_FDS", "0"))
print("found", ",".join(names), flush=True)
${body}
notify("READY=1")
signal.pause()
`,
  );
  return ['python3', path];
}
let programs = 0;

async function runPython(body: string): Promise<void> {
  const ran = await luod.luoctl(['run', '--name', 'py', '--', ...python(body)]);
  assert.equal(ran.code, 0, ran.stderr);
}

async function storedNames(): Promise<string[]> {
  const { handles } = await status(luod);
  return handles.map((handle) => `${handle.name}:${handle.type}`).sort();
}

test(
  'v1 becomes v2 on the same listening socket, and a client that connects in the gap is answered by v2',
  options,
  async () => {
    const port = await runEcho();
    assert.equal(await answer(port, 'a'), 'v1 a');
    const { protocol, statusText, pid } = await service(luod, 'echo');
    assert.equal(protocol, 'sd_notify');
    assert.equal(statusText, 'serving v1');
    // v2 starts only when v1 is gone: held there, so that a client surely comes in between.
    luod.arm('luod.frozen', 'delay 700');
    const updating = json<UpdateResult>(luod, ['update', 'echo', '--', 'python3', echo, portFile(), 'v2']);
    await until('the end of v1', async () => luod.hits().some((hit) => hit.point === 'luod.frozen'));
    const inTheGap = await Promise.all([asking(port, 'gap1'), asking(port, 'gap2')]);
    const updated = await updating;
    assert.equal(updated.outcome, 'committed');
    assert.equal(updated.pidBefore, pid);
    assert.deepEqual(await Promise.all(inTheGap.map((one) => one.answer)), ['v2 gap1', 'v2 gap2']);
    assert.equal(Number(read(portFile())), port);
    assert.equal((await service(luod, 'echo')).statusText, 'serving v2');
    const [handle] = (await status(luod)).handles;
    assert.equal(handle?.name, 'http');
    assert.equal(handle?.claimed, true, 'the new process holds it');
  },
);

test('five updates in a row keep the socket and store it once', options, async () => {
  const port = await runEcho();
  for (let round = 2; round <= 6; round += 1) {
    const waiting = asking(port, `r${round}`);
    await json(luod, ['update', 'echo', '--', 'python3', echo, portFile(), `v${round}`]);
    assert.match(await (await waiting).answer, new RegExp(`^v${round - 1} |^v${round} `));
    assert.equal(await answer(port, 'x'), `v${round} x`);
  }
  assert.deepEqual(await storedNames(), ['http:listener']);
});

test(
  'a v2 that breaks is rolled back: v1 serves on the stored socket, and no connection is refused',
  options,
  async () => {
    const port = await runEcho();
    for (const broken of [['sh', '-c', 'exit 3'], python('sys.exit(4)'), ['sh', '-c', 'kill -9 $$']]) {
      const waiting = asking(port, 'patient');
      const ran = await luod.luoctl(['update', 'echo', '--', ...broken]);
      assert.equal(ran.code, 3, ran.stderr);
      assert.equal(await (await waiting).answer, 'v1 patient');
      assert.equal(await answer(port, 'after'), 'v1 after');
    }
    assert.equal((await service(luod, 'echo')).generation, 0);
    assert.equal((await status(luod)).state, 'normal');
  },
);

test('a v2 that never says it is ready is rolled back at the blackout limit', options, async () => {
  const port = await runEcho();
  const ran = await luod.luoctl([
    'update',
    'echo',
    '--blackout-max',
    '1s',
    '--',
    ...python('notify("STATUS=hm"); time.sleep(1000)'),
  ]);
  assert.equal(ran.code, 3, ran.stderr);
  assert.equal(await answer(port, 'x'), 'v1 x');
});

test('a crash is a restart on the stored socket', options, async () => {
  const port = await runEcho();
  const { pid } = await service(luod, 'echo');
  process.kill(pid!, 'SIGKILL');
  await until('its end', () => !isAlive(pid!));
  assert.equal(await answer(port, 'waits'), 'v1 waits');
  const now = await service(luod, 'echo');
  assert.equal(now.restarts, 1);
  assert.equal((await status(luod)).handles[0]?.claimed, true);
});

test('stop parks the socket: clients wait in its backlog until start', options, async () => {
  const port = await runEcho();
  await luod.luoctl(['stop', 'echo']);
  const waiting = await asking(port, 'parked');
  assert.equal((await status(luod)).handles[0]?.claimed, false);
  await luod.luoctl(['start', 'echo']);
  assert.equal(await waiting.answer, 'v1 parked');
});

test('several fds come back under their names, in their order; without a name it is `stored`', options, async () => {
  await runPython(`
if not names:
    r, w = os.pipe()
    os.write(w, b"kept")
    notify("FDSTORE=1\\nFDNAME=r", [r])
    notify("FDSTORE=1\\nFDNAME=w", [w])
    notify("FDSTORE=1", [os.memfd_create("m"), os.eventfd(1), os.eventfd(2)])
else:
    print("read", os.read(3 + names.index("r"), 9), flush=True)
`);
  assert.deepEqual(await storedNames(), ['r:pipe', 'stored#2:eventfd', 'stored#3:eventfd', 'stored:memfd', 'w:pipe']);
  assert.equal((await luod.luoctl(['update', 'py'])).code, 0);
  const log = read((await service(luod, 'py')).log);
  assert.match(log, /found r,w,stored,stored,stored\n/);
  assert.match(log, /read b'kept'/);
});

test('the same fd under the same name is kept once; FDSTOREREMOVE takes all of a name away', options, async () => {
  await runPython(`
m = os.memfd_create("m")
notify("FDSTORE=1\\nFDNAME=one", [m])
notify("FDSTORE=1\\nFDNAME=one", [m])
notify("FDSTORE=1\\nFDNAME=two", [m, os.eventfd(0)])
notify("FDSTOREREMOVE=1\\nFDNAME=one")
notify("FDSTOREREMOVE=1\\nFDNAME=nothing")
`);
  assert.deepEqual(await storedNames(), ['two#2:eventfd', 'two:memfd']);
});

test('a bad FDNAME is as none, and a message that stores nothing keeps nothing', options, async () => {
  await runPython(`
m = os.memfd_create("m")
notify("FDSTORE=1\\nFDNAME=a:b", [m])
notify("STATUS=look\\nBARRIER=1", [m])
notify("garbage without sense \\x00\\x01", [m])
notify("FDSTORE=1", [])
`);
  assert.deepEqual(await storedNames(), ['stored:memfd']);
});

test('what a rolled back version stored or removed is as it was before', options, async () => {
  await runPython(`
if not names: notify("FDSTORE=1\\nFDNAME=first", [os.memfd_create("m")])
`);
  const ran = await luod.luoctl([
    'update',
    'py',
    '--',
    ...python(`notify("FDSTORE=1\\nFDNAME=second", [os.eventfd(0)])
notify("FDSTOREREMOVE=1\\nFDNAME=first")
time.sleep(0.2)
sys.exit(1)`),
  ]);
  assert.equal(ran.code, 3, ran.stderr);
  assert.deepEqual(await storedNames(), ['first:memfd']);
  const keep = await luod.luoctl([
    'update',
    'py',
    '--',
    ...python(`notify("FDSTORE=1\\nFDNAME=second", [os.eventfd(0)])
notify("FDSTOREREMOVE=1\\nFDNAME=first")`),
  ]);
  assert.equal(keep.code, 0, keep.stderr);
  await until('the removal', async () => (await storedNames()).join() === 'second:eventfd');
});

for (const point of [
  'luod.freeze.sent',
  'luod.frozen',
  'luod.decide.before',
  'luod.decide.after',
  'luod.finished',
] as const) {
  test(`luod killed at ${point}: one version serves afterwards, on the same socket`, options, async () => {
    const port = await runEcho();
    luod.arm(point, 'kill');
    const waiting = asking(port, 'between');
    const ran = await luod.luoctl(['update', 'echo', '--', 'python3', echo, portFile(), 'v2']);
    assert.ok(
      luod.hits().some((hit) => hit.point === point),
      'the point was met',
    );
    assert.match(await (await waiting).answer, /^v[12] between$/);
    const serving = await until('a version that serves', async () => {
      const now = await service(luod, 'echo');
      return now.run === 'running' && (await status(luod)).state === 'normal' && now;
    });
    const version = serving.argv.at(-1)!;
    assert.equal(await answer(port, 'x'), `${version} x`);
    assert.equal(ran.code, version === 'v2' ? 0 : 3, `${version}: ${ran.stderr}`);
    if (point === 'luod.decide.after' || point === 'luod.finished')
      assert.equal(version, 'v2', 'committed is committed');
    assert.deepEqual(await storedNames(), ['http:listener']);
  });
}

test('luod killed while nothing happens: the socket, the process and its protocol are as before', options, async () => {
  const port = await runEcho();
  const { pid } = await service(luod, 'echo');
  await killLuod(luod);
  const now = await service(luod, 'echo');
  assert.equal(now.pid, pid);
  assert.equal(now.protocol, 'sd_notify');
  assert.equal(await answer(port, 'x'), 'v1 x');
  assert.equal((await luod.luoctl(['update', 'echo', '--', 'python3', echo, portFile(), 'v2'])).code, 0);
  assert.equal(await answer(port, 'x'), 'v2 x');
});
