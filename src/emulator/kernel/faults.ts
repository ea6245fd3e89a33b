/**
 * Faults on order: what the author of a client must survive and cannot provoke on a real kernel. A fault is text,
 * `POINT[:SELECTOR]...:EFFECT[:always]`, such as `preserve:3:ENOMEM` or `retrieve:token=7:EIO`.
 *
 * Happy path: `parseFault` gives a value; `FaultPlan.take` is asked at each call that reaches a point, and gives the
 * effect of the first fault that fits. Without `always` a fault acts once.
 * Unhappy path: text that is no fault, or one that could never act, is refused with the grammar.
 * Never here: the effect itself. Who asks does it, in the place where the kernel would fail.
 */
import { errnoNumber } from '../../abi/errno.js';
import { LuoError } from '../../base/errors.js';
import { nameFromText } from '../../model/index.js';

/** Where a fault can act: the calls of the device and of a session, and the callbacks of reboot(2) and of a close. */
export const FAULT_POINTS = [
  'open',
  'create',
  'retrieve-session',
  'preserve',
  'retrieve',
  'finish',
  'get-name',
  'freeze',
  'load',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

export type FaultEffect =
  | { readonly kind: 'errno'; readonly errno: string }
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** The emulator itself dies at this moment. */
  | { readonly kind: 'die' };

export interface Fault {
  /** As it was written. */
  readonly text: string;
  readonly point: FaultPoint;
  /** The how-manieth call that fits the other selectors, from 1; undefined: the next one. */
  readonly nth?: number;
  readonly token?: bigint;
  /** A byte string, as the model has names. */
  readonly session?: string;
  readonly effect: FaultEffect;
  readonly always: boolean;
}

/** Which selectors have a meaning at which point. */
const SELECTORS: Readonly<Record<FaultPoint, readonly ('token' | 'session')[]>> = {
  open: [],
  create: ['session'],
  'retrieve-session': ['session'],
  preserve: ['token', 'session'],
  retrieve: ['token', 'session'],
  finish: ['session'],
  'get-name': ['session'],
  freeze: ['token', 'session'],
  load: [],
};

export const FAULT_GRAMMAR = `a fault is POINT[:SELECTOR]...:EFFECT[:always]
  POINT     ${FAULT_POINTS.join(', ')}
  SELECTOR  N (the N-th such call), token=T (preserve, retrieve, freeze), session=NAME (all but open and load)
  EFFECT    an errno such as ENOMEM, delay=MILLISECONDS (not at freeze), die
  examples  preserve:3:ENOMEM  retrieve:token=7:EIO  open:EIO  freeze:EBUSY  finish:session=vm:EBUSY:always`;

/** @throws LuoError FAULT_INVALID, with the grammar */
export function parseFault(text: string): Fault {
  const words = text.split(':');
  const point = words.shift() as FaultPoint;
  if (!FAULT_POINTS.includes(point)) throw refusal(text, `'${point}' is no point`);
  const always = words.at(-1) === 'always';
  if (always) words.pop();
  const effect = parseEffect(text, point, words.pop());
  let fault: Fault = { text, point, effect, always };
  for (const word of words) fault = withSelector(fault, word);
  if (always && fault.nth !== undefined) throw refusal(text, 'the N-th call comes once, so that it cannot be always');
  if (always && effect.kind === 'die') throw refusal(text, 'one dies once, not always');
  return fault;
}

function parseEffect(text: string, point: FaultPoint, word: string | undefined): FaultEffect {
  if (word === undefined || word === '') throw refusal(text, 'it has no effect');
  if (word === 'die') return { kind: 'die' };
  if (word.startsWith('delay=')) {
    const delayMs = Number(word.slice('delay='.length));
    if (!/^delay=\d+$/.test(word) || delayMs > 3_600_000) throw refusal(text, `'${word}' is no delay up to an hour`);
    if (point === 'freeze') throw refusal(text, 'a freeze cannot be delayed');
    return { kind: 'delay', delayMs };
  }
  if (errnoNumber(word) === undefined) throw refusal(text, `'${word}' is no effect`);
  // A handler that vetoes has no errno of its own: the kernel makes EBUSY of it.
  if (point === 'finish' && word !== 'EBUSY') throw refusal(text, 'finish can only be refused with EBUSY');
  return { kind: 'errno', errno: word };
}

function withSelector(fault: Fault, word: string): Fault {
  const [, name, value] = /^(token|session)=(.+)$/s.exec(word) ?? [];
  if (name === undefined) {
    if (!/^[1-9]\d{0,8}$/.test(word)) throw refusal(fault.text, `'${word}' is no selector`);
    if (fault.nth !== undefined) throw refusal(fault.text, 'it counts twice');
    return { ...fault, nth: Number(word) };
  }
  const selector = name as 'token' | 'session';
  if (!SELECTORS[fault.point].includes(selector))
    throw refusal(fault.text, `a ${name} has no meaning at ${fault.point}`);
  if (fault[selector] !== undefined) throw refusal(fault.text, `it names two ${name}s`);
  if (selector === 'session') return { ...fault, session: nameFromText(value!) };
  if (!/^(\d+|0x[0-9a-fA-F]+)$/.test(value!) || BigInt(value!) >= 1n << 64n)
    throw refusal(fault.text, `'${value}' is no token`);
  return { ...fault, token: BigInt(value!) };
}

function refusal(text: string, reason: string): LuoError {
  return new LuoError('FAULT_INVALID', `'${text}' is no fault: ${reason}\n${FAULT_GRAMMAR}`);
}

/** What a call is about, as far as faults ask. */
export interface FaultSubject {
  readonly token?: bigint;
  readonly session?: string;
}

/** The faults that were ordered, and how far each of them has counted. */
export class FaultPlan {
  #waiting: { readonly fault: Fault; seen: number }[] = [];

  constructor(faults: readonly Fault[] = []) {
    for (const fault of faults) this.add(fault);
  }

  add(fault: Fault): void {
    this.#waiting.push({ fault, seen: 0 });
  }

  /** Those that can still act. */
  get faults(): readonly Fault[] {
    return this.#waiting.map(({ fault }) => fault);
  }

  /** A call reaches `point`: the fault that acts on it, if one does. All that fit have seen the call. */
  take(point: FaultPoint, subject: FaultSubject = {}): Fault | undefined {
    if (this.#waiting.length === 0) return undefined;
    let acting: Fault | undefined;
    for (const each of [...this.#waiting]) {
      const { fault } = each;
      if (fault.point !== point) continue;
      if (fault.token !== undefined && fault.token !== subject.token) continue;
      if (fault.session !== undefined && fault.session !== subject.session) continue;
      each.seen += 1;
      if (acting !== undefined || (fault.nth !== undefined && each.seen !== fault.nth)) continue;
      acting = fault;
      if (!fault.always) this.#waiting = this.#waiting.filter((other) => other !== each);
    }
    return acting;
  }
}
