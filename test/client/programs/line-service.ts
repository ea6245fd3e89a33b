/**
 * A service for tests: lines in, lines out, counters in kept memory.
 * `INCR n` counts; `ECHO text`; `BIG n` answers n bytes of a known pattern; `BYE` ends the connection behind a BIG answer;
 * `STATE` tells what was restored, `TOLD` what `restore` was called with for this connection. Half lines are held in the program and given to the successor at freeze.
 */
import { createServer, type Socket } from 'node:net';
import { join } from 'luo';
import './parent.js';
import { pattern } from '../pattern.js';

const luo = await join();
const memory = await luo.memory('counters', { sizeBytes: Number(process.env['MEMORY_BYTES'] ?? 65_536) });
const counters = new Uint32Array(memory.buffer);
const half = new Map<Socket, Buffer>();
const names = new Map<Socket, string>();
const told = new WeakMap<Socket, string[]>();
let restored = 0;
let greeting = 0;
luo.state('info', {
  save: () => ({ restored: restored + 1 }),
  restore: (saved) => (restored = (saved as { restored: number }).restored),
});
luo.state('bytes', { save: () => Buffer.from([1, 2, 3]), restore: (saved) => (greeting = (saved as Buffer).length) });

const server = createServer((socket) => {
  if (process.env['HELLO'] === '1' && !luo.isHandedOver(socket)) socket.write('hello\n');
  socket.on('error', () => {});
  socket.on('close', () => {
    half.delete(socket);
    names.delete(socket);
  });
  socket.on('data', (bytes) => {
    const all = Buffer.concat([half.get(socket) ?? Buffer.alloc(0), bytes]);
    let from = 0;
    for (let end = all.indexOf(10); end >= 0; end = all.indexOf(10, from)) {
      answer(socket, all.toString('latin1', from, end));
      from = end + 1;
    }
    half.set(socket, all.subarray(from));
  });
});

function answer(socket: Socket, line: string): void {
  const [word, ...rest] = line.split(' ');
  const text = rest.join(' ');
  if (word === 'INCR') socket.write(`:${(counters[Number(text)] = counters[Number(text)]! + 1)}\n`);
  else if (word === 'ECHO') socket.write(`${text}\n`);
  else if (word === 'BIG') socket.write(pattern(Number(text)));
  else if (word === 'NAME') socket.write(`${names.set(socket, text).size > 0 ? 'ok' : ''}\n`);
  else if (word === 'WHO') socket.write(`${names.get(socket) ?? '-'}\n`);
  else if (word === 'UNNAME') socket.write(`${names.delete(socket)}\n`);
  else if (word === 'TOLD') socket.write(`${told.get(socket)?.join(',') ?? '-'}\n`);
  else if (word === 'PID') socket.write(`${process.pid}\n`);
  else if (word === 'STATE') {
    const { torn, created, generation } = memory;
    socket.write(`${JSON.stringify({ restored, greeting, torn, created, generation, role: luo.role })}\n`);
  } else if (word === 'BYE') {
    socket.write(pattern(Number(text)));
    socket.end();
  } else socket.write(`? ${line}\n`);
}

await luo.listen(server, {
  port: 0,
  host: '127.0.0.1',
  ...(process.env['SOCKET_PATH'] === undefined ? {} : { path: process.env['SOCKET_PATH'] }),
  connections: {
    unhandled: (socket) => half.get(socket),
    save: (socket) => names.get(socket),
    restore: (socket, saved) => {
      names.set(socket, saved as string);
      told.set(socket, [...(told.get(socket) ?? []), saved as string]);
    },
  },
});
if (process.env['FREEZE_MS'] !== undefined) {
  luo.on('freeze', () => new Promise((resolve) => setTimeout(resolve, Number(process.env['FREEZE_MS']))));
}
if (process.env['FREEZE_FAILS'] === '1') luo.on('freeze', () => Promise.reject(new Error('cannot stop now')));
await luo.ready();
