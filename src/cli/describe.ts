/** Words for the values that several verbs show: services, handles, ends of processes. */
import type { HandleInfo, ServiceStatus } from '../protocol/spec.js';
import { printable, shellWords, size, table, type Paint } from './format.js';
import { handleKey } from '../base/words.js';

/** How a service's last process ended, in words. */
export function lastExit(service: ServiceStatus): string {
  const exit = service.lastExit;
  if (!exit) return '-';
  if (exit.unknown) return 'unknown';
  if (exit.signal !== null) return exit.signal;
  return exit.code === null ? 'unknown' : `exit ${exit.code}`;
}

/** The state of a service, coloured by how much it needs somebody. */
export function runWord(service: ServiceStatus, paint: Paint): string {
  if (service.run === 'running') return paint.good(service.run);
  if (service.run === 'failed' || service.run === 'backing-off') return paint.bad(service.run);
  return paint.warn(service.run);
}

/** One row per service. */
export function serviceTable(services: readonly ServiceStatus[], paint: Paint): string {
  return table(
    ['SERVICE', 'STATE', 'PID', 'PROTOCOL', 'GENERATION', 'RESTARTS', 'COMMAND'],
    services.map((service) => [
      service.name,
      runWord(service, paint),
      service.pid === null ? '-' : String(service.pid),
      service.protocol,
      String(service.generation),
      String(service.restarts),
      shellWords(service.argv),
    ]),
  );
}

/** One line about a service, as run, start and stop answer. */
export function serviceLine(service: ServiceStatus, paint: Paint): string {
  const pid = service.pid === null ? '' : `, pid ${service.pid}`;
  const text = service.statusText ? `: ${printable(service.statusText)}` : '';
  return `${service.name}: ${runWord(service, paint)}${pid}${text}\n`;
}

/** One row per handle. */
export function handleTable(handles: readonly HandleInfo[], paint: Paint): string {
  const viable = (gap: { ok: boolean; reason: string }): string =>
    gap.ok ? paint.good('yes') : `no: ${printable(gap.reason)}`;
  return table(
    ['HANDLE', 'TYPE', 'SIZE', 'COMPATIBLE', 'REQUESTED', 'CLAIMED', 'HANDOVER', 'KEXEC'],
    handles.map((handle) => [
      printable(handleKey(handle)),
      handle.type,
      size(handle.sizeBytes),
      printable(handle.compatible),
      handle.requested ? 'yes' : 'no',
      handle.torn ? paint.bad('torn') : handle.claimed ? 'yes' : paint.warn('no'),
      viable(handle.viable.handover),
      viable(handle.viable.kexec),
    ]),
  );
}
