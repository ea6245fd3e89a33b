/**
 * Runs under the emulator: a client that meets a fault, by the name of its step, and says the outcome of each call as one line
 * of JSON. The steps that need the next kernel are in two halves.
 */
import {
  kexecFileLoad,
  liveupdateCreateSession,
  liveupdateRetrieveSession,
  memfdCreate,
  openFile,
  openLiveupdate,
  pread,
  rebootKexec,
  sessionFinish,
  sessionGetName,
  sessionPreserveFd,
  sessionRetrieveFdNow,
  write,
  SysError,
  type OwnedFd,
} from '../../../src/sys/index.js';

const outcomes: string[] = [];

async function outcome(call: () => unknown): Promise<string> {
  try {
    const value = await call();
    return typeof value === 'string' ? value : 'ok';
  } catch (error) {
    if (error instanceof SysError) return error.errnoName;
    throw error;
  }
}

async function told(...calls: (() => unknown)[]): Promise<void> {
  for (const call of calls) outcomes.push(await outcome(call));
}

function memory(text: string): OwnedFd {
  const file = memfdCreate('faulty');
  write(file.fd, Buffer.from(text));
  return file;
}

function text(file: OwnedFd): string {
  const bytes = Buffer.alloc(64);
  return bytes.toString('utf8', 0, pread(file.fd, bytes, 0));
}

function create(name: string): OwnedFd {
  const device = openLiveupdate();
  const session = liveupdateCreateSession(device.fd, name);
  device.close();
  return session;
}

function retrieve(name: string): OwnedFd {
  const device = openLiveupdate();
  try {
    return liveupdateRetrieveSession(device.fd, name);
  } finally {
    device.close();
  }
}

function load(): void {
  const image = openFile(process.execPath);
  kexecFileLoad({ kernelFd: image.fd, initrdFd: null, cmdline: '' });
  image.close();
}

const STEPS: Readonly<Record<string, () => Promise<void>>> = {
  async open() {
    const open = (): void => openLiveupdate().close();
    await told(open, open, open);
  },

  async preserve() {
    const session = create('s');
    const files = [memory('a'), memory('b'), memory('c')];
    const preserve = (index: number) => () => sessionPreserveFd(session.fd, files[index]!.fd, BigInt(index));
    await told(preserve(0), preserve(1), preserve(2), preserve(2), preserve(2), () => sessionGetName(session.fd));
  },

  /** The first jump is refused; what is said before the second one is said at once. */
  async freeze() {
    const session = create('s');
    const file = memory('before');
    await told(
      () => sessionPreserveFd(session.fd, file.fd, 1n),
      rebootKexec,
      load,
      rebootKexec,
      () => sessionGetName(session.fd),
      () => sessionPreserveFd(session.fd, memory('later').fd, 2n),
      () => sessionPreserveFd(session.fd, memory('more').fd, 1n),
      () => create('t'),
    );
    process.stdout.write(`${JSON.stringify(outcomes)}\n`);
    rebootKexec();
  },

  async afterFreeze() {
    const session = retrieve('s');
    await told(
      () => text(sessionRetrieveFdNow(session.fd, 1n)),
      () => text(sessionRetrieveFdNow(session.fd, 2n)),
      () => retrieve('t'),
    );
  },

  /** Sessions `a` and `b`, each with three files. */
  async leave() {
    for (const name of ['a', 'b']) {
      const session = create(name);
      for (const token of [1n, 2n, 3n]) await sessionPreserveFd(session.fd, memory(`${name}${token}`).fd, token);
    }
    load();
    rebootKexec();
  },

  async finish() {
    const a = retrieve('a');
    const take = (token: bigint) => () => text(sessionRetrieveFdNow(a.fd, token));
    await told(
      take(1n),
      () => sessionFinish(a.fd),
      take(1n),
      take(2n),
      () => sessionFinish(a.fd),
      take(3n),
    );
  },

  async close() {
    const a = retrieve('a');
    const b = retrieve('b');
    const kept = sessionRetrieveFdNow(a.fd, 1n);
    await told(
      () => a.close(),
      () => retrieve('a'),
      () => retrieve('a'),
      () => text(kept),
      () => sessionPreserveFd(create('next').fd, kept.fd, 1n),
      () => text(sessionRetrieveFdNow(b.fd, 1n)),
      () => sessionFinish(b.fd),
    );
  },

  async retrieve() {
    const a = retrieve('a');
    const b = retrieve('b');
    const take = (session: OwnedFd, token: bigint) => () => text(sessionRetrieveFdNow(session.fd, token));
    await told(take(a, 1n), take(a, 2n), take(a, 2n), take(a, 3n), take(a, 2n), take(b, 2n));
    await told(() => sessionFinish(a.fd), take(a, 2n));
  },
};

const step = STEPS[process.argv[2] ?? ''];
if (step === undefined) throw new Error(`there is no step '${process.argv[2]}'`);
await step();
process.stdout.write(`${JSON.stringify(outcomes)}\n`);
