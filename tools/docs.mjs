// docs/protocol.md from the one spec (src/protocol/spec.ts), and the verbs of docs/cli.md from src/cli/verbs. Needs a
// build. `--check` changes nothing and fails when a page is not what the source says, or when an example is not what its
// schema allows.
import { Value } from '@sinclair/typebox/value';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { EXAMPLES } from './docs-examples.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const built = (path) => import(pathToFileURL(join(root, 'dist/src', path)).href);
const spec = await built('protocol/spec.js');
const { VERBS } = await built('cli/verbs/index.js');
const { GROUPS } = await built('cli/verb.js');

/** Schemas that have a section of their own: shown by name wherever they occur. */
const NAMED = Object.entries(spec).filter(
  ([name, value]) =>
    /^[A-Z][a-z]/.test(name) &&
    typeof value === 'object' &&
    ['object', undefined].includes(value.type) &&
    name !== 'Parcel',
);
const SHAPES = NAMED.filter(([, value]) => value.type === 'object');
const ENVELOPES = ['Request', 'Reply', 'Progress', 'Event'];
const nameOf = (schema) => SHAPES.find(([, value]) => sameShape(value, schema))?.[0];

/** TypeBox's Optional copies the schema: equal apart from the symbols and the description. */
function sameShape(a, b) {
  const plain = ({ description: _, ...rest }) => JSON.stringify(rest);
  return a === b || (a.type === b.type && plain(a) === plain(b));
}

const isOptional = (owner, key) => !(owner.required ?? []).includes(key);

/** A type in one line, as a person reads it. */
function typeText(schema, inside) {
  const name = inside === schema ? undefined : nameOf(schema);
  if (name) return `[${name}](#${name.toLowerCase()})`;
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.anyOf) {
    const parts = [...new Set(schema.anyOf.map((part) => typeText(part, inside)))];
    return parts.includes('any JSON') ? 'any JSON' : parts.join(' or ');
  }
  switch (schema.type) {
    case 'array':
      return `list of ${typeText(schema.items, inside)}`;
    case 'object':
      if (schema.patternProperties) {
        const value = Object.values(schema.patternProperties)[0];
        return `object of ${typeText(value, inside)} by name`;
      }
      return Object.keys(schema.properties ?? {}).length === 0
        ? 'object'
        : `{ ${Object.entries(schema.properties)
            .map(([key, value]) => `\`${key}\`${isOptional(schema, key) ? '?' : ''}: ${typeText(value, inside)}`)
            .join('; ')} }`;
    case undefined:
      return 'any JSON';
    default:
      return schema.type;
  }
}

/** Bounds of a value, in words. */
function bounds(schema) {
  const list = [
    schema.minimum !== undefined && schema.maximum !== undefined
      ? `${schema.minimum} to ${schema.maximum}`
      : schema.minimum !== undefined && schema.minimum !== 0
        ? `at least ${schema.minimum}`
        : schema.maximum !== undefined
          ? `at most ${schema.maximum}`
          : '',
    schema.maxLength === undefined ? '' : `at most ${schema.maxLength} characters`,
    schema.minItems ? `at least ${schema.minItems}` : '',
    schema.maxItems === undefined ? '' : `at most ${schema.maxItems} items`,
  ];
  return list.filter(Boolean).join(', ');
}

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** One row per field; inner objects of lists are shown in the type. */
function fieldTable(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([key, value]) => {
    const words = [value.description ?? '', bounds(value)].filter(Boolean).join('; ');
    return `| \`${key}\` | ${isOptional(schema, key) ? 'no' : 'yes'} | ${cell(typeText(value, schema))} | ${cell(words)} |`;
  });
  return rows.length === 0 ? 'none\n' : ['| field | needed | type | |', '|---|---|---|---|', ...rows, ''].join('\n');
}

const fdCount = (count) => (count === -1 ? 'any number, within the limits' : String(count));

function validated(what, schema, value) {
  if (!Value.Check(schema, value)) {
    const first = [...Value.Errors(schema, value)][0];
    throw new Error(`the example of ${what} is not what the spec allows: ${first?.path} ${first?.message}`);
  }
  return JSON.stringify(value);
}

/** The lines of one exchange, each checked against its schema. */
function exampleText(service, name, method) {
  const example = EXAMPLES[service]?.[name];
  if (!example) return '';
  const fds = (count) => (count ? { fds: count } : {});
  const lines = [
    {
      id: 7,
      method: name,
      params: JSON.parse(validated(`${name} params`, method.params, example.params)),
      ...fds(example.fdsIn),
    },
    ...(example.progress ?? []).map((data) => ({
      progress: 7,
      data: JSON.parse(validated(`${name} progress`, method.progress, data)),
    })),
    { re: 7, result: JSON.parse(validated(`${name} result`, method.result, example.result)), ...fds(example.fdsOut) },
  ];
  validated(`${name} request`, spec.Request, lines[0]);
  validated(`${name} reply`, spec.Reply, lines.at(-1));
  return `\n\`\`\`json\n${lines.map((line) => JSON.stringify(line)).join('\n')}\n\`\`\`\n`;
}

function methodSection(service, name, method) {
  const facts = [
    service === 'member' ? '' : `Access: \`${method.access}\`.`,
    method.fdsIn === undefined ? '' : `Fds with the request: ${fdCount(method.fdsIn)}.`,
    method.fdsOut === undefined ? '' : `Fds with the reply: ${fdCount(method.fdsOut)}.`,
    method.progress === undefined ? '' : `Progress: ${typeText(method.progress)}.`,
  ].filter(Boolean);
  const resultName = nameOf(method.result);
  return [
    `#### ${name}`,
    '',
    method.doc,
    '',
    ...(facts.length === 0 ? [] : [facts.join(' '), '']),
    'Params:',
    '',
    fieldTable(method.params),
    resultName ? `Result: [${resultName}](#${resultName.toLowerCase()})\n` : 'Result:',
    ...(resultName ? [] : ['', fieldTable(method.result)]),
    exampleText(service, name, method),
  ]
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trimEnd();
}

function eventSection(name, schema) {
  const shape = nameOf(schema);
  return `#### event ${name}\n\n${shape ? `Data: [${shape}](#${shape.toLowerCase()})` : `Data:\n\n${fieldTable(schema)}`}`.trimEnd();
}

function service(key, methods, events = {}) {
  return [
    ...Object.entries(methods).map(([name, method]) => methodSection(key, name, method)),
    ...Object.entries(events).map(([name, schema]) => eventSection(name, schema)),
  ].join('\n\n');
}

for (const [key, methods] of [
  ['luod', spec.LUOD_METHODS],
  ['member', spec.MEMBER_CALLS],
  ['keeper', spec.KEEPER_METHODS],
]) {
  for (const name of Object.keys(EXAMPLES[key] ?? {})) {
    if (!(name in methods)) throw new Error(`tools/docs-examples.mjs: ${key} has no method ${name}`);
  }
}

const text = `# The protocol of luo, version ${spec.PROTOCOL_VERSION}

<!-- Written by tools/docs.mjs from src/protocol/spec.ts; change that file, then run: node tools/build.mjs && node tools/docs.mjs -->

One contract for two sockets: \`DIR/luod.sock\`, where clients and participants talk to luod, and the keeper's, where luod
(and, for \`decide\` only, participants) talk to the keeper. Both are \`SOCK_STREAM\` unix sockets. The limits that are named
here are explained in [limits.md](limits.md), the codes of errors in [errors.md](errors.md).

## Lines

A message is one line of JSON in UTF-8, ended by \`\\n\`. Empty lines are ignored. There are four kinds of line, told apart by
their first field; both ends may send each of them (luod's calls to a participant are requests from luod).

${['Request', 'Reply', 'Progress', 'Event'].map((name) => `### ${name}\n\n${fieldTable(spec[name])}`).join('\n')}
- Requests may be pipelined: replies come in any order, each with the id of its request in \`re\`.
- A reply has either \`result\` or \`error\`, which is a [WireError](#wireerror).
- Unknown fields are ignored and kept; a missing or ill-typed field is refused (\`PROTO_INVALID\`) with its path.
- **Fds.** \`fds: n\` declares that n file descriptors travel with the line (\`SCM_RIGHTS\`), sent at the latest with its
  last byte. The receiver takes the next n that it received, in order. At most 253 travel in one \`sendmsg\`; of more, the
  earlier ones go ahead with empty lines. Fds that no line declares are closed and the sender is dropped (\`PROTO_FDS\`).
- A side that is about to drop the connection says why, if it can: the event \`closing\` with a [WireError](#wireerror).
- A client's first message is [hello](#hello). It names the protocol versions that it speaks; luod chooses one, or
  refuses (\`PROTO_VERSION\`). Who the client is comes from the socket's credentials, never from the message.
- \`access\` of a method: \`any\` (every connection that said hello), \`participant\` (one that joined), \`operator\` (root or
  luod's own user).

## The life of a participant

1. \`hello\` with \`join: true\`; the reply gives its role and what is waiting for it.
2. A \`first\` one registers handles and says \`ready\`; luod calls \`go\` with attempt 0.
3. At an update luod calls \`prepare\`, then \`freeze\`, then \`retire\`; or \`cancel\`, after which it serves as before.
4. A \`successor\` claims what is waiting, declares the rest, says \`standby\`; luod calls \`restore\` (part \`prepared\`, then
   \`frozen\`); it says \`ready\`; luod lets the keeper record the decision, then calls \`go\`, \`canFinish\`, \`finish\`.
5. A \`restart\` (the old process is gone) claims, says \`ready\`, gets \`restore\` (part \`frozen\`) with every parcel that was
   kept, then \`go\`.
6. If luod hangs up on a frozen member, or its blackout deadline passes, it asks the keeper: \`decide\` with want \`aborted\` on
   \`keeperSocket\`, and goes by the answer. A successor that said \`ready\` only reads.

## Shapes

${SHAPES.filter(([name]) => !ENVELOPES.includes(name))
  .map(
    ([name, schema]) =>
      `### ${name === 'WireErrorSchema' ? 'WireError' : name}\n\n${schema.description ? `${schema.description}\n\n` : ''}${fieldTable(schema)}`,
  )
  .join('\n')}
## Client to luod

${service('luod', spec.LUOD_METHODS, spec.LUOD_EVENTS)}

## luod to a participant

Every call carries the number of its attempt and a deadline; an answer that comes later counts as a failure, and what it
did is undone. fds "with the request" go to the participant, "with the reply" come from it.

${service('member', spec.MEMBER_CALLS)}

## To the keeper

Only luod's own channel may call these, but for \`decide\`, which anybody may call who has the key of the attempt.

${service('keeper', spec.KEEPER_METHODS, spec.KEEPER_EVENTS)}
`
  .replaceAll('[WireErrorSchema](#wireerrorschema)', '[WireError](#wireerror)')
  .replace(/\n{3,}/g, '\n\n');

/** One verb as its help says it. */
function verbSection(verb) {
  const command = { optional: ' [-- COMMAND...]', required: ' -- COMMAND...' }[verb.command] ?? '';
  const options = (verb.options ?? []).map((option) => {
    const choices = option.choices ? ` (${option.choices.join(', ')})` : '';
    return `| \`${option.flags}\` | ${cell(option.help)}${choices}${option.required ? '; needed' : ''} |`;
  });
  const sentence = verb.summary[0].toUpperCase() + verb.summary.slice(1);
  return [
    `#### luoctl ${verb.name}`,
    '',
    `\`luoctl ${verb.name}${options.length ? ' [options]' : ''}${verb.operands ? ` ${verb.operands}` : ''}${command}\``,
    '',
    `${sentence}.${verb.notes ? ` ${verb.notes}` : ''}`,
    '',
    ...(options.length ? ['| option | |', '|---|---|', ...options, ''] : []),
    '```',
    verb.example.line,
    '```',
    '',
    `${verb.example.says[0].toUpperCase()}${verb.example.says.slice(1)}.`,
  ].join('\n');
}

/** docs/cli.md with its part between the two marks written anew. */
function cliPage() {
  const page = readFileSync(join(root, 'docs/cli.md'), 'utf8');
  const begin = '<!-- verbs: written by tools/docs.mjs from src/cli/verbs -->\n';
  const end = '<!-- end of verbs -->';
  if (!page.includes(begin) || !page.includes(end)) throw new Error(`docs/cli.md has lost its marks: ${begin} ${end}`);
  const verbs = GROUPS.map((group) => {
    const sections = VERBS.filter((verb) => verb.group === group).map(verbSection);
    return `### ${group.replace(':', '')}\n\n${sections.join('\n\n')}\n`;
  });
  return `${page.slice(0, page.indexOf(begin) + begin.length)}\n${verbs.join('\n')}\n${page.slice(page.indexOf(end))}`;
}

const pages = { 'docs/protocol.md': text, 'docs/cli.md': cliPage() };
let stale = 0;
for (const [name, content] of Object.entries(pages)) {
  const path = join(root, name);
  if (existsSync(path) && readFileSync(path, 'utf8') === content) continue;
  if (process.argv.includes('--check')) {
    console.error(`${name} is not what the source says; run: node tools/build.mjs && node tools/docs.mjs`);
    stale += 1;
  } else {
    writeFileSync(path, content);
    console.log(`wrote ${name}`);
  }
}
process.exitCode = stale === 0 ? 0 : 1;
