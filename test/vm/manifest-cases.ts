/**
 * What comes of a manifest that was damaged, or is newer than luod, over a real jump and a simulated one. luod is stopped between its last
 * word in the manifest and the jump, and the memory of the manifest is changed; afterwards it is changed back, as if a luod came that
 * can read it.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { LuodMethod, LuodParams } from '../../src/protocol/spec.js';
import type { LuodStatus } from './bed/vm.js';
import type { Alteration } from './guest/manifest.js';

/** What the one participant has found. */
export interface Found {
  readonly created: boolean;
  readonly torn: boolean;
  readonly wrong: number;
  /** The words that it had handed over came back. */
  readonly restored: boolean;
}

/** A machine with luod and one participant, `part`, with memory and words. */
export interface Ground {
  status(): Promise<LuodStatus>;
  ask<T>(method: LuodMethod, params?: object): Promise<T>;
  /** @returns what it wrote on standard output */
  luoctl(args: readonly string[]): Promise<string>;
  until<T>(what: string, check: () => Promise<T | undefined>): Promise<T>;
  /** What the participant of this kernel says; throws as long as it has said nothing. */
  found(): Promise<Found>;
  /** Change the manifest in the memory of a luod. */
  alter(pid: number, side: 'outgoing' | 'arrived', what: Alteration): Promise<void>;
  kill(pid: number, signal: NodeJS.Signals): Promise<void>;
  /** Stop whoever passes `luod.manifest.frozen` first in this kernel. */
  armStop(): Promise<void>;
  /** Pid of who was stopped there. */
  stopped(): Promise<number | undefined>;
  load(): Promise<void>;
  readonly kexecParams: LuodParams<'kexec'>;
  /** Load, and jump; resolves in the next kernel. */
  jump(): Promise<void>;
  /** Names of the sessions of the last kernel that its keeper holds in this one, without those of blobs. */
  heldSessions(): Promise<string[]>;
  close(failed: boolean): Promise<void>;
}

interface ManifestCase {
  readonly name: string;
  run(ground: Ground): Promise<void>;
}

interface Report {
  readonly checks: readonly { readonly check: string; readonly result: string; readonly reason: string }[];
}

/** In this order: each but the last leaves its machine in peace. */
const CASES: readonly ManifestCase[] = [
  {
    name: 'a damaged last slot: the one before is used, which says that nothing was frozen, so that all is torn',
    async run(ground) {
      await jumpWith(ground, 'later slot');
      const { created, torn, wrong, restored } = await found(ground);
      assert.deepEqual({ created, torn, wrong, restored }, { created: false, torn: true, wrong: 0, restored: false });
      const { kexec } = await peace(ground);
      assert.equal(kexec.arrived?.torn, true);
      assert.equal(kexec.arrived?.error, undefined);
      assert.match(await ground.luoctl(['status']), /torn: the jump came without a freeze/);
    },
  },
  {
    name: 'after it another jump in peace: nothing is torn any more',
    async run(ground) {
      await ground.jump();
      await isWhole(ground);
    },
  },
  {
    name: 'both slots damaged: everything is held, said to be so, and there for a luod that can read it',
    async run(ground) {
      await jumpWith(ground, 'slots');
      await mended(ground, await isHeld(ground, 'MANIFEST_DAMAGED', 'both'), 'slots');
    },
  },
  {
    name: 'a manifest of a newer luod: the same, and a newer luod takes it over',
    async run(ground) {
      await jumpWith(ground, 'version');
      await mended(ground, await isHeld(ground, 'MANIFEST_TOO_NEW', 'both'), 'version');
    },
  },
  {
    name: 'both heads damaged: the names of the sessions are lost, the one that has the manifest is held',
    async run(ground) {
      await jumpWith(ground, 'heads');
      await isHeld(ground, 'MANIFEST_DAMAGED', 'luod alone');
      assert.match(await ground.luoctl(['status']), /neither head .* names of its sessions are lost/);
    },
  },
];

/**
 * A test of each case. They share a machine for as long as they pass: what comes after a failure gets another one.
 * @param start gives a machine whose participant serves
 */
export function testManifests(start: () => Promise<Ground>): void {
  let ground: Ground | undefined;
  let isInPeace = false;
  for (const { name, run } of CASES) {
    test(name, async () => {
      if (!isInPeace) {
        await ground?.close(true);
        ground = undefined;
        ground = await start();
      }
      isInPeace = false;
      await run(ground!);
      isInPeace = true;
    });
  }
  after(() => ground?.close(!isInPeace));
}

const found = (ground: Ground): Promise<Found> => ground.until('the participant', () => ground.found());

/** Nothing is under way, and nothing of the last kernel is left. */
function peace(ground: Ground): Promise<LuodStatus> {
  return ground.until('peace', async () => {
    const status = await ground.status();
    return status.state === 'normal' && status.phase === null ? status : undefined;
  });
}

/** Jump with a manifest that is changed at the last moment. */
async function jumpWith(ground: Ground, what: Alteration): Promise<void> {
  await ground.armStop();
  const jumped = ground.jump();
  const early = jumped.then(() => Promise.reject(new Error('luod jumped and did not stop before')));
  const pid = await Promise.race([ground.until('luod stands still', () => ground.stopped()), early]);
  await ground.alter(pid, 'outgoing', what);
  // The kernel that would say that it was done may be gone before it has.
  await ground.kill(pid, 'SIGCONT').catch(() => jumped);
  await jumped;
}

/** All that there was came over, and the participant serves on. */
async function isWhole(ground: Ground): Promise<LuodStatus> {
  const { created, torn, wrong, restored } = await found(ground);
  assert.deepEqual({ created, torn, wrong, restored }, { created: false, torn: false, wrong: 0, restored: true });
  const status = await peace(ground);
  assert.equal(status.kexec.arrived?.error, undefined);
  assert.equal(status.kexec.arrived?.torn, false);
  assert.deepEqual([status.kexec.unclaimed, status.stuck], [[], []]);
  await ground.until('the end of the sessions', async () => (await ground.heldSessions()).length === 0 || undefined);
  assert.match(await ground.luoctl(['timeline']), /kernel \S+ → \S+, ±1000 ms/);
  return status;
}

/** Nothing of it can be read, all of it is held, and nobody may lose it by mistake. */
async function isHeld(ground: Ground, code: string, held: 'both' | 'luod alone'): Promise<LuodStatus> {
  const status = await peace(ground);
  assert.equal(status.kexec.arrived?.error?.code, code);
  assert.deepEqual([status.services, status.handles], [[], []], 'luod does not guess');
  assert.match(await ground.luoctl(['status']), new RegExp(code));
  await assert.rejects(ground.ask('finish'), /STATE_INVALID/);
  await ground.load();
  const { checks } = await ground.ask<Report>('preflight');
  const arrival = checks.find(({ check }) => check === 'arrival');
  assert.equal(arrival?.result, 'fail');
  assert.match(arrival?.reason ?? '', new RegExp(code));
  await assert.rejects(ground.ask('kexec', ground.kexecParams), /PREFLIGHT_FAILED.*arrival/s);
  await ground.ask('unload');
  const names = (await ground.heldSessions()).map((name) => name.replace(/^luo-[0-9a-f]{16}$/, 'luo-*'));
  assert.deepEqual(names.sort(), held === 'both' ? ['luo-*', 'luod'] : ['luod']);
  return status;
}

/** Another luod comes, for which the manifest is as it must be. */
async function mended(ground: Ground, { luod }: LuodStatus, what: Alteration): Promise<void> {
  await ground.alter(luod.pid, 'arrived', what);
  await ground.kill(luod.pid, 'SIGKILL');
  await isWhole(ground);
}
