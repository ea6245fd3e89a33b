/**
 * What operators ask for over luod's socket, method by method, and which part answers it. Access and parameters were checked
 * before (server.ts).
 */
import { join } from 'node:path';
import { LuoError } from '../base/errors.js';
import type { LuodMethod, LuodParams, LuodResult } from '../protocol/spec.js';
import { closeAll } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Responder } from '../transport/index.js';
import type { Boxes } from './boxes.js';
import type { Globals } from './globals.js';
import type { Kexec } from './kexec/kexec.js';
import { openRead } from './log-file.js';
import type { Operator } from './operator.js';
import type { Orchestrator } from './orchestrator.js';
import type { Answered, OperatorMethods } from './server.js';
import type { Services } from './services.js';

/** Updates of more members than this tell their stages only. */
const PROGRESS_MEMBERS_MAX = 64;

export interface RequestsParts {
  readonly dir: string;
  readonly services: Services;
  readonly operator: Operator;
  readonly boxes: Boxes;
  readonly kexec: Kexec;
  readonly globals: Globals;
  readonly orchestrator: Orchestrator;
  readonly updateLuod: (argv: readonly string[] | undefined) => Promise<LuodResult<'updateLuod'>>;
  /** End luod for good. */
  readonly shutdown: () => void;
}

export class Requests implements OperatorMethods {
  readonly #parts: RequestsParts;

  constructor(parts: RequestsParts) {
    this.#parts = parts;
  }

  /** @param takenFds as many as the method takes */
  async call(method: LuodMethod, params: unknown, takenFds: OwnedFd[], reply: Responder): Promise<Answered> {
    const { services, operator, boxes, kexec, globals } = this.#parts;
    if (method === 'put') {
      const { box, name, replace } = params as LuodParams<'put'>;
      return { result: await boxes.put(box, name, takenFds[0]!, replace === true) };
    }
    if (method === 'blobPut') {
      const { name, replace } = params as LuodParams<'blobPut'>;
      try {
        return { result: await kexec.blobs().put(name, takenFds[0]!.fd, replace === true) };
      } finally {
        closeAll(takenFds);
      }
    }
    closeAll(takenFds);
    const of = <M extends LuodMethod>(_method: M): LuodParams<M> => params as LuodParams<M>;
    switch (method) {
      case 'run':
        return { result: { service: await services.run(of('run')) } };
      case 'start':
        return { result: { service: await services.start(of('start').name) } };
      case 'stop':
        return { result: { service: await this.#stop(of('stop')) } };
      case 'kill': {
        const { name, signal } = of('kill');
        services.signal(name, signal);
        return { result: {} };
      }
      case 'update':
        return { result: await this.#withProgress(reply, () => operator.update(of('update'))) };
      case 'rollback':
        return { result: await this.#withProgress(reply, () => operator.rollback(of('rollback'))) };
      case 'prepare':
        await globals.settled();
        return { result: await this.#withProgress(reply, () => operator.prepare(of('prepare'))) };
      case 'cancel':
        return { result: await operator.cancel() };
      case 'finish':
        return { result: await operator.finish() };
      case 'recover':
        return { result: await operator.recover(of('recover')) };
      case 'plan':
        await globals.settled();
        return { result: operator.plan(of('plan')) };
      case 'status':
        return { result: operator.status() };
      case 'timeline':
        return { result: operator.timelines(of('timeline')) };
      case 'discard':
        return { result: operator.discard(of('discard')) };
      case 'request':
      case 'unrequest':
        return { result: operator.select(of('request').handle, method === 'request') };
      case 'take': {
        const { box, name, remove } = of('take');
        const { fd, meta, digest } = boxes.take(box, name, remove === true);
        return { result: { ...meta, digest }, fds: [fd] };
      }
      case 'list':
        return { result: { boxes: boxes.list(of('list').box) } };
      case 'seal':
        return { result: { entries: await boxes.seal(of('seal').box) } };
      case 'load':
        return { result: await kexec.load(of('load')) };
      case 'unload':
        return { result: await kexec.unload() };
      case 'preflight':
        await globals.settled();
        return { result: await kexec.preflight(of('preflight')) };
      case 'kexec':
        await globals.settled();
        return { result: await this.#withProgress(reply, () => kexec.kexec(of('kexec'))) };
      case 'blobGet': {
        const { info, fd } = await kexec.blobs().get(of('blobGet').name);
        return { result: info, fds: [fd] };
      }
      case 'blobList':
        return { result: { blobs: kexec.blobs().list() } };
      case 'blobDrop':
        await kexec.blobs().drop(of('blobDrop').name);
        return { result: {} };
      case 'logs':
        return this.#logs(of('logs').name);
      case 'updateLuod':
        return { result: await this.#parts.updateLuod(of('updateLuod').argv) };
      case 'shutdown':
        // The reply has to leave first.
        setTimeout(() => this.#parts.shutdown(), 10);
        return { result: {} };
      default:
        throw new LuoError('INTERNAL', `'${method}' has no handler`);
    }
  }

  /** The progress of `work` goes to the one who asked for it, for as long as it runs. */
  async #withProgress<T>(reply: Responder, work: () => Promise<T>): Promise<T> {
    const { orchestrator } = this.#parts;
    const forget = orchestrator.onProgress((progress) => {
      // Of a crowd the stages are told, not each answer of each member.
      const isCrowd = (orchestrator.plan?.members.length ?? 0) > PROGRESS_MEMBERS_MAX;
      if (!isCrowd || progress.participant === undefined) reply.progress(progress);
    });
    try {
      return await work();
    } finally {
      forget();
    }
  }

  async #stop(params: LuodParams<'stop'>): Promise<Awaited<ReturnType<Services['stop']>>> {
    const { services, orchestrator } = this.#parts;
    const current = services.current(params.name);
    if (current && orchestrator.actorOf(current.id)) {
      throw new LuoError('STATE_BUSY', `service '${params.name}' takes part in a running update`, {
        remedy: 'luoctl cancel gives the update up; then stop it',
      });
    }
    return services.stop(params.name, params.timeoutMs);
  }

  #logs(name: string | undefined): Answered {
    const { services, dir } = this.#parts;
    if (name !== undefined) services.record(name);
    const path = name === undefined ? join(dir, 'logs', 'luod.log') : services.logPath(name);
    return { result: { path }, fds: [openRead(path)] };
  }
}
