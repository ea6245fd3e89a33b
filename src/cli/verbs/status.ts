/** `luoctl status`: everything that luod knows, or one service of it. */
import { LuoError } from '../../base/errors.js';
import type { ServiceStatus, Status } from '../../protocol/spec.js';
import type { Context } from '../context.js';
import { handleTable, lastExit, runWord, serviceTable } from '../describe.js';
import { EXIT } from '../exit-codes.js';
import { age, count, fields, printable, shellWords, size, table } from '../format.js';
import { verb } from '../verb.js';

export const status = verb({
  name: 'status',
  group: 'Looking:',
  summary: 'show the state, the services and what is kept',
  operands: '[name]',
  notes:
    'With -v participants and handles are shown too. After a kexec it says what came over and what nobody has claimed yet. Without luod the exit code is 4.',
  example: { line: 'luoctl status cache', says: 'shows the service cache: process, command, handles, last exit' },
  async run({ context, args }) {
    const all = await context.ask('status', {});
    if (args[0] === undefined) {
      context.report(all, overview(context, all));
      return EXIT.done;
    }
    const service = all.services.find((each) => each.name === args[0]);
    if (!service) throw new LuoError('SERVICE_UNKNOWN', `there is no service '${args[0]}'`);
    const owners = all.participants.filter((each) => each.pid === service.pid).map((each) => each.owner);
    const handles = all.handles.filter(
      (handle) => owners.includes(handle.owner) || handle.owner.endsWith(`:${service.name}`),
    );
    context.report(
      { service, handles },
      detail(context, service) + (handles.length > 0 ? '\n' : '') + handleTable(handles, context.paint),
    );
    return EXIT.done;
  },
});

function overview({ paint, verbose }: Context, all: Status): string {
  const state = all.state === 'normal' ? paint.good(all.state) : paint.warn(all.state);
  const phase = all.phase === null ? '' : `, ${all.phase} in attempt ${all.attempt ?? '?'}`;
  const head = fields([
    ['state', `${state}${phase}, generation ${all.generation}`],
    ['luod', `version ${all.luod.version}, pid ${all.luod.pid}, restarts ${all.luod.restarts}, in ${all.luod.dir}`],
    ['keeper', `pid ${all.keeper.pid}, ${all.keeper.fds} of ${all.keeper.fdsMax} fds`],
    ...(all.stuck.length > 0 ? [['stuck', paint.bad(all.stuck.map(printable).join(', '))] as [string, string]] : []),
    ...(all.lost === undefined
      ? []
      : [
          ['lost', `${paint.bad(all.lost.map(printable).join(', '))}; luoctl recover says that you know`] as [
            string,
            string,
          ],
        ]),
    ...(all.boxes.length > 0
      ? [
          [
            'boxes',
            all.boxes
              .map((box) => `${box.box} (${count(box.entries, 'entry', 'entries')}${box.sealed ? ', sealed' : ''})`)
              .join(', '),
          ] as [string, string],
        ]
      : []),
    ...kexecFields(all, paint, verbose),
  ]);
  const participants = table(
    ['PARTICIPANT', 'OWNER', 'PID', 'ROLE', 'CONNECTED', 'HANDLES', 'MEMBER'],
    all.participants.map((each) => [
      printable(each.id),
      printable(each.owner),
      String(each.pid),
      each.role,
      each.connected ? 'yes' : paint.warn('no'),
      String(each.handles),
      each.stuck ? paint.bad('stuck') : (each.member ?? '-'),
    ]),
  );
  const parts = [
    head,
    unclaimedTable(all, paint),
    all.services.length === 0 ? 'no services\n' : serviceTable(all.services, paint),
    ...(verbose ? [participants, handleTable(all.handles, paint)] : []),
  ];
  return parts.filter((part) => part !== '').join('\n');
}

/** What there is to say of kernels: the loaded one, the last one, and whether something of it is unclaimed. */
function kexecFields({ kexec }: Status, paint: Context['paint'], verbose: boolean): [string, string][] {
  const rows: [string, string][] = [];
  const { image, imageLoaded, arrived, unclaimed } = kexec;
  if (verbose)
    rows.push(['kexec', kexec.available ? `possible, from Linux ${kexec.release}` : `not here: ${kexec.reason}`]);
  if (image) {
    const initrd = image.initrd === null ? '' : ` with ${printable(image.initrd)}`;
    rows.push([
      'loaded',
      `${printable(image.kernel)}${initrd}, Linux ${image.release ?? '(unknown)'}, at ${image.loadedAt}`,
    ]);
  } else if (imageLoaded) {
    rows.push(['loaded', paint.warn('a kernel that luod does not know: it was loaded by somebody else')]);
  }
  if (arrived?.error) {
    rows.push(['arrived', paint.bad(`${printable(arrived.error.message)} [${arrived.error.code}]`)]);
  } else if (arrived) {
    const torn = arrived.torn ? paint.bad('; torn: the jump came without a freeze') : '';
    rows.push(['arrived', `from Linux ${printable(arrived.from)} by attempt ${arrived.attempt}${torn}`]);
  }
  if (unclaimed.length > 0) {
    rows.push(['unclaimed', `${paint.warn(count(unclaimed.length, 'handle'))}; luoctl discard HANDLE lets go of one`]);
  }
  for (const { handle, method, busMasterOff, error } of kexec.resets ?? []) {
    const how =
      error !== undefined
        ? paint.bad(`not reset: ${printable(error.message)} [${error.code}]`)
        : `nobody claimed it: ${method === 'none' ? paint.warn('it has no way to be reset') : `reset by ${printable(method ?? '')}`}${busMasterOff ? ', its DMA is off' : ''}`;
    rows.push(['device', `${printable(handle)}: ${how}`]);
  }
  return rows;
}

/** Preserved by the last kernel, and not claimed yet. */
function unclaimedTable({ kexec }: Status, paint: Context['paint']): string {
  return table(
    ['UNCLAIMED', 'OWNER', 'SIZE', 'AGE', 'POLICY', 'ERROR'],
    kexec.unclaimed.map(({ handle, owner, sizeBytes, ageMs, policy, error }) => [
      printable(handle),
      printable(owner),
      size(sizeBytes),
      age(ageMs),
      policy,
      error ? paint.bad(`${printable(error.message)} [${error.code}]`) : '-',
    ]),
  );
}

function detail({ paint }: Context, service: ServiceStatus): string {
  return fields([
    ['service', service.name],
    ['state', runWord(service, paint) + (service.statusText ? `: ${printable(service.statusText)}` : '')],
    ['pid', service.pid === null ? '-' : String(service.pid)],
    ['since', service.startedAt ?? '-'],
    ['command', shellWords(service.argv)],
    ['folder', printable(service.cwd)],
    ['protocol', service.protocol],
    ['generation', String(service.generation)],
    ['restart', `${service.restart}, ${count(service.restarts, 'time')} so far`],
    ['last exit', lastExit(service)],
    ['log', service.log],
    ['rollback to', service.previous ? shellWords(service.previous) : '-'],
  ]);
}
