/**
 * The launcher process (src/bin/emulator-launcher.ts): parent of all programs, between them and the emulator. It never answers a call of theirs. It starts
 * them (in its spawner thread), tells what became of them, reaps what they leave, and ends them all: when the emulator says so
 * at a simulated kexec, and by itself when the emulator has died, so that nobody waits for an answer for ever.
 *
 * Arguments: the number of the socket to the emulator, `strict` or `default`, the record of what programs inherit. All
 * catchable signals are counted and otherwise without effect: it shares the programs' process group, as it must, and their fate
 * only at the end.
 */
import { MessageChannel, Worker } from 'node:worker_threads';
import { POLL } from '../../abi/linux.js';
import {
  OwnedFd,
  becomeSubreaper,
  closeAll,
  exitNow,
  fstat,
  pidfdOpen,
  pollNow,
  preadFully,
  setProcessName,
  takeChildChange,
  write,
  type ChildChange,
} from '../../sys/index.js';
import { Channel } from './channel.js';
import { readInheritance } from './inheritance.js';
import type { FromLauncher, FromSpawner, ProgramText, SpawnOrder, ToLauncher } from './messages.js';
import { endDescendants } from './process-tree.js';
import { COUNTED_SIGNALS } from './signals.js';
import type { SpawnerData } from './spawner.js';

/** How long what cannot be killed (a process stuck in the kernel) is waited for after the emulator's death. */
const orphanDeadlineMs = 10_000;

const [socketFd, mode, record] = process.argv.slice(2) as [string, string, string];

becomeSubreaper();
setProcessName('luo-launcher');
const counts = new Map<string, number>();
for (const name of COUNTED_SIGNALS) process.on(name, () => counts.set(name, (counts.get(name) ?? 0) + 1));

const { port1: orders, port2: ordersForSpawner } = new MessageChannel();
const bell = new Int32Array(new SharedArrayBuffer(4));
const spawner = new Worker(process.argv[1]!, {
  workerData: {
    strict: mode === 'strict',
    inheritance: readInheritance(record),
    orders: ordersForSpawner,
    bell,
  } satisfies SpawnerData,
  transferList: [ordersForSpawner],
  // Or Node would make streams of our own output, and a shared pipe non-blocking for the programs.
  stdout: true,
  stderr: true,
});
orders.unref();

/** Orders that the spawner has not answered, with their fds. */
const pending = new Map<number, readonly OwnedFd[]>();
/** Programs that run: pid to the id of their order. */
const programs = new Map<number, number>();

// It came over execve(2), so that programs would inherit it; the duplicate is close-on-exec.
const inherited = new OwnedFd(Number(socketFd));
const socket = inherited.dup();
inherited.close();
const channel = new Channel<FromLauncher, ToLauncher>(socket, {
  onMessage: (message, fds) => obey(message, fds),
  onClose: () => endAsOrphan(),
});
spawner.on('message', (message: FromSpawner) => heard(message));
process.on('SIGCHLD', () => reap());

function obey(message: ToLauncher, fds: readonly OwnedFd[]): void {
  switch (message.kind) {
    case 'spawn': {
      const [text, ...stdio] = fds;
      pending.set(message.id, fds);
      orders.postMessage({
        id: message.id,
        text: readText(text!.fd),
        stdio: message.stdio ? stdio.map((fd) => fd.fd) : [],
      } satisfies SpawnOrder);
      Atomics.add(bell, 0, 1);
      Atomics.notify(bell, 0);
      return;
    }
    case 'end-all':
      channel.send({ kind: 'ended-all', id: message.id, left: endDescendants(message.deadlineMs, tellChange) });
      return;
    case 'signals':
      // A signal that came before this question has been handled in this turn of the loop or in the next.
      setImmediate(() =>
        setImmediate(() => channel.send({ kind: 'signals', id: message.id, count: counts.get(message.signal) ?? 0 })),
      );
  }
}

function heard(message: FromSpawner): void {
  if (message.kind === 'listening') return channel.send({ kind: 'listening' }, [new OwnedFd(message.listenerFd)]);
  if (message.kind === 'unable') return channel.send(message);
  closeAll(pending.get(message.id) ?? []);
  pending.delete(message.id);
  if (message.kind === 'not-spawned') channel.send(message);
  else {
    programs.set(message.pid, message.id);
    // It cannot have been reaped yet, so that its pid is its own.
    channel.send({ kind: 'spawned', id: message.id, pid: message.pid }, [pidfdOpen(message.pid)]);
  }
  reap();
}

/** Not while a program is being started: it might end, and be told to have ended, before it is told to have been started. */
function reap(): void {
  if (pending.size > 0) return;
  let change: ChildChange | undefined | null;
  while ((change = takeChildChange())) tellChange(change);
}

function tellChange({ pid, kind, code, signal }: ChildChange): void {
  const id = programs.get(pid);
  if (id === undefined) return;
  if (kind === 'ended') programs.delete(pid);
  if (kind === 'stopped') channel.send({ kind: 'changed', id, change: { kind, signal: signal! } });
  else if (kind === 'ended') channel.send({ kind: 'changed', id, change: { kind, code, signal } });
  else channel.send({ kind: 'changed', id, change: { kind } });
}

/** The emulator is gone: no call of the programs would ever be answered rightly. */
function endAsOrphan(): void {
  const hadPrograms = programs.size > 0 || pending.size > 0;
  const left = endDescendants(orphanDeadlineMs, () => {});
  if (hadPrograms) {
    complain('luoctl: the emulator of /dev/liveupdate has died; the programs that ran under it were ended with it\n');
  }
  if (left.length > 0) complain(`luoctl: these processes would not end: ${left.join(', ')}\n`);
  exitNow(1);
}

/** Nobody may read our standard error any more: a word that would have to wait is not said. */
function complain(text: string): void {
  try {
    if ((pollNow(2, POLL.OUT) & POLL.OUT) !== 0) write(2, Buffer.from(text));
  } catch {
    // There is no standard error, or nobody at its end: there is nobody to tell.
  }
}

function readText(fd: number): ProgramText {
  const bytes = Buffer.alloc(Number(fstat(fd).sizeBytes));
  preadFully(fd, bytes, 0);
  return JSON.parse(bytes.toString('utf8')) as ProgramText;
}
