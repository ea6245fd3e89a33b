// Goal: the programs of docs/client.md do what its text says, as they stand. Method: each block that names a file is
// written down and run, detached and under a scripted luod; the examples of the repository beside them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FakeLuod } from './fake-luod.js';
import { LineClient } from './line-client.js';
import { listeningPort } from './ports.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));

describe('docs/client.md', () => {
  let folder: string;
  let luod: FakeLuod;
  const file = (name: string): string => join(folder, name);
  before(async () => {
    // Below the package, so that `import 'luo'` finds it by its own name.
    folder = mkdtempSync(join(root, 'dist/test/client/tutorial-'));
    const text = readFileSync(join(root, 'docs/client.md'), 'utf8');
    for (const [, name, code] of text.matchAll(/<!-- file: (\S+) -->\n+```js\n([\s\S]*?)```/g))
      writeFileSync(file(name!), code!);
    luod = await FakeLuod.start();
  });
  after(async () => {
    await luod.stop();
    rmSync(folder, { recursive: true });
  });

  test('counter.mjs runs without luod, as it is', async () => {
    const env = { ...process.env, PORT: '0' };
    delete (env as NodeJS.ProcessEnv)['LUO_SOCKET'];
    const child = spawn(process.execPath, [file('counter.mjs')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    assert.equal(line.toString(), 'first start at 0\n');
    child.kill('SIGTERM');
    await once(child, 'exit');
  });

  test('counter.mjs counts on across an update, on the same keep-alive connection', async () => {
    const env = { PORT: '0' };
    const old = await luod.startFirst(file('counter.mjs'), env);
    const port = listeningPort(luod, 'listener');
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set<unknown>();
    const count = async (): Promise<string> => {
      const sent = request({ port, host: '127.0.0.1', agent }).once('socket', (socket) => sockets.add(socket));
      sent.end();
      const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream];
      let text = '';
      for await (const bytes of response) text += String(bytes);
      return text;
    };
    assert.equal(await count(), '1\n');
    assert.equal(await count(), '2\n');
    const next = await luod.update(old, file('counter.mjs'), env);
    assert.equal(await count(), '3\n');
    assert.equal(sockets.size, 1);
    agent.destroy();
    await luod.end(next);
  });

  test('lines.mjs hands over half a line and who it talks to, and greets nobody twice', async () => {
    const old = await luod.startFirst(file('lines.mjs'), { PORT: '0' });
    const client = await LineClient.open(listeningPort(luod, 'listener'));
    assert.equal(await client.line(), 'who are you?');
    client.write('ada\nI am ha');
    await new Promise((resolve) => setTimeout(resolve, 30));
    const next = await luod.update(old, file('lines.mjs'), { PORT: '0' });
    client.write('lf way\n');
    assert.equal(await client.line(), 'ada says I am half way');
    client.close();
    await luod.end(next);
  });

  test('jobs.mjs hands its list over whole, and none is made while it is frozen', async () => {
    const old = await luod.startFirst(file('jobs.mjs'), { PORT: '0' });
    const list = async (): Promise<number[]> => {
      const client = await LineClient.open(listeningPort(luod, 'listener'));
      const jobs = JSON.parse(await client.line()) as number[];
      client.close();
      return jobs;
    };
    let before = await list();
    while (before.length < 3) before = await list();
    const next = await luod.update(old, file('jobs.mjs'), { PORT: '0' });
    let jobs = await list();
    while (jobs.length < before.length + 3) jobs = await list();
    assert.deepEqual(
      jobs,
      jobs.map((_, index) => index),
    );
    await luod.end(next);
  });
});

describe('examples', () => {
  test('examples/counter has under 30 lines and counts on across an update', async () => {
    const source = readFileSync(join(root, 'examples/counter/main.ts'), 'utf8');
    assert.ok(source.trimEnd().split('\n').length < 30);
    const luod = await FakeLuod.start();
    const program = join(root, 'dist/examples/counter/main.js');
    const old = await luod.startFirst(program, { PORT: '0' });
    const port = listeningPort(luod, 'listener');
    const ask = async (): Promise<string> => (await fetch(`http://127.0.0.1:${port}/`)).text();
    assert.equal(await ask(), `1 (v1, pid ${old.pid})\n`);
    const next = await luod.update(old, program, { PORT: '0', COUNTER_VERSION: 'v2' });
    assert.equal(await ask(), `2 (v2, pid ${next.pid})\n`);
    await luod.stop();
  });

  test('examples/http keeps its count, its state and its keep-alive connections', async () => {
    const luod = await FakeLuod.start();
    const program = join(root, 'dist/examples/http/main.js');
    const old = await luod.startFirst(program, { PORT: '0' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set<unknown>();
    const ask = async (): Promise<{ version: string; requests: number; recent: string[] }> => {
      const sent = request({ port: listeningPort(luod, 'listener'), host: '127.0.0.1', agent });
      sent.once('socket', (socket) => sockets.add(socket)).end();
      const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream];
      let text = '';
      for await (const bytes of response) text += String(bytes);
      return JSON.parse(text) as { version: string; requests: number; recent: string[] };
    };
    assert.equal((await ask()).requests, 1);
    await luod.update(old, program, { PORT: '0', HTTP_VERSION_LABEL: 'v2' });
    const after = await ask();
    assert.deepEqual([after.version, after.requests, after.recent], ['v2', 2, ['/', '/']]);
    assert.equal(sockets.size, 1);
    agent.destroy();
    await luod.stop();
  });
});
