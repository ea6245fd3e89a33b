// Goal: a client that knows nothing of luo, Debian's redis-benchmark, runs through five updates of the cache and sees none.
// Method: the real luod and cache; the benchmark runs until five updates have begun and ended inside its run, which the
// timelines show; its output has no line that it would not have had in peace, and the cache counts who has connected.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { RespClient } from '../../bench/load/resp-client.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';

const CLIENTS = 50;
const SUB_TESTS = ['PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR', 'MSET (10 keys)'];
const UPDATES = 5;
/** Requests of each sub-test: doubled until five updates fit into the run. */
const REQUESTS = 60_000;
const REQUESTS_MAX = 2_000_000;
/** The benchmark asks for CONFIG on a connection of its own; the test has one too. */
const OTHER_CONNECTIONS = 2;

const cacheProgram = fileURLToPath(new URL('../../examples/cache/main.js', import.meta.url));
const found = spawnSync('redis-benchmark', ['--version'], { encoding: 'utf8' });
const skip = found.status === 0 ? false : 'needs redis-benchmark (Debian package redis-tools)';

interface Timeline {
  readonly startNs: number;
  readonly endNs: number;
  readonly outcome: string;
}

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly startNs: number;
  readonly endNs: number;
}

test(
  'redis-benchmark runs through five updates without an error, and connects no more than in peace',
  { skip },
  async () => {
    await using luod = await startLuod();
    const port = await freePort();
    await luoctl(luod, 'run', '--name', 'cache', '--', ...command(port, 0));
    const client = await RespClient.connect({ port });
    try {
      for (let requests = REQUESTS; ; requests *= 2) {
        assert.ok(requests <= REQUESTS_MAX, `${UPDATES} updates do not fit into a run of ${REQUESTS_MAX} requests`);
        const acceptedBefore = await accepted(client);
        const benchmark = startBenchmark(port, requests);
        const timelines: Timeline[] = [];
        for (let update = 1; update <= UPDATES; update += 1) {
          await sleep(100);
          await luoctl(luod, 'update', 'cache', '--', ...command(port, update));
          timelines.push(JSON.parse((await luoctl(luod, 'timeline', '--format', 'json')).trim()) as Timeline);
        }
        const run = await benchmark;
        assert.equal(run.code, 0, run.stderr);
        assert.equal(run.stderr, '');
        assertPeaceful(run.stdout);
        const connections = (await accepted(client)) - acceptedBefore;
        assert.ok(connections <= CLIENTS * SUB_TESTS.length + OTHER_CONNECTIONS, `${connections} connections`);
        for (const { outcome } of timelines) assert.equal(outcome, 'committed');
        if (timelines.every(({ startNs, endNs }) => run.startNs < startNs && endNs < run.endNs)) break;
      }
    } finally {
      client.close();
    }
    const { forced } = await luod.stop();
    assert.deepEqual(forced, []);
  },
);

/** Every sub-test has its summary, and no line is anything but a summary or a heading. */
function assertPeaceful(stdout: string): void {
  const lines = stdout
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const summaries = lines.filter((line) => / requests per second/.test(line));
  assert.deepEqual(
    summaries.map((line) => line.slice(0, line.indexOf(':'))),
    SUB_TESTS,
  );
  // Progress lines of a sub-test are written over each other; every other line is a summary.
  const others = lines.filter((line) => !/ requests per second| rps=[\d.]+ /.test(line));
  assert.deepEqual(others, []);
}

async function startBenchmark(port: number, requests: number): Promise<Run> {
  const args = [
    '-p',
    String(port),
    '-c',
    String(CLIENTS),
    '-n',
    String(requests),
    '-t',
    'ping,set,get,incr,mset',
    '-q',
  ];
  const startNs = Number(process.hrtime.bigint());
  const child = spawn('redis-benchmark', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (chunks.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (chunks.stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...chunks, startNs, endNs: Number(process.hrtime.bigint()) };
}

function command(port: number, version: number): string[] {
  return [process.execPath, cacheProgram, '--port', String(port), '--memory', '64m', '--version-label', `v${version}`];
}

async function luoctl(luod: TestLuod, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await luod.luoctl(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** How many connections the cache has accepted, over all its versions. */
async function accepted(client: RespClient): Promise<number> {
  const text = String(await client.request('INFO', 'stats'));
  return Number(/^total_connections_received:(\d+)\r$/m.exec(text)?.[1]);
}

/** A port of 127.0.0.1 that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
