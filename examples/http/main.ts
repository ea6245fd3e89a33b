/**
 * An http server whose keep-alive clients do not notice that it is replaced: idle connections go to the successor, half a
 * request head goes with its connection, and what is being answered is answered first.
 *
 * `/` says who answers, `/slow?MS` takes its time, `/big?BYTES` answers much, POST anything to `/length` to have it counted.
 * The number of requests so far lives in kept memory, the log of recent paths in small state.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'luo';

const RECENT_MAX = 20;
const version = process.env['HTTP_VERSION_LABEL'] ?? 'v1';
let recent: string[] = [];

const luo = await join();
const memory = await luo.memory('requests', { sizeBytes: 8, compatible: 'requests/1' });
const requests = new BigUint64Array(memory.buffer);
luo.state('recent', { save: () => recent, restore: (saved) => (recent = saved as string[]) });

const server = createServer((request, response) => {
  requests[0] = requests[0]! + 1n;
  recent = [...recent, request.url ?? '/'].slice(-RECENT_MAX);
  answer(request, response);
});
await luo.listen(server, { port: Number(process.env['PORT'] ?? 8080), host: '127.0.0.1' });
await luo.ready();

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const number = Number(url.search.slice(1));
  switch (url.pathname) {
    case '/':
      response.setHeader('content-type', 'application/json');
      response.end(`${JSON.stringify({ version, pid: process.pid, requests: Number(requests[0]), recent })}\n`);
      break;
    case '/slow':
      setTimeout(() => response.end(`${version}\n`), Math.min(number, 10_000));
      break;
    case '/big':
      response.end(Buffer.alloc(Math.min(number, 64 * 1024 * 1024), 'luo '));
      break;
    case '/length': {
      let length = 0;
      request.on('data', (bytes: Buffer) => (length += bytes.length));
      request.on('end', () => response.end(`${length}\n`));
      break;
    }
    default:
      response.writeHead(404).end();
  }
}
