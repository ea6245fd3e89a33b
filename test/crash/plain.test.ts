// Goal: a service that knows only systemd's protocols has its listening socket kept, and serves again soon, whoever of luod
// and keeper is killed in the middle of its update; the next update works.
// Method: the real luod and examples/sd-notify/echo.py; a client that is not answered asks again, since for such a
// service freeze is its end.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { FaultPoint } from '../../src/base/fault-points.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';

const program = fileURLToPath(new URL('../../../examples/sd-notify/echo.py', import.meta.url));
const RESTART_MS = 15_000;
const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'needs python3';

/** Before the keeper is asked, the old version comes back; afterwards the new one serves. */
const POINTS: readonly (readonly [FaultPoint, 'old' | 'new' | 'either'])[] = [
  ['luod.prepare.sent', 'old'],
  ['keeper.put', 'either'],
  ['luod.freeze.sent', 'old'],
  ['luod.decide.after', 'new'],
  ['keeper.spawn', 'either'],
  ['luod.frozen', 'old'],
  ['keeper.decide.before', 'either'],
  ['luod.ready', 'old'],
  ['luod.go.sent', 'new'],
  ['keeper.decide.after', 'either'],
  ['luod.finish.sent', 'new'],
];

const WORDS = { old: 'the old version', new: 'the new version', either: 'one version' };

interface Status {
  readonly state: string;
  readonly phase: string | null;
  readonly stuck: readonly string[];
  readonly services: readonly { readonly run: string; readonly argv: readonly string[] }[];
  readonly handles: readonly { readonly name: string }[];
}

test(
  'a service of sd_notify keeps its socket over the deaths of luod and keeper in its updates',
  { skip },
  async (t) => {
    await using luod = await startLuod();
    const portFile = join(luod.scratch, 'port');
    let version = 1;
    const command = (): string[] => ['python3', program, portFile, `v${version}`];
    const ran = await luod.luoctl(['run', '--name', 'echo', '--', ...command()]);
    assert.equal(ran.code, 0, ran.stderr);
    const port = readFileSync(portFile, 'utf8');

    for (const [point, expected] of POINTS) {
      await t.test(
        `killed at ${point}: ${WORDS[expected]} serves on the same port, and the next update works`,
        async () => {
          const before = `v${version}`;
          version += 1;
          const after = `v${version}`;
          luod.arm(point, 'kill');
          const hits = luod.hits().length;
          const update = luod.luoctl(['update', 'echo', '--blackout-max', '4000', '--', ...command()]);
          while (luod.hits().length === hits) await sleep(5);
          await update;
          const status = await untilNormal(luod);
          const serves = status.services[0]!.argv[3]!;
          assert.ok({ old: [before], new: [after], either: [before, after] }[expected].includes(serves), serves);
          assert.equal(await echo(port), `${serves} hello`);
          assert.deepEqual(status.stuck, []);
          assert.deepEqual(
            status.handles.map(({ name }) => name),
            ['http'],
          );
          version += 1;
          const next = await luod.luoctl(['update', 'echo', '--', ...command()]);
          assert.equal(next.code, 0, next.stderr);
          await untilNormal(luod);
          assert.equal(await echo(port), `v${version} hello`);
        },
      );
    }
    const { forced, files } = await luod.stop();
    assert.deepEqual(forced, []);
    assert.deepEqual(
      files.filter((file) => !/^logs(\/|$)/.test(file)),
      [],
    );
  },
);

/** Nothing is under way, and one process of the service lives beside luod and keeper. */
async function untilNormal(luod: TestLuod): Promise<Status> {
  for (const until = performance.now() + RESTART_MS; ; await sleep(50)) {
    const { code, stdout, stderr } = await luod.luoctl(['status', '--json']);
    const status = code === 0 ? (JSON.parse(stdout) as Status) : undefined;
    const isNormal = status?.state === 'normal' && status.phase === null && status.services[0]!.run === 'running';
    if (isNormal && luod.leftovers().processes.length === 3) return status;
    assert.ok(performance.now() < until, `${stdout}${stderr}\n${JSON.stringify(luod.leftovers())}\n${luod.output()}`);
  }
}

/** What the service answers; asked again while it is being started anew. */
async function echo(port: string): Promise<string> {
  for (let tries = 0; ; tries += 1) {
    const socket = connect(Number(port), '127.0.0.1');
    let text = '';
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
    socket.write('hello\n');
    await once(socket, 'close');
    if (text !== '') return text.trim();
    assert.ok(tries < 100, 'the service answers');
    await sleep(20);
  }
}
