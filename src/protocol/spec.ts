/**
 * The one spec of every message of luo: types, validation on both ends (validate.ts) and docs/protocol.md
 * (tools/docs.mjs) come from here. Two services speak it: luod (`LUOD_METHODS` from a client, `MEMBER_CALLS` to a
 * participant) and the keeper (`KEEPER_METHODS`). Unknown fields of a message are kept and ignored, so that a newer
 * peer can say more; a missing or ill-typed field is refused with its path.
 *
 * A message is one line of JSON, UTF-8, ended by \n. `fds: n` in an envelope declares that n file descriptors travel
 * with it; undeclared ones are closed and the sender is dropped (see src/transport/line-connection.ts).
 */
import { Type, type Static, type TObject, type TSchema, type TUnsafe } from '@sinclair/typebox';
import type { CALLS } from '../base/words.js';
import { GAPS, KINDS, OUTCOMES, PHASES, POLICIES, RESTARTS, ROLES, STATES, WANTS } from '../base/words.js';

export const PROTOCOL_VERSION = 1;

/** A method: who may call it, what it takes and gives, and how many fds travel each way (-1: any number up to the limit). */
export interface MethodSpec<P extends TObject = TObject, R extends TSchema = TSchema> {
  readonly doc: string;
  /**
   * `any`: every connection that said hello; `participant`: one that joined; `operator`: root or luod's own uid.
   */
  readonly access: 'any' | 'participant' | 'operator';
  readonly params: P;
  readonly result: R;
  readonly fdsIn?: number;
  readonly fdsOut?: number;
  /** Shape of the progress messages between request and reply. */
  readonly progress?: TSchema;
}

function method<P extends TObject, R extends TSchema>(spec: MethodSpec<P, R>): MethodSpec<P, R> {
  return spec;
}

/** A closed set of words, with the static type of their union. */
function words<T extends readonly string[]>(values: T, description?: string): TUnsafe<T[number]> {
  return Type.Unsafe<T[number]>(
    Type.Union(
      values.map((value) => Type.Literal(value)),
      description === undefined ? {} : { description },
    ),
  );
}
const Name = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[^\\u0000-\\u001f/]+$',
  description: 'no slash, no control characters',
});
const Owner = Type.String({ minLength: 1, maxLength: 220, description: '`uid:service`' });
const Ms = Type.Integer({ minimum: 1, maximum: 86_400_000, description: 'milliseconds' });
const Int = Type.Integer({ minimum: 0 });
const Ns = Type.Number({ description: 'nanoseconds of CLOCK_MONOTONIC' });
const Json = Type.Unknown({ description: 'any JSON' });
const Opt = <T extends TSchema>(schema: T) => Type.Optional(schema);
const Empty = Type.Object({});

export const StateWord = words(STATES);
export const PhaseWord = Type.Union([words(PHASES), Type.Null()]);
export const GapWord = words(GAPS);
export const KindWord = words(KINDS);
export const OutcomeWord = words(OUTCOMES);

export const WireErrorSchema = Type.Object({
  code: Type.String(),
  message: Type.String(),
  errno: Opt(Type.String()),
  phase: Opt(Type.String()),
  handle: Opt(Type.String()),
  participant: Opt(Type.String()),
  remedy: Opt(Type.String()),
  data: Opt(Type.Record(Type.String(), Type.Unknown())),
});

// ---------------------------------------------------------------------------------------------- envelopes

/** A line from the side that asks. */
export const Request = Type.Object({
  id: Type.Integer({ minimum: 1, description: 'chosen by the asker, unique among its open requests' }),
  method: Type.String(),
  params: Type.Unknown(),
  fds: Opt(Int),
});
/** The one answer to a request: `result` or `error`. */
export const Reply = Type.Object({
  re: Type.Integer({ minimum: 1, description: 'id of the request' }),
  result: Opt(Type.Unknown()),
  error: Opt(WireErrorSchema),
  fds: Opt(Int),
});
/** Any number of these may come between a request and its reply. */
export const Progress = Type.Object({ progress: Type.Integer({ minimum: 1 }), data: Type.Unknown() });
/** Told without being asked for; has no answer. */
export const Event = Type.Object({ event: Type.String(), data: Type.Unknown(), fds: Opt(Int) });
/** Told on any connection just before it is closed for a fault of the other end, or a limit: the reason. */
export const CONNECTION_EVENTS = { closing: WireErrorSchema } as const;

// ---------------------------------------------------------------------------------------------- handles

export const Wants = Type.Object({ handover: words(WANTS), kexec: words(WANTS) });

/** What a participant registers, or a successor declares. */
export const HandleSpec = Type.Object({
  kind: KindWord,
  name: Name,
  compatible: Type.String({
    minLength: 1,
    maxLength: 200,
    description: 'what it is and in which version: `cache-index/3`',
  }),
  wants: Opt(Wants),
  policy: Opt(words(POLICIES, 'what happens when nobody claims it; default `fail`')),
  dependencies: Opt(
    Type.Array(Type.Object({ owner: Opt(Owner), kind: KindWord, name: Name }), {
      maxItems: 256,
      description: 'owner: by default the registering one',
    }),
  ),
  marked: Opt(
    Type.Boolean({
      description: 'its last page is a memory mark (src/abi/memory-mark.ts): clean or dirty can be read from it',
    }),
  ),
  path: Opt(Type.String({ description: 'device handles: path below /sys' })),
  delegate: Opt(
    Type.Boolean({
      description:
        'over kexec its owner preserves and retrieves it by itself, in a session whose fd it gets: for fds that cannot travel, and for memory that shall be charged to its own control group',
    }),
  ),
  digest: Opt(
    Type.Boolean({ description: 'over kexec: sha256 of its content travels along and is compared at the claim' }),
  ),
  meta: Opt(Json),
  fds: Opt(
    Type.Integer({
      minimum: 0,
      maximum: 1,
      description: '1 if the message carries an fd for it; in the order of the handles',
    }),
  ),
});

/** What is known of a handle. */
export const HandleInfo = Type.Object({
  owner: Owner,
  kind: KindWord,
  name: Name,
  compatible: Type.String(),
  policy: words(POLICIES),
  wants: Wants,
  requested: Type.Boolean(),
  type: Type.String({ description: 'memfd, socket, listener, pipe, …, device, global' }),
  sizeBytes: Type.Union([Type.Number(), Type.Null()]),
  viable: Type.Object({
    handover: Type.Object({ ok: Type.Boolean(), reason: Type.String() }),
    kexec: Type.Object({ ok: Type.Boolean(), reason: Type.String() }),
  }),
  dependencies: Type.Array(Type.String()),
  claimed: Type.Boolean(),
  torn: Type.Boolean(),
  meta: Opt(Json),
});

/** What a successor or a restarted process finds waiting. */
export const Waiting = Type.Object({
  kind: KindWord,
  name: Name,
  compatible: Type.String(),
  type: Type.String(),
  sizeBytes: Type.Union([Type.Number(), Type.Null()]),
  torn: Type.Boolean({
    description:
      'content may be half written: its last writer died between go and freeze, or it came over a kexec as running memory, or altered',
  }),
  hasFd: Type.Boolean(),
  meta: Opt(Json),
});

/** A token of a session: u64, in decimal. */
export const Token = Type.String({ pattern: '^[0-9]{1,20}$', description: 'u64 in decimal' });
/** Where a delegate preserves or retrieves by itself; the session's fd travels with the message. */
export const DelegateSession = Type.Object({
  session: Type.String({ description: 'name of the session' }),
  token: Token,
});

// ---------------------------------------------------------------------------------------------- results

export const TimelineEvent = Type.Object({
  ns: Ns,
  what: Type.String({ description: 'freeze.sent, freeze.answered, decided, go.acked, …' }),
  participant: Opt(Type.String()),
  phase: Opt(Type.String()),
  detail: Opt(Json),
});
export const Timeline = Type.Object({
  attempt: Int,
  gap: GapWord,
  scope: Type.Array(Type.String()),
  outcome: Type.Union([OutcomeWord, Type.Null()]),
  state: Type.String({ description: 'running, done, rolled-back' }),
  startedAt: Type.String({ description: 'wall clock, ISO 8601' }),
  startNs: Ns,
  endNs: Type.Union([Ns, Type.Null()]),
  blackoutMs: Type.Union([Type.Number(), Type.Null()], {
    description: 'earliest freeze sent to latest go acknowledged',
  }),
  blackouts: Type.Record(Type.String(), Type.Number(), { description: 'per participant, ms' }),
  luodDeaths: Int,
  error: Opt(WireErrorSchema),
  events: Type.Array(TimelineEvent),
});
export const UpdateResult = Type.Object({
  attempt: Int,
  outcome: OutcomeWord,
  generation: Int,
  blackoutMs: Type.Union([Type.Number(), Type.Null()]),
  pidBefore: Type.Union([Int, Type.Null()]),
  pidAfter: Type.Union([Int, Type.Null()]),
  error: Opt(WireErrorSchema),
});
export const ServiceStatus = Type.Object({
  name: Name,
  argv: Type.Array(Type.String()),
  cwd: Type.String(),
  pid: Type.Union([Int, Type.Null()]),
  run: Type.String({ description: 'starting, running, updating, backing-off, parked, failed, exited' }),
  protocol: Type.String({ description: 'luo, sd_notify, none, or unknown while it starts' }),
  statusText: Opt(Type.String()),
  generation: Int,
  restarts: Int,
  restart: words(RESTARTS),
  lastExit: Opt(
    Type.Object({
      code: Type.Union([Type.Integer(), Type.Null()]),
      signal: Type.Union([Type.String(), Type.Null()]),
      unknown: Opt(Type.Boolean()),
    }),
  ),
  startedAt: Opt(Type.String()),
  log: Type.String({ description: 'path of its log' }),
  previous: Opt(Type.Array(Type.String(), { description: 'command that `rollback` would bring back' })),
});
export const ParticipantStatus = Type.Object({
  id: Type.String(),
  owner: Owner,
  pid: Int,
  role: words(ROLES),
  connected: Type.Boolean(),
  handles: Int,
  member: Type.Union([Type.String(), Type.Null()], { description: 'where it stands in the running attempt' }),
  stuck: Type.Boolean(),
});
export const PlanStep = Type.Object({
  step: Int,
  participant: Type.String(),
  kind: KindWord,
  handles: Type.Array(Type.String()),
  after: Type.Array(Int),
  cycle: Opt(Type.Boolean()),
});
export const Plan = Type.Object({
  gap: GapWord,
  scope: Type.Array(Type.String()),
  steps: Type.Array(PlanStep, { description: 'in the order of prepare' }),
  replaced: Type.Array(Type.String(), { description: 'participants that get a successor' }),
  bystanders: Type.Array(Type.String(), { description: 'participants that are pulled in, frozen, and go on' }),
  survives: Type.Array(Type.String()),
  left: Type.Array(Type.Object({ handle: Type.String(), reason: Type.String() })),
  pulled: Type.Array(Type.Object({ handle: Type.String(), path: Type.Array(Type.String()) })),
  predictedBlackoutMs: Type.Union([Type.Number(), Type.Null()], {
    description: 'median of earlier updates of the same scope',
  }),
});
/** The image that a kexec would start, as luod loaded it. */
export const LoadedImage = Type.Object({
  kernel: Type.String(),
  initrd: Type.Union([Type.String(), Type.Null()]),
  cmdline: Type.String(),
  release: Type.Union([Type.String(), Type.Null()]),
  loadedAt: Type.String({ description: 'ISO 8601' }),
});
const ImageParams = {
  kernel: Type.String({ minLength: 1, description: 'path of a bzImage' }),
  initrd: Opt(Type.String({ minLength: 1 })),
  cmdline: Opt(Type.String({ description: 'the whole command line; by default the running kernel’s' })),
  reuseCmdline: Opt(Type.Boolean()),
  append: Opt(Type.String({ description: 'added at the end of the command line' })),
};
export const PreflightCheck = Type.Object({
  check: Type.String({ description: 'short and stable, as `force` names it' }),
  result: words(['pass', 'warn', 'fail'] as const),
  reason: Type.String(),
  remedy: Type.Union([Type.String(), Type.Null()]),
  handle: Opt(Type.String()),
});
export const PreflightReport = Type.Object({
  ok: Type.Boolean({ description: 'no check failed' }),
  target: Type.Object({
    release: Type.Union([Type.String(), Type.Null()]),
    kernel: Type.Union([Type.String(), Type.Null()]),
  }),
  running: Type.Object({ release: Type.String() }),
  checks: Type.Array(PreflightCheck),
  predictedBlackoutMs: Type.Union([Type.Number(), Type.Null()]),
});
/** Preserved by the last kernel and not claimed yet. */
export const Unclaimed = Type.Object({
  handle: Type.String(),
  owner: Owner,
  policy: words(POLICIES),
  sizeBytes: Type.Union([Type.Number(), Type.Null()]),
  ageMs: Type.Number({ description: 'since the jump' }),
  error: Opt(WireErrorSchema),
});
/** A device of the last kernel that nobody claimed, and what was done to it at finish. */
export const DeviceResetStatus = Type.Object({
  handle: Type.String(),
  path: Type.String(),
  method: Type.Union([Type.String(), Type.Null()], {
    description:
      "the kernel's name of the reset; `none`: it has no way to be reset; null: it was not, `error` says why",
  }),
  busMasterOff: Type.Boolean({ description: 'its DMA was on, and was switched off' }),
  error: Opt(WireErrorSchema),
});
export const KexecStatus = Type.Object({
  available: Type.Boolean({ description: 'this luod can cross the kexec gap' }),
  reason: Type.String({ description: 'if not, why; one sentence' }),
  release: Type.String({ description: 'of the running kernel' }),
  image: Type.Union([LoadedImage, Type.Null()]),
  imageLoaded: Type.Boolean({ description: 'the kernel has one loaded, by whomever' }),
  arrived: Type.Union([
    Type.Null(),
    Type.Object({
      from: Type.String({ description: 'release of the kernel before' }),
      attempt: Int,
      torn: Type.Boolean({ description: 'the jump came without freeze: running memory was carried' }),
      error: Opt(WireErrorSchema),
    }),
  ]),
  unclaimed: Type.Array(Unclaimed),
  resets: Opt(Type.Array(DeviceResetStatus)),
});
export const BlobInfo = Type.Object({
  name: Name,
  sizeBytes: Type.Number(),
  direction: words(['outgoing', 'incoming'] as const, 'outgoing: for the next kernel; incoming: from the last one'),
});
export const Status = Type.Object({
  state: StateWord,
  phase: PhaseWord,
  generation: Int,
  attempt: Type.Union([Int, Type.Null()]),
  luod: Type.Object({ version: Type.String(), pid: Int, startedAt: Type.String(), dir: Type.String(), restarts: Int }),
  keeper: Type.Object({ pid: Int, entries: Int, fds: Int, fdsMax: Int }),
  services: Type.Array(ServiceStatus),
  participants: Type.Array(ParticipantStatus),
  handles: Type.Array(HandleInfo),
  boxes: Type.Array(Type.Object({ box: Name, entries: Int, sealed: Type.Boolean() })),
  stuck: Type.Array(Type.String()),
  lost: Opt(
    Type.Array(Type.String(), {
      description:
        'handles and boxes that nobody had any more when luod and keeper had died together; `recover` clears it',
    }),
  ),
  counts: Type.Object({ connections: Int, participants: Int, handles: Int, fds: Int }),
  kexec: KexecStatus,
});
const UpdateProgress = Type.Object({
  what: Type.String(),
  participant: Opt(Type.String()),
  phase: Opt(Type.String()),
  detail: Opt(Json),
});

export const UpdateLimits = Type.Object({
  standbyMs: Opt(Ms),
  prepareMs: Opt(Ms),
  blackoutMs: Opt(Ms),
  finishMs: Opt(Ms),
  preparedMs: Opt(Ms),
  claimMs: Opt(Ms),
});

// ---------------------------------------------------------------------------------------------- client to luod

export const LUOD_METHODS = {
  hello: method({
    doc: 'The first message of every connection. Credentials come from the socket; `service` and `secret` name a supervised service or, without a secret, a service that luod does not supervise.',
    access: 'any',
    params: Type.Object({
      protocol: Type.Array(Type.Integer(), { minItems: 1, maxItems: 16, description: 'versions the client speaks' }),
      client: Type.String({ maxLength: 100, description: 'program and version, for the log' }),
      join: Type.Boolean({ description: 'true: become a participant' }),
      service: Opt(Name),
      secret: Opt(Type.String({ maxLength: 200 })),
      resume: Opt(
        Type.Object(
          {
            participant: Type.String(),
            attempt: Type.Union([Int, Type.Null()]),
            phase: Type.String({
              description: 'running, prepared, frozen, standby, ready, gone-on (it went by a decision it read), thawed',
            }),
          },
          { description: 'after a lost connection: who it was and where it stands' },
        ),
      ),
    }),
    result: Type.Object({
      protocol: Type.Integer(),
      luod: Type.Object({ version: Type.String(), pid: Int }),
      capabilities: Type.Array(Type.String()),
      uid: Int,
      owner: Type.Union([Owner, Type.Null()]),
      participant: Type.Union([Type.String(), Type.Null()], { description: 'its id, as in every status and timeline' }),
      role: Type.Union([words(ROLES), Type.Null()]),
      attempt: Type.Union([Int, Type.Null()]),
      state: StateWord,
      generation: Int,
      keeperSocket: Type.String({ description: 'where a decision can be asked for when luod is gone' }),
      waiting: Type.Array(Waiting, { description: 'unclaimed handles of this owner' }),
      resumed: Type.Boolean(),
      refill: Opt(
        Type.Array(Type.Object({ kind: KindWord, name: Name }), {
          description: 'handles whose fd luod has lost: give each again with `refill`',
        }),
      ),
    }),
  }),
  refill: method({
    doc: 'Give the fd of a handle of one’s own again, which hello has asked for: keeper and luod, the only other holders, died together.',
    access: 'participant',
    params: Type.Object({ kind: KindWord, name: Name }),
    result: Empty,
    fdsIn: 1,
  }),
  register: method({
    doc: 'Register handles (a successor: declare them; they become registrations at commit). Viability is asked, nothing is preserved. All or none.',
    access: 'participant',
    params: Type.Object({ handles: Type.Array(HandleSpec, { minItems: 1, maxItems: 4096 }) }),
    result: Type.Object({ handles: Type.Array(HandleInfo) }),
    fdsIn: -1,
  }),
  unregister: method({
    doc: 'Take back a registration of one’s own. The keeper lets go of its fd.',
    access: 'participant',
    params: Type.Object({ kind: KindWord, name: Name }),
    result: Empty,
  }),
  claim: method({
    doc: 'Take over a waiting handle of one’s own owner; the fd comes with the reply. A claim is a lease: it ends with its process.',
    access: 'participant',
    params: Type.Object({
      kind: KindWord,
      name: Name,
      accepts: Opt(Type.Array(Type.String(), { description: '`compatible` strings it can take; default: any' })),
      delegate: Opt(
        Type.Boolean({ description: 'after a kexec: give the session’s fd instead; `retrieved` must follow' }),
      ),
    }),
    result: Type.Object({ handle: Waiting, retrieve: Opt(DelegateSession) }),
    fdsOut: -1,
  }),
  retrieved: method({
    doc: 'After a claim with `delegate`: what came out of the session (its fd travels along), or the errno of the try, which is the answer for ever.',
    access: 'participant',
    params: Type.Object({ kind: KindWord, name: Name, errno: Opt(Type.String()) }),
    result: Empty,
    fdsIn: -1,
  }),
  release: method({
    doc: 'Say that a waiting handle is not wanted. Takes effect at finish.',
    access: 'participant',
    params: Type.Object({ kind: KindWord, name: Name }),
    result: Empty,
  }),
  standby: method({
    doc: 'A successor has done all that can be done before the old one freezes.',
    access: 'participant',
    params: Empty,
    result: Empty,
  }),
  ready: method({
    doc: 'A first or restarted process: it serves, or will at `go`. A successor: it took the rest; accepted only if every handle is claimed, released, or has a policy that allows leaving it. The call `go` follows.',
    access: 'participant',
    params: Type.Object({ attempt: Opt(Int) }),
    result: Empty,
  }),
  leave: method({
    doc: 'A participant ends its membership in good order; its registrations go unless its service is supervised.',
    access: 'participant',
    params: Empty,
    result: Empty,
  }),
  resolve: method({
    doc: 'A member that answered too late, or was stuck, says where it stands for an attempt.',
    access: 'participant',
    params: Type.Object({ attempt: Int, phase: Type.String({ description: 'running or thawed' }) }),
    result: Empty,
  }),

  run: method({
    doc: 'Start a service under supervision. The reply comes when it is ready, or failed.',
    access: 'operator',
    params: Type.Object({
      name: Name,
      argv: Type.Array(Type.String(), { minItems: 1, maxItems: 4096 }),
      cwd: Type.String(),
      env: Type.Record(Type.String(), Type.String()),
      restart: Opt(words(RESTARTS)),
      readyCheck: Opt(Type.String({ description: 'shell command; ready when it exits 0' })),
      readyMs: Opt(Ms),
      stopMs: Opt(Ms),
    }),
    result: Type.Object({ service: ServiceStatus }),
    progress: UpdateProgress,
  }),
  update: method({
    doc: 'Hand a service over to a new process: of `argv` if given, else of its own command. Replies when the update is finished or rolled back; a rolled back update is a result with an error in it, not an error.',
    access: 'operator',
    params: Type.Object({
      name: Name,
      argv: Opt(Type.Array(Type.String(), { minItems: 1, maxItems: 4096 })),
      env: Opt(Type.Record(Type.String(), Type.String())),
      cwd: Opt(Type.String()),
      limits: Opt(UpdateLimits),
    }),
    result: UpdateResult,
    progress: UpdateProgress,
  }),
  updateLuod: method({
    doc: 'Replace luod itself, by the command given or its own. The keeper proves that the new one can read the journal, then the old one ends; the connection closes.',
    access: 'operator',
    params: Type.Object({ argv: Opt(Type.Array(Type.String(), { minItems: 1, maxItems: 256 })) }),
    result: Type.Object({ pidBefore: Int }),
  }),
  rollback: method({
    doc: 'Bring back the command that the last update replaced, as a handover of its own.',
    access: 'operator',
    params: Type.Object({ name: Name, limits: Opt(UpdateLimits) }),
    result: UpdateResult,
    progress: UpdateProgress,
  }),
  stop: method({
    doc: 'End a service: SIGTERM, then SIGKILL. Its state stays parked in the keeper.',
    access: 'operator',
    params: Type.Object({ name: Name, timeoutMs: Opt(Ms) }),
    result: Type.Object({ service: ServiceStatus }),
  }),
  start: method({
    doc: 'Start a parked service again on its kept state.',
    access: 'operator',
    params: Type.Object({ name: Name }),
    result: Type.Object({ service: ServiceStatus }),
    progress: UpdateProgress,
  }),
  discard: method({
    doc: 'Delete kept state: of a parked service (`name`), or one unclaimed handle (`handle`, as owner/kind:name), or a box.',
    access: 'operator',
    params: Type.Object({ name: Opt(Name), handle: Opt(Type.String()), box: Opt(Name) }),
    result: Type.Object({ discarded: Type.Array(Type.String()) }),
  }),
  kill: method({
    doc: 'Send a signal to the main process of a service.',
    access: 'operator',
    params: Type.Object({ name: Name, signal: Type.String({ pattern: '^SIG[A-Z0-9]+$' }) }),
    result: Empty,
  }),

  put: method({
    doc: 'Put an fd into a box under a name.',
    access: 'operator',
    params: Type.Object({ box: Name, name: Name, replace: Opt(Type.Boolean()) }),
    result: Type.Object({ type: Type.String(), sizeBytes: Type.Union([Type.Number(), Type.Null()]) }),
    fdsIn: 1,
  }),
  take: method({
    doc: 'Get a duplicate of an entry of a box; `remove` takes it out.',
    access: 'operator',
    params: Type.Object({ box: Name, name: Name, remove: Opt(Type.Boolean()) }),
    result: Type.Object({
      type: Type.String(),
      sizeBytes: Type.Union([Type.Number(), Type.Null()]),
      digest: Type.Union([Type.String(), Type.Null()]),
    }),
    fdsOut: 1,
  }),
  list: method({
    doc: 'What is in the boxes.',
    access: 'operator',
    params: Type.Object({ box: Opt(Name) }),
    result: Type.Object({
      boxes: Type.Array(
        Type.Object({
          box: Name,
          sealed: Type.Boolean(),
          entries: Type.Array(
            Type.Object({
              name: Name,
              type: Type.String(),
              sizeBytes: Type.Union([Type.Number(), Type.Null()]),
              digest: Type.Union([Type.String(), Type.Null()], {
                description: 'sha256 of the content, of sealed memfds and files',
              }),
            }),
          ),
        }),
      ),
    }),
  }),
  seal: method({
    doc: 'Seal a box: nothing can be put into it or removed afterwards; its memfds are sealed against writing; digests are taken.',
    access: 'operator',
    params: Type.Object({ box: Name }),
    result: Type.Object({
      entries: Type.Array(Type.Object({ name: Name, digest: Type.Union([Type.String(), Type.Null()]) })),
    }),
  }),
  request: method({
    doc: 'The operator’s selection: preserve this handle, whatever its owner wants.',
    access: 'operator',
    params: Type.Object({ handle: Type.String() }),
    result: Type.Object({ handle: HandleInfo }),
  }),
  unrequest: method({
    doc: 'The operator’s selection: do not preserve this handle.',
    access: 'operator',
    params: Type.Object({ handle: Type.String() }),
    result: Type.Object({ handle: HandleInfo }),
  }),

  load: method({
    doc: 'Load the kernel that `kexec` will start, by kexec_file_load(2): the other call loses everything silently.',
    access: 'operator',
    params: Type.Object(ImageParams),
    result: Type.Object({ image: LoadedImage }),
  }),
  unload: method({
    doc: 'Unload it.',
    access: 'operator',
    params: Empty,
    result: Empty,
  }),
  preflight: method({
    doc: 'Would a kexec into this kernel (by default the loaded one) bring everything over? Changes nothing.',
    access: 'any',
    params: Type.Object({ ...ImageParams, kernel: Opt(ImageParams.kernel) }),
    result: PreflightReport,
  }),
  kexec: method({
    doc: 'Replace the kernel: preflight, prepare, freeze, reboot(2). There is an answer only if it did not happen; else the connection ends with this kernel.',
    access: 'operator',
    params: Type.Object({
      force: Opt(Type.Array(Type.String(), { description: 'failed checks that are overridden' })),
      direct: Opt(Type.Boolean({ description: 'also where systemd runs the machine: its services are not stopped' })),
      limits: Opt(UpdateLimits),
    }),
    result: UpdateResult,
    progress: UpdateProgress,
  }),
  blobPut: method({
    doc: 'Keep the content of the fd for the next kernel, without any update: it is preserved from now on, whoever starts the next kernel.',
    access: 'operator',
    params: Type.Object({ name: Name, replace: Opt(Type.Boolean()) }),
    result: Type.Object({ sizeBytes: Type.Number() }),
    fdsIn: 1,
  }),
  blobGet: method({
    doc: 'What the last kernel left under this name, or what is kept for the next one.',
    access: 'operator',
    params: Type.Object({ name: Name }),
    result: BlobInfo,
    fdsOut: 1,
  }),
  blobList: method({
    doc: 'The blobs that this luod knows of. One of the last kernel is known by its name only: ask for it with blobGet.',
    access: 'operator',
    params: Empty,
    result: Type.Object({ blobs: Type.Array(BlobInfo) }),
  }),
  blobDrop: method({
    doc: 'Let go of a blob.',
    access: 'operator',
    params: Type.Object({ name: Name }),
    result: Empty,
  }),

  status: method({
    doc: 'Everything that luod knows, without the timelines.',
    access: 'any',
    params: Empty,
    result: Status,
  }),
  plan: method({
    doc: 'What an update would do: order, what survives, what is left behind and why. Changes nothing.',
    access: 'any',
    params: Type.Object({ gap: Opt(GapWord), scope: Opt(Type.Array(Name, { description: 'services; default: all' })) }),
    result: Plan,
  }),
  prepare: method({
    doc: 'Go to `prepared` and stay there; `update` continues from it.',
    access: 'operator',
    params: Type.Object({
      gap: Opt(GapWord),
      scope: Type.Array(Name, { minItems: 1 }),
      argv: Opt(Type.Array(Type.String(), { minItems: 1 })),
      env: Opt(Type.Record(Type.String(), Type.String())),
      cwd: Opt(Type.String()),
      limits: Opt(UpdateLimits),
    }),
    result: Type.Object({ attempt: Int }),
    progress: UpdateProgress,
  }),
  cancel: method({
    doc: 'From prepared back to normal, also out of a running transition before the decision.',
    access: 'operator',
    params: Empty,
    result: Type.Object({ stuck: Type.Array(Type.String()) }),
  }),
  finish: method({
    doc: 'From updated to normal; refused with the names of those who veto.',
    access: 'operator',
    params: Empty,
    result: Empty,
  }),
  recover: method({
    doc: 'Bring what hangs to an end by the operator’s word: stuck members are asked again; with `abort` an attempt without a decision is aborted; with `forget` a stuck member is given up by name, and its process ended.',
    access: 'operator',
    params: Type.Object({ abort: Opt(Type.Boolean()), forget: Opt(Type.String()) }),
    result: Type.Object({
      stuck: Type.Array(Type.String()),
      state: StateWord,
      lost: Opt(
        Type.Array(Type.String(), {
          description: 'handles that nobody had any more; from now on status is silent of them',
        }),
      ),
    }),
  }),
  watch: method({
    doc: 'From now on this connection is told events: `state` (state, phase, generation), `update` (as the progress of update), `service` (a ServiceStatus).',
    access: 'any',
    params: Empty,
    result: Type.Object({ state: StateWord, phase: PhaseWord, generation: Int }),
  }),
  timeline: method({
    doc: 'The timeline of one attempt, by default the last; or a list of all that are kept, without their events.',
    access: 'any',
    params: Type.Object({ attempt: Opt(Int), all: Opt(Type.Boolean()) }),
    result: Type.Object({ timelines: Type.Array(Timeline) }),
  }),
  logs: method({
    doc: 'The log of a service, or of luod itself (`name` left out), as an fd to read.',
    access: 'operator',
    params: Type.Object({ name: Opt(Name) }),
    result: Type.Object({ path: Type.String() }),
    fdsOut: 1,
  }),
  shutdown: method({
    doc: 'Stop every service and end luod and keeper. Kept state goes with them.',
    access: 'operator',
    params: Empty,
    result: Empty,
  }),
} as const satisfies Record<string, MethodSpec>;

/** What `watch` tells. */
export const LUOD_EVENTS = {
  state: Type.Object({ state: StateWord, phase: PhaseWord, generation: Int }),
  update: UpdateProgress,
  service: ServiceStatus,
} as const;

// ---------------------------------------------------------------------------------------------- luod to a participant

/** The handles that a call is about: all of one participant and one step. */
const CallHandles = Type.Array(Type.Object({ kind: KindWord, name: Name }), { maxItems: 4096 });
const AttemptParams = {
  attempt: Type.Integer({ minimum: 0, description: '0: outside of any attempt (the go of a first start)' }),
};
/** What one process hands to the next: JSON that luod passes on unread, and fds that travel with it. */
export const Parcel = Type.Union([Type.Null(), Type.Unknown()], {
  description: 'passed on unread to the successor, with the fds of the message',
});

export const MEMBER_CALLS = {
  prepare: method({
    doc: 'Get ready to stop, while still serving: what can be handed over now is given now (`parcel`, its fds). Repeatable state only: serving goes on.',
    access: 'participant',
    params: Type.Object({
      ...AttemptParams,
      gap: GapWord,
      deadlineMs: Ms,
      handles: CallHandles,
      replaced: Type.Boolean({ description: 'false: a bystander, which will go on itself' }),
      toCome: Opt(Type.Array(Type.String(), { description: 'in a cycle: handles that are prepared later' })),
      delegate: Opt(
        Type.Object(
          {
            session: Type.String(),
            tokenMin: Token,
            handles: CallHandles,
          },
          {
            description:
              'over kexec: preserve these by yourself, under tokens from `tokenMin` up, in the session whose fd comes along; close it at cancel and finish',
          },
        ),
      ),
    }),
    result: Type.Object({
      parcel: Opt(Parcel),
      preserved: Opt(
        Type.Array(Type.Object({ kind: KindWord, name: Name, token: Token, sizeBytes: Opt(Type.Number()) }), {
          description: 'by a delegate',
        }),
      ),
    }),
    fdsIn: -1,
    fdsOut: -1,
  }),
  freeze: method({
    doc: 'Stop. After the answer it writes nothing to what is shared. If luod hangs up, or `deadlineMs` passes, it asks the keeper for `decide(aborted)` with `key` and goes by the answer. The fds are pidfds of the successors.',
    access: 'participant',
    params: Type.Object({
      ...AttemptParams,
      gap: GapWord,
      deadlineMs: Ms,
      handles: CallHandles,
      replaced: Type.Boolean(),
      key: Type.String(),
      keeperSocket: Type.String(),
      tokens: Opt(
        Type.Record(Type.String(), Type.Unknown(), { description: 'in a cycle: what every peer answered to prepare' }),
      ),
    }),
    result: Type.Object({ parcel: Opt(Parcel) }),
    fdsIn: -1,
    fdsOut: -1,
  }),
  restore: method({
    doc: 'To a successor or a restarted process: what the old one handed over. `part` prepared comes before the freeze, `frozen` after it; a restarted process gets `frozen` alone, with every parcel that is kept. It answers `frozen` when everything is attached and then says `ready`.',
    access: 'participant',
    params: Type.Object({
      ...AttemptParams,
      part: words(['prepared', 'frozen'] as const),
      deadlineMs: Ms,
      parcels: Type.Array(Type.Object({ part: words(['prepared', 'frozen'] as const), parcel: Parcel, fds: Int }), {
        description: 'in the order in which they were given; their fds come in this order',
      }),
      key: Opt(Type.String({ description: 'with part frozen: to read the decision when luod is gone' })),
    }),
    result: Empty,
    fdsIn: -1,
  }),
  canFinish: method({
    doc: 'May the update be finished? `ok: false` vetoes with a reason.',
    access: 'participant',
    params: Type.Object({ ...AttemptParams, deadlineMs: Ms }),
    result: Type.Object({ ok: Type.Boolean(), reason: Opt(Type.String()) }),
  }),
  finish: method({
    doc: 'The update is done: clean up. Cannot refuse.',
    access: 'participant',
    params: Type.Object({ ...AttemptParams, deadlineMs: Ms }),
    result: Empty,
  }),
  cancel: method({
    doc: 'The attempt is off. Of a frozen member: thaw, serve again. Cannot refuse.',
    access: 'participant',
    params: Type.Object({ ...AttemptParams, deadlineMs: Ms, reason: Opt(WireErrorSchema) }),
    result: Empty,
  }),
  go: method({
    doc: 'Work (again). The state is yours: memory may be written from now on.',
    access: 'participant',
    params: Type.Object({ ...AttemptParams, deadlineMs: Ms }),
    result: Empty,
  }),
  retire: method({
    doc: 'Another one goes on. End at once, without exit handlers.',
    access: 'participant',
    params: Type.Object({ ...AttemptParams, deadlineMs: Ms }),
    result: Empty,
  }),
} as const satisfies Record<(typeof CALLS)[number], MethodSpec>;

// ---------------------------------------------------------------------------------------------- to the keeper

/** An entry of the keeper: one name, one owner, any number of fds, and data that only its owner reads. */
export const KeeperEntry = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 1000 }),
  owner: Type.String({ minLength: 1, maxLength: 220 }),
  fds: Int,
  meta: Opt(Json),
});
export const KeeperChild = Type.Object({
  name: Type.String(),
  pid: Int,
  exited: Type.Boolean(),
  code: Type.Union([Type.Integer(), Type.Null()]),
  signal: Type.Union([Type.String(), Type.Null()]),
});

/** Name of a kernel session. */
export const SessionName = Type.String({ minLength: 1, maxLength: 63 });

export const KEEPER_METHODS = {
  decide: method({
    doc: 'First writer wins: record `want` unless something is recorded, and give back what is recorded. Without `want`, only read. The one method that a participant may call, by the key it was given.',
    access: 'any',
    params: Type.Object({ attempt: Int, key: Type.String(), want: Opt(OutcomeWord) }),
    result: Type.Object({ outcome: Type.Union([OutcomeWord, Type.Null()]) }),
  }),
  open: method({
    doc: 'Open the record of an attempt. A refilled keeper answers no `decide` for it until luod wrote its `outcome`.',
    access: 'operator',
    params: Type.Object({ attempt: Int, key: Type.String(), outcome: Opt(OutcomeWord) }),
    result: Empty,
  }),
  put: method({
    doc: 'Keep fds under a name. An entry of that name is an error unless `replace`.',
    access: 'operator',
    params: Type.Object({
      name: KeeperEntry.properties.name,
      owner: KeeperEntry.properties.owner,
      meta: Opt(Json),
      replace: Opt(Type.Boolean()),
    }),
    result: Empty,
    fdsIn: -1,
  }),
  putMany: method({
    doc: 'Keep many entries of one fd each; all or none. Either `entries`, or, where none has data, their `names` alone.',
    access: 'operator',
    params: Type.Object({
      owner: KeeperEntry.properties.owner,
      entries: Opt(
        Type.Array(Type.Object({ name: KeeperEntry.properties.name, meta: Opt(Json) }), {
          minItems: 1,
          maxItems: 8192,
        }),
      ),
      names: Opt(Type.Array(KeeperEntry.properties.name, { minItems: 1, maxItems: 8192 })),
      replace: Opt(Type.Boolean()),
    }),
    result: Empty,
    fdsIn: -1,
  }),
  get: method({
    doc: 'Duplicates of an entry’s fds.',
    access: 'operator',
    params: Type.Object({ name: KeeperEntry.properties.name }),
    result: KeeperEntry,
    fdsOut: -1,
  }),
  getMany: method({
    doc: 'Duplicates of the fds of several entries, in the order of their names: `entries`. With `brief`, where all are of one owner, with one fd each and no data, their `owner` alone.',
    access: 'operator',
    params: Type.Object({
      names: Type.Array(KeeperEntry.properties.name, { minItems: 1, maxItems: 8192 }),
      brief: Opt(Type.Boolean()),
    }),
    result: Type.Object({
      entries: Opt(Type.Array(KeeperEntry)),
      owner: Opt(KeeperEntry.properties.owner),
    }),
    fdsOut: -1,
  }),
  drop: method({
    doc: 'Let go of entries; names that are not there are passed over. With `prefix`, of all whose names begin so.',
    access: 'operator',
    params: Type.Object({ names: Opt(Type.Array(Type.String())), prefix: Opt(Type.String({ minLength: 1 })) }),
    result: Type.Object({ dropped: Int }),
  }),
  list: method({
    doc: 'The entries, without their fds, whose names begin with `prefix`.',
    access: 'operator',
    params: Type.Object({ prefix: Opt(Type.String()) }),
    result: Type.Object({
      pid: Int,
      entries: Type.Array(KeeperEntry),
      fdsMax: Int,
      attempts: Type.Array(
        Type.Object({ attempt: Int, key: Type.String(), outcome: Type.Union([OutcomeWord, Type.Null()]) }),
      ),
      luodDeaths: Int,
    }),
  }),
  sessionCreate: method({
    doc: 'Open the device, create an outgoing session, keep it as the entry `session/NAME`, close the device. The reply carries a duplicate. EBUSY of the device is retried until the deadline.',
    access: 'operator',
    params: Type.Object({ name: SessionName, deadlineMs: Opt(Ms) }),
    result: Empty,
    fdsOut: 1,
  }),
  sessionRetrieve: method({
    doc: 'The same for a session of the last kernel, kept as `incoming/NAME`.',
    access: 'operator',
    params: Type.Object({ name: SessionName, deadlineMs: Opt(Ms) }),
    result: Empty,
    fdsOut: 1,
  }),
  spawn: method({
    doc: 'Start a child; the message’s fds become its fds 0, 1, 2, … (missing ones of the first three: /dev/null). The reply carries a pidfd.',
    access: 'operator',
    params: Type.Object({
      name: Type.String({ minLength: 1 }),
      argv: Type.Array(Type.String(), { minItems: 1 }),
      cwd: Type.String(),
      env: Type.Record(Type.String(), Type.String()),
      listenFds: Opt(Type.Boolean({ description: 'set LISTEN_PID to the child’s own pid' })),
      nofile: Opt(Type.Integer({ description: 'soft RLIMIT_NOFILE' })),
    }),
    result: Type.Object({ pid: Int }),
    fdsIn: -1,
    fdsOut: 1,
  }),
  children: method({
    doc: 'The children, living and ended, that were not forgotten.',
    access: 'operator',
    params: Empty,
    result: Type.Object({ children: Type.Array(KeeperChild) }),
    fdsOut: -1,
  }),
  forget: method({
    doc: 'Forget the exit status of an ended child.',
    access: 'operator',
    params: Type.Object({ pid: Int }),
    result: Empty,
  }),
  next: method({
    doc: 'The command of the next luod. The keeper runs it with --check-journal and answers only if that succeeds; then it starts it as soon as this luod has ended, and goes back to the old command if the new one dies before `confirm`.',
    access: 'operator',
    params: Type.Object({ argv: Type.Array(Type.String(), { minItems: 1 }) }),
    result: Empty,
  }),
  confirm: method({
    doc: 'This luod works: its command is from now on the one to restart.',
    access: 'operator',
    params: Empty,
    result: Empty,
  }),
  shutdown: method({
    doc: 'End: forget everything, and do not start luod again.',
    access: 'operator',
    params: Empty,
    result: Empty,
  }),
} as const satisfies Record<string, MethodSpec>;

/** What the keeper tells luod unasked. */
export const KEEPER_EVENTS = {
  exit: KeeperChild,
} as const;

// ---------------------------------------------------------------------------------------------- types

export type LuodMethod = keyof typeof LUOD_METHODS;
export type LuodParams<M extends LuodMethod> = Static<(typeof LUOD_METHODS)[M]['params']>;
export type LuodResult<M extends LuodMethod> = Static<(typeof LUOD_METHODS)[M]['result']>;
export type MemberCall = keyof typeof MEMBER_CALLS;
export type CallParams<M extends MemberCall> = Static<(typeof MEMBER_CALLS)[M]['params']>;
export type CallResult<M extends MemberCall> = Static<(typeof MEMBER_CALLS)[M]['result']>;
export type KeeperMethod = keyof typeof KEEPER_METHODS;
export type KeeperParams<M extends KeeperMethod> = Static<(typeof KEEPER_METHODS)[M]['params']>;
export type KeeperResult<M extends KeeperMethod> = Static<(typeof KEEPER_METHODS)[M]['result']>;

export type HandleSpec = Static<typeof HandleSpec>;
export type HandleInfo = Static<typeof HandleInfo>;
export type Waiting = Static<typeof Waiting>;
export type TimelineEvent = Static<typeof TimelineEvent>;
export type Timeline = Static<typeof Timeline>;
export type UpdateResult = Static<typeof UpdateResult>;
export type ServiceStatus = Static<typeof ServiceStatus>;
export type ParticipantStatus = Static<typeof ParticipantStatus>;
export type Plan = Static<typeof Plan>;
export type Status = Static<typeof Status>;
export type UpdateLimits = Static<typeof UpdateLimits>;
export type KexecStatus = Static<typeof KexecStatus>;
export type PreflightReport = Static<typeof PreflightReport>;
export type LoadedImage = Static<typeof LoadedImage>;
export type BlobInfo = Static<typeof BlobInfo>;
export type KeeperEntry = Static<typeof KeeperEntry>;
export type KeeperChild = Static<typeof KeeperChild>;
export type Request = Static<typeof Request>;
export type Reply = Static<typeof Reply>;
export type Progress = Static<typeof Progress>;
export type Event = Static<typeof Event>;
