/**
 * The service of bench:kexec, inside of the machine: `kexec-service.js BYTES...` has a region of memory of each size, fills them on a
 * first start, and looks at the ends of each later. What it found is in /run/bench.json.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'luo';

/** What is in /run/bench.json. */
export interface ServiceReport {
  readonly kernel: string;
  readonly regions: number;
  readonly created: number;
  readonly wrong: number;
}

const GOLDEN = 0x9e3779b97f4a7c15n;
const sizes = process.argv.slice(2).map(Number);
const luo = await join({ client: 'bench-kexec' });
const regions = [];
for (const [index, sizeBytes] of sizes.entries()) regions.push(await luo.memory(`region-${index}`, { sizeBytes }));
await luo.ready();
let wrong = 0;
for (const [index, { buffer, sizeBytes, created }] of regions.entries()) {
  const words = new BigUint64Array(buffer, 0, Math.floor(sizeBytes / 8));
  const pattern = BigInt.asUintN(64, GOLDEN * BigInt(index + 1));
  if (created) words.fill(pattern);
  if (words[0] !== pattern || words.at(-1) !== pattern) wrong += 1;
}
const report: ServiceReport = {
  kernel: release(),
  regions: regions.length,
  created: regions.filter(({ created }) => created).length,
  wrong,
};
writeFileSync('/run/bench.new', JSON.stringify(report));
renameSync('/run/bench.new', '/run/bench.json');
setInterval(() => undefined, 1 << 30);
