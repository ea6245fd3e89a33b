/** luoctl as a process: gives the command line its streams and the parts that src/cli may not import, and exits. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { conformance } from '../backends/kernel/conformance/index.js';
import { LuoError } from '../base/errors.js';
import type { CliIo, CliPorts } from '../cli/context.js';
import { runLuoctl, splitCommand } from '../cli/program.js';
import { INHERITANCE_VARIABLE, readInheritance, restoreBlocking } from '../emulator/launch/inheritance.js';
import { createDoctor } from '../handles/index.js';
import { memfdCreate } from '../sys/index.js';
import { directOutput } from './direct-io.js';
import { emulatorPort } from './emulator.js';
import { packageVersion } from './version.js';

const argv = process.argv.slice(2);
// A program under the emulator shares our streams, so that Node must not make its own of them.
const isShared = splitCommand(argv).words.includes('emulate');
if (isShared) restoreBlocking(readInheritance(process.env[INHERITANCE_VARIABLE]));

const io: CliIo = {
  get stdin() {
    return process.stdin;
  },
  stdout: isShared ? directOutput(1) : process.stdout,
  stderr: isShared ? directOutput(2) : process.stderr,
  env: process.env,
  cwd: process.cwd(),
  onInterrupt(callback) {
    process.on('SIGINT', callback);
    return () => process.off('SIGINT', callback);
  },
};
const ports: CliPorts = {
  version: packageVersion(),
  doctor: createDoctor(),
  emulator: emulatorPort,
  conformance,
  createMemfd: (name) => memfdCreate(name),
  startLuod,
};

/** As `luod --background` does, which says by its exit code whether luod answers. */
async function startLuod(dir: string): Promise<void> {
  const program = fileURLToPath(new URL('./luod.js', import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, program, '--dir', dir, '--background'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === 0) return;
  throw new LuoError(
    'LUOD_UNREACHABLE',
    `luod cannot be started in '${dir}': ${Buffer.concat(said).toString().trim()}`,
    {
      remedy: `read ${dir}/logs/luod.log`,
    },
  );
}

// A reader that has seen enough (luoctl logs | head) is no error.
if (!isShared) {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
}

// Standard output and error are synchronous on Linux, for files, pipes and terminals: nothing is lost by exiting here.
process.exit(await runLuoctl(argv, io, ports));
