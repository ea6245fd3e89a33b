/**
 * Parameters, results and events against the spec. A schema is compiled when it is first used and kept; fields that it
 * does not name are kept and ignored. Nothing is changed or filled in: what comes back is what went in, with its type.
 */
import type { Static, TSchema } from '@sinclair/typebox';
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler';
import { LuoError } from '../base/errors.js';
import type { MethodSpec } from './spec.js';

/** The methods of one service by name, as in spec.ts. */
export type MethodTable = Readonly<Record<string, MethodSpec>>;
/** The events of one service by name, as in spec.ts. */
export type EventTable = Readonly<Record<string, TSchema>>;

const compiled = new WeakMap<TSchema, TypeCheck<TSchema>>();

function compile(schema: TSchema): TypeCheck<TSchema> {
  let check = compiled.get(schema);
  if (check === undefined) {
    check = TypeCompiler.Compile(schema);
    compiled.set(schema, check);
  }
  return check;
}

/** Compile a whole table now, so that no first message waits for it: what comes in a blackout is always a first one. */
export function compileMethods(methods: MethodTable, part: 'params' | 'result'): void {
  for (const method of Object.values(methods)) compile(method[part]);
}

/** `value` as the type of `schema`. @throws LuoError PROTO_INVALID; `data.path` says where, `what` names it in the message */
export function parseValue<S extends TSchema>(schema: S, value: unknown, what: string): Static<S> {
  const check = compile(schema);
  if (check.Check(value)) return value as Static<S>;
  const first = check.Errors(value).First();
  const path = first?.path ?? '';
  throw new LuoError(
    'PROTO_INVALID',
    `${what}${path === '' ? '' : ` ${path}`}: ${first?.message ?? 'not as declared'}`,
    {
      data: { path, what },
    },
  );
}

/** The spec of method `name`. @throws LuoError PROTO_UNKNOWN_METHOD */
export function methodSpec<T extends MethodTable>(methods: T, name: string): MethodSpec {
  if (!Object.hasOwn(methods, name)) {
    throw new LuoError('PROTO_UNKNOWN_METHOD', `there is no method '${name.slice(0, 100)}' here`, {
      data: { method: name.slice(0, 100) },
    });
  }
  return methods[name]!;
}

/** The parameters of method `name`. @throws LuoError PROTO_UNKNOWN_METHOD, PROTO_INVALID */
export function parseParams<T extends MethodTable, M extends keyof T & string>(
  methods: T,
  name: M,
  value: unknown,
): Static<T[M]['params']> {
  return parseValue(methodSpec(methods, name).params, value, `parameters of '${name}'`) as Static<T[M]['params']>;
}

/** The result of method `name`. @throws LuoError PROTO_UNKNOWN_METHOD, PROTO_INVALID */
export function parseResult<T extends MethodTable, M extends keyof T & string>(
  methods: T,
  name: M,
  value: unknown,
): Static<T[M]['result']> {
  return parseValue(methodSpec(methods, name).result, value, `result of '${name}'`) as Static<T[M]['result']>;
}

/** The data of event `name`. @throws LuoError PROTO_UNKNOWN_METHOD no such event; PROTO_INVALID */
export function parseEvent<T extends EventTable, E extends keyof T & string>(
  events: T,
  name: E,
  value: unknown,
): Static<T[E]> {
  if (!Object.hasOwn(events, name)) throw new LuoError('PROTO_UNKNOWN_METHOD', `there is no event '${name}' here`);
  return parseValue(events[name]!, value, `event '${name}'`) as Static<T[E]>;
}

export { parseEnvelope } from './envelope.js';
