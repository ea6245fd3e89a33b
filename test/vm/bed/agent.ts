/**
 * The host's hand inside of a virtual machine: it reads requests from a virtio port, one line of JSON each, and answers them.
 * PID 1 starts it in every kernel, and again when it ends.
 *
 * It says `hello` first, with a name of its own. A request carries the name of the agent that it is meant for: one that waited in
 * the port while a kernel was replaced is not performed by the next kernel's agent.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync, writeSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { setHostClock } from './host-clock.js';
import { Lines } from './lines.js';
import { listProcesses, runProgram, startProgram, type ProgramOptions } from './programs.js';

interface Request {
  readonly id: number;
  readonly agent: string;
  readonly op: string;
  readonly [key: string]: unknown;
}

const PORT_NAME = 'luo.bed';
const PORTS = '/sys/class/virtio-ports';
/** Before the power goes, so that the answer gets out, ms. */
const LAST_ANSWER_MS = 50;
const agent = randomUUID();

function portPath(): string {
  for (const name of readdirSync(PORTS)) {
    if (readFileSync(join(PORTS, name, 'name'), 'utf8').trim() === PORT_NAME) return `/dev/${name}`;
  }
  throw new Error(`there is no virtio port '${PORT_NAME}'`);
}

const fd = openSync(portPath(), 'r+');

function tell(message: unknown): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
}

const text = (path: string): string => readFileSync(path, 'utf8').trim();

// ------------------------------------------------------------------------------------------ requests of the host

interface Program extends ProgramOptions {
  readonly argv: readonly string[];
}

function perform(request: Request): unknown {
  switch (request.op) {
    case 'exec': {
      const { argv, stdin, timeoutMs, stream, ...options } = request as unknown as Program & {
        stdin?: string;
        timeoutMs: number;
        stream: boolean;
      };
      return runProgram(argv, {
        ...options,
        timeoutMs,
        ...(stdin === undefined ? {} : { stdin: Buffer.from(stdin, 'base64') }),
        ...(stream ? { onOutput: (from, said) => tell({ progress: request.id, from, said }) } : {}),
      });
    }
    case 'spawn': {
      const { argv, output, ...options } = request as unknown as Program & { output: string };
      return startProgram(argv, output, options).then((pid) => ({ pid }));
    }
    case 'ps':
      return listProcesses();
    case 'kill':
      process.kill(request['pid'] as number, request['signal'] as NodeJS.Signals);
      return null;
    case 'read':
      return readFileSync(request['path'] as string, (request['encoding'] as BufferEncoding | undefined) ?? 'utf8');
    case 'write':
      mkdirSync(dirname(request['path'] as string), { recursive: true });
      writeFileSync(request['path'] as string, Buffer.from(request['base64'] as string, 'base64'), {
        mode: (request['mode'] as number | undefined) ?? 0o644,
      });
      return null;
    case 'run':
      return call(request['module'] as string, request['export'] as string, request['args'] as unknown[]);
    case 'clock':
      return { realtimeMs: Date.now(), monotonicNs: String(process.hrtime.bigint()) };
    case 'poweroff':
      return powerOff();
    default:
      throw new Error(`unknown operation '${request.op}'`);
  }
}

/** The system calls of this package are loaded when they are needed: the agent's own start is in every boot. */
async function powerOff(): Promise<null> {
  const { rebootPowerOff } = await import('../../../src/sys/index.js');
  setTimeout(rebootPowerOff, LAST_ANSWER_MS);
  return null;
}

async function call(path: string, name: string, args: readonly unknown[]): Promise<unknown> {
  const module = (await import(`/luo/dist/${path}`)) as Record<string, unknown>;
  const found = module[name];
  if (typeof found !== 'function') throw new Error(`'${path}' exports no function '${name}'`);
  return (found as (...args: readonly unknown[]) => unknown)(...args);
}

// ------------------------------------------------------------------------------------------ questions to the host

const asked = new Map<number, (answer: never) => void>();
let questions = 0;
setHostClock(
  () =>
    new Promise((resolve) => {
      questions += 1;
      asked.set(questions, resolve);
      tell({ ask: questions, agent });
    }),
);

// ------------------------------------------------------------------------------------------ lines

async function received(line: string): Promise<void> {
  let message: Partial<Request> & { answer?: number };
  try {
    message = JSON.parse(line) as typeof message;
  } catch {
    // The first bytes after a boot may be the end of a line that was meant for the kernel before.
    return;
  }
  if (message.agent !== agent) return;
  if (message.answer !== undefined) {
    asked.get(message.answer)?.(message as never);
    asked.delete(message.answer);
    return;
  }
  try {
    const result = await perform(message as Request);
    tell({ re: message.id, result: result ?? null });
  } catch (error) {
    tell({ re: message.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

const lines = new Lines((line) => void received(line));
createReadStream('', { fd, encoding: 'utf8', autoClose: false, highWaterMark: 65536 }).on('data', (chunk) => {
  lines.push(String(chunk));
});
tell({
  hello: {
    agent,
    release: release(),
    bootId: text('/proc/sys/kernel/random/boot_id'),
    uptimeS: Number(text('/proc/uptime').split(' ')[0]),
    cmdline: text('/proc/cmdline'),
  },
});
