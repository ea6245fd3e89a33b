/** An http service for tests: `/pid`, `/slow?ms`, `/big?bytes`, POST `/length`; with `UPGRADE=1` it also tunnels. */
import { createServer } from 'node:http';
import { join } from 'luo';
import { pattern } from '../pattern.js';
import './parent.js';

const luo = await join(
  process.env['DRAIN_SHARE'] === undefined ? {} : { drainShare: Number(process.env['DRAIN_SHARE']) },
);
const server = createServer((request, response) => {
  const url = new URL(request.url!, 'http://service');
  const number = Number(url.search.slice(1));
  if (url.pathname === '/pid') response.end(String(process.pid));
  else if (url.pathname === '/slow') setTimeout(() => response.end(`slow ${process.pid}`), number);
  else if (url.pathname === '/big') response.end(pattern(number));
  else if (url.pathname === '/length') {
    let length = 0;
    request.on('data', (bytes: Buffer) => (length += bytes.length));
    request.on('end', () => response.end(`${length} ${process.pid}`));
  } else response.writeHead(404).end();
});
server.keepAliveTimeout = 60_000;
if (process.env['UPGRADE'] === '1') {
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n');
    socket.on('data', (bytes: Buffer) => socket.write(bytes));
    socket.on('error', () => {});
  });
}
await luo.listen(server, { name: 'http', port: 0, host: '127.0.0.1' });
await luo.ready();
