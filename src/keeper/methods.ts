/**
 * What the keeper does for each of KEEPER_METHODS. Parameters were checked against the spec before. Fds of a request that
 * are not kept are closed; fds of an answer are lent and stay here.
 */
import { LuoError } from '../base/errors.js';
import { decide, openAttempt, type Decisions } from '../protocol/decision.js';
import type { KeeperMethod, KeeperParams } from '../protocol/spec.js';
import { closeAll, faultPoint, type OwnedFd } from '../sys/index.js';
import type { Responder } from '../transport/index.js';
import type { Children } from './children.js';
import { createSession, retrieveSession } from './liveupdate.js';
import type { LiveupdateDevice } from './liveupdate.js';
import type { Store } from './store.js';
import type { Supervisor } from './supervisor.js';

/** Name of the entry that holds luod's journal. */
export const JOURNAL_ENTRY = 'luod/journal';

/** The parts that the methods work on. */
export interface KeeperParts {
  readonly store: Store;
  readonly children: Children;
  readonly supervisor: Supervisor;
  readonly device: LiveupdateDevice;
  /** Tell luod that a child ended. */
  readonly onChildExit: (child: ReturnType<Children['list']>['children'][number]) => void;
  decisions: Decisions;
}

type Handler<M extends KeeperMethod> = (
  parts: KeeperParts,
  params: KeeperParams<M>,
  fds: OwnedFd[],
  reply: Responder,
) => void | Promise<void>;

const handlers: { [M in KeeperMethod]: Handler<M> } = {
  decide(parts, params, _fds, reply) {
    reply.result({ outcome: decideIn(parts, params) });
  },

  open(parts, { attempt, key, outcome }, _fds, reply) {
    parts.decisions = openAttempt(parts.decisions, attempt, key, outcome);
    reply.result({});
  },

  put({ store }, { name, owner, meta, replace }, fds, reply) {
    faultPoint('keeper.put');
    store.put(owner, [{ name, meta, fds }], replace === true);
    reply.result({});
  },

  putMany({ store }, { owner, entries, names, replace }, fds, reply) {
    faultPoint('keeper.put');
    const count = (entries?.length ?? 0) + (names?.length ?? 0);
    if ((entries === undefined) === (names === undefined)) {
      throw new LuoError('PROTO_INVALID', 'putMany takes either entries or names');
    }
    if (fds.length !== count) {
      throw new LuoError('PROTO_FDS', `putMany takes one fd for each of ${count} entries, not ${fds.length}`);
    }
    if (names !== undefined) store.putOnes(owner, names, fds, replace === true);
    else {
      store.put(
        owner,
        entries!.map(({ name, meta }, index) => ({ name, meta, fds: [fds[index]!] })),
        replace === true,
      );
    }
    reply.result({});
  },

  get({ store }, { name }, _fds, reply) {
    const fds: number[] = [];
    reply.result(store.get(name, fds), fds);
  },

  getMany({ store }, { names, brief }, _fds, reply) {
    const ones = brief === true ? store.getOnes(names) : undefined;
    if (ones !== undefined) return reply.result({ owner: ones.owner }, ones.fds);
    const fds: number[] = [];
    reply.result({ entries: names.map((name) => store.get(name, fds)) }, fds);
  },

  drop({ store }, { names, prefix }, _fds, reply) {
    const named = store.drop(names ?? []);
    reply.result({ dropped: named + (prefix === undefined ? 0 : store.dropPrefix(prefix)) });
  },

  list({ store, decisions, supervisor }, { prefix }, _fds, reply) {
    reply.result({
      pid: process.pid,
      entries: store.list(prefix),
      fdsMax: store.fdsMax,
      attempts: decisions.attempts.map(({ attempt, key, outcome }) => ({ attempt, key, outcome: outcome ?? null })),
      luodDeaths: supervisor.deaths,
    });
  },

  async sessionCreate({ store, device }, { name, deadlineMs }, _fds, reply) {
    reply.result({}, [await createSession(store, device, name, deadlineMs)]);
  },

  async sessionRetrieve({ store, device }, { name, deadlineMs }, _fds, reply) {
    reply.result({}, [await retrieveSession(store, device, name, deadlineMs)]);
  },

  async spawn({ children, onChildExit }, params, fds, reply) {
    faultPoint('keeper.spawn');
    const { listenFds, nofile, ...command } = params;
    const child = await children.start(
      {
        ...command,
        fds: fds.map((owned) => owned.fd),
        ...(listenFds === undefined ? {} : { listenFds }),
        ...(nofile === undefined ? {} : { nofile }),
      },
      onChildExit,
    );
    closeAll(fds);
    reply.result({ pid: child.pid }, [child.pidfd.fd]);
  },

  children({ children }, _params, _fds, reply) {
    const { children: list, pidfds } = children.list();
    reply.result({ children: list }, pidfds);
  },

  forget({ children }, { pid }, _fds, reply) {
    children.forget(pid);
    reply.result({});
  },

  async next({ store, supervisor }, { argv }, _fds, reply) {
    const fds: number[] = [];
    store.get(JOURNAL_ENTRY, fds);
    if (fds[0] === undefined) throw new LuoError('KEEPER_UNKNOWN', `'${JOURNAL_ENTRY}' is kept without an fd`);
    await supervisor.setNext(argv, fds[0]);
    reply.result({});
  },

  confirm({ supervisor }, _params, _fds, reply) {
    supervisor.confirm();
    reply.result({});
  },

  shutdown({ supervisor }, _params, _fds, reply) {
    reply.result({});
    supervisor.stop();
  },
};

/** Do one request of luod. @throws LuoError the answer */
export function handle(
  parts: KeeperParts,
  method: string,
  params: unknown,
  fds: OwnedFd[],
  reply: Responder,
): void | Promise<void> {
  const handler = handlers[method as KeeperMethod] as Handler<KeeperMethod>;
  return handler(parts, params as KeeperParams<KeeperMethod>, fds, reply);
}

/** First writer wins. @throws LuoError DECISION_NONE, KEEPER_KEY */
export function decideIn(
  parts: { decisions: Decisions },
  { attempt, key, want }: KeeperParams<'decide'>,
): 'committed' | 'aborted' | null {
  faultPoint('keeper.decide.before');
  const answer = decide(parts.decisions, attempt, key, want);
  if ('error' in answer) {
    const message =
      answer.error === 'KEEPER_KEY'
        ? `wrong key for attempt ${attempt}`
        : `no record of attempt ${attempt} is open here`;
    throw new LuoError(answer.error, message, { data: { attempt } });
  }
  parts.decisions = answer.decisions;
  faultPoint('keeper.decide.after');
  return answer.outcome;
}
