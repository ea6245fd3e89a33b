// Goal: a Node that is not as the library knows it is found at start, by name; a Node that is leaves no trace of the
// test, nor of a rehearsal. Method: single parts of Node's inside are taken away in child processes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { testInternals } from '../../src/client/net-selftest.js';
import { collectGarbage } from '../../src/client/at-rest.js';
import { RehearsalStage } from '../../src/client/rehearsal.js';
import { rehearseSwitch } from '../../src/client/rehearsed-switch.js';

const selftest = fileURLToPath(new URL('../../src/client/net-selftest.js', import.meta.url));

async function withChangedNode(change: string): Promise<string> {
  const source = `
    import { Server, Socket, connect } from 'node:net';
    import { testInternals } from '${selftest}';
    const socket = connect(1, '127.0.0.1');
    socket.on('error', () => {});
    const handle = Object.getPrototypeOf(socket._handle);
    socket.destroy();
    ${change}
    await testInternals().then(() => console.log('ok'), (error) => console.log(error.code + ': ' + error.message));
    process.exit(0);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (bytes) => (output += String(bytes)));
  await once(child, 'close');
  return output;
}

const fds = (): number => readdirSync('/proc/self/fd').length;
const settled = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 50));

describe('the inside of Node', () => {
  test('this Node passes, and nothing is left open', async () => {
    const before = fds();
    await testInternals();
    await settled();
    assert.equal(fds(), before);
  });

  test('a Node as it is passes in a process of its own', async () => {
    assert.equal(await withChangedNode(''), 'ok\n');
  });

  for (const [what, change, message] of [
    [
      'readStop() without effect',
      'handle.readStop = () => 0;',
      /CLIENT_INTERNALS: Node .* readStop\(\) of a socket does not stop it/,
    ],
    [
      'no descriptor in the handle',
      `Object.defineProperty(handle, 'fd', { value: undefined });`,
      /CLIENT_INTERNALS: .* does not say its descriptor/,
    ],
    [
      'no count of unwritten bytes',
      `Object.defineProperty(handle, 'writeQueueSize', { value: 0 });`,
      /CLIENT_INTERNALS: .* does not say how many bytes/,
    ],
    [
      'a stream that does not show its queue',
      `Object.getPrototypeOf(new Socket()._writableState).getBuffer = () => [];`,
      /CLIENT_INTERNALS: .* does not say what waits behind a write/,
    ],
    [
      'a server that counts in another way',
      `Object.defineProperty(Server.prototype, '_connections', { get: () => 0, set() {} });`,
      /CLIENT_INTERNALS: .* cannot be added to the count/,
    ],
    [
      'a handle that no longer names its socket',
      `Object.getOwnPropertySymbols = () => [];`,
      /CLIENT_INTERNALS: .* owner_symbol/,
    ],
  ] as const) {
    test(`${what} is found and named`, async () => {
      assert.match(await withChangedNode(change), message);
    });
  }
});

describe('a rehearsal', () => {
  test('leaves no descriptor, of a plain and of an http server', async () => {
    await (await rehearseSwitch({ http: true })).end();
    await settled();
    const before = fds();
    const rehearsed = await rehearseSwitch({ http: true });
    collectGarbage('major');
    await rehearsed.end();
    await settled();
    assert.equal(fds(), before);
  });

  test('a program’s own connection goes through its server and is gone at the end', async () => {
    const before = fds();
    let open = 0;
    const server = createServer((socket) => {
      open += 1;
      socket.on('close', () => (open -= 1));
      socket.on('data', (bytes) => socket.write(bytes));
    });
    const stage = new RehearsalStage();
    const client = await stage.connect(server);
    const echo = once(client, 'data');
    client.write('hello');
    assert.equal(String((await echo)[0]), 'hello');
    assert.equal(open, 1);
    await stage.end();
    assert.equal(stage.signal.aborted, true);
    await settled();
    assert.deepEqual([open, fds()], [0, before]);
  });
});
