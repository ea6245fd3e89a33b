/**
 * `npm run demo:kexec`: see the kernel under a filled cache being replaced, and every key survive.
 *
 *   npm run demo:kexec -- [--size 128m] [--json]
 *
 * Needs QEMU and a kernel with live update (docs/vm.md). Exit code 0 if everything that was promised held. With --json
 * the last line of stdout is one JSON object, of the first jump; each jump is in `jumps`.
 */
import { parseArgs } from 'node:util';
import { bold, dim, green, red, say, table } from '../demo/screen.js';
import { parseSize } from '../cache/settings.js';
import { tellKexecStory, type Jump } from './story.js';

/** The steps that a reader wants to see, in words. */
const STEPS: Readonly<Record<string, string>> = {
  'prepare.sent': 'prepare: the cache goes on serving, its memory is preserved',
  'freeze.sent': 'freeze: the blackout begins',
  'freeze.acked': 'it has stopped, its memory is marked clean',
  'decide.sent': 'everybody has stopped: the keeper is asked to commit',
  jump: 'reboot(2): this kernel ends',
  arrived: 'luod of the next kernel has the sessions, plan and order',
  'restart.started': 'the service is started again, as its manifest says',
  'go.acked': 'it has claimed its memory and serves: the blackout ends',
  settled: 'finish: the sessions are closed, the state is normal',
};

function timelineTable({ timeline }: Jump): string {
  const rows: string[][] = [['ms', 'what', '']];
  const seen = new Set<string>();
  for (const event of timeline.events) {
    const words = STEPS[event.what];
    if (words === undefined || event.participant === 'luod' || (seen.has(event.what) && event.what !== 'go.acked'))
      continue;
    seen.add(event.what);
    rows.push([((event.ns - timeline.startNs) / 1e6).toFixed(0), event.what, words]);
  }
  return table(rows);
}

const { values } = parseArgs({
  options: { size: { type: 'string', default: '128m' }, json: { type: 'boolean', default: false } },
});
let result;
try {
  result = await tellKexecStory({
    stateBytes: parseSize(values.size),
    tell: (what) => {
      const start = Date.now();
      return (how) => say(`${green('✔')} ${what}: ${how} ${dim(`(${((Date.now() - start) / 1000).toFixed(1)} s)`)}`);
    },
  });
} catch (error) {
  say(red((error as Error).message));
  process.exit(1);
}
const { jumps, stateBytes } = result;
const [first] = jumps;
const ok = jumps.every(
  (jump) => jump.keysWrong === 0 && jump.keysAfter === jump.keysBefore && jump.keysBefore > 0 && jump.unclaimed === 0,
);
for (const jump of jumps) {
  say(`\n${bold(`Linux ${jump.kernelBefore} -> ${jump.kernelAfter}`)}`);
  say(timelineTable(jump));
  say(dim('times after `arrived` are joined by a clock with whole seconds; the blackout above is by the host’s clock'));
}
say(ok ? green('\nevery key survived both jumps') : red('\nsomething did not survive'));
if (values.json) console.log(JSON.stringify({ ...first, stateBytes, jumps, ok }));
process.exit(ok ? 0 : 1);
