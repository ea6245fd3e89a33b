/**
 * The host's hand inside of a virtual machine: reads requests from a virtio port, one line of JSON each, and answers them.
 * PID 1 starts it in every kernel and again when it ends.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  writeFileSync,
  writeSync,
  createReadStream,
} from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { rebootPowerOff } from '../../../src/sys/index.js';

interface Request {
  readonly id: number;
  readonly op: string;
  readonly [key: string]: unknown;
}

const PORT_NAME = 'luo.bed';
const PORTS = '/sys/class/virtio-ports';

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

async function perform(request: Request): Promise<unknown> {
  switch (request.op) {
    case 'exec':
      return exec(request as unknown as ExecRequest);
    case 'spawn':
      return start(request as unknown as ExecRequest & { output: string });
    case 'read':
      return readFileSync(request['path'] as string, (request['encoding'] as BufferEncoding | undefined) ?? 'utf8');
    case 'write':
      mkdirSync(dirname(request['path'] as string), { recursive: true });
      writeFileSync(request['path'] as string, Buffer.from(request['base64'] as string, 'base64'), {
        mode: (request['mode'] as number | undefined) ?? 0o644,
      });
      return null;
    case 'kill':
      process.kill(request['pid'] as number, request['signal'] as NodeJS.Signals);
      return null;
    case 'run': {
      const module = (await import(`/luo/dist/${request['module'] as string}`)) as Record<
        string,
        (...args: unknown[]) => unknown
      >;
      const result = await module[request['export'] as string]!(...(request['args'] as unknown[]));
      return result ?? null;
    }
    case 'clock':
      return { realtimeMs: Date.now(), monotonicNs: String(process.hrtime.bigint()) };
    case 'poweroff':
      setTimeout(rebootPowerOff, 50);
      return null;
    default:
      throw new Error(`unknown operation '${request.op}'`);
  }
}

interface ExecRequest {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string;
  readonly timeoutMs: number;
  readonly uid?: number;
}

function exec({ argv, env, cwd = '/', stdin, timeoutMs, uid }: ExecRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0]!, argv.slice(1), {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, late, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() });
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(stdin === undefined ? '' : Buffer.from(stdin, 'base64'));
  });
}

function start({ argv, env, cwd = '/', output, uid }: ExecRequest & { output: string }): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const log = openSync(output, 'a');
    const child = spawn(argv[0]!, argv.slice(1), {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
      detached: true,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    closeSync(log);
    child.on('error', reject);
    child.on('spawn', () => resolve({ pid: child.pid }));
    child.unref();
  });
}

let rest = '';
createReadStream('', { fd, encoding: 'utf8', autoClose: false, highWaterMark: 65536 }).on('data', (chunk) => {
  rest += chunk as string;
  for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
    const line = rest.slice(0, end);
    rest = rest.slice(end + 1);
    let request: Request;
    try {
      request = JSON.parse(line) as Request;
    } catch {
      // The first bytes after a boot may be the end of a line that was meant for the kernel before.
      continue;
    }
    perform(request).then(
      (result) => tell({ re: request.id, result: result ?? null }),
      (error: unknown) =>
        tell({ re: request.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  }
});
tell({
  hello: {
    release: release(),
    bootId: text('/proc/sys/kernel/random/boot_id'),
    uptimeS: Number(text('/proc/uptime').split(' ')[0]),
    cmdline: text('/proc/cmdline'),
  },
});
