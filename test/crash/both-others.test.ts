// Goal: what `luoctl recover` makes of those that are no supervised participants, when luod and keeper were killed together: services that
// speak systemd's protocols serve on and are heard again, and what only luod and keeper had of theirs is named; participants that nobody
// supervises come back with all they hold, or are gone with it. Method: Python and Node programs, both daemons killed, the operator's command.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LuodResult } from '../../src/protocol/spec.js';
import { encodeRecord } from '../../src/protocol/journal.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import { asOperator, ask, hasPython, json, read, service, status, until } from '../integration/harness.js';
import { isAlive, isStopped, killBoth } from './processes.js';
import { freePort } from './scene.js';
import { LineClient } from './traffic.js';
import { WORKLOADS } from './workload.js';

const needsPython = hasPython ? {} : { skip: 'needs python3' };
const { command } = WORKLOADS.counters;
const uid = process.getuid!();

async function onLuod(work: (luod: TestLuod) => Promise<void>): Promise<void> {
  const luod = await startLuod();
  try {
    await work(luod);
    assert.deepEqual((await luod.stop()).forced, []);
  } catch (error) {
    process.stderr.write(`${luod.output().split('\n').slice(-25).join('\n')}\n`);
    throw error;
  } finally {
    // Whatever is left of it is ended.
    await luod.stop();
  }
}

/** The operator's one command. */
async function recover(luod: TestLuod): Promise<LuodResult<'recover'>> {
  const result = await json<LuodResult<'recover'>>(luod, ['recover']);
  await until('normal', async () => {
    const { state, phase, stuck } = await status(luod);
    return state === 'normal' && phase === null && stuck.length === 0;
  });
  return result;
}

/**
 * An echo server that speaks sd_notify: it stores its listening socket when it starts and at each SIGUSR1, and says in its status
 * text how many times it has.
 */
function echo(luod: TestLuod, label: string): string[] {
  const path = join(luod.scratch, 'echo.py');
  writeFileSync(
    path,
    `import array, os, signal, socket, sys
def notify(text, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            s.sendmsg([text.encode()], rights, 0, os.environ["NOTIFY_SOCKET"])
        except OSError:
            pass  # Nobody listens now.
names = os.environ.get("LISTEN_FDNAMES", "").split(":") if os.environ.get("LISTEN_PID") == str(os.getpid()) else []
server = socket.socket(fileno=3 + names.index("http")) if "http" in names else socket.create_server(("127.0.0.1", 0))
times = 0
def store(*_):
    global times
    times += 1
    notify("FDSTORE=1\\nFDNAME=http\\nSTATUS=%s stored %d" % (sys.argv[2], times), [server.fileno()])
signal.signal(signal.SIGUSR1, store)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
store()
open(sys.argv[1], "w").write(str(server.getsockname()[1]))
notify("READY=1")
while True:
    connection, _ = server.accept()
    with connection:
        connection.sendall((sys.argv[2] + " " + connection.makefile().readline()).encode())
`,
  );
  return ['python3', path, join(luod.scratch, 'port'), label];
}

const portOf = (luod: TestLuod): number => Number(read(join(luod.scratch, 'port')));
const SOCKET = `${uid}:echo/fd:http`;

async function runEcho(luod: TestLuod): Promise<{ pid: number; port: number }> {
  const ran = await luod.luoctl(['run', '--name', 'echo', '--', ...echo(luod, 'v1')]);
  assert.equal(ran.code, 0, ran.stderr);
  return { pid: (await service(luod, 'echo')).pid!, port: portOf(luod) };
}

/** What the server at this port answers. */
async function answer(port: number): Promise<string> {
  const socket = createConnection(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('x\n');
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text.trim();
}

test(
  'a service that speaks sd_notify serves on; what it had stored is named, and it can store it again',
  needsPython,
  () =>
    onLuod(async (luod) => {
      const { pid, port } = await runEcho(luod);
      await killBoth(luod);
      assert.equal(await answer(port), 'v1 x');
      // A word to nobody must not end it.
      process.kill(pid, 'SIGUSR1');
      const { lost } = await recover(luod);
      assert.deepEqual(lost, [SOCKET], 'keeper and luod had the only copies that luod could give to anybody');
      const { run, protocol, pid: now } = await service(luod, 'echo');
      assert.deepEqual([run, protocol, now], ['running', 'sd_notify', pid]);
      assert.deepEqual((await status(luod)).handles, []);
      process.kill(pid, 'SIGUSR1');
      const [handle] = await until('the socket', async () => {
        const { handles } = await status(luod);
        return handles.length > 0 && handles;
      });
      assert.deepEqual([handle?.name, handle?.claimed, handle?.viable.handover.ok], ['http', true, true]);
      assert.match((await service(luod, 'echo')).statusText ?? '', /^v1 stored /);
      const updated = await luod.luoctl(['update', 'echo', '--', ...echo(luod, 'v2')]);
      assert.equal(updated.code, 0, updated.stderr);
      assert.deepEqual([portOf(luod), await answer(port)], [port, 'v2 x'], 'on the same socket');
    }),
);

test('a service that speaks sd_notify and died meanwhile is started again, and finds nothing stored', needsPython, () =>
  onLuod(async (luod) => {
    const { pid } = await runEcho(luod);
    await killBoth(luod);
    process.kill(pid, 'SIGKILL');
    await until('its death', () => !isAlive(pid));
    assert.deepEqual((await recover(luod)).lost, [SOCKET]);
    await until('another process', async () => {
      const { run, pid: now } = await service(luod, 'echo');
      return run === 'running' && now !== pid;
    });
    assert.equal(await answer(portOf(luod)), 'v1 x');
    assert.deepEqual(
      (await status(luod)).handles.map(({ name, claimed }) => [name, claimed]),
      [['http', true]],
      'it has stored its own',
    );
  }),
);

test('in an update, the old version ended and no new one ready: the old command is started again', needsPython, () =>
  onLuod(async (luod) => {
    await runEcho(luod);
    luod.arm('luod.frozen', 'stop');
    const update = luod.startLuoctl(['update', 'echo', '--', ...echo(luod, 'v2')]);
    await until('the end of the old one', () =>
      luod.hits().some(({ point, pid }) => point === 'luod.frozen' && isStopped(pid)),
    );
    await killBoth(luod);
    update.kill('SIGKILL');
    assert.deepEqual((await recover(luod)).lost, [SOCKET]);
    await until('the old version', async () => (await service(luod, 'echo')).run === 'running');
    assert.equal(await answer(portOf(luod)), 'v1 x');
    const updated = await luod.luoctl(['update', 'echo', '--', ...echo(luod, 'v2')]);
    assert.equal(updated.code, 0, updated.stderr);
    assert.equal(await answer(portOf(luod)), 'v2 x');
  }),
);

/** The program of counters, started by this test and not by luod. */
async function joinOutside(luod: TestLuod): Promise<{ child: ChildProcess; port: number }> {
  const port = await freePort();
  const [program, ...args] = command('outside', port);
  const env = {
    ...process.env,
    ...luod.env,
    LUO_SOCKET: luod.socket,
    LUO_SERVICE: 'outside',
    NODE_TEST_CONTEXT: undefined,
  };
  const child = spawn(program!, args, { stdio: 'ignore', env });
  await until('the participant', async () => (await status(luod)).participants.some((one) => one.connected));
  await until('its port', () =>
    LineClient.connect(port).then(
      (client) => (client.close(), true),
      () => false,
    ),
  );
  return { child, port };
}

async function count(port: number): Promise<string> {
  const client = await LineClient.connect(port);
  try {
    assert.equal(await client.ask('CHECK'), '+ok');
    return await client.ask('INCR 1');
  } finally {
    client.close();
  }
}

test('a participant that nobody supervises serves on, and gives back all that it holds', () =>
  onLuod(async (luod) => {
    const { child, port } = await joinOutside(luod);
    try {
      const before = await status(luod);
      assert.ok(before.handles.length > 0);
      const first = Number((await count(port)).slice(1));
      await killBoth(luod);
      assert.equal(await count(port), `:${first + 1}`);
      assert.equal((await recover(luod)).lost, undefined);
      const after = await until('the participant', async () => {
        const now = await status(luod);
        return now.participants[0]?.connected && now.handles.every(({ viable }) => viable.handover.ok) && now;
      });
      assert.deepEqual(
        after.participants.map(({ id, pid }) => [id, pid]),
        [[`${uid}:outside`, child.pid]],
      );
      assert.deepEqual(after.handles, before.handles);
      assert.equal(after.keeper.fds, before.keeper.fds);
      assert.equal(await count(port), `:${first + 2}`);
    } finally {
      child.kill('SIGKILL');
    }
    await until('the end of its lease', async () => (await status(luod)).handles.length === 0);
  }));

test('a participant that nobody supervises and that died meanwhile is gone, and what it held is named', () =>
  onLuod(async (luod) => {
    const { child } = await joinOutside(luod);
    const held = (await status(luod)).handles.map(({ name }) => `${uid}:outside/fd:${name}`);
    await killBoth(luod);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.deepEqual((await recover(luod)).lost?.toSorted(), held.toSorted());
    const { participants, handles } = await status(luod);
    assert.deepEqual([participants, handles], [[], []]);
    const again = await joinOutside(luod);
    assert.equal(await count(again.port), ':1', 'it starts afresh');
    again.child.kill('SIGKILL');
    await once(again.child, 'exit');
  }));

test('who is stuck in the journal, and has no process any more, is stuck no more', () =>
  onLuod(async (luod) => {
    await killBoth(luod);
    const stuck = { participant: 'gone#1', attempt: 1, member: 0, side: 'old', method: 'finish', undo: false };
    const plan = { gap: 'handover', scope: ['gone#1'], members: [], steps: [], left: [], pulled: [] };
    const begun = { v: 1, type: 'attempt', attempt: 1, key: 'key', until: 'finished', limits: {}, plan };
    const settled = { v: 1, type: 'settled', attempt: 1, outcome: 'committed', stuck: [stuck], retired: [] };
    const journal = join(luod.dir, 'journal');
    for (const record of [begun, settled]) appendFileSync(journal, encodeRecord({ kind: 'engine', record }));
    assert.ok(readFileSync(journal, 'utf8').includes('gone#1'));
    await recover(luod);
    await asOperator(luod, async (peer) => assert.deepEqual((await ask(peer, 'status', {})).stuck, []));
  }));
