/**
 * The kernel inside of a bzImage. Node unpacks gzip, and zstd in newer versions; for the rest the program of that name is
 * asked, if there is one. What cannot be unpacked is said so: it is never taken for good.
 * @source scripts/extract-vmlinux, Documentation/arch/x86/boot.rst
 */
import { spawn } from 'node:child_process';
import * as zlib from 'node:zlib';

interface Method {
  readonly name: string;
  readonly magic: readonly number[];
  /** Program and arguments that unpack from stdin to stdout. */
  readonly command: readonly string[];
}

const METHODS: readonly Method[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], command: ['gzip', '-dc'] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], command: ['zstd', '-dc'] },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], command: ['xz', '-dc', '--single-stream'] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00], command: ['xz', '-dc', '--format=lzma', '--single-stream'] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68], command: ['bzip2', '-dc'] },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], command: ['lz4', '-dc'] },
  { name: 'lzop', magic: [0x89, 0x4c, 0x5a, 0x4f], command: ['lzop', '-dc'] },
];
const UNPACK_MS = 60_000;
const BYTES_MAX = 512 * 1024 * 1024;

export type Unpacked =
  | { readonly ok: true; readonly kernel: Buffer; readonly method: string }
  | { readonly ok: false; readonly reason: string };

/** @param payload as the setup header says; its last four bytes are the unpacked size, which no format knows of */
export async function unpack(payload: Buffer): Promise<Unpacked> {
  const method = METHODS.find(({ magic }) => magic.every((byte, at) => payload[at] === byte));
  if (!method) return { ok: false, reason: 'it is compressed in a way that luo does not know' };
  const sizeBytes = payload.length >= 4 ? payload.readUInt32LE(payload.length - 4) : 0;
  if (sizeBytes > BYTES_MAX) return { ok: false, reason: `unpacked it would have ${sizeBytes} bytes` };
  const packed = payload.subarray(0, payload.length - 4);
  try {
    return { ok: true, kernel: await unpackWith(method, packed), method: method.name };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? `the program '${method.command[0]}' is not there` : message;
    return { ok: false, reason: `its kernel, packed with ${method.name}, cannot be unpacked: ${why}` };
  }
}

function unpackWith(method: Method, packed: Buffer): Promise<Buffer> {
  const { zstdDecompress } = zlib as { zstdDecompress?: typeof zlib.gunzip };
  // gzip keeps its own size in the last four bytes: there they belong to it.
  if (method.name === 'gzip') return byNode(zlib.gunzip, packed);
  if (method.name === 'zstd' && zstdDecompress) return byNode(zstdDecompress, packed);
  return byProgram(method.command, packed);
}

function byNode(
  run: (data: Buffer, options: zlib.ZlibOptions, done: (error: Error | null, result: Buffer) => void) => void,
  packed: Buffer,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    run(packed, { maxOutputLength: BYTES_MAX, finishFlush: zlib.constants.Z_SYNC_FLUSH }, (error, result) =>
      error ? reject(error) : resolve(result),
    );
  });
}

function byProgram([program, ...args]: readonly string[], packed: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), UNPACK_MS);
    const chunks: Buffer[] = [];
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > BYTES_MAX) child.kill('SIGKILL');
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', () => {
      clearTimeout(timer);
      // Some of them complain of what follows their stream; what counts is what came out.
      if (bytes > 0 && bytes <= BYTES_MAX) resolve(Buffer.concat(chunks));
      else reject(new Error(`'${program}' gave nothing`));
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(packed);
  });
}
