/**
 * The probe in a process of its own: `probe.js --port P [--host H] [--every-ms 1] [--connections 1]`.
 * `window NAME` on stdin ends a window, answers `{"window":{...}}` and begins the next; the end of stdin gives the result.
 */
import { parseArgs } from 'node:util';
import { serveCommands } from './child-protocol.js';
import { Probe } from './probe-core.js';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    'every-ms': { type: 'string', default: '1' },
    connections: { type: 'string', default: '1' },
  },
});
const probe = await Probe.start({
  port: Number(values.port),
  host: values.host,
  everyMs: Number(values['every-ms']),
  connections: Number(values.connections),
});
await serveCommands(
  (word, name) => (word === 'window' ? { window: probe.window(name) } : { error: `unknown command '${word}'` }),
  () => probe.finish(),
);
