/**
 * One luod with one service under load, on which the rows of the crash matrix are played: an update, points at which
 * somebody is killed, the wait until all is well again, and everything that must hold then.
 *
 * Happy path: `Scene.start`, `play(row)` for each row, `stop`. Unhappy: a row that does not end well throws with what luod
 * wrote; the scene is to be given up then, since nothing is known of it any more.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LuoError } from '../../src/base/errors.js';
import type { FaultPoint } from '../../src/base/fault-points.js';
import { connectLuod } from '../../src/client/index.js';
import type { LuodResult } from '../../src/protocol/spec.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import { fdsOf, isAlive, isStopped, parentOf, signal, surplus } from './processes.js';
import { mayLoseConnections, mustBe, type Actor, type Kill, type Row } from './rows.js';
import { Traffic } from './traffic.js';
import { WORKLOADS, type Workload, type WorkloadName } from './workload.js';

/** How a row went. */
export interface Played {
  /** False: the victim did not live at that moment. */
  readonly killed: boolean;
  /** Of the update that was disturbed. */
  readonly outcome: 'committed' | 'rolled back';
  /** The process that serves was started after the update had begun, and is not its successor. */
  readonly restarted: boolean;
  /** From the last kill until all was well. */
  readonly seconds: number;
  readonly connectionsLost: number;
}

type Status = LuodResult<'status'>;

/** From the last kill until everything is well. */
const RESTART_MS = 15_000;
const HIT_MS = 20_000;
const SETTLE_MS = 3_000;
const ANSWERS_MS = 5_000;
const WHOLE_MS = 20_000;
const CONNECTIONS = 5;
const POLL_MS = 5;
const UPDATE_LIMITS = { blackoutMs: 4_000, standbyMs: 20_000 };
const LOG_LINES = 60;

export class Scene {
  readonly luod: TestLuod;
  readonly #workload: Workload;
  readonly #port: number;
  #traffic: Traffic | undefined;
  #version = 0;
  /** What serves, and what the last command was made for. */
  #label = '';
  /** What there is in peace, by name. */
  readonly #peace = new Map<string, string[]>();

  private constructor(luod: TestLuod, workload: Workload, port: number) {
    this.luod = luod;
    this.#workload = workload;
    this.#port = port;
  }

  /** Start luod, the service and its clients, and update once in peace, which is what later rows are compared with. */
  static async start(name: WorkloadName): Promise<Scene> {
    const scene = new Scene(await startLuod(), WORKLOADS[name], await freePort());
    try {
      await scene.#begin();
      return scene;
    } catch (error) {
      await scene.stop();
      throw error;
    }
  }

  /** End everything. What does not end by itself is in the result. */
  async stop(): Promise<Awaited<ReturnType<TestLuod['stop']>>> {
    await this.#traffic?.stop();
    for (const { pid } of this.luod.leftovers().processes) if (isStopped(pid)) signal(pid, 'SIGCONT');
    return this.luod.stop();
  }

  /** Play one row, check everything, and update once more. @throws AssertionError, with status and luod's log */
  async play(row: Row): Promise<Played> {
    try {
      return await this.#play(row);
    } catch (error) {
      const status = await this.#status().then(JSON.stringify, String);
      const log = this.luod.output().split('\n').slice(-LOG_LINES).join('\n');
      (error as Error).message += `\nstatus: ${status}\nluod's log:\n${log}`;
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const ran = await this.luod.luoctl(['run', '--name', this.#workload.name, '--', ...this.#nextCommand()]);
    assert.equal(ran.code, 0, ran.stderr);
    await this.#workload.begin(this.#port);
    this.#traffic = new Traffic({ port: this.#port, connections: CONNECTIONS, thinkMs: 10 });
    assert.ok(await this.#traffic.flows(ANSWERS_MS), 'the service answers');
    await this.#updateInPeace();
  }

  async #play(row: Row): Promise<Played> {
    const kills: readonly Kill[] = [row, ...(row.then ?? [])];
    const before = (await this.#status()).services[0]!;
    const oldLabel = this.#label;
    const disconnects = this.#traffic!.disconnects;
    const command = this.#nextCommand();
    const newLabel = this.#label;

    let passed = this.#arm(row.from ?? row.point);
    const update = this.#update(command);
    if (row.from !== undefined) {
      const passer = await passed();
      passed = this.#arm(row.point);
      signal(passer, 'SIGCONT');
    }
    const killed: boolean[] = [];
    for (const [at, kill] of kills.entries()) {
      const passer = await passed();
      // Armed while everything stands still: what comes next cannot have come before.
      const next = kills[at + 1];
      if (next) passed = this.#arm(next.point);
      killed.push(await this.#kill(kill, passer, before.pid!));
    }
    const startMs = performance.now();
    await update;
    const { services } = await this.#untilPeace();
    const seconds = (performance.now() - startMs) / 1000;

    const service = services[0]!;
    this.#label = this.#workload.labelOf(service.argv);
    assert.ok([oldLabel, newLabel].includes(this.#label), `'${this.#label}' serves`);
    const outcome = this.#label === newLabel ? 'committed' : 'rolled back';
    const restarted = service.restarts > before.restarts || (outcome === 'rolled back' && service.pid !== before.pid);
    const torn = await this.#assertWhole('after the kill', service.pid!);
    const lost = this.#traffic!.disconnects - disconnects;
    if (!kills.some(mayLoseConnections)) assert.equal(lost, 0, `connections ended (${outcome})`);
    if (killed[0] === true && kills.length === 1) assert.equal(mustBe(row) ?? outcome, outcome);
    // Connections end when a process dies that was serving: then, and only then, its memory may be half written.
    if (torn !== undefined) assert.equal(torn, lost > 0, 'whether the new process was told that its memory is torn');
    await this.#updateInPeace();
    return { killed: killed.every(Boolean), outcome, restarted, seconds, connectionsLost: lost };
  }

  /** An update that nothing disturbs, after which nothing is more than it was. */
  async #updateInPeace(): Promise<void> {
    const disconnects = this.#traffic!.disconnects;
    const result = await this.#update(this.#nextCommand());
    assert.ok(!(result instanceof Error), `a further update: ${String(result)}`);
    assert.equal(result.outcome, 'committed', `a further update: ${JSON.stringify(result)}`);
    const status = await this.#untilPeace();
    const torn = await this.#assertWhole('after a further update', status.services[0]!.pid!);
    assert.notEqual(torn, true, 'what was frozen in good order is not torn');
    assert.equal(this.#traffic!.disconnects, disconnects, 'a further update loses no connection');
    await this.#assertNothingMore(status);
  }

  /** Every answer was right, every byte is there, and `pid` serves. @returns what the process says of torn */
  async #assertWhole(when: string, pid: number): Promise<boolean | undefined> {
    assert.ok(await this.#traffic!.flows(ANSWERS_MS), `every connection is answered ${when}`);
    assert.deepEqual(this.#traffic!.wrong, [], when);
    const late = sleep(WHOLE_MS, undefined, { ref: false }).then(() => assert.fail(`reading everything hangs ${when}`));
    return Promise.race([this.#workload.assertWhole(this.#port, this.#label, pid, when), late]);
  }

  /** No process, file, entry of the keeper, participant, handle or fd that there was not before. */
  async #assertNothingMore(status: Status): Promise<void> {
    for (const until = performance.now() + SETTLE_MS; ; await sleep(50)) {
      const more: Record<string, string[]> = {};
      for (const [name, found] of Object.entries(this.#inventory(status))) {
        const known = this.#peace.get(name);
        if (known === undefined) this.#peace.set(name, found);
        else if (surplus(known, found).length > 0) more[name] = surplus(known, found);
      }
      if (Object.keys(more).length === 0) return;
      if (performance.now() > until) assert.deepEqual(more, {}, 'nothing is left over');
      status = await this.#status();
    }
  }

  #inventory(status: Status): Record<string, string[]> {
    const { luod, keeper, participants, handles } = status;
    const { processes, files } = this.luod.leftovers();
    // A keeper that luod started has other fds of its own than the one that a person started.
    const which = keeper.pid === this.luod.pid ? 'first' : 'later';
    return {
      processes: processes.map(({ pid }) => (pid === luod.pid || pid === keeper.pid ? 'daemon' : 'service')),
      files: files.map((file) => file.replace(/#\d+/g, '#N')),
      'entries in the keeper': Array.from({ length: keeper.entries }, () => 'entry'),
      'fds in the keeper': Array.from({ length: keeper.fds }, () => 'fd'),
      participants: participants.map(() => 'participant'),
      handles: handles.map(({ kind, name }) => `${kind}:${name}`),
      [`fds of luod under the ${which} keeper`]: fdsOf(luod.pid),
      [`fds of the ${which} keeper`]: fdsOf(keeper.pid),
    };
  }

  // -------------------------------------------------------------------------------------------- asking luod

  /** The result, or why there is none: luod may die under the request. */
  async #update(argv: readonly string[]): Promise<LuodResult<'update'> | Error> {
    try {
      const luod = await connectLuod({ dir: this.luod.dir, deadlineMs: 5_000 });
      try {
        const params = { name: this.#workload.name, argv: [...argv], limits: UPDATE_LIMITS };
        return (await luod.request('update', params, { deadlineMs: 60_000 })).result;
      } finally {
        luod.close();
      }
    } catch (error) {
      return LuoError.from(error);
    }
  }

  async #status(): Promise<Status> {
    const luod = await connectLuod({ dir: this.luod.dir, deadlineMs: 2_000 });
    try {
      return (await luod.request('status', {}, { deadlineMs: 2_000 })).result;
    } finally {
      luod.close();
    }
  }

  /** Wait until all is well. @throws AssertionError with what is not, when that takes too long */
  async #untilPeace(): Promise<Status> {
    const until = performance.now() + RESTART_MS;
    for (let why = ''; ; await sleep(20)) {
      assert.ok(performance.now() < until, `after ${RESTART_MS} ms: ${why}`);
      try {
        const status = await this.#status();
        why = this.#whyNotYet(status);
        if (why === '') return status;
      } catch (error) {
        why = `luod does not answer: ${(error as Error).message}`;
      }
    }
  }

  /** Exactly one generation serves, luod and keeper are parent and child, and nothing is under way. */
  #whyNotYet({ state, phase, stuck, services, participants, luod, keeper }: Status): string {
    const service = services[0]!;
    if (state !== 'normal' || phase !== null) return `the state is ${state}, ${phase}`;
    if (stuck.length > 0) return `stuck: ${stuck.join()}`;
    if (service.run !== 'running' || service.pid === null) return `the service is ${service.run}`;
    if (!isAlive(service.pid)) return 'the process of the service is dead';
    if (participants.length !== 1 || !participants[0]!.connected) return 'the service is not connected';
    if (parentOf(luod.pid) !== keeper.pid) return 'luod is no child of the keeper';
    const wanted: unknown[] = [luod.pid, keeper.pid, service.pid];
    const more = this.luod.leftovers().processes.filter(({ pid }) => !wanted.includes(pid));
    if (more.length > 0) return `there is a process more: ${JSON.stringify(more)}`;
    const word = readFileSync(join(this.luod.dir, 'state'), 'utf8').trim();
    return word === 'normal' ? '' : `the file 'state' says ${word}`;
  }

  // -------------------------------------------------------------------------------------------- killing

  /** Who passes `point` next stands still there. @returns waits for that, and gives its pid */
  #arm(point: FaultPoint): () => Promise<number> {
    const from = this.luod.hits().length;
    this.luod.arm(point, 'stop');
    return async () => {
      for (const until = performance.now() + HIT_MS; performance.now() < until; await sleep(POLL_MS)) {
        const hit = this.luod
          .hits()
          .slice(from)
          .find((one) => one.point === point);
        // It writes the hit down just before it stops.
        if (hit !== undefined && isStopped(hit.pid)) return hit.pid;
      }
      this.luod.disarm(point);
      throw new assert.AssertionError({ message: `'${point}' was not passed` });
    };
  }

  /** The victim dies, the others go on. False: it does not live. */
  async #kill({ victim, point }: Kill, passer: number, oldPid: number): Promise<boolean> {
    const pid = point.startsWith(`${victim}.`) ? passer : this.#pidOf(victim, oldPid);
    if (pid !== undefined) signal(pid, 'SIGKILL');
    while (pid !== undefined && isAlive(pid)) await sleep(1);
    if (pid !== passer) signal(passer, 'SIGCONT');
    return pid !== undefined;
  }

  #pidOf(actor: Actor, oldPid: number): number | undefined {
    const { program } = this.#workload;
    const services = this.luod.leftovers().processes.filter(({ command }) => command.includes(program));
    const pid =
      actor === 'old'
        ? oldPid
        : actor === 'new'
          ? services.find((one) => one.pid !== oldPid)?.pid
          : Number(readFileSync(join(this.luod.dir, `${actor}.pid`), 'utf8'));
    return pid !== undefined && isAlive(pid) ? pid : undefined;
  }

  #nextCommand(): string[] {
    this.#version += 1;
    this.#label = `v${this.#version}`;
    return this.#workload.command(this.#label, this.#port);
  }
}

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
