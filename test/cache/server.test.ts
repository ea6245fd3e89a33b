// Goal: what a RESP client sees: each command's replies, errors included; pipelines; hostile peers harm only themselves;
// a connection's state and half-read input can be taken over by another server.
// Method: bare sockets against a server in this process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RawClient, startCache } from './harness.js';

const OOM = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
const NO_INTEGER = '-ERR value is not an integer or out of range\r\n';

/** Inline command and its exact reply. */
const EXCHANGES: readonly (readonly [string, string])[] = [
  ['PING', '+PONG\r\n'],
  ['ping hello', '$5\r\nhello\r\n'],
  ['PING a b', "-ERR wrong number of arguments for 'ping' command\r\n"],
  ['ECHO "a b"', '$3\r\na b\r\n'],
  ['SET a 1', '+OK\r\n'],
  ['GET a', '$1\r\n1\r\n'],
  ['GET nothing', '$-1\r\n'],
  ['SET a 2 NX', '$-1\r\n'],
  ['SET a 2 XX', '+OK\r\n'],
  ['SET b 2 XX', '$-1\r\n'],
  ['SET a 3 GET', '$1\r\n2\r\n'],
  ['SET c 3 NX GET', '$-1\r\n'],
  ['SET a 4 NX GET', '$1\r\n3\r\n'],
  ['SET a 1 NX XX', '-ERR syntax error\r\n'],
  ['SET a 1 EX', '-ERR syntax error\r\n'],
  ['SET a 1 EX x', NO_INTEGER],
  ['SET a 1 EX 0', "-ERR invalid expire time in 'set' command\r\n"],
  ['SET a 1 PX 1 EX 1', '-ERR syntax error\r\n'],
  ['SET a 1 FOO', '-ERR syntax error\r\n'],
  ['SET a', "-ERR wrong number of arguments for 'set' command\r\n"],
  ['SET a 5 EX 100', '+OK\r\n'],
  ['TTL a', ':100\r\n'],
  ['SET a 6 KEEPTTL', '+OK\r\n'],
  ['TTL a', ':100\r\n'],
  ['PERSIST a', ':1\r\n'],
  ['PERSIST a', ':0\r\n'],
  ['TTL a', ':-1\r\n'],
  ['TTL nothing', ':-2\r\n'],
  ['EXPIRE a 50', ':1\r\n'],
  ['EXPIRE a 10 GT', ':0\r\n'],
  ['EXPIRE a 10 LT', ':1\r\n'],
  ['EXPIRE a 10 NX', ':0\r\n'],
  ['EXPIRE a 10 XX', ':1\r\n'],
  ['EXPIRE a 10 YY', '-ERR Unsupported option YY\r\n'],
  ['EXPIRE nothing 10', ':0\r\n'],
  ['EXPIRE a x', NO_INTEGER],
  ['EXPIRE a 9223372036854775807', "-ERR invalid expire time in 'expire' command\r\n"],
  ['PEXPIRE a 100000', ':1\r\n'],
  ['EXPIRE a -1', ':1\r\n'],
  ['EXISTS a', ':0\r\n'],
  ['MSET x 1 y 2 z', "-ERR wrong number of arguments for 'mset' command\r\n"],
  ['MSET x 1 y 2', '+OK\r\n'],
  ['MGET x nothing y', '*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n'],
  ['EXISTS x y x nothing', ':3\r\n'],
  ['TYPE x', '+string\r\n'],
  ['TYPE nothing', '+none\r\n'],
  ['INCR x', ':2\r\n'],
  ['DECR x', ':1\r\n'],
  ['INCRBY x 40', ':41\r\n'],
  ['DECRBY x 42', ':-1\r\n'],
  ['INCRBY x 9223372036854775807', ':9223372036854775806\r\n'],
  ['INCRBY x 2', '-ERR increment or decrement would overflow\r\n'],
  ['DECRBY x -9223372036854775808', '-ERR decrement would overflow\r\n'],
  ['INCRBY x 1.5', NO_INTEGER],
  ['SET s text', '+OK\r\n'],
  ['INCR s', NO_INTEGER],
  ['DEL x y nothing', ':2\r\n'],
  ['UNLINK s', ':1\r\n'],
  ['DBSIZE', ':1\r\n'],
  ['FLUSHALL', '+OK\r\n'],
  ['FLUSHALL NOW', '-ERR syntax error\r\n'],
  ['DBSIZE', ':0\r\n'],
  ['SCAN 0', '*2\r\n$1\r\n0\r\n*0\r\n'],
  ['SCAN x', '-ERR invalid cursor\r\n'],
  ['SCAN 4294967296', '-ERR invalid cursor\r\n'],
  ['SCAN 0 COUNT 0', '-ERR syntax error\r\n'],
  ['SCAN 0 MATCH', '-ERR syntax error\r\n'],
  ['LUO.DIGEST', '*3\r\n$1\r\n0\r\n:0\r\n$16\r\n0000000000000000\r\n'],
  ['SELECT 0', '+OK\r\n'],
  ['SELECT 1', '-ERR DB index is out of range\r\n'],
  ['SELECT x', '-ERR invalid DB index\r\n'],
  ['CLIENT GETNAME', '$-1\r\n'],
  ['CLIENT SETNAME me', '+OK\r\n'],
  ['CLIENT GETNAME', '$2\r\nme\r\n'],
  ['CLIENT SETNAME "a b"', '-ERR Client names cannot contain spaces, newlines or special characters.\r\n'],
  ['CLIENT SETINFO LIB-NAME test', '+OK\r\n'],
  ['CLIENT SETINFO X y', "-ERR Unrecognized option 'X'\r\n"],
  ['CLIENT KILL x', "-ERR unknown subcommand 'KILL'. Try CLIENT HELP.\r\n"],
  ['CLIENT ID', ':1\r\n'],
  ['CONFIG GET save', '*2\r\n$4\r\nsave\r\n$0\r\n\r\n'],
  ['CONFIG GET nothing', '*0\r\n'],
  ['CONFIG SET save x', "-ERR unknown subcommand 'SET'. Try CONFIG HELP.\r\n"],
  ['HELLO 4', '-NOPROTO unsupported protocol version\r\n'],
  ['HELLO x', '-ERR Protocol version is not an integer or out of range\r\n'],
  ['HELLO 2 FOO', "-ERR Syntax error in HELLO option 'FOO'\r\n"],
  ['COMMAND INFO nothing', '*1\r\n$-1\r\n'],
  ['COMMAND FOO', "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.\r\n"],
  ['NOSUCH a b', "-ERR unknown command 'NOSUCH'\r\n"],
  ['GETX a', "-ERR unknown command 'GETX'\r\n"],
  ['LUO.NOTHING', "-ERR unknown command 'LUO.NOTHING'\r\n"],
  ['RESET', '+RESET\r\n'],
  ['CLIENT GETNAME', '$-1\r\n'],
];

test('every command answers exactly as it should', async (t) => {
  const { port } = await startCache(t);
  const client = await RawClient.connect(t, port);
  for (const [command, reply] of EXCHANGES) {
    assert.equal(await client.exchange(`${command}\r\n`, (text) => text.length >= reply.length), reply, command);
  }
});

test('a pipeline of all commands, byte by byte, answers the same', async (t) => {
  const { port } = await startCache(t);
  const client = await RawClient.connect(t, port);
  client.socket.setNoDelay(true);
  const replies = EXCHANGES.map(([, reply]) => reply).join('');
  const commands = EXCHANGES.map(([command]) => `${command}\r\n`).join('');
  for (let i = 0; i < 300; i += 1) client.socket.write(commands[i]!);
  assert.equal(await client.exchange(commands.slice(300), (text) => text.length >= replies.length), replies);
});

test('QUIT answers, ends, and runs nothing that comes behind it', async (t) => {
  const { port, store } = await startCache(t);
  const client = await RawClient.connect(t, port);
  client.socket.write('QUIT\r\nSET after quit\r\n');
  await once(client.socket, 'end');
  assert.equal(client.received, '+OK\r\n');
  assert.equal(store.count, 0);
});

test('bytes that are no RESP get an error and the end; other connections go on', async (t) => {
  const { port } = await startCache(t);
  const other = await RawClient.connect(t, port);
  const client = await RawClient.connect(t, port);
  client.socket.write('PING\r\n*1\r\n:1\r\nPING\r\n');
  await once(client.socket, 'end');
  assert.equal(client.received, "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n");
  await other.exchange('PING\r\n', '+PONG\r\n');
});

test('in RESP 3 maps are maps and nothing is null', async (t) => {
  const { port } = await startCache(t);
  const client = await RawClient.connect(t, port);
  const hello = await client.exchange('HELLO 3 SETNAME three\r\n', (text) => text.endsWith('modules\r\n*0\r\n'));
  assert.ok(hello.startsWith('%7\r\n'));
  await client.exchange('GET nothing\r\n', '_\r\n');
  await client.exchange('CLIENT GETNAME\r\n', '$5\r\nthree\r\n');
  await client.exchange('CONFIG GET sav?\r\n', '%1\r\n$4\r\nsave\r\n$0\r\n\r\n');
});

test('keys and values of any bytes and of no bytes come back', async (t) => {
  const { port } = await startCache(t);
  const client = await RawClient.connect(t, port);
  const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
  await client.exchange(`*3\r\n$3\r\nSET\r\n$256\r\n${bytes}\r\n$0\r\n\r\n`, '+OK\r\n');
  await client.exchange(`*3\r\n$3\r\nSET\r\n$0\r\n\r\n$256\r\n${bytes}\r\n`, '+OK\r\n');
  await client.exchange('*2\r\n$3\r\nGET\r\n$0\r\n\r\n', `$256\r\n${bytes}\r\n`);
  await client.exchange(`*2\r\n$3\r\nGET\r\n$256\r\n${bytes}\r\n`, '$0\r\n\r\n');
});

test('full memory answers OOM to every command that needs some, and serves what it has', async (t) => {
  const { port, store } = await startCache(t, 256 * 1024);
  const client = await RawClient.connect(t, port);
  const value = 'v'.repeat(1000);
  for (let i = 0; ; i += 1) {
    const reply = await client.exchange(`SET k${i} ${value}\r\n`, (text) => text.endsWith('\r\n'));
    if (reply !== '+OK\r\n') {
      assert.equal(reply, OOM);
      break;
    }
  }
  const { count } = store;
  await client.exchange(`MSET k0 ${value} other ${value}\r\n`, OOM);
  await client.exchange(`SET k0 ${value.slice(1)} GET\r\n`, OOM);
  await client.exchange('GET k0\r\n', `$1000\r\n${value}\r\n`);
  await client.exchange('EXPIRE k0 100\r\n', ':1\r\n');
  await client.exchange('DEL k0 k1\r\n', ':2\r\n');
  await client.exchange(`SET again ${value}\r\n`, '+OK\r\n');
  assert.equal(store.count, count - 1);
});

test('a key above its limit is refused, the longest is not', async (t) => {
  const { port } = await startCache(t);
  const client = await RawClient.connect(t, port);
  const set = (bytes: number): string => `*3\r\n$3\r\nSET\r\n$${bytes}\r\n${'k'.repeat(bytes)}\r\n$1\r\nv\r\n`;
  await client.exchange(set(65_535), '+OK\r\n');
  await client.exchange(set(65_536), '-ERR the key is longer than 65535 bytes\r\n');
});

test('expired keys go without being asked for', async (t) => {
  const { port, store } = await startCache(t);
  const client = await RawClient.connect(t, port);
  for (let i = 0; i < 100; i += 1) await client.exchange(`SET k${i} v PX 20\r\n`, '+OK\r\n');
  for (let i = 0; i < 500 && store.count > 0; i += 1) await sleep(10);
  assert.equal(store.count, 0);
});

test('a peer that does not read stops being served, and gets everything once it reads', async (t) => {
  const { port, cache, sockets } = await startCache(t);
  const client = await RawClient.connect(t, port);
  const value = 'v'.repeat(500_000);
  await client.exchange(`*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000\r\n${value}\r\n`, '+OK\r\n');
  client.socket.pause();
  client.received = '';
  client.socket.write('GET k\r\n'.repeat(200));
  const [socket] = sockets;
  for (let i = 0; i < 500 && socket!.writableLength < 1024 * 1024; i += 1) await sleep(10);
  await sleep(50);
  assert.ok(socket!.writableLength < 8 * 1024 * 1024, `${socket!.writableLength} bytes wait`);
  assert.ok(cache.commandCount < 150, `${cache.commandCount} commands were run`);
  client.socket.resume();
  const bytes = 200 * (value.length + 11);
  const received = await client.exchange('', (text) => text.length >= bytes);
  assert.equal(received.length, bytes);
});

test('another server takes a connection over: identity, protocol, half a command and commands that wait', async (t) => {
  const first = await startCache(t);
  const second = await startCache(t);
  const client = await RawClient.connect(t, first.port);
  await client.exchange('HELLO 3 SETNAME mover\r\n', (text) => text.endsWith('modules\r\n*0\r\n'));
  await client.exchange('PING\r\n*2\r\n$4\r\nEC', '+PONG\r\n');
  const [socket] = first.sockets;
  const rest = first.cache.unhandled(socket!);
  assert.equal(rest?.toString(), '*2\r\n$4\r\nEC');
  const saved = first.cache.save(socket!)!;

  const next = await RawClient.connect(t, second.port);
  await next.exchange('PING\r\n', '+PONG\r\n');
  const [successor] = second.sockets;
  second.cache.restore(successor!, saved);
  await next.exchange(`${rest.toString()}HO\r\n$2\r\nhi\r\n`, '$2\r\nhi\r\n');
  await next.exchange('CLIENT GETNAME\r\n', '$5\r\nmover\r\n');
  await next.exchange('GET nothing\r\n', '_\r\n');
  assert.equal(first.cache.unhandled(second.sockets.values().next().value!), undefined);
});

test('a digest in steps adds up to the digest of all', async (t) => {
  const { port } = await startCache(t);
  const client = await RawClient.connect(t, port);
  for (let i = 0; i < 200; i += 1) await client.exchange(`SET k${i} value${i}\r\n`, '+OK\r\n');
  const whole = await client.exchange('LUO.DIGEST\r\n', (text) => /\$16\r\n.{16}\r\n$/.test(text));
  const { Digest } = await import('../../examples/cache/hash.js');
  const sum = new Digest();
  let cursor = '0';
  do {
    const reply = await client.exchange(`LUO.DIGEST ${cursor} COUNT 7\r\n`, (text) => /\$16\r\n.{16}\r\n$/.test(text));
    const match = /^\*3\r\n\$\d+\r\n(\d+)\r\n:(\d+)\r\n\$16\r\n(.{16})\r\n$/.exec(reply)!;
    cursor = match[1]!;
    sum.addPart(match[3]!, Number(match[2]));
  } while (cursor !== '0');
  assert.equal(sum.count, 200);
  assert.ok(whole.includes(sum.hex));
});
