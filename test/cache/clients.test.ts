// Goal: the usual clients work unchanged: the npm package redis in RESP 2 and 3, redis-cli and redis-benchmark.
// Method: the real clients against a server in this process; Debian's redis-tools where they are installed.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createClient } from 'redis';
import { startCache } from './harness.js';

const run = promisify(execFile);
const isMissing = (program: string): boolean => spawnSync(program, ['--version']).error !== undefined;

for (const RESP of [2, 3] as const) {
  test(`the npm client in RESP ${RESP} reads what it wrote`, async (t) => {
    const { port, cache } = await startCache(t);
    const errors: unknown[] = [];
    const client = createClient({ RESP, name: 'suite', socket: { host: '127.0.0.1', port, reconnectStrategy: false } });
    client.on('error', (error) => errors.push(error));
    await client.connect();
    t.after(() => client.destroy());

    assert.equal(await client.ping(), 'PONG');
    assert.equal(await client.set('a', '1'), 'OK');
    assert.equal(await client.get('a'), '1');
    assert.equal(await client.get('nothing'), null);
    assert.equal(await client.set('a', '2', { condition: 'NX' }), null);
    assert.equal(await client.set('e', 'v', { expiration: { type: 'EX', value: 100 } }), 'OK');
    assert.equal(await client.ttl('e'), 100);
    assert.equal(await client.persist('e'), 1);
    assert.equal(await client.pExpire('e', 100_000), 1);
    assert.ok((await client.pTTL('e')) > 90_000);
    assert.equal(await client.incr('n'), 1);
    assert.equal(await client.incrBy('n', 41), 42);
    assert.equal(await client.decr('n'), 41);
    await client.mSet({ x: '1', y: 'Ω' });
    assert.deepEqual(await client.mGet(['x', 'nothing', 'y']), ['1', null, 'Ω']);
    assert.equal(await client.exists(['x', 'y', 'nothing']), 2);
    assert.equal(await client.type('x'), 'string');
    assert.equal(await client.del(['x', 'y']), 2);
    assert.equal(await client.unlink('n'), 1);
    assert.equal(await client.dbSize(), 2);
    assert.equal(await client.echo('echo'), 'echo');
    assert.equal(await client.clientGetName(), 'suite');
    assert.equal(typeof (await client.clientId()), 'number');
    assert.deepEqual({ ...(await client.configGet('appendonly')) }, { appendonly: 'no' });
    assert.match(await client.info('luo'), /version_label:test/);
    assert.ok((await client.commandCount()) > 30);
    assert.equal((await client.command()).length, await client.commandCount());
    assert.match(String(await client.sendCommand(['CLIENT', 'LIST'])), /name=suite.*lib-name=\S*redis/);

    await Promise.all(Array.from({ length: 500 }, (_, i) => client.set(`many:${i}`, String(i))));
    const found = new Set<string>();
    for await (const keys of client.scanIterator({ MATCH: 'many:*', COUNT: 50 })) for (const k of keys) found.add(k);
    assert.equal(found.size, 500);

    await assert.rejects(client.sendCommand(['NOSUCH']), /unknown command/);
    await client.set('s', 'text');
    await assert.rejects(client.incr('s'), /not an integer/);
    assert.equal(await client.flushAll(), 'OK');
    assert.equal(await client.dbSize(), 0);
    assert.equal(cache.acceptedCount, 1);
    await client.close();
    assert.deepEqual(errors, []);
  });
}

test(
  'redis-cli talks to it',
  { skip: isMissing('redis-cli') && 'needs redis-cli (Debian: redis-tools)' },
  async (t) => {
    const { port } = await startCache(t);
    const cli = async (...args: string[]): Promise<string> =>
      (await run('redis-cli', ['-p', String(port), ...args], { timeout: 20_000 })).stdout.trim();
    assert.equal(await cli('set', 'k', 'v'), 'OK');
    assert.equal(await cli('-3', 'get', 'k'), 'v');
    assert.equal(await cli('--scan', '--pattern', 'k*'), 'k');
    assert.match(await cli('command', 'docs', 'get'), /Returns the value/);
    assert.match(await cli('luo.version'), /version\ntest\npid\n\d+\ngeneration\n3/);
  },
);

test(
  'redis-benchmark runs through without an error',
  { skip: isMissing('redis-benchmark') && 'needs redis-benchmark (Debian: redis-tools)' },
  async (t) => {
    const { port } = await startCache(t, 64 * 1024 * 1024);
    for (const extra of [[], ['-P', '16', '-r', '10000']]) {
      const args = ['-p', String(port), '-t', 'ping,set,get,incr,mset', '-n', '5000', '-q', ...extra];
      const { stdout, stderr } = await run('redis-benchmark', args, { timeout: 60_000 });
      assert.equal(stderr, '');
      assert.doesNotMatch(stdout, /error|warning/i);
      for (const name of ['PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR', 'MSET'])
        assert.match(stdout, new RegExp(name));
    }
  },
);
