/**
 * The suite as a whole: chooses cases, runs them one after the other, each with a bench of its own, and says what came.
 * A case that throws what is no answer of the kernel has failed, like one whose fact does not hold.
 *
 * Never here: how results are shown. Unhappy: a device that cannot be had ends the run before its first case.
 */
import { LuoError } from '../../../base/errors.js';
import type {
  Conformance,
  ConformanceOutcome,
  ConformanceSelection,
  ConformanceStage,
} from '../../../ports/conformance.js';
import { SysError, closeAll, openLiveupdate, type OwnedFd } from '../../../sys/index.js';
import { Bench } from './bench.js';
import { type Case, type GapCase } from './case.js';
import { Mismatch, Skip } from './verdict.js';
import { startHolder } from './child-process.js';
import { GROUPS } from './groups.js';
import { beginState, readState, type Left } from './stages.js';

/** A case with its group, and the beginning of its sessions' names. */
interface Chosen<T> {
  readonly group: string;
  readonly key: string;
  readonly prefix: string;
  readonly case: T;
}

type Told = Parameters<Conformance['run']>[2];

const NO_STAGE = 'cases';
const STAGED = 'gapCases';

export const conformance: Conformance = {
  groups(stage) {
    const kind = stage === undefined ? NO_STAGE : STAGED;
    return GROUPS.map(({ group, about, byDefault, [kind]: { length: cases } }) => ({
      group,
      about,
      byDefault,
      cases,
    })).filter(({ cases }) => cases > 0);
  },

  list: (selection) => choose(selection).map(({ group, case: { name } }) => ({ group, name })),

  async run(device, selection, told) {
    tryDevice(device);
    const chosen = choose(selection);
    if (selection.stage === 1) return { holder: await runBefore(device, chosen as readonly Chosen<GapCase>[], told) };
    if (selection.stage === 2) await runAfter(device, chosen as readonly Chosen<GapCase>[], told);
    else for (const each of chosen as readonly Chosen<Case>[]) await runCase(device, each, told);
    return { holder: null };
  },
};

/** @throws LuoError UNSUPPORTED there is no such group, or it has no cases for this stage */
function choose({ stage, groups }: ConformanceSelection): readonly Chosen<Case | GapCase>[] {
  const kind = stage === undefined ? NO_STAGE : STAGED;
  for (const wanted of groups ?? []) {
    if (!GROUPS.some(({ group, [kind]: cases }) => group === wanted && cases.length > 0)) throw noGroup(wanted, stage);
  }
  let number = 0;
  return GROUPS.flatMap(({ group, byDefault, [kind]: cases }) =>
    (cases as readonly (Case | GapCase)[])
      .map((each): Chosen<Case | GapCase> => {
        number += 1;
        return { group, key: `${number} ${each.name}`, prefix: `luo-conformance ${number}`, case: each };
      })
      .filter(() => groups?.includes(group) ?? byDefault),
  );
}

function noGroup(wanted: string, stage: ConformanceStage | undefined): LuoError {
  const names = conformance.groups(stage).map(({ group }) => group);
  const where = stage === undefined ? 'without a stage' : 'for a stage';
  return new LuoError('UNSUPPORTED', `there is no group '${wanted}' ${where}; there are: ${names.join(', ')}`);
}

/** @throws LuoError LIVEUPDATE_MISSING, LIVEUPDATE_HELD, LIVEUPDATE_BROKEN, SYS */
function tryDevice(path: string): void {
  try {
    openLiveupdate(path).close();
  } catch (error) {
    const errno = error instanceof SysError ? error.errnoName : '';
    switch (errno) {
      case 'EBUSY':
        throw new LuoError('LIVEUPDATE_HELD', `somebody has ${path} open; nothing was asked of it`, {
          cause: error,
          remedy: `end that program, or ask it to let go (fuser ${path} names it); the suite needs the device for itself`,
        });
      case 'EIO':
        throw new LuoError('LIVEUPDATE_BROKEN', 'the kernel cannot read what the last one left for it', {
          cause: error,
          remedy: `only a reboot helps: every open of ${path} fails until then`,
        });
      case 'ENOENT':
      case 'ENXIO':
      case 'ENODEV':
        throw new LuoError('LIVEUPDATE_MISSING', `there is no ${path} here`, {
          cause: error,
          remedy: 'boot a kernel with CONFIG_LIVEUPDATE, and liveupdate=on on its command line; or luoctl emulate',
        });
      default:
        throw LuoError.from(error, 'SYS');
    }
  }
}

async function attempt(work: () => void | Promise<void>): Promise<ConformanceOutcome> {
  try {
    await work();
    return { result: 'pass' };
  } catch (error) {
    if (error instanceof Skip) return { result: 'skip', reason: error.message };
    if (error instanceof Mismatch) {
      const { what, expected, came } = error;
      return { result: 'fail', what, expected, came };
    }
    const came = error instanceof Error ? error.message : String(error);
    return { result: 'fail', what: 'the case', expected: 'an answer', came };
  }
}

async function runCase(device: string, { group, prefix, case: each }: Chosen<Case>, told: Told): Promise<void> {
  const bench = new Bench(device, prefix);
  const outcome = await attempt(() => each.run(bench));
  await bench.close();
  told({ group, name: each.name, ...outcome });
}

/** @returns the pid of the process that holds what is to cross */
async function runBefore(device: string, cases: readonly Chosen<GapCase>[], told: Told): Promise<number> {
  const own = new Bench(device, '');
  const kept: OwnedFd[] = [];
  const state: Record<string, Left> = {};
  try {
    const end = beginState(own);
    own.closeDevice();
    for (const { group, key, prefix, case: each } of cases) {
      const bench = new Bench(device, prefix);
      const outcome = await attempt(() => each.before(bench));
      const ok = outcome.result === 'pass';
      if (ok) kept.push(...bench.takeKept());
      state[key] = { ok, sessions: ok ? bench.created.map((name) => name.toString('base64')) : [] };
      await bench.close();
      told({ group, name: each.name, ...outcome });
    }
    end(state);
    kept.push(...own.takeKept());
    return await startHolder(kept);
  } finally {
    closeAll(kept);
    await own.close();
  }
}

async function runAfter(device: string, cases: readonly Chosen<GapCase>[], told: Told): Promise<void> {
  const own = new Bench(device, '');
  try {
    const state = readState(own);
    own.closeDevice();
    for (const { group, key, prefix, case: each } of cases) {
      const bench = new Bench(device, prefix);
      const left = state[key];
      const outcome: ConformanceOutcome =
        left?.ok === true
          ? await attempt(() => each.after(bench))
          : { result: 'skip', reason: left === undefined ? 'it was not in stage 1' : 'its stage 1 failed' };
      await bench.close();
      told({ group, name: each.name, ...outcome });
    }
    discard(own, Object.values(state));
  } finally {
    await own.close();
  }
}

/** What no case has taken is of no use to anybody, and would stay in memory as long as this kernel. */
function discard(bench: Bench, left: readonly Left[]): void {
  for (const name of left.flatMap(({ sessions }) => sessions)) {
    bench.tryRetrieve(Buffer.from(name, 'base64')).session?.close();
  }
}
