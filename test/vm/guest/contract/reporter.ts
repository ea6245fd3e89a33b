/** A reporter for node:test: each case as a line of JSON as soon as it is over, in their order. */

interface Event {
  readonly type: string;
  readonly data: {
    readonly name: string;
    readonly details?: { readonly type?: string; readonly error?: Error & { readonly cause?: unknown } };
  };
}

/** What a line says. */
export interface CaseEvent {
  readonly name: string;
  /** Null: it passed. */
  readonly error: string | null;
}

export default async function* cases(source: AsyncIterable<Event>): AsyncGenerator<string> {
  for await (const { type, data } of source) {
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details?.type === 'suite') continue;
    const { cause, message } = data.details?.error ?? { message: 'failed' };
    const error = type === 'test:pass' ? null : cause instanceof Error ? (cause.stack ?? cause.message) : message;
    yield `${JSON.stringify({ name: data.name, error } satisfies CaseEvent)}\n`;
  }
}
