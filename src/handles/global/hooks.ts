/**
 * The hooks of global handles through an update: which call comes next, with which state. One {@link Hook} for each.
 *
 * ```
 * prepare -> freeze -> restore -> finish      it went through: in this kernel, or in the next one
 * prepare [-> freeze] -> cancel               it did not
 * ```
 *
 * So a hook that was asked to prepare or freeze, whether it succeeded or not, is told `restore` or `cancel` afterwards, once, also when
 * the process that ran it was killed in between (hook-records.ts). `restore` is called when it is decided that the update goes on
 * (at go): there is no way back then. If it fails, its state is kept, finish is put off with the reason, and each try to finish tries
 * it again; a record that is gone was given up by the operator. A failed `cancel` or `finish` is noted: neither can be refused.
 */
import { LuoError } from '../../base/errors.js';
import type { Gap } from '../../base/words.js';
import { checkHook } from './hook-file.js';
import { endLeftProcess, processRecord, type HookRecord, type HookRecords } from './hook-records.js';
import { runHook, signalGroup, type HookCall } from './run-hook.js';

/** A call of luod, as far as hooks are concerned. */
export interface HookContext {
  readonly attempt: number;
  /** From its arrival, ms. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly gap: Gap | undefined;
}

/** What travels from prepare and freeze to restore. JSON. */
export interface SavedHook {
  readonly hook: 1;
  readonly of: 'prepare' | 'freeze';
  readonly gap: Gap | null;
  /** base64. */
  readonly state: string;
}

export interface HooksOptions {
  readonly uid: number;
  readonly records: HookRecords;
  /** What one call of one hook may take, whatever luod allows, ms. */
  readonly timeoutMs: number;
  readonly log: (line: string) => void;
}

/** Of a call's deadline, what is kept for SIGTERM to work, and again for what follows. */
const MARGIN_SHARE = 0.15;
const MARGIN_MS_MAX = 1000;
/** With less a call is not begun. */
const LEAST_MS = 20;
/** What the undo of a failed prepare may take, all hooks together. */
const UNDO_MS = 10_000;
/** Between two tries of a restore that failed. */
const RETRY_MS = 2000;
const NOTHING = new Uint8Array(0);

/** When each call of luod came: its hooks are run one after the other, and share its deadline. */
class Budgets {
  readonly #since = new WeakMap<HookContext, number>();

  /** What is left of it, ms. */
  left(context: HookContext): number {
    const since = this.#since.get(context) ?? performance.now();
    this.#since.set(context, since);
    return context.deadlineMs - (performance.now() - since);
  }
}

export class Hook {
  readonly name: string;
  readonly #path: string;
  readonly #options: HooksOptions;
  readonly #budgets: Budgets;
  /** What it was asked to begin in this process or, before it, in one that is gone. */
  #open: { call: 'prepare' | 'freeze'; state: Uint8Array; gap: Gap | null } | undefined;
  /** What came from the process before this one. */
  #received: { of: 'prepare' | 'freeze'; state: Uint8Array; gap: Gap | null } | undefined;
  #failed: { error: LuoError; atMs: number } | undefined;
  #restored = false;
  /** Process of the call that runs. */
  #pid: number | undefined;

  constructor(name: string, path: string, options: HooksOptions, budgets: Budgets) {
    this.name = name;
    this.#path = path;
    this.#options = options;
    this.#budgets = budgets;
  }

  /** A restore failed, and is tried again. */
  get isPending(): boolean {
    return this.#failed !== undefined;
  }

  /** @throws LuoError HOOK_FAILED; it is to be cancelled then too */
  async prepare(context: HookContext): Promise<SavedHook> {
    return this.#save('prepare', context, NOTHING);
  }

  /** Gets what prepare said. @throws LuoError HOOK_FAILED; it is to be cancelled then too */
  async freeze(context: HookContext): Promise<SavedHook> {
    return this.#save('freeze', context, this.#open?.state ?? NOTHING);
  }

  /** A state of the process before this one: what was said at freeze counts more than what was said at prepare. */
  receive(saved: unknown): void {
    const { hook, of, state, gap } = (saved ?? {}) as Partial<SavedHook>;
    if (hook !== 1 || (of !== 'prepare' && of !== 'freeze') || typeof state !== 'string') {
      throw new LuoError(
        'PROTO_INVALID',
        `the state of the hook '${this.name}' is not one that this version can read`,
        {
          handle: this.name,
        },
      );
    }
    if (of === 'freeze' || this.#received === undefined) {
      this.#received = { of, state: Buffer.from(state, 'base64'), gap: gap ?? null };
    }
  }

  /** It is decided, and this process goes on: bring back what was handed over, or undo what a killed process had begun. */
  async go(context: HookContext): Promise<void> {
    const record = this.#options.records.read(this.name);
    endLeftProcess(record?.process ?? null);
    const { bringBack, undo } = this.#due(record);
    this.#received = undefined;
    this.#open = undefined;
    if (bringBack !== undefined) await this.#restore(bringBack, context);
    else if (undo !== undefined) await this.#undo(undo, context);
  }

  /** The attempt is off. What never began has nothing to undo. */
  async cancel(context: HookContext): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    this.#received = undefined;
    if (open !== undefined) await this.#undo(open, context);
  }

  async finish(context: HookContext): Promise<void> {
    if (!this.#restored) return;
    this.#restored = false;
    await this.#noting('finish', NOTHING, null, context);
  }

  /** Why the update must not be finished; a restore that failed is tried again first. */
  async veto(context: HookContext): Promise<string | undefined> {
    if (this.#failed === undefined) return undefined;
    const record = this.#options.records.read(this.name);
    if (record?.call !== 'restore') {
      this.#say(`its state is given up: ${this.#options.records.path(this.name)} was removed`);
      this.#failed = undefined;
      return undefined;
    }
    if (performance.now() - this.#failed.atMs >= RETRY_MS)
      await this.#restore({ state: record.state, gap: null }, context);
    return this.#failed?.error.message;
  }

  /** This process ends: so does what runs of it. The next process is left a record. */
  end(): void {
    if (this.#pid !== undefined) signalGroup(this.#pid, 'SIGKILL');
  }

  // -------------------------------------------------------------------------------------------- inside

  async #save(call: 'prepare' | 'freeze', context: HookContext, state: Uint8Array): Promise<SavedHook> {
    const gap = context.gap ?? null;
    this.#begin(call, state, gap);
    const said = await this.#run(call, state, gap, context);
    this.#begin(call, said, gap);
    return { hook: 1, of: call, gap, state: said.toString('base64') };
  }

  /** From now on somebody has to tell it the end. */
  #begin(call: 'prepare' | 'freeze', state: Uint8Array, gap: Gap | null): void {
    this.#open = { call, state, gap };
    this.#options.records.write(this.name, { call, state, process: null });
  }

  #due(record: HookRecord | undefined): {
    bringBack?: { state: Uint8Array; gap: Gap | null };
    undo?: { state: Uint8Array; gap: Gap | null };
  } {
    const received = this.#received;
    if (received?.of === 'freeze') return { bringBack: received };
    // A bystander that was frozen, and goes on itself.
    if (this.#open?.call === 'freeze') return { bringBack: this.#open };
    if (record?.call === 'restore') return { bringBack: { state: record.state, gap: null } };
    if (record !== undefined) return { undo: { state: record.state, gap: null } };
    if (received === undefined) return {};
    // The last kernel was left without a freeze: this is all there is.
    this.#say('it was not frozen before the kernel was replaced: what it said at prepare is restored');
    return { bringBack: received };
  }

  async #restore(what: { state: Uint8Array; gap: Gap | null }, context: HookContext): Promise<void> {
    this.#options.records.write(this.name, { call: 'restore', state: what.state, process: null });
    try {
      await this.#run('restore', what.state, what.gap, context);
      this.#failed = undefined;
      this.#restored = true;
      this.#options.records.remove(this.name);
    } catch (error) {
      const path = this.#options.records.path(this.name);
      const { message } = LuoError.from(error);
      this.#failed = {
        error: new LuoError(
          'HOOK_FAILED',
          `${message}; mend it and finish again, or give its state up by removing '${path}'`,
        ),
        atMs: performance.now(),
      };
      this.#say(this.#failed.error.message);
    }
  }

  async #undo(what: { state: Uint8Array; gap: Gap | null }, context: HookContext): Promise<void> {
    await this.#noting('cancel', what.state, what.gap, context);
    this.#options.records.remove(this.name);
  }

  /** A call that cannot be refused. */
  async #noting(call: HookCall, state: Uint8Array, gap: Gap | null, context: HookContext): Promise<void> {
    try {
      await this.#run(call, state, gap, context);
    } catch (error) {
      this.#say(`${LuoError.from(error).message}; going on without it`);
    }
  }

  async #run(call: HookCall, state: Uint8Array, gap: Gap | null, context: HookContext): Promise<Buffer> {
    const { uid, timeoutMs, records } = this.#options;
    const reason = checkHook(this.#path, uid);
    if (reason !== null) throw this.#refused(call, `is not run: ${reason}`);
    const left = this.#budgets.left(context);
    const marginMs = Math.min(MARGIN_MS_MAX, left * MARGIN_SHARE);
    const deadlineMs = Math.round(Math.min(timeoutMs, left - 2 * marginMs));
    if (deadlineMs < LEAST_MS) throw this.#refused(call, 'is not run: no time is left for it');
    const record = records.read(this.name);
    return runHook({
      name: this.name,
      path: this.#path,
      call,
      state,
      env: {
        LUO_HOOK: this.name,
        LUO_ATTEMPT: String(context.attempt),
        LUO_GAP: gap ?? '',
        LUO_DEADLINE_MS: String(deadlineMs),
      },
      deadlineMs,
      graceMs: marginMs,
      signal: context.signal,
      log: (line) => this.#say(`${call}: ${line}`),
      onProcess: (pid, running) => {
        this.#pid = running ? pid : undefined;
        if (record) records.write(this.name, { ...record, process: running ? processRecord(pid) : null });
      },
    });
  }

  #refused(call: HookCall, how: string): LuoError {
    return new LuoError('HOOK_FAILED', `${call} of the hook '${this.name}' ${how}`, {
      handle: this.name,
      data: { hook: this.name, call },
    });
  }

  #say(line: string): void {
    this.#options.log(`${this.name}: ${line}`);
  }
}

/** All hooks of one process. */
export class Hooks {
  readonly #options: HooksOptions;
  readonly #budgets = new Budgets();
  readonly #hooks = new Map<string, Hook>();

  constructor(options: HooksOptions) {
    this.#options = options;
  }

  /** @param path where it is, or would be: it may have gone since its state was saved */
  add(name: string, path: string): Hook {
    const hook = new Hook(name, path, this.#options, this.#budgets);
    this.#hooks.set(name, hook);
    return hook;
  }

  /**
   * Prepare one of them. If that fails, nobody will call the attempt off for those that were prepared before it, nor for itself: a
   * participant whose prepare fails has undone it.
   * @throws LuoError HOOK_FAILED
   */
  async prepare(hook: Hook, context: HookContext): Promise<SavedHook> {
    try {
      return await hook.prepare(context);
    } catch (error) {
      const own = { ...context, deadlineMs: UNDO_MS, signal: new AbortController().signal };
      for (const one of this.#inOrder().reverse()) await one.cancel(own);
      throw error;
    }
  }

  /** One after the other, in order of their names. Never throws: what went wrong puts finish off, or is noted. */
  async go(context: HookContext): Promise<void> {
    for (const hook of this.#inOrder()) await hook.go(context);
  }

  /** The first reason not to finish. */
  async veto(context: HookContext): Promise<string | undefined> {
    for (const hook of this.#inOrder()) {
      const reason = await hook.veto(context);
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  /** End everything that runs, at once. */
  end(): void {
    for (const hook of this.#hooks.values()) hook.end();
  }

  #inOrder(): Hook[] {
    return [...this.#hooks.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}
