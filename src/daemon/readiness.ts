/**
 * When a process serves: its ready check passes, if its service has one; or it says so (its go is acknowledged, READY=1); or
 * it has said nothing at all for a while and lives, so that it speaks no protocol, as far as can be seen.
 * Unhappy: it ends first, or its time passes; what becomes of it then is the caller's.
 */
import { execFile } from 'node:child_process';
import { LuoError } from '../base/errors.js';
import type { Instance } from './instance.js';
import type { Instances } from './instances.js';
import type { ServiceCommand, ServiceRecord } from './service.js';

/** How long a program may take to say its first word before it is taken for one that speaks no protocol. */
const SPEAK_MS = 3000;
/** Between two tries of a ready check. */
const CHECK_EVERY_MS = 100;

export interface ReadyLimits {
  readonly deadlineMs: number;
  /** It has spoken before, and will: on a slow machine that may take longer. */
  readonly isKnownToSpeak: boolean;
}

/**
 * Resolves when the process serves, by the first of the signs that there are, and is marked as ready.
 * @throws LuoError SERVICE_START_FAILED it ended; SUCCESSOR_TIMEOUT
 */
export async function untilReady(
  instances: Instances,
  instance: Instance,
  { readyCheck, command }: ServiceRecord,
  { deadlineMs, isKnownToSpeak }: ReadyLimits,
): Promise<void> {
  if (readyCheck !== null) {
    await pollCheck(instance, readyCheck, command, deadlineMs);
    return instances.markReady(instance);
  }
  const speakMs = isKnownToSpeak ? deadlineMs : Math.min(SPEAK_MS, deadlineMs);
  try {
    await instance.when('spoke', speakMs, () => new LuoError('PROTO_TIMEOUT', 'silent'));
  } catch (error) {
    if (!(error instanceof LuoError) || error.code !== 'PROTO_TIMEOUT') throw error;
    return instances.markSilent(instance);
  }
  await whenReady(instance, deadlineMs);
}

/** Resolves when it said that it serves. @throws LuoError SERVICE_START_FAILED it ended; SUCCESSOR_TIMEOUT */
export function whenReady(instance: Instance, deadlineMs: number): Promise<void> {
  return instance.when('ready', deadlineMs, () => lateError(instance, 'was not ready', deadlineMs));
}

/** Resolves when it said standby. @throws LuoError SERVICE_START_FAILED it ended; SUCCESSOR_TIMEOUT */
export function whenStandby(instance: Instance, deadlineMs: number): Promise<void> {
  return instance.when('standby', deadlineMs, () => lateError(instance, 'did not say standby', deadlineMs));
}

async function pollCheck(
  instance: Instance,
  check: string,
  command: ServiceCommand,
  deadlineMs: number,
): Promise<void> {
  const until = Date.now() + deadlineMs;
  for (;;) {
    if (instance.exit) return whenReady(instance, deadlineMs);
    // It may have ended while the check ran, and the check may not notice: the next turn says so.
    if ((await checkPasses(check, command, instance.record.pid)) && !instance.exit) return;
    if (Date.now() >= until) throw lateError(instance, `did not pass its ready check '${check}'`, deadlineMs);
    await new Promise((resolve) => setTimeout(resolve, CHECK_EVERY_MS));
  }
}

function checkPasses(check: string, command: ServiceCommand, pid: number): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(
      '/bin/sh',
      ['-c', check],
      { cwd: command.cwd, env: { ...command.env, MAINPID: String(pid) }, timeout: 10_000, killSignal: 'SIGKILL' },
      (error) => resolve(error === null),
    );
  });
}

function lateError(instance: Instance, what: string, ms: number): LuoError {
  return new LuoError('SUCCESSOR_TIMEOUT', `'${instance.id}' ${what} within ${ms} ms`, {
    participant: instance.id,
    remedy: `read its log: luoctl logs ${instance.record.service}`,
  });
}
