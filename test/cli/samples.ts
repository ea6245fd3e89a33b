/** Values as luod would answer them, one of each shape; tests change what matters to them. */
import type {
  HandleInfo,
  LoadedImage,
  Plan,
  PreflightReport,
  ServiceStatus,
  Status,
  Timeline,
  UpdateResult,
} from '../../src/protocol/spec.js';

export const service: ServiceStatus = {
  name: 'cache',
  argv: ['/usr/bin/node', 'server.js', '--label', 'a b'],
  cwd: '/srv/cache',
  pid: 4711,
  run: 'running',
  protocol: 'luo',
  generation: 3,
  restarts: 1,
  restart: 'on-failure',
  startedAt: '2026-01-02T03:04:05.000Z',
  log: '/run/luo/logs/cache.log',
};

export const image: LoadedImage = {
  kernel: '/boot/vmlinuz-7.3.4',
  initrd: null,
  cmdline: 'root=/dev/vda liveupdate=on',
  release: '7.3.4',
  loadedAt: '2026-01-02T03:04:05.000Z',
};

export const preflight: PreflightReport = {
  ok: true,
  target: { release: '7.3.4', kernel: '/boot/vmlinuz-7.3.4' },
  running: { release: '7.2.13' },
  checks: [
    { check: 'liveupdate', result: 'pass', reason: 'this kernel has /dev/liveupdate', remedy: null },
    { check: 'sparse', result: 'warn', reason: 'it has holes', remedy: 'fill them', handle: '0:cache/fd:index' },
  ],
  predictedBlackoutMs: 1200,
};

export const handle: HandleInfo = {
  owner: '0:cache',
  kind: 'fd',
  name: 'listener',
  compatible: 'listener/1',
  policy: 'fail',
  wants: { handover: 'keep', kexec: 'leave' },
  requested: true,
  type: 'listener',
  sizeBytes: null,
  viable: { handover: { ok: true, reason: '' }, kexec: { ok: false, reason: 'no kernel handler preserves sockets' } },
  dependencies: [],
  claimed: true,
  torn: false,
};

export const status: Status = {
  state: 'normal',
  phase: null,
  generation: 3,
  attempt: null,
  luod: { version: '0.1.0', pid: 100, startedAt: '2026-01-02T03:04:05.000Z', dir: '/run/luo', restarts: 2 },
  keeper: { pid: 99, entries: 4, fds: 5, fdsMax: 1024 },
  kexec: {
    available: true,
    reason: '',
    release: '7.2.13',
    image: null,
    imageLoaded: false,
    arrived: null,
    unclaimed: [],
  },
  services: [service],
  participants: [
    {
      id: 'cache#1',
      owner: '0:cache',
      pid: 4711,
      role: 'first',
      connected: true,
      handles: 1,
      member: null,
      stuck: false,
    },
  ],
  handles: [handle],
  boxes: [],
  stuck: [],
  counts: { connections: 2, participants: 1, handles: 1, fds: 5 },
};

export const committed: UpdateResult = {
  attempt: 7,
  outcome: 'committed',
  generation: 4,
  blackoutMs: 4.26,
  pidBefore: 4711,
  pidAfter: 4800,
};

export const aborted: UpdateResult = {
  ...committed,
  outcome: 'aborted',
  generation: 3,
  pidAfter: null,
  error: {
    code: 'SUCCESSOR_DIED',
    message: 'the successor ended with exit 1 before standby',
    errno: 'ESRCH',
    phase: 'preparing',
    participant: 'cache#2',
  },
};

/** A kexec whose reboot(2) came back: the one answer that it can have. */
export const returned: UpdateResult = {
  ...committed,
  outcome: 'aborted',
  generation: 3,
  blackoutMs: null,
  pidBefore: null,
  pidAfter: null,
  error: { code: 'KEXEC_RETURNED', message: 'no image is loaded (any more)', errno: 'EINVAL' },
};

export const plan: Plan = {
  gap: 'handover',
  scope: ['cache'],
  steps: [
    { step: 0, participant: 'cache#1', kind: 'fd', handles: ['0:cache/fd:listener'], after: [] },
    { step: 1, participant: 'proxy#1', kind: 'fd', handles: ['0:proxy/fd:a', '0:proxy/fd:b'], after: [0], cycle: true },
  ],
  replaced: ['cache#1'],
  bystanders: ['proxy#1'],
  survives: ['0:cache/fd:listener', '0:proxy/fd:a', '0:proxy/fd:b'],
  left: [{ handle: '0:cache/fd:scratch', reason: 'its owner wants to leave it' }],
  pulled: [{ handle: '0:proxy/fd:a', path: ['0:cache/fd:listener', '0:proxy/fd:a'] }],
  predictedBlackoutMs: 5.5,
};

export const timeline: Timeline = {
  attempt: 7,
  gap: 'handover',
  scope: ['cache#1'],
  outcome: 'committed',
  state: 'done',
  startedAt: '2026-01-02T03:04:05.000Z',
  startNs: 1_000_000_000,
  endNs: 1_050_000_000,
  blackoutMs: 5,
  blackouts: { 'cache#1': 5 },
  luodDeaths: 1,
  events: [
    { ns: 1_000_000_000, what: 'begun' },
    { ns: 1_010_000_000, what: 'freeze.sent', participant: 'cache#1', phase: 'freezing' },
    { ns: 1_011_000_000, what: 'freeze.acked', participant: 'cache#1', phase: 'freezing', detail: { fds: 3 } },
    { ns: 1_013_000_000, what: 'decided', phase: 'committing', detail: { outcome: 'committed' } },
    { ns: 1_014_000_000, what: 'go.sent', participant: 'cache#2', detail: { member: 'cache#1' } },
    { ns: 1_015_000_000, what: 'go.acked', participant: 'cache#2', detail: { member: 'cache#1' } },
    { ns: 1_016_000_000, what: 'retire.sent', participant: 'cache#1' },
  ],
};

/** An update that began in one kernel and ended in the next: times after `arrived` are joined. */
export const crossing: Timeline = {
  ...timeline,
  gap: 'kexec',
  endNs: 5_050_000_000,
  blackoutMs: 4010,
  blackouts: { 'cache#1': 4010 },
  luodDeaths: 0,
  events: [
    { ns: 1_000_000_000, what: 'begun' },
    { ns: 1_010_000_000, what: 'freeze.sent', participant: 'cache#1', phase: 'freezing' },
    { ns: 1_011_000_000, what: 'freeze.acked', participant: 'cache#1', phase: 'freezing' },
    { ns: 1_012_000_000, what: 'decide.sent', phase: 'committing', detail: { want: 'committed' } },
    { ns: 1_014_000_000, what: 'jump', phase: 'committing' },
    {
      ns: 4_900_000_000,
      what: 'arrived',
      phase: 'committing',
      detail: { attempt: 7, from: '7.2.13', to: '7.3.4', offsetNs: 3_000_000_000, uncertaintyMs: 1000 },
    },
    { ns: 4_950_000_000, what: 'go.sent', participant: 'cache#2', detail: { member: 'cache#1' } },
    { ns: 5_020_000_000, what: 'go.acked', participant: 'cache#2', detail: { member: 'cache#1' } },
    { ns: 5_050_000_000, what: 'settled', detail: { state: 'normal', stuck: [] } },
  ],
};
