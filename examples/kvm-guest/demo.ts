/**
 * `npm run demo:kvm`: see a virtual machine survive the replacement of its monitor, and of the kernel of its host.
 *
 *   npm run demo:kvm -- [--memory 16m] [--json]
 *
 * Needs QEMU and a kernel with live update (docs/vm.md); KVM is emulated. Exit code 0 if everything that was promised held. With
 * --json the last line of stdout is one JSON object, of the jump; the update before it is in `handover`.
 */
import { parseArgs } from 'node:util';
import { dim, green, red, say, table } from '../demo/screen.js';
import { tellKvmStory, type Crossing } from './story.js';

const { values } = parseArgs({
  options: { memory: { type: 'string', default: '16m' }, json: { type: 'boolean', default: false } },
});

function row(name: string, crossing: Crossing): string[] {
  const { countBefore, countAfter, memoryWrong, interruptsInjected, spuriousInjected, blackoutMs } = crossing;
  const numbers = [countBefore, countAfter, memoryWrong, interruptsInjected, spuriousInjected].map(String);
  return [name, ...numbers, `${blackoutMs.toFixed(0)} ms`];
}

try {
  const { memoryBytes, handover, jumps } = await tellKvmStory({
    memory: values.memory,
    isBackWanted: false,
    tell: (what) => {
      const start = Date.now();
      return (how) => say(`${green('✔')} ${what}: ${how} ${dim(`(${((Date.now() - start) / 1000).toFixed(1)} s)`)}`);
    },
  });
  const jump = jumps[0]!;
  const heading = ['', 'rounds before', 'after', 'wrong words', 'interrupts', 'of them spurious', 'blackout'];
  say(
    `\n${table([heading, row('update of the monitor', handover), row(`Linux ${jump.kernelBefore} -> ${jump.kernelAfter}`, jump)])}`,
  );
  const ok = handover.ok && jump.ok;
  say(ok ? green('\nthe guest went on, twice, and noticed nothing') : red('\nsomething did not survive'));
  if (values.json) console.log(JSON.stringify({ ...jump, memoryBytes, handover, ok }));
  process.exit(ok ? 0 : 1);
} catch (error) {
  say(red((error as Error).message));
  process.exit(1);
}
