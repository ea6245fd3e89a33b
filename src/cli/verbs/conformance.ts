/** `luoctl conformance`: does a /dev/liveupdate behave as the kernel's does? Needs no luod. */
import type { ConformanceResult, ConformanceStage } from '../../ports/conformance.js';
import { EXIT } from '../exit-codes.js';
import { table } from '../format.js';
import { countsText, tapHead, tapLine } from '../tap.js';
import { verb } from '../verb.js';
import type { Context } from '../context.js';

interface Options {
  readonly stage?: ConformanceStage;
  readonly group?: readonly string[];
  readonly list?: true;
}

export const conformance = verb<Options>({
  name: 'conformance',
  group: 'Kernels:',
  summary: 'check that a /dev/liveupdate behaves as the kernel’s does; prints TAP',
  operands: '[device]',
  options: [
    {
      flags: '--stage <stage>',
      help: 'the cases that need a kexec: 1 before it, 2 after it',
      choices: ['1', '2'],
    },
    {
      flags: '--group <group>',
      help: 'only this group; may be repeated',
      parse: (text, previous) => [...((previous as string[] | undefined) ?? []), text],
    },
    { flags: '--list', help: 'print the groups and their cases, and do nothing' },
  ],
  notes:
    'DEVICE is /dev/liveupdate by default. The suite needs it for itself, and leaves nothing behind; --stage 1 leaves a process that holds its sessions until the jump. Group kernel-only is run only by name. Exit code 1: a case failed. docs/conformance.md explains it.',
  example: {
    line: 'luoctl conformance --stage 1',
    says: 'prepares the cases that need a kexec; after it, luoctl conformance --stage 2 says what came over',
  },
  async run({ context, args, options }) {
    const { conformance: suite } = context.ports;
    // Given as text, since commander compares choices as text.
    const stage = options.stage === undefined ? undefined : (Number(options.stage) as ConformanceStage);
    const selection = {
      ...(stage === undefined ? {} : { stage }),
      ...(options.group === undefined ? {} : { groups: options.group }),
    };
    const cases = suite.list(selection);
    if (options.list === true) {
      context.report({ groups: suite.groups(stage), cases }, listText(context, stage, cases));
      return EXIT.done;
    }
    const counts = { passed: 0, failed: 0, skipped: 0 };
    let number = 0;
    const tell = (result: ConformanceResult): void => {
      if (number === 0) context.say(tapHead(cases.length));
      number += 1;
      counts[({ pass: 'passed', fail: 'failed', skip: 'skipped' } as const)[result.result]] += 1;
      context.report({ ...result }, tapLine(number, result));
    };
    const { holder } = await suite.run(args[0] ?? '/dev/liveupdate', selection, tell);
    context.report({ ...counts, ...(holder === null ? {} : { holder }) }, countsText(counts));
    if (holder !== null) {
      context.tell(
        `process ${holder} holds the sessions: now jump by kexec, then run luoctl conformance --stage 2; end the process to give them up`,
      );
    }
    return counts.failed === 0 ? EXIT.done : EXIT.failed;
  },
});

function listText(
  context: Context,
  stage: ConformanceStage | undefined,
  cases: ReturnType<Context['ports']['conformance']['list']>,
): string {
  const groups = context.ports.conformance.groups(stage);
  const rows = groups.map(({ group, about, byDefault, cases: count }) => [
    group,
    String(count),
    byDefault ? 'yes' : 'no',
    about,
  ]);
  return `${table(['GROUP', 'CASES', 'DEFAULT', 'ABOUT'], rows)}\n${cases
    .map(({ group, name }) => `${group}: ${name}\n`)
    .join('')}`;
}
