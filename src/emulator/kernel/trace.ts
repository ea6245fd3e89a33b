/**
 * What the emulated kernel did, for people and for tools: one event for each trapped call that was answered here, and
 * notes on what a program would not see otherwise. Text and JSON lines are made of the same event.
 *
 * Never here: where the lines go, and calls that go on to the real kernel.
 */
export interface CallEvent {
  readonly event: 'call';
  /** Since the emulated kernel was made. */
  readonly atMs: number;
  readonly tookUs: number;
  /** How many jumps came before. */
  readonly generation: number;
  /** Of the thread that calls. */
  readonly pid: number;
  readonly program: string;
  readonly call: string;
  /** As text; bytes that are no UTF-8 are replaced. */
  readonly session?: string;
  readonly token?: bigint;
  /** What was given, or what came back. */
  readonly fd?: number;
  readonly fdKind?: string;
  readonly path?: string;
  /** Whatever else belongs to this call, such as flags or a command line. */
  readonly detail?: string;
  /** 0, or the fd that came back, or the negated errno. */
  readonly result: number;
  readonly errno?: string;
  /** The fault that acted, as it was ordered. */
  readonly fault?: string;
}

export interface NoteEvent {
  readonly event: 'note';
  readonly atMs: number;
  readonly generation: number;
  readonly pid?: number;
  readonly program?: string;
  readonly note: string;
}

export type TraceEvent = CallEvent | NoteEvent;

/** What a call knows of itself while it is being answered. */
export interface CallDetails {
  call: string;
  session?: string;
  token?: bigint;
  fd?: number;
  fdKind?: string;
  path?: string;
  detail?: string;
  fault?: string;
}

/** One line, without its end. */
export function traceText(event: TraceEvent): string {
  const who = event.pid === undefined ? '' : ` ${event.pid} ${event.program ?? '?'}`;
  const head = `${event.atMs.toFixed(3).padStart(10)} g${event.generation}${who}`;
  if (event.event === 'note') return `${head}: ${event.note}`;
  const words = [
    event.path === undefined ? null : JSON.stringify(event.path),
    event.session === undefined ? null : `session=${JSON.stringify(event.session)}`,
    event.token === undefined ? null : `token=0x${event.token.toString(16)}`,
    event.fd === undefined ? null : `fd=${event.fd}`,
    event.fdKind === undefined ? null : `kind=${event.fdKind}`,
    event.detail ?? null,
  ].filter((word) => word !== null);
  const result = event.errno ?? String(event.result);
  const fault = event.fault === undefined ? '' : ` [fault ${event.fault}]`;
  return `${head}: ${event.call}(${words.join(', ')}) = ${result}${fault} <${event.tookUs.toFixed(0)} us>`;
}

/** One JSON object, without the end of its line. A token is a decimal string: it may have 64 bits. */
export function traceJson(event: TraceEvent): string {
  return JSON.stringify(event, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
}

/** The name of a session, a byte string, as people write it. */
export function nameText(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}
