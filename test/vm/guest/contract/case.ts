/**
 * One case of the backend contract, over a real kexec. A process does not live through one: the case is run again from its
 * begin in the next kernel, and what it asked before the gap is answered as it was answered then. From the gap on it is
 * the kernel that answers, until the case is at its end or at its next gap.
 *
 * All cases use the same few names of sessions and cross together: in the kernel each name has the number of its case in front.
 * Unhappy: a case that asks other things than in the kernel before is an error of the test, and said.
 */
import assert from 'node:assert/strict';
import { createKernelBackend } from '../../../../src/backends/kernel/index.js';
import { LuoError } from '../../../../src/base/errors.js';
import type { Backend, Direction, HeldFd, Session } from '../../../../src/ports/index.js';
import { memfdCreate } from '../../../../src/sys/index.js';
import type { ContractSubject } from '../../../../src/testing/backend-contract.js';
import { DeviceStore } from './device-store.js';

const NAME_BYTES_MAX = 63;

/** What a call came to. */
interface Answer {
  /** Of its refusal. */
  readonly errno?: string;
  /** What `recover` found. */
  readonly sessions?: readonly (readonly [string, Direction])[];
}

/** A case between two kernels. */
export interface CaseRecord {
  /** `waiting`: for the gap. */
  readonly state: 'done' | 'waiting';
  readonly answers: readonly (Answer | null)[];
  /** Gaps that it came to. */
  readonly gaps: number;
}

export class ContractCase implements ContractSubject {
  readonly backend: Backend;
  readonly #number: number;
  readonly #store = new DeviceStore();
  readonly #inner = createKernelBackend(this.#store);
  readonly #before: CaseRecord | undefined;
  readonly #jumps: number;
  readonly #answers: (Answer | null)[];
  #calls = 0;
  #gaps = 0;
  #waiting = false;

  /**
   * @param number of the case in the contract
   * @param jumps how many of its gaps this kernel is behind
   * @param before what it left in the last kernel; undefined: it is run for the first time
   */
  constructor(number: number, jumps: number, before: CaseRecord | undefined) {
    this.#number = number;
    this.#jumps = before === undefined ? 0 : jumps;
    this.#before = before;
    this.#answers = [...(before?.answers ?? [])];
    this.backend = {
      gap: this.#inner.gap,
      capabilities: this.#inner.capabilities,
      create: (name) => this.#open(name, 'outgoing'),
      retrieve: (name) => this.#open(name, 'incoming'),
      recover: () => this.#recover(),
    };
  }

  get record(): CaseRecord {
    return { state: this.#waiting ? 'waiting' : 'done', answers: this.#answers, gaps: this.#gaps };
  }

  /** It was at its end in an earlier kernel: whatever it does now is not looked at. */
  get isOver(): boolean {
    return this.#before?.state === 'done';
  }

  cross(): Promise<Backend> {
    this.#gaps += 1;
    if (this.#gaps <= this.#jumps) return Promise.resolve(this.backend);
    this.#waiting = true;
    return Promise.reject(new Error('the case waits for the jump'));
  }

  end(): Promise<void> {
    if (this.#waiting) this.#store.leave();
    this.#store.end();
    return Promise.resolve();
  }

  /** Whether this kernel answers, and not the record. */
  get #isLive(): boolean {
    return this.#gaps === this.#jumps;
  }

  async #open(name: string, direction: Direction): Promise<Session> {
    const inner = await this.#call(
      () => (direction === 'outgoing' ? this.#inner.create(this.#long(name)) : this.#inner.retrieve(this.#long(name))),
      () => undefined,
    );
    return this.#session(name, direction, inner);
  }

  async #recover(): Promise<readonly Session[]> {
    interface Found {
      readonly name: string;
      readonly direction: Direction;
      readonly inner: Session | undefined;
    }
    const found = await this.#call<readonly Found[]>(
      async () =>
        (await this.#inner.recover()).map((inner) => ({
          name: this.#short(inner.name),
          direction: inner.direction,
          inner,
        })),
      ({ sessions = [] }) => sessions.map(([name, direction]) => ({ name, direction, inner: undefined })),
      (sessions) => ({ sessions: sessions.map(({ name, direction }) => [name, direction] as const) }),
    );
    return found.map(({ name, direction, inner }) => this.#session(name, direction, inner));
  }

  /** @param inner undefined: it belongs to a kernel that is gone */
  #session(name: string, direction: Direction, inner: Session | undefined): Session {
    const gaps = this.#gaps;
    const call = <T>(work: (session: Session) => Promise<T>, replay: () => T): Promise<T> => {
      // No fd lives through the gap; that it is EBADF is what any closed fd is.
      if (this.#gaps > gaps) {
        return Promise.reject(new LuoError('SYS', 'a session of before the gap', { errno: 'EBADF' }));
      }
      return this.#call(() => work(inner ?? assert.fail('a session of no kernel')), replay);
    };
    const nothing = (): void => undefined;
    return {
      name,
      direction,
      preserve: (fd, token) => call((session) => session.preserve(fd, token), nothing),
      retrieve: (token) => call<HeldFd>((session) => session.retrieve(token), standIn),
      finish: () => call((session) => session.finish(), nothing),
      close: () => (this.#gaps > gaps ? Promise.resolve() : call((session) => session.close(), nothing)),
    };
  }

  async #call<T>(work: () => Promise<T>, replay: (answer: Answer) => T, note?: (value: T) => Answer): Promise<T> {
    assert.ok(!this.isOver, 'this case was over in an earlier kernel');
    const at = this.#calls;
    this.#calls += 1;
    if (!this.#isLive) {
      const answer = this.#before!.answers[at];
      assert.ok(answer, `call ${at} was not made in the kernel before`);
      if (answer.errno === undefined) return replay(answer);
      throw new LuoError('SYS', 'as in the kernel before', { errno: answer.errno });
    }
    try {
      const value = await work();
      this.#answers[at] = note?.(value) ?? {};
      return value;
    } catch (error) {
      this.#answers[at] = { errno: LuoError.from(error).errno ?? 'EIO' };
      throw error;
    }
  }

  /** A name that is none, or has no room for the number, goes as it is: such a case does not cross. */
  #long(name: string): string {
    const long = `${this.#number}:${name}`;
    return name !== '' && Buffer.byteLength(long) <= NAME_BYTES_MAX ? long : name;
  }

  #short(name: string): string {
    const mark = `${this.#number}:`;
    return name.startsWith(mark) ? name.slice(mark.length) : name;
  }
}

/** In the place of a file that came back in a kernel that is gone. */
function standIn(): HeldFd {
  return memfdCreate('before');
}
