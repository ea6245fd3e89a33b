/** luoctl as a process: gives the command line its streams and the parts that src/cli may not import, and exits. */
import type { CliIo, CliPorts } from '../cli/context.js';
import { runLuoctl } from '../cli/program.js';
import { createDoctor } from '../handles/index.js';
import { memfdCreate } from '../sys/index.js';
import { packageVersion } from './version.js';

const io: CliIo = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  onInterrupt(callback) {
    process.on('SIGINT', callback);
    return () => process.off('SIGINT', callback);
  },
};
const ports: CliPorts = { version: packageVersion(), doctor: createDoctor(), createMemfd: (name) => memfdCreate(name) };

// A reader that has seen enough (luoctl logs | head) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

// Standard output and error are synchronous on Linux, for files, pipes and terminals: nothing is lost by exiting here.
process.exit(await runLuoctl(process.argv.slice(2), io, ports));
