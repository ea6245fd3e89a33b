// Examples of docs/protocol.md, by service and method. tools/docs.mjs checks each against the spec.
const ready = { ok: true, reason: 'the file descriptor itself is passed on' };
const index = {
  owner: '1000:cache',
  kind: 'fd',
  name: 'index',
  compatible: 'cache-index/3',
  policy: 'fail',
  wants: { handover: 'keep', kexec: 'keep' },
  requested: true,
  type: 'memfd',
  sizeBytes: 268439552,
  viable: { handover: ready, kexec: { ok: true, reason: 'memfd' } },
  dependencies: [],
  claimed: true,
  torn: false,
};
const waiting = {
  kind: 'fd',
  name: 'index',
  compatible: 'cache-index/3',
  type: 'memfd',
  sizeBytes: 268439552,
  torn: false,
  hasFd: true,
};

export const EXAMPLES = {
  luod: {
    hello: {
      params: { protocol: [1], client: 'cache 2.0.0', join: true, service: 'cache', secret: '5f0c…' },
      result: {
        protocol: 1,
        luod: { version: '0.1.0', pid: 4711 },
        capabilities: [],
        uid: 1000,
        owner: '1000:cache',
        participant: 'cache-2',
        role: 'successor',
        attempt: 3,
        state: 'normal',
        generation: 2,
        keeperSocket: '/run/user/1000/luo/keeper.sock',
        waiting: [waiting],
        resumed: false,
      },
    },
    register: {
      params: { handles: [{ kind: 'fd', name: 'index', compatible: 'cache-index/3', marked: true, fds: 1 }] },
      fdsIn: 1,
      result: { handles: [index] },
    },
    claim: {
      params: { kind: 'fd', name: 'index', accepts: ['cache-index/3', 'cache-index/2'] },
      result: { handle: waiting },
      fdsOut: 1,
    },
    update: {
      params: { name: 'cache', argv: ['/usr/bin/node', 'server-v2.js'], limits: { blackoutMs: 500 } },
      progress: [
        { what: 'freeze.sent', participant: 'cache-1', phase: 'freezing' },
        { what: 'decided', phase: 'committing' },
      ],
      result: { attempt: 3, outcome: 'committed', generation: 3, blackoutMs: 4.2, pidBefore: 4800, pidAfter: 4822 },
    },
    put: { params: { box: 'keys', name: 'host-key' }, fdsIn: 1, result: { type: 'memfd', sizeBytes: 2602 } },
  },
  member: {
    freeze: {
      params: {
        attempt: 3,
        gap: 'handover',
        deadlineMs: 500,
        handles: [{ kind: 'fd', name: 'index' }],
        replaced: true,
        key: '9b1d…',
        keeperSocket: '/run/user/1000/luo/keeper.sock',
      },
      fdsIn: 1,
      result: { parcel: { connections: [{ id: 1, unread: 'R0VU' }] } },
      fdsOut: 1,
    },
    canFinish: { params: { attempt: 3, deadlineMs: 30000 }, result: { ok: true } },
  },
  keeper: {
    decide: { params: { attempt: 3, key: '9b1d…', want: 'aborted' }, result: { outcome: 'committed' } },
  },
};
