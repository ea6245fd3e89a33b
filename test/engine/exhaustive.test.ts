/**
 * Goal: in no order of events, with no death anywhere, does the handover lose its one acting generation or get two.
 * Method: world.ts models everything around the engine, explore.ts visits every reachable world up to a budget of faults.
 * Then every invariant is shown to be able to fail: rules broken on purpose must give a counterexample.
 *
 * Covered here: one replaced member with two faults of the deadly kinds and one of any kind; one replaced member with a
 * bystander with one fault of any kind, and with two deaths of processes; two replaced members with the keeper's death; a kexec of two members with two faults of
 * any kind, of one with three deadly ones. `LUO_EXPLORE=deep` (minutes): three and three, two, for two replaced members also
 * the deaths of luod and of every process, and one fault more over kexec.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Gap } from '../../src/base/words.js';
import { initialState, plan, recover, step } from '../../src/engine/index.js';
import { decide, openAttempt } from '../../src/protocol/decision.js';
import { stepSide } from '../../src/protocol/side.js';
import { registryOf } from './driver.js';
import { explore, type Explored } from './explore.js';
import { initialWorld, RULES, type Fault, type Rules, type WorldOptions } from './world.js';

const ANY: readonly Fault[] = ['luod', 'keeper', 'process', 'hangup', 'call', 'timer', 'cancel'];
const DEADLY: readonly Fault[] = ['luod', 'keeper', 'process', 'hangup'];
const deep = process.env['LUO_EXPLORE'] === 'deep' ? 1 : 0;

function run(
  names: readonly string[],
  scope: readonly string[],
  faults: readonly Fault[],
  budget: number,
  rules: Partial<Rules> = {},
  gap: Gap = 'handover',
): Explored {
  const edges = names.includes('c') ? scope.map((name) => [name, 'c'] as const) : [];
  const options: WorldOptions = {
    plan: plan(registryOf(names, edges), { gap, scope: gap === 'kexec' ? 'all' : scope }),
    rules: { ...RULES, ...rules },
    faults: new Set(faults),
  };
  return explore(options, initialWorld(options, initialState(), budget));
}

function report(name: string, explored: Explored): void {
  console.log(`${name}: ${explored.worlds} worlds, ${explored.transitions} transitions, ${explored.ends} ends`);
  const found = explored.counterexample;
  assert.equal(found, null, found === null ? '' : `${found.what}:\n  ${found.way.join('\n  ')}`);
}

test('without a fault every order of arrival ends in the one good way', () => {
  const explored = run(['a', 'b', 'c'], ['a', 'b'], [], 0);
  report('two replaced, one bystander, no fault', explored);
  // They differ in which of the two old processes were gone when the attempt was closed, and in nothing else.
  assert.equal(explored.ends, 4);
});

test('one replaced member, any faults', () => {
  report(`one replaced, ${1 + deep * 2} of any fault`, run(['a'], ['a'], ANY, 1 + deep * 2));
});

test('one replaced member, two deaths or lost connections at any point', () => {
  const explored = run(['a'], ['a'], DEADLY, 2 + deep);
  report(`one replaced, ${2 + deep} deadly faults`, explored);
  // The corners that this is about were really visited.
  for (const corner of ['the operator recovers', '# sees its successors dead', '# hears committed', '# is restarted']) {
    assert.ok(explored.seen.has(corner), corner);
  }
});

test('one replaced member and a bystander, any faults', () => {
  report(`one replaced, one bystander, ${1 + deep} of any fault`, run(['a', 'c'], ['a'], ANY, 1 + deep));
});

test('one replaced member and a bystander, two deaths of processes: nobody dead is stuck', () => {
  const explored = run(['a', 'c'], ['a'], ['process'], 2);
  report('one replaced, one bystander, two deaths of processes', explored);
  assert.ok(explored.seen.has('# is restarted'));
});

test('two replaced members, the death of luod or keeper at any point', () => {
  const faults: readonly Fault[] = deep ? ['luod', 'keeper', 'process'] : ['keeper'];
  report(`two replaced, one fault (${faults.join(', ')})`, run(['a', 'b'], ['a', 'b'], faults, 1));
});

test('a jump that comes back, two members, the second used by the first: two of any fault', () => {
  const explored = run(['a', 'c'], ['a'], ANY, 2 + deep, {}, 'kexec');
  report(`kexec of two, ${2 + deep} of any fault`, explored);
});

test('a jump that comes back, one member: three deaths or lost connections at any point', () => {
  const explored = run(['a'], ['a'], DEADLY, 3 + deep, {}, 'kexec');
  report(`kexec of one, ${3 + deep} deadly faults`, explored);
  for (const corner of ['# hears committed', 'the keeper handles a request of a dead luod', '# is restarted']) {
    assert.ok(explored.seen.has(corner), corner);
  }
});

// ---------------------------------------------------------------------------------------------- can they fail?

interface Broken {
  readonly what: string;
  readonly finds: RegExp;
  readonly faults: readonly Fault[];
  readonly budget: number;
  readonly rules: Partial<Rules>;
  readonly gap?: Gap;
}

const BROKEN: readonly Broken[] = [
  {
    what: 'the keeper lets the last writer win',
    finds: /two generations/,
    faults: ['luod', 'timer'],
    budget: 1,
    rules: {
      decide: (decisions, attempt, key, want) => {
        const rest = { attempts: decisions.attempts.filter((record) => record.attempt !== attempt) };
        return decide(want ? openAttempt(rest, attempt, key) : decisions, attempt, key, want);
      },
    },
  },
  {
    what: 'a frozen process thaws when luod hangs up',
    finds: /two generations/,
    faults: ['luod', 'hangup'],
    budget: 1,
    rules: {
      stepSide: (state, event) =>
        event.type === 'hangup' && state.role === 'old'
          ? { state: { ...state, phase: 'settled' }, actions: [{ do: 'thaw' }] }
          : stepSide(state, event),
    },
  },
  {
    what: 'a successor goes on when it finds nothing recorded',
    finds: /two generations/,
    faults: ['luod', 'hangup'],
    budget: 1,
    rules: {
      stepSide: (state, event) =>
        state.role === 'successor' && event.type === 'answer' && event.answer === 'none'
          ? { state: { ...state, phase: 'settled' }, actions: [{ do: 'goOn' }] }
          : stepSide(state, event),
    },
  },
  {
    what: 'a process reports where it stands while its question is under way',
    finds: /two generations/,
    faults: ['luod', 'keeper'],
    budget: 2,
    rules: { mayResume: () => true },
  },
  {
    what: 'luod does not notice that a successor lost its connection',
    finds: /two generations/,
    faults: ['hangup', 'keeper'],
    budget: 2,
    rules: {
      // It is told that the process is back as it was, at once.
      step: (state, event) => {
        const told = step(state, event);
        if (event.type !== 'hangup' || event.actor.side !== 'new' || told.effects.length > 0) return told;
        return { state, effects: [] };
      },
    },
  },
  {
    what: 'recovery overlooks that a freeze was sent',
    finds: /two generations|before/,
    faults: ['luod'],
    budget: 1,
    rules: {
      recover: (records) =>
        recover(records.filter((record) => record.type !== 'freezing' && record.type !== 'decided')),
    },
  },
  {
    what: 'the answer aborted is taken for committed',
    finds: /two generations/,
    faults: ['timer'],
    budget: 1,
    rules: {
      step: (state, event) =>
        step(
          state,
          event.type === 'decided' && event.outcome === 'aborted' ? { ...event, outcome: 'committed' } : event,
        ),
    },
  },
  {
    what: 'the line freezing is not written',
    finds: /freeze before freezing/,
    faults: [],
    budget: 0,
    rules: {
      step: (state, event) => {
        const result = step(state, event);
        const effects = result.effects.map((effect) =>
          effect.type === 'journal' && effect.record.type === 'freezing'
            ? { ...effect, record: { v: 1, type: 'unstuck' as const, attempt: 1, participant: '' } }
            : effect,
        );
        return { state: result.state, effects };
      },
    },
  },
  {
    what: 'deaths are not believed',
    finds: /rests|no good end|frozen for good|waits for good|no result/,
    faults: ['process'],
    budget: 1,
    rules: { step: (state, event) => (event.type === 'died' ? { state, effects: [] } : step(state, event)) },
  },
  {
    what: 'cancel is not sent',
    finds: /ended in ''|rests|no result|no good end|frozen for good/,
    faults: ['call'],
    budget: 1,
    rules: {
      step: (state, event) => {
        const result = step(state, event);
        const kept = result.effects.filter((effect) => !(effect.type === 'call' && effect.method === 'cancel'));
        return { state: result.state, effects: kept };
      },
    },
  },
  {
    what: 'the engine does not learn who was started again',
    finds: /is stuck and dead/,
    faults: ['process'],
    budget: 2,
    rules: {
      step: (state, event) => {
        if (event.type !== 'restarted') return step(state, event);
        const { participant: _, ...anonymous } = event;
        return step(state, anonymous);
      },
    },
  },
  {
    what: 'a recovery overlooks who was started again',
    finds: /is stuck and dead/,
    faults: ['luod', 'process'],
    budget: 3,
    rules: {
      recover: (records) =>
        recover(
          records.map((record) => {
            if (record.type !== 'acked') return record;
            const { participant: _, ...anonymous } = record;
            return anonymous;
          }),
        ),
    },
  },
  {
    what: 'a luod that finds a kexec committed jumps',
    finds: /jumps that did not decide|jump on the way back/,
    faults: ['luod'],
    budget: 1,
    gap: 'kexec',
    rules: {
      // The line `returned` is held back, and the jump comes instead.
      step: (state, event) => {
        const result = step(state, event);
        const effects = result.effects.map((effect) =>
          effect.type === 'journal' && effect.record.type === 'returned' && state.attempt?.recovered === true
            ? { type: 'jump' as const, id: effect.id, attempt: effect.record.attempt }
            : effect,
        );
        return { state: result.state, effects };
      },
    },
  },
  {
    what: 'a participant thaws when it hears that a kexec is committed',
    finds: /somebody acts at the jump/,
    faults: ['timer'],
    budget: 1,
    gap: 'kexec',
    rules: {
      stepSide: (state, event) => stepSide({ ...state, gap: 'handover', role: 'bystander' }, event),
    },
  },
];

for (const { what, finds, faults, budget, rules, gap } of BROKEN) {
  test(`the search finds it when ${what}`, () => {
    const { counterexample } = run(['a'], ['a'], faults, budget, rules, gap);
    assert.ok(counterexample, 'a counterexample');
    assert.match(counterexample.what, finds);
  });
}
