/**
 * Runs inside of the machine: preserves memfds of many kinds by the kernel's own calls, and looks at what came over. The session
 * fds stay open in the agent, which lives until the jump.
 */
import { createHash } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { MFD, O, SEAL } from '../../../src/abi/index.js';
import {
  addSeals,
  fstat,
  ftruncate,
  getSeals,
  getStatusFlags,
  isSysError,
  liveupdateCreateSession,
  liveupdateRetrieveSession,
  memfdCreate,
  openFile,
  openLiveupdate,
  pread,
  pwrite,
  rebootKexec,
  sessionFinish,
  sessionGetName,
  sessionPreserveFd,
  sessionRetrieveFd,
  socketpair,
  write,
  type OwnedFd,
} from '../../../src/sys/index.js';

const kept: OwnedFd[] = [];
const LARGE_BYTES = 512 * 2 ** 20;
const MANY = 500;
const PLAIN = MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.EXEC;

function errnoOf(work: () => unknown): Promise<string> {
  return Promise.resolve()
    .then(work)
    .then(
      () => 'none',
      (error: unknown) =>
        isSysError(error, (error as { errnoName: string }).errnoName) ? error.errnoName : String(error),
    );
}

function memfd(text: string, flags: number = PLAIN): OwnedFd {
  const fd = memfdCreate('kind', flags);
  if (text !== '') write(fd.fd, Buffer.from(text));
  kept.push(fd);
  return fd;
}

function digestOf(fd: number): string {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(1 << 20);
  for (let offset = 0; ;) {
    const count = pread(fd, chunk, offset);
    if (count === 0) return hash.digest('hex');
    hash.update(chunk.subarray(0, count));
    offset += count;
  }
}

/** Everything that is preserved under a token of session `kinds`, and what the kernel refused. */
export async function preserveKinds(
  largeBytes = LARGE_BYTES,
): Promise<{ digest: string; refused: Record<string, string> }> {
  const device = openLiveupdate();
  const session = liveupdateCreateSession(device.fd, 'kinds');
  const many = liveupdateCreateSession(device.fd, 'many');
  device.close();
  kept.push(session, many);
  const preserve = (fd: OwnedFd, token: number): Promise<void> => sessionPreserveFd(session.fd, fd.fd, BigInt(token));

  await preserve(memfd(''), 1);
  await preserve(memfd('x'), 2);
  const sparse = memfd('');
  ftruncate(sparse.fd, 8 * 2 ** 20);
  pwrite(sparse.fd, Buffer.from('end'), 8 * 2 ** 20 - 3);
  await preserve(sparse, 3);
  const sealed = memfd('sealed');
  addSeals(sealed.fd, SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.SEAL);
  await preserve(sealed, 4);
  // The position is the one of the jump: after "positioned".
  await preserve(memfd('positioned'), 5);
  const late = memfd('late seals');
  await preserve(late, 6);
  addSeals(late.fd, SEAL.SHRINK | SEAL.GROW);
  const noexec = memfd('noexec', MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL);
  await preserve(noexec, 7);
  const readOnly = memfd('read only');
  const opened = openFile(`/proc/self/fd/${readOnly.fd}`, O.RDONLY);
  kept.push(opened);
  await preserve(opened, 8);
  const running = memfd('before');
  await preserve(running, 9);
  pwrite(running.fd, Buffer.from('after!'), 0);
  const large = memfd('');
  ftruncate(large.fd, largeBytes);
  const block = Buffer.alloc(1 << 20);
  for (let offset = 0; offset < largeBytes; offset += block.length) {
    block.writeUInt32LE(offset >>> 12, 0);
    block.fill(offset & 0xff, 4, 64);
    pwrite(large.fd, block, offset);
  }
  await preserve(large, 10);
  for (let index = 0; index < MANY; index += 1) {
    await sessionPreserveFd(many.fd, memfd(`file-data-${index}`).fd, BigInt(index));
  }

  const [one] = socketpair();
  const nothing = openFile('/dev/null', O.RDWR);
  kept.push(one, nothing);
  const refused: Record<string, string> = {
    socket: await errnoOf(() => preserve(one, 100)),
    'character device': await errnoOf(() => preserve(nothing, 101)),
    'the same file twice': await errnoOf(() => preserve(sparse, 102)),
    'the same token twice': await errnoOf(() => preserve(memfd('y'), 1)),
    'a retrieve before the jump': await errnoOf(() => sessionRetrieveFd(session.fd, 1n)),
    'a finish before the jump': await errnoOf(() => sessionFinish(session.fd)),
    'a larger size': await errnoOf(() => ftruncate(sparse.fd, 9 * 2 ** 20)),
    name: sessionGetName(session.fd),
  };
  return { digest: digestOf(large.fd), refused };
}

/** Leave. What is loaded is the caller's matter. */
export function jump(): void {
  setTimeout(rebootKexec, 20);
}

interface Found {
  readonly text: string;
  readonly sizeBytes: number;
  readonly seals: number;
  readonly writable: boolean;
  readonly mode: string;
  readonly link: string;
  readonly flags: number;
}

/** What came out, by token. */
export async function retrieveKinds(): Promise<{
  files: Record<string, Found>;
  digest: string;
  many: number;
  position: string;
  again: Record<string, string>;
}> {
  const device = openLiveupdate();
  const session = liveupdateRetrieveSession(device.fd, 'kinds');
  const many = liveupdateRetrieveSession(device.fd, 'many');
  const files: Record<string, Found> = {};
  const fds = new Map<number, OwnedFd>();
  for (let token = 1; token <= 9; token += 1) {
    const fd = await sessionRetrieveFd(session.fd, BigInt(token));
    fds.set(token, fd);
    files[token] = describe(fd.fd);
  }
  const position = Buffer.alloc(32);
  const positioned = fds.get(5)!;
  write(positioned.fd, Buffer.from('+'));
  pread(positioned.fd, position, 0);
  const large = await sessionRetrieveFd(session.fd, 10n);
  const digest = digestOf(large.fd);
  let right = 0;
  for (let index = 0; index < MANY; index += 1) {
    const fd = await sessionRetrieveFd(many.fd, BigInt(index));
    const text = Buffer.alloc(32);
    const count = pread(fd.fd, text, 0);
    if (text.toString('utf8', 0, count) === `file-data-${index}`) right += 1;
    fd.close();
  }
  const outgoing = liveupdateCreateSession(device.fd, 'kinds');
  const again: Record<string, string> = {
    'the session a second time': await errnoOf(() => liveupdateRetrieveSession(device.fd, 'kinds')),
    'a session that never was': await errnoOf(() => liveupdateRetrieveSession(device.fd, 'nowhere')),
    'an unknown token': await errnoOf(() => sessionRetrieveFd(session.fd, 99n)),
    'preserving before finish': await errnoOf(() => sessionPreserveFd(outgoing.fd, large.fd, 1n)),
  };
  sessionFinish(session.fd);
  again['preserving after finish'] = await errnoOf(() => sessionPreserveFd(outgoing.fd, large.fd, 1n));
  again['a retrieve after finish'] = await errnoOf(() => sessionRetrieveFd(session.fd, 1n));
  for (const fd of [session, many, outgoing, large, device, ...fds.values()]) fd.close();
  return { files, digest, many: right, position: position.toString('utf8').replace(/\0.*$/s, ''), again };
}

function describe(fd: number): Found {
  const { sizeBytes, mode } = fstat(fd);
  const text = Buffer.alloc(16);
  const count = pread(fd, text, 0);
  let writable = true;
  try {
    pwrite(fd, text.subarray(0, Math.max(1, count)), 0);
  } catch {
    writable = false;
  }
  return {
    text: text.toString('utf8', 0, count).replace(/\0.*$/s, ''),
    sizeBytes,
    seals: getSeals(fd),
    writable,
    mode: (mode & 0o777).toString(8),
    link: readlinkSync(`/proc/self/fd/${fd}`),
    flags: getStatusFlags(fd) & 3,
  };
}
