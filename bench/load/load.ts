/**
 * The load in a process of its own: `load.js --port P [--host H] [--connections 50] [--think-ms 0] [--client raw|redis]
 * [--prefix load:]`. `status` on stdin answers `{"status":{...}}`; the end of stdin gives the result.
 */
import { parseArgs } from 'node:util';
import { serveCommands } from './child-protocol.js';
import { Load } from './load-core.js';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    connections: { type: 'string', default: '50' },
    'think-ms': { type: 'string', default: '0' },
    client: { type: 'string', default: 'raw' },
    prefix: { type: 'string', default: 'load:' },
  },
});
const load = await Load.start({
  port: Number(values.port),
  host: values.host,
  connections: Number(values.connections),
  thinkMs: Number(values['think-ms']),
  client: values.client === 'redis' ? 'redis' : 'raw',
  prefix: values.prefix,
});
await serveCommands(
  (word) => (word === 'status' ? { status: load.status() } : { error: `unknown command '${word}'` }),
  () => load.finish(),
);
