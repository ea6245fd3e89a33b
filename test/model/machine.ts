/** A mutable hand on the pure model, so that a test reads as a series of calls. */
import assert from 'node:assert/strict';
import { emptyModel, MEMFD_KIND, PROFILES, step } from '../../src/model/index.js';
import type { Effect, FileFacts, ModelState, Op, Profile, Result, Value } from '../../src/model/index.js';

export class Machine {
  state: ModelState;
  effects: readonly Effect[] = [];

  constructor(profile: Profile = PROFILES['7.3'], openDevice = true) {
    this.state = emptyModel(profile);
    if (openDevice) this.ok({ op: 'openDevice' });
  }

  do(op: Op): Result {
    const stepped = step(this.state, op);
    this.state = stepped.state;
    this.effects = stepped.effects;
    return stepped.result;
  }

  ok(op: Op): Value {
    const result = this.do(op);
    assert.ok(result.ok, `${op.op} gave ${result.ok ? '' : result.errno}`);
    return result.value;
  }

  /** The op is refused with `errno`, and changes nothing. */
  refuses(op: Op, errno: string): void {
    const before = this.state;
    assert.deepEqual(this.do(op), { ok: false, errno });
    assert.equal(this.state, before, `${op.op} was refused and changed the state`);
    assert.deepEqual(this.effects, []);
  }

  create(name: string): number {
    const value = this.ok({ op: 'createSession', name });
    assert.ok(value.kind === 'session');
    return value.session;
  }

  retrieve(name: string): number {
    const value = this.ok({ op: 'retrieveSession', name });
    assert.ok(value.kind === 'session');
    return value.session;
  }

  preserve(session: number, token: bigint, file: Partial<FileFacts> & { ref: number }): void {
    this.ok({ op: 'preserveFd', session, token, file: memfd(file.ref, file) });
  }

  /** Jump into the next kernel and open the device there. */
  kexec(): void {
    this.ok({ op: 'kexec' });
    this.ok({ op: 'openDevice' });
  }

  /** `release 2 unpreserve` and the like, in their order. */
  get happened(): string[] {
    return this.effects.map((each) => {
      if (each.effect === 'sessionEnded') return `end ${each.session}`;
      if (each.effect === 'release') return `release ${each.ref} ${each.by}${each.lost ? ' lost' : ''}`;
      return `${each.effect} ${each.ref}`;
    });
  }
}

export function memfd(ref: number, more: Partial<FileFacts> = {}): FileFacts {
  return { ref, kind: MEMFD_KIND, identity: `inode ${ref}`, ...more };
}
