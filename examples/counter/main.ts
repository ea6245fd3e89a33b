// The smallest service that survives the replacement of its own program: it counts, in memory that is handed on.
import { createServer } from 'node:http';
import { join } from 'luo';

const version = process.env['COUNTER_VERSION'] ?? 'v1';
const luo = await join();
const memory = await luo.memory('count', { sizeBytes: 8, compatible: 'count/1' });
const count = new BigUint64Array(memory.buffer);

const server = createServer((_request, response) => {
  count[0] = count[0]! + 1n;
  response.end(`${count[0]} (${version}, pid ${process.pid})\n`);
});
await luo.listen(server, { port: Number(process.env['PORT'] ?? 8080), host: '127.0.0.1' });

const { role } = await luo.ready();
console.log(`counter ${version}, pid ${process.pid}, ${role} start, at ${count[0]}`);
