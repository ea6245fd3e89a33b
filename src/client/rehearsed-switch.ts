/**
 * Before its standby a successor rehearses the switch itself: luod's calls, attach, freeze and go, on connections of its own,
 * through the same code as the real ones, many rounds, so that in the blackout everything is compiled and laid out. At the
 * end comes a garbage collection, since one just after go would be seen by clients; the last round lives until it is over,
 * because the engine forgets what it has compiled for objects of which there is none left.
 * Nothing stays: no connection, no descriptor, no listener.
 */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { LUOD_METHODS, MEMBER_CALLS, type CallParams, type LuodResult, type MemberCall } from '../protocol/spec.js';
import { closeAll, dupFd, pidfdOpen, socketpair, tcpListen, type OwnedFd } from '../sys/index.js';
import { Peer } from '../transport/index.js';
import { Link } from './link.js';
import { LuoListener } from './listener.js';
import { Member } from './member.js';
import { Region } from './region.js';
import { Workload } from './workload.js';

const ROUNDS = 30;
const CONNECTIONS = 12;
/** Of one call; no reason to fail an update because a machine is slow. */
const DEADLINE_MS = 10_000;

/** A rehearsal that is over, but for its last objects. */
export interface Rehearsed {
  end(): Promise<void>;
}

/** Rehearse the switch of a plain server, and of an http server where the program has one. The caller ends what it returns. */
export async function rehearseSwitch(options: { readonly http: boolean }): Promise<Rehearsed> {
  const plain = await Rehearsal.run(() => {
    const server = createServer();
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => socket.write(bytes));
    });
    return server;
  }, Buffer.from('rehearsal'));
  if (!options.http) return plain;
  try {
    const http = await Rehearsal.run(
      () => createHttpServer((_request, response) => response.end('ok')),
      Buffer.from('GET / HTTP/1.1\r\nhost: rehearsal\r\n\r\n'),
    );
    return {
      end: async () => {
        await plain.end();
        await http.end();
      },
    };
  } catch (error) {
    await plain.end();
    throw error;
  }
}

/** A program in small, with one of each thing that an update moves, and luod's end of its connection. */
class Dummy {
  readonly listener: LuoListener;
  readonly #workload = new Workload({ drainShare: 0.5 });
  readonly #region: Region;
  readonly #luod: Peer;
  readonly #link: Link;
  readonly #member: Member;

  constructor(server: Server, listeningFd: number, options: { readonly attempt: number; readonly memoryFd?: number }) {
    this.listener = new LuoListener({
      name: 'rehearsal',
      server,
      takenFd: dupFd(listeningFd),
      backlog: CONNECTIONS,
      connections: {},
      pendingOutputBytesMax: 1024,
    });
    const { attempt, memoryFd } = options;
    this.#region =
      memoryFd === undefined
        ? Region.create('rehearsal', 4096)
        : Region.claim('rehearsal', dupFd(memoryFd), { sizeBytes: undefined, torn: false });
    this.#workload.listeners.set('rehearsal', this.listener);
    this.#workload.regions.set('rehearsal', this.#region);
    this.#workload.states.set('rehearsal', { save: () => ({ rehearsal: true }), restore: () => {} });
    for (const event of ['prepare', 'freeze', 'thaw', 'go'] as const) this.#workload.on(event, () => {});
    const [mine, luods] = socketpair();
    this.#luod = new Peer(luods, {
      calls: MEMBER_CALLS,
      serves: LUOD_METHODS,
      onRequest: (_method, _params, fds, reply) => {
        closeAll(fds);
        reply.result({});
      },
    });
    this.#link = Link.over(mine, { generation: 1, attempt, keeperSocket: '' } as LuodResult<'hello'>);
    this.#member = new Member({
      link: this.#link,
      workload: this.#workload,
      role: 'successor',
      onForgotten: () => Promise.resolve(),
      onRefill: () => Promise.resolve(),
      onGo: () => {},
      exit: () => {},
      isRehearsal: true,
    });
  }

  get memoryFd(): number {
    return this.#region.fd;
  }

  /** Call it as luod does. */
  async call<M extends MemberCall>(
    method: M,
    params: Omit<CallParams<M>, 'deadlineMs'>,
    takenFds: readonly OwnedFd[] = [],
  ): Promise<{ parcel: unknown; fds: OwnedFd[] }> {
    const answer = this.#luod.request<{ parcel?: unknown }>(
      method,
      { ...params, deadlineMs: DEADLINE_MS },
      { fds: takenFds.map((one) => one.fd), urgent: true, deadlineMs: DEADLINE_MS },
    );
    closeAll(takenFds);
    const { result, fds } = await answer;
    return { parcel: result.parcel, fds };
  }

  async end(): Promise<void> {
    this.#member.close();
    this.#link.close();
    this.#luod.close();
    await this.listener.end();
    this.#region.close();
  }
}

class Rehearsal implements Rehearsed {
  readonly #makeServer: () => Server;
  readonly #request: Buffer;
  readonly #listening = tcpListen({ port: 0, address: '127.0.0.1' });
  readonly #clients: Socket[] = [];
  #current: Dummy;
  #attempt = 1;

  private constructor(makeServer: () => Server, request: Buffer) {
    this.#makeServer = makeServer;
    this.#request = request;
    this.#current = new Dummy(makeServer(), this.#listening.fd, { attempt: 1 });
  }

  static async run(makeServer: () => Server, request: Buffer): Promise<Rehearsal> {
    const rehearsal = new Rehearsal(makeServer, request);
    try {
      await rehearsal.#run();
      return rehearsal;
    } catch (error) {
      await rehearsal.end();
      throw error;
    }
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.#current.end();
    this.#listening.close();
  }

  async #run(): Promise<void> {
    await this.#current.call('go', { attempt: this.#attempt });
    const { port } = this.#current.listener.address as { port: number };
    for (let index = 0; index < CONNECTIONS; index += 1) {
      const client = connect(port, '127.0.0.1');
      client.on('error', () => {});
      this.#clients.push(client);
      await once(client, 'connect');
    }
    for (let round = 0; round < ROUNDS; round += 1) {
      await this.#exchange();
      await this.#handOver({ abort: round % 5 === 4 });
    }
    await this.#exchange();
  }

  /** One switch in this process; one of the two goes on, the other ends. */
  async #handOver({ abort }: { readonly abort: boolean }): Promise<void> {
    const attempt = (this.#attempt += 1);
    const old = this.#current;
    const next = new Dummy(this.#makeServer(), this.#listening.fd, { attempt, memoryFd: old.memoryFd });
    const pass = (
      part: 'prepared' | 'frozen',
      { parcel, fds }: { parcel: unknown; fds: OwnedFd[] },
    ): Promise<unknown> =>
      next.call('restore', { attempt, part, parcels: [{ part, parcel, fds: fds.length }], key: 'rehearsal' }, fds);
    let ended = next;
    try {
      const common = { attempt, gap: 'handover' as const, handles: [], replaced: true };
      await pass('prepared', await old.call('prepare', common));
      // In the place of the successor's process one that surely lives.
      const pidfds = [pidfdOpen(process.pid)];
      await pass('frozen', await old.call('freeze', { ...common, key: 'rehearsal', keeperSocket: '' }, pidfds));
      if (abort) {
        await next.call('cancel', { attempt });
        await old.call('cancel', { attempt });
        return;
      }
      await next.call('go', { attempt });
      await old.call('retire', { attempt }).catch(() => {});
      this.#current = next;
      ended = old;
    } finally {
      await ended.end();
    }
  }

  /** Each client asks once and waits for the first bytes of its answer. */
  async #exchange(): Promise<void> {
    await Promise.all(
      this.#clients.map(async (client) => {
        const answer = once(client, 'data', { signal: AbortSignal.timeout(DEADLINE_MS) });
        client.write(this.#request);
        await answer;
      }),
    );
  }
}
