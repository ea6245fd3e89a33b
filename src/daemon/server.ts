/**
 * luod's socket: who may ask what, and where it goes. Every message is checked against the spec before it comes here;
 * a client that breaks the rules of the wire loses its connection and nothing else. Rights: `any` needs a hello, `participant`
 * a hello with `join`, `operator` root or luod's own user. What operators ask for leaves an audit line.
 */
import { chmodSync, chownSync, mkdirSync, readFileSync } from 'node:fs';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { LUOD_METHODS, MEMBER_CALLS, PROTOCOL_VERSION } from '../protocol/spec.js';
import type { LuodMethod, LuodParams, LuodResult } from '../protocol/spec.js';
import { closeAll } from '../sys/index.js';
import type { Credentials, OwnedFd } from '../sys/index.js';
import { CLOSING_EVENT, Listener, Peer, deadlines } from '../transport/index.js';
import type { Deadline, ListenerOptions, Responder } from '../transport/index.js';
import type { Logger } from './logger.js';
import type { Claimed, Membership } from './membership.js';
import type { Participant } from './participants.js';

/** Answers the methods of operators; fds it gives are owned and closed here after they were sent. */
export interface OperatorMethods {
  call(method: LuodMethod, params: unknown, takenFds: OwnedFd[], reply: Responder): Promise<Answered>;
}
export interface Answered {
  readonly result: unknown;
  readonly fds?: OwnedFd[];
}

export interface ServerOptions {
  readonly log: Logger;
  readonly uid: number;
  readonly version: string;
  readonly keeperSocket: string;
  readonly membership: Membership;
  readonly operator: OperatorMethods;
  readonly state: () => Pick<LuodResult<'hello'>, 'state' | 'generation' | 'attempt'>;
  readonly onJoined: (participant: Participant, resume: LuodParams<'hello'>['resume'], resumed: boolean) => void;
  /** The connection of a participant is gone. */
  readonly onLeft: (participant: Participant) => void;
}

interface Connection {
  readonly peer: Peer;
  readonly credentials: Credentials;
  readonly isOperator: boolean;
  hello: Deadline | undefined;
  saidHello: boolean;
  client: string;
  participant: Participant | undefined;
}

const CAPABILITIES = ['handover', 'boxes', 'sd_notify'];
/** Methods of participants that only read or wait are not worth an audit line. */
const QUIET = new Set<LuodMethod>(['status', 'plan', 'watch', 'timeline', 'list', 'logs']);

export class Server {
  readonly #options: ServerOptions;
  readonly #connections = new Set<Connection>();
  readonly #watchers = new Set<Peer>();
  #listener: Listener | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Listen at `path`. @returns the listening fd, borrowed */
  async listen(path: string): Promise<number> {
    this.#listener = await Listener.listen(path, 0o600, this.#listenerOptions());
    grantGroup(path, this.#options.uid);
    return this.#listener.fd;
  }

  /** Go on with the socket that an earlier luod listened on. */
  adopt(takenFd: OwnedFd): void {
    this.#listener = Listener.adopt(takenFd, this.#listenerOptions());
  }

  /** Tell everybody who watches. */
  tell(event: 'state' | 'update' | 'service', data: unknown): void {
    for (const peer of this.#watchers) peer.event(event, data);
  }

  /** End all connections; the socket file stays. */
  close(): void {
    this.#listener?.close();
    for (const connection of this.#connections) connection.peer.close();
  }

  #listenerOptions(): ListenerOptions {
    return {
      onConnection: (takenFd, credentials, release) => this.#connected(takenFd, credentials, release),
      onRefused: (error) => this.#options.log.warn({ code: error.code }, error.message),
    };
  }

  #connected(takenFd: OwnedFd, credentials: Credentials, release: () => void): void {
    const peer = new Peer(takenFd, {
      serves: LUOD_METHODS,
      calls: MEMBER_CALLS,
      onRequest: (method, params, fds, reply) => this.#asked(connection, method as LuodMethod, params, fds, reply),
      onClose: (error) => {
        release();
        this.#closed(connection, error);
      },
    });
    const connection: Connection = {
      peer,
      credentials,
      isOperator: credentials.uid === 0 || credentials.uid === this.#options.uid,
      hello: deadlines.after(LIMITS.helloMs, () => {
        const late = new LuoError('PROTO_NO_HELLO', `no hello within ${LIMITS.helloMs} ms`, {
          data: { limit: 'helloMs' },
        });
        peer.event(CLOSING_EVENT, late.toWire());
        // What is told leaves at the end of this turn.
        setImmediate(() => peer.close(late));
      }),
      saidHello: false,
      client: 'unknown',
      participant: undefined,
    };
    this.#connections.add(connection);
  }

  #closed(connection: Connection, error: LuoError | undefined): void {
    connection.hello?.cancel();
    this.#connections.delete(connection);
    this.#watchers.delete(connection.peer);
    if (error && error.code !== 'PROTO_CLOSED') {
      const { pid, uid } = connection.credentials;
      this.#options.log.warn(
        { code: error.code, pid, uid, client: connection.client },
        `connection dropped: ${error.message}`,
      );
    }
    const participant = connection.participant;
    if (participant && participant.peer === connection.peer) {
      participant.peer = undefined;
      this.#options.onLeft(participant);
    }
  }

  #asked(
    connection: Connection,
    method: LuodMethod,
    params: unknown,
    fds: OwnedFd[],
    reply: Responder,
  ): void | Promise<void> {
    if (method === 'hello') return reply.result(this.#hello(connection, params as LuodParams<'hello'>));
    if (!connection.saidHello) {
      closeAll(fds);
      reply.error(new LuoError('PROTO_NO_HELLO', `'${method}' came before hello`));
      return connection.peer.end();
    }
    const { access } = LUOD_METHODS[method];
    if (access === 'participant') return this.#participantAsked(connection, method, params, fds, reply);
    if (access === 'operator' && !connection.isOperator) {
      throw new LuoError(
        'AUTH_DENIED',
        `'${method}' needs root or luod's own user, not uid ${connection.credentials.uid}`,
      );
    }
    return this.#operatorAsked(connection, method, params, fds, reply);
  }

  #hello(connection: Connection, params: LuodParams<'hello'>): LuodResult<'hello'> {
    if (connection.saidHello) throw new LuoError('PROTO_INVALID', 'a second hello on one connection');
    if (!params.protocol.includes(PROTOCOL_VERSION)) {
      throw new LuoError(
        'PROTO_VERSION',
        `luod speaks protocol ${PROTOCOL_VERSION}, '${params.client}' speaks ${params.protocol.join(', ')}`,
      );
    }
    const { membership } = this.#options;
    const joined = params.join ? membership.join(params, connection.credentials, connection.peer) : undefined;
    connection.hello?.cancel();
    connection.hello = undefined;
    connection.saidHello = true;
    connection.client = params.client;
    const participant = joined?.participant;
    const owed = participant ? membership.owed(participant) : [];
    connection.participant = participant;
    if (participant) {
      // After the reply has been queued, so that a call that follows from it comes second.
      queueMicrotask(() => this.#options.onJoined(participant, params.resume, joined?.resumed === true));
    }
    return {
      protocol: PROTOCOL_VERSION,
      luod: { version: this.#options.version, pid: process.pid },
      capabilities: CAPABILITIES,
      uid: connection.credentials.uid,
      owner: participant?.owner ?? null,
      participant: participant?.id ?? null,
      role: participant?.record.role ?? null,
      keeperSocket: this.#options.keeperSocket,
      waiting: participant ? membership.waiting(participant) : [],
      resumed: joined?.resumed === true,
      ...(owed.length === 0 ? {} : { refill: owed }),
      ...this.#options.state(),
    };
  }

  #participantAsked(
    connection: Connection,
    method: LuodMethod,
    params: unknown,
    fds: OwnedFd[],
    reply: Responder,
  ): void | Promise<void> {
    const { participant } = connection;
    if (!participant) {
      throw new LuoError('AUTH_DENIED', `'${method}' is for participants: say hello with join`);
    }
    const { membership } = this.#options;
    if (method === 'register') {
      return membership
        .register(participant, params as LuodParams<'register'>, fds, connection.isOperator)
        .then((result) => reply.result(result));
    }
    if (method === 'refill') {
      return membership.refill(participant, params as LuodParams<'refill'>, fds).then(() => reply.result({}));
    }
    if (method === 'retrieved') {
      return membership.retrieved(participant, params as LuodParams<'retrieved'>, fds).then(() => reply.result({}));
    }
    closeAll(fds);
    switch (method) {
      case 'unregister':
        membership.unregister(participant, params as LuodParams<'unregister'>);
        return reply.result({});
      case 'claim': {
        const answer = ({ fds: claimed, ...result }: Claimed): void => reply.result(result, claimed);
        const claimed = membership.claim(participant, params as LuodParams<'claim'>);
        return claimed instanceof Promise ? claimed.then(answer) : answer(claimed);
      }
      case 'release':
        membership.release(participant, params as LuodParams<'release'>);
        return reply.result({});
      case 'standby':
        membership.standby(participant);
        return reply.result({});
      case 'ready':
        membership.ready(participant, () => reply.result({}));
        return;
      case 'leave':
        reply.result({});
        return connection.peer.end();
      case 'resolve':
        membership.resolve(participant, params as LuodParams<'resolve'>);
        return reply.result({});
      default:
        throw new LuoError('INTERNAL', `'${method}' has no handler`);
    }
  }

  async #operatorAsked(
    connection: Connection,
    method: LuodMethod,
    params: unknown,
    fds: OwnedFd[],
    reply: Responder,
  ): Promise<void> {
    if (method === 'watch') {
      this.#watchers.add(connection.peer);
      const { state, generation } = this.#options.state();
      return reply.result({ state, phase: null, generation });
    }
    const { pid, uid } = connection.credentials;
    const askedBy = { uid, pid, client: connection.client };
    const audit = { audit: true, method, askedBy, params: audited(params) };
    if (!QUIET.has(method)) this.#options.log.info(audit, `${method} asked for by uid ${uid}, pid ${pid}`);
    let owned: OwnedFd[] = [];
    try {
      const answered = await this.#options.operator.call(method, params, fds, reply);
      owned = answered.fds ?? [];
      reply.result(
        answered.result,
        owned.map((one) => one.fd),
      );
      if (!QUIET.has(method))
        this.#options.log.info({ ...audit, outcome: outcomeOf(answered.result) }, `${method} done`);
    } catch (error) {
      const { code, message } = LuoError.from(error);
      this.#options.log.warn({ ...audit, code }, `${method} refused or failed: ${message}`);
      throw error;
    } finally {
      closeAll(owned);
    }
  }
}

/** How an update ended; anything else that was not refused is done. */
function outcomeOf(result: unknown): unknown {
  return (result as { outcome?: unknown }).outcome ?? 'done';
}

/** Parameters without the environment, which may hold secrets. */
function audited(params: unknown): unknown {
  return { ...(params as object), ...('env' in (params as object) ? { env: '(not logged)' } : {}) };
}

/** The group `luo`, if there is one, may connect to root's luod: to join and to claim. */
function grantGroup(path: string, uid: number): void {
  if (uid !== 0) return;
  try {
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((one) => one.startsWith('luo:'));
    const gid = Number(line?.split(':')[2]);
    if (line === undefined || !Number.isInteger(gid)) return;
    chownSync(path, 0, gid);
    chmodSync(path, 0o660);
  } catch {
    // Without the group the socket stays root's alone, which is the safe side.
  }
}

/** luod's directory: readable by all when it is root's (the state files), private otherwise. */
export function makeDirectory(dir: string, uid: number): void {
  mkdirSync(dir, { recursive: true, mode: uid === 0 ? 0o755 : 0o700 });
}
