/**
 * A daemon for tests of the engine: it keeps every command until it is answered, answers the usual way on request, and
 * checks on the way what must hold of every run: each result finds its command, no irreversible effect comes before its
 * line in the journal.
 */
import assert from 'node:assert/strict';
import { step, initialState, plan, Registry, type EngineState } from '../../src/engine/index.js';
import type {
  CallEffect,
  CallResult,
  Effect,
  Event,
  JournalRecord,
  Limits,
  Plan,
  SettledEffect,
} from '../../src/engine/types.js';
import type { Gap } from '../../src/base/words.js';
import { decide, noDecisions, openAttempt, type Decisions } from '../../src/protocol/decision.js';

export const LIMITS_FOR_TESTS: Limits = {
  standbyMs: 1,
  prepareMs: 2,
  blackoutMs: 3,
  cancelMs: 4,
  finishMs: 5,
  goMs: 6,
  retireMs: 7,
  preparedMs: 8,
};

export const VIABLE = { handover: { ok: true, reason: '' }, kexec: { ok: true, reason: '' } } as const;

/** A registry of participants with one fd each; `edges` are [user, used] by name. */
export function registryOf(names: readonly string[], edges: readonly (readonly [string, string])[] = []): Registry {
  const registry = new Registry();
  for (const name of names) {
    registry.addParticipant({ id: name, owner: `0:${name}` });
    registry.register(name, [
      {
        kind: 'fd',
        name: 'main',
        compatible: 'x/1',
        viable: VIABLE,
        dependencies: edges.filter(([user]) => user === name).map(([, used]) => `0:${used}/fd:main`),
      },
    ]);
  }
  return registry;
}

/** Two replaced members `a` and `b`, and a bystander `c` that both use. */
export function planOf(gap: Gap = 'handover', scope: readonly string[] = ['a', 'b']): Plan {
  return plan(
    registryOf(
      ['a', 'b', 'c'],
      [
        ['a', 'c'],
        ['b', 'c'],
      ],
    ),
    { gap, scope },
  );
}

export type Command = Extract<Effect, { readonly id: number }>;
export type Notice = Exclude<Effect, { readonly id: number }>;

export function failed(how: 'answered' | 'timeout' | 'lost', code = 'CALL_FAILED'): CallResult {
  return { ok: false, how, error: { code, message: `it ${how}` } };
}

export class Driver {
  state: EngineState;
  pending: Command[] = [];
  /** Every effect, in order. */
  readonly effects: Effect[] = [];
  journal: JournalRecord[] = [];
  decisions: Decisions = noDecisions;
  #request = 0;

  constructor(state: EngineState = initialState()) {
    this.state = state;
  }

  send(event: Event): readonly Effect[] {
    const before = this.state.open;
    const result = step(this.state, event);
    if ('id' in event && event.type !== 'late')
      assert.ok(before.get(event.id), `result of an open command: ${event.type}`);
    this.take(result.state, result.effects);
    return result.effects;
  }

  take(state: EngineState, effects: readonly Effect[]): void {
    this.state = state;
    for (const effect of effects) {
      this.#checkJournal(effect);
      this.effects.push(effect);
      if ('id' in effect) this.pending.push(effect);
      if (effect.type === 'clearTimer') this.pending = this.pending.filter((other) => other.id !== effect.timer);
    }
  }

  prepare(
    plan: Plan,
    until: 'prepared' | 'finished' = 'finished',
    attempt = this.state.lastAttempt + 1,
  ): readonly Effect[] {
    this.#request += 1;
    const key = `key ${attempt}`;
    return this.send({ type: 'prepare', request: this.#request, attempt, key, plan, until, limits: LIMITS_FOR_TESTS });
  }

  // -------------------------------------------------------------------------------------------- answering

  #drop(command: Command): void {
    this.pending = this.pending.filter((other) => other.id !== command.id);
  }

  /** Answer one command the usual way. */
  answer(command: Command): void {
    this.#drop(command);
    const { id } = command;
    switch (command.type) {
      case 'journal':
        this.journal.push(command.record);
        this.send({ type: 'journaled', id });
        return;
      case 'open':
        this.decisions = openAttempt(this.decisions, command.attempt, command.key, command.outcome);
        this.send({ type: 'opened', id, ok: true });
        return;
      case 'decide': {
        const answer = decide(this.decisions, command.attempt, command.key, command.want);
        assert.ok('outcome' in answer && answer.outcome !== null);
        this.decisions = answer.decisions;
        this.send({ type: 'decided', id, outcome: answer.outcome });
        return;
      }
      case 'standby':
        this.send({ type: 'standby', id, result: { ok: true }, participant: `new ${command.member}` });
        return;
      case 'call':
        this.send({ type: 'answer', id, result: { ok: true } });
        if (command.method === 'restore' && command.part === 'frozen') {
          this.send({ type: 'ready', member: command.actor.member });
        }
        return;
      case 'endProcess':
        this.send({ type: 'ended', id });
        return;
      case 'restart':
        this.send({ type: 'restarted', id, result: { ok: true }, participant: `restarted ${command.actor.member}` });
        return;
      case 'dropParcels':
        this.send({ type: 'dropped', id });
        return;
      case 'timer':
        this.send({ type: 'timeout', id });
        return;
      case 'jump':
        this.send({ type: 'returned', id, error: { code: 'SYS', message: 'reboot failed' } });
        return;
    }
  }

  /** Answer whatever comes, the usual way, except timers and what `hold` names; until nothing is left to answer. */
  settle(hold: (command: Command) => boolean = () => false): this {
    for (;;) {
      const command = this.pending.find((other) => other.type !== 'timer' && !hold(other));
      if (command === undefined) return this;
      this.answer(command);
    }
  }

  // -------------------------------------------------------------------------------------------- looking

  /** The open call of this method to this member. */
  call(method: string, member?: number): CallEffect {
    const found = this.pending.find(
      (command): command is CallEffect =>
        command.type === 'call' &&
        command.method === method &&
        (member === undefined || command.actor.member === member),
    );
    assert.ok(found, `an open ${method} of ${member ?? 'anybody'}`);
    return found;
  }

  command<T extends Command['type']>(type: T): Extract<Command, { type: T }> {
    const found = this.pending.find((command) => command.type === type);
    assert.ok(found, `an open ${type}`);
    return found as Extract<Command, { type: T }>;
  }

  has(type: Command['type']): boolean {
    return this.pending.some((command) => command.type === type);
  }

  reply(call: CallEffect, result: CallResult): readonly Effect[] {
    this.#drop(call);
    return this.send({ type: 'answer', id: call.id, result });
  }

  fire(name: string): void {
    const timer = this.pending.find((command) => command.type === 'timer' && command.name === name);
    assert.ok(timer, `timer ${name} runs`);
    this.answer(timer);
  }

  /** Methods of calls so far, as `method member side`. */
  calls(): string[] {
    return this.effects.flatMap((effect) =>
      effect.type === 'call' ? [`${effect.method} ${effect.actor.member} ${effect.actor.side}`] : [],
    );
  }

  kinds(): string[] {
    return this.effects.map((effect) => effect.type);
  }

  lines(): string[] {
    return this.journal.map((record) => record.type);
  }

  settled(): SettledEffect[] {
    return this.effects.filter((effect): effect is SettledEffect => effect.type === 'settled');
  }

  lastSettled(): SettledEffect {
    const last = this.settled().at(-1);
    assert.ok(last, 'it came to rest');
    return last;
  }

  #checkJournal(effect: Effect): void {
    const complaint = missingLine(effect, this.journal) ?? this.#foreignJump(effect);
    assert.equal(complaint, null, complaint ?? '');
  }

  /** One driver is one luod: only the one that asked for committed may jump, whoever else finds that recorded. */
  #foreignJump(effect: Effect): string | null {
    if (effect.type !== 'jump') return null;
    const hasAsked = this.effects.some((one) => one.type === 'decide' && one.want === 'committed');
    return hasAsked ? null : 'a jump by a luod that did not decide it';
  }
}

/** Which line should have been in the journal before this effect, and is not; null: all is well. */
export function missingLine(effect: Effect, journal: readonly JournalRecord[]): string | null {
  const start = journal.findLastIndex((record) => record.type === 'attempt');
  const lines = journal.slice(Math.max(0, start));
  const has = (type: JournalRecord['type']): boolean => lines.some((record) => record.type === type);
  const outcome = (): string => {
    const found = lines.find((record) => record.type === 'decided');
    return found?.type === 'decided' ? found.outcome : 'none';
  };
  const undoes = (): boolean => outcome() === 'aborted' || has('returned') || (has('aborting') && !has('freezing'));
  switch (effect.type) {
    case 'standby':
    case 'open':
      return has('attempt') ? null : `${effect.type} before the line attempt`;
    case 'decide':
      if (effect.want === 'committed') return has('deciding') ? null : 'decide(committed) before deciding';
      return has('aborting') ? null : 'decide(aborted) before aborting';
    case 'call':
      switch (effect.method) {
        case 'prepare':
        case 'restore':
          return has('attempt') ? null : `${effect.method} before attempt`;
        case 'freeze':
          return has('freezing') ? null : 'freeze before freezing';
        case 'go':
        case 'retire':
          return outcome() === 'committed' ? null : `${effect.method} before decided committed`;
        case 'cancel':
          return undoes() || has('settled') ? null : 'cancel before its decision';
        case 'canFinish':
          return outcome() === 'committed' ? null : 'canFinish before decided committed';
        case 'finish':
          return has('finishing') ? null : 'finish before finishing';
      }
      return null;
    case 'endProcess':
      if (effect.actor === null) return null;
      if (effect.actor.side === 'old') return outcome() === 'committed' ? null : 'end of an old one before committed';
      return has('aborting') || undoes() || outcome() === 'committed' ? null : 'end of a successor before its line';
    case 'restart':
      if (effect.actor.side === 'new') return outcome() === 'committed' ? null : 'restart new before committed';
      return undoes() || outcome() === 'committed' ? null : 'restart old before its decision';
    case 'dropParcels':
      return journal.some((record) => record.type === 'acked' || record.type === 'unstuck')
        ? null
        : 'drop before acked';
    case 'jump':
      if (has('aborting') || has('returned')) return 'jump on the way back';
      return outcome() === 'committed' ? null : 'jump before decided committed';
    case 'journal':
    case 'timer':
    case 'clearTimer':
    case 'stage':
    case 'outcome':
    case 'stuck':
    case 'keptOld':
    case 'refused':
    case 'settled':
      return null;
  }
}
