/**
 * What a supervised service is: its record, which is in the journal, and its instances (processes), of which there are at
 * most two: the one that serves and, during an update, its successor. Values and names; services.ts does the work.
 */
import type { Restart, Role } from '../base/words.js';
import type { ServiceStatus } from '../protocol/spec.js';

/** How to start a process of a service. */
export interface ServiceCommand {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
  /** Nobody saw its status: its keeper had died. */
  readonly unknown?: boolean;
}

/** JSON, as it stands in the journal. */
export interface ServiceRecord {
  readonly name: string;
  readonly owner: string;
  readonly command: ServiceCommand;
  /** What the last update replaced. */
  readonly previous: ServiceCommand | null;
  /** What the running update starts. */
  readonly next: ServiceCommand | null;
  readonly restart: Restart;
  readonly readyCheck: string | null;
  readonly readyMs: number;
  readonly stopMs: number;
  readonly generation: number;
  readonly restarts: number;
  readonly instances: number;
  readonly lastExit: Exit | null;
  /** The operator's wish. */
  readonly wanted: 'running' | 'parked';
  /** It failed so often that nobody tries again. */
  readonly failed: boolean;
}

export type InstanceProtocol = 'unknown' | 'luo' | 'sd_notify' | 'none';

/** JSON, as it stands in the journal. */
export interface InstanceRecord {
  /** `service#n`; also the id of its participant. */
  readonly id: string;
  readonly service: string;
  readonly secret: string;
  readonly pid: number;
  readonly role: Role;
  readonly command: ServiceCommand;
  readonly startedAt: string;
  readonly protocol: InstanceProtocol;
  /** It serves: its go is acknowledged, or it said READY=1, or its ready check passed. */
  readonly ready: boolean;
  /** Its end is wanted: no restart follows. */
  readonly ending: boolean;
  /** It was a successor, and its update was decided for it: it is the service. */
  readonly promoted?: boolean;
}

/** Owner of what belongs to a service: uid and name. */
export function ownerOf(uid: number, service: string): string {
  return `${uid}:${service}`;
}

/** Service of an instance's id, `SERVICE#n`. */
export function serviceOf(instance: string): string {
  return instance.slice(0, instance.lastIndexOf('#'));
}

/** Restart delays double from the first to the last, ms; a service that ran for `steadyMs` begins anew. */
export const BACK_OFF = { firstMs: 100, lastMs: 30_000, steadyMs: 10_000, attemptsMax: 10 } as const;

/** Delay before the n-th restart in a row (n from 0), ms. */
export function backOffMs(n: number): number {
  return Math.min(BACK_OFF.lastMs, BACK_OFF.firstMs * 2 ** n);
}

/** Whether a process that ended by itself is started again. */
export function wantsRestart(restart: Restart, exit: Exit): boolean {
  switch (restart) {
    case 'always':
      return true;
    case 'no':
      return false;
    case 'on-failure':
      return exit.unknown === true || exit.code !== 0;
    default:
      return restart satisfies never;
  }
}

/** In words, for messages: `exit code 3`, `SIGKILL`. */
export function describeExit(exit: Exit): string {
  if (exit.unknown) return 'unknown exit status';
  return exit.signal === null ? `exit code ${exit.code ?? '?'}` : exit.signal;
}

/** What status shows as `run`. */
export function runWord(
  service: ServiceRecord,
  current: InstanceRecord | undefined,
  successor: InstanceRecord | undefined,
  backingOff: boolean,
): ServiceStatus['run'] {
  if (successor && current) return 'updating';
  if (current) return current.ready ? 'running' : 'starting';
  if (backingOff) return 'backing-off';
  if (service.failed) return 'failed';
  return service.wanted === 'parked' ? 'parked' : 'exited';
}
