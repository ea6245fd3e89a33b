/** Runs inside of the machine, in its agent: a request to luod without a process of luoctl for each, which takes seconds there. */
import { connectLuod } from '../../../src/client/control.js';
import type { LuodMethod, LuodParams, LuodResult } from '../../../src/protocol/spec.js';

/** @throws Error luod's refusal, with its code in front */
export async function ask<M extends LuodMethod>(dir: string, method: M, params: LuodParams<M>): Promise<LuodResult<M>> {
  const luod = await connectLuod({ dir });
  try {
    const { result, fds } = await luod.request(method, params);
    for (const fd of fds) fd.close();
    return result;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new Error(`${code ?? 'INTERNAL'}: ${message}`, { cause: error });
  } finally {
    luod.close();
  }
}

export interface ServiceToRun {
  readonly name: string;
  readonly argv: readonly string[];
}

/** Start services, `together` of them at a time, and wait until each serves. */
export async function runAll(dir: string, services: readonly ServiceToRun[], together: number): Promise<void> {
  const left = [...services];
  const { PATH = '/usr/bin:/bin' } = process.env;
  const next = async (): Promise<void> => {
    for (let service = left.shift(); service !== undefined; service = left.shift()) {
      await ask(dir, 'run', {
        name: service.name,
        argv: [...service.argv],
        cwd: '/',
        env: { PATH },
        readyMs: READY_MS,
      });
    }
  };
  await Promise.all(Array.from({ length: together }, next));
}

/** Software emulation on whatever machine this is. */
const READY_MS = 300_000;
