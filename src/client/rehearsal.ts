/**
 * Before its standby a successor rehearses the switch itself: attach, freeze and go, on connections of its own, through
 * the same code as the real ones, many rounds, so that in the blackout everything is compiled and laid out. Then the
 * program's own rehearsal, and at the end a garbage collection, since one just after go would be seen by clients.
 * Nothing stays: no connection, no descriptor, no listener.
 */
import { once } from 'node:events';
import { Server as HttpServer, createServer as createHttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MEMBER_CALLS } from '../protocol/spec.js';
import { parseParams } from '../protocol/validate.js';
import { dupFd, tcpListen } from '../sys/index.js';
import { LuoListener } from './listener.js';
import { beginHttpAccount, closeListening } from './net-internals.js';
import { Region } from './region.js';
import type { CallContext, RehearsalContext } from './types.js';
import { Workload, type OutgoingParcel } from './workload.js';

const ROUNDS = 30;
const CONNECTIONS = 12;
const CONTEXT: CallContext = {
  attempt: 1,
  signal: new AbortController().signal,
  deadlineMs: 2000,
  gap: 'handover',
  replaced: true,
  toCome: [],
  tokens: {},
};

/** Compile the checks of luod's calls, which otherwise would happen at the first of each, in the blackout. */
export function warmCalls(): void {
  for (const method of Object.keys(MEMBER_CALLS) as (keyof typeof MEMBER_CALLS)[]) {
    try {
      parseParams(MEMBER_CALLS, method, { attempt: 0 });
    } catch {
      // Only that it was compiled matters.
    }
  }
}

/** Rehearse the switch of a plain server, and of an http server where the program has one. */
export async function rehearseSwitch(options: { readonly http: boolean }): Promise<void> {
  await rehearse(() => {
    const server = createServer();
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => socket.write(bytes));
    });
    return server;
  }, Buffer.from('rehearsal'));
  if (!options.http) return;
  await rehearse(
    () => createHttpServer((_request, response) => response.end('ok')),
    Buffer.from('GET / HTTP/1.1\r\nhost: rehearsal\r\n\r\n'),
  );
}

/** A program in small, with one of each thing that an update moves. */
class Dummy {
  readonly workload = new Workload({ drainShare: 0.5 });
  readonly listener: LuoListener;
  readonly region: Region;

  constructor(server: Server, listeningFd: number, memoryFd: number | undefined) {
    this.listener = new LuoListener({
      name: 'rehearsal',
      server,
      takenFd: dupFd(listeningFd),
      backlog: CONNECTIONS,
      connections: {},
      pendingOutputBytesMax: 1024,
    });
    this.region =
      memoryFd === undefined
        ? Region.create('rehearsal', 4096)
        : Region.claim('rehearsal', dupFd(memoryFd), { sizeBytes: undefined, torn: false });
    this.workload.listeners.set('rehearsal', this.listener);
    this.workload.regions.set('rehearsal', this.region);
    this.workload.states.set('rehearsal', { save: () => ({ rehearsal: true }), restore: () => {} });
    for (const event of ['prepare', 'freeze', 'thaw', 'go'] as const) this.workload.on(event, () => {});
  }

  async end(): Promise<void> {
    await this.listener.end();
    this.region.close();
  }
}

async function rehearse(makeServer: () => Server, request: Buffer): Promise<void> {
  const listening = tcpListen({ port: 0, address: '127.0.0.1' });
  let current = new Dummy(makeServer(), listening.fd, undefined);
  const clients: Socket[] = [];
  try {
    await current.workload.go(CONTEXT);
    const { port } = current.listener.address as { port: number };
    for (let index = 0; index < CONNECTIONS; index += 1) {
      const client = connect(port, '127.0.0.1');
      client.on('error', () => {});
      clients.push(client);
      await once(client, 'connect');
    }
    for (let round = 0; round < ROUNDS; round += 1) {
      await exchange(clients, request);
      const next = new Dummy(makeServer(), listening.fd, current.region.fd);
      current = await handOver(current, next, { abort: round % 5 === 4 });
    }
    await exchange(clients, request);
  } finally {
    for (const client of clients) client.destroy();
    await current.end();
    listening.close();
  }
}

/** One switch in this process; gives back the one that goes on, and ends the other. */
async function handOver(old: Dummy, next: Dummy, options: { readonly abort: boolean }): Promise<Dummy> {
  const pass = async (part: 'prepared' | 'frozen', sent: OutgoingParcel): Promise<void> => {
    const fds = sent.fds.map((fd) => dupFd(fd));
    sent.close();
    await next.workload.restore(CONTEXT, part, [{ part, parcel: JSON.parse(JSON.stringify(sent.parcel)), fds }]);
  };
  await pass('prepared', await old.workload.prepare(CONTEXT, [], true));
  await pass('frozen', await old.workload.freeze(CONTEXT, [], true));
  if (options.abort) {
    old.workload.thaw(CONTEXT.attempt);
    await next.end();
    return old;
  }
  await next.workload.go(CONTEXT);
  await old.end();
  return next;
}

/** Each client asks once and waits for the first bytes of its answer. */
async function exchange(clients: readonly Socket[], request: Buffer): Promise<void> {
  await Promise.all(
    clients.map(async (client) => {
      const answer = once(client, 'data', { signal: AbortSignal.timeout(2000) });
      client.write(request);
      await answer;
    }),
  );
}

/** What a program's own rehearsal works with; `end()` takes all of it away. */
export class RehearsalStage implements RehearsalContext {
  readonly #controller = new AbortController();
  readonly #sockets: Socket[] = [];

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async connect(server: Server): Promise<Socket> {
    if (server instanceof HttpServer) beginHttpAccount(server);
    const gate = createServer({ allowHalfOpen: (server as unknown as { allowHalfOpen: boolean }).allowHalfOpen });
    gate.listen(0, '127.0.0.1');
    await once(gate, 'listening');
    const accepted = once(gate, 'connection') as Promise<[Socket]>;
    const client = connect((gate.address() as { port: number }).port, '127.0.0.1');
    this.#sockets.push(client);
    await once(client, 'connect');
    const [socket] = await accepted;
    this.#sockets.push(socket);
    closeListening(gate);
    server.emit('connection', socket);
    return client;
  }

  async end(): Promise<void> {
    this.#controller.abort();
    await Promise.all(
      this.#sockets.map(async (socket) => {
        if (socket.closed) return;
        const closed = once(socket, 'close');
        socket.on('error', () => {});
        socket.destroy();
        await closed;
      }),
    );
  }
}

type CollectGarbage = (options: { type: 'minor' | 'major' }) => void;

/** Collect garbage now: a collection just after go would be seen by clients. @param type `minor`: of what is young */
export function collectGarbage(type: 'minor' | 'major'): void {
  const global = globalThis as { gc?: CollectGarbage };
  if (global.gc !== undefined) return global.gc({ type });
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as CollectGarbage;
  setFlagsFromString('--no-expose-gc');
  gc({ type });
}
