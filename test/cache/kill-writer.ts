/**
 * A process that writes into a store on a shared memfd (fd 3) until it is killed, and counts in another (fd 4) what it
 * has done. Run by kill.test.ts only: `kill-writer.js SEED`.
 */
import { writeSync } from 'node:fs';
import { PROT } from '../../src/abi/linux.js';
import { Mapping } from '../../src/sys/index.js';
import { TestStore } from './fixtures.js';
import { STORE_BYTES, perform } from './kill-plan.js';

const seed = Number(process.argv[2]);
const protection = PROT.READ | PROT.WRITE;
const memory = Mapping.map({ fd: 3, sizeBytes: STORE_BYTES, protection });
const done = new Float64Array(Mapping.map({ fd: 4, sizeBytes: 4096, protection }).buffer);
const store = new TestStore([memory.buffer]);
writeSync(1, 'writing\n');
for (;;) {
  perform(store, seed, done[0]!);
  done[0]! += 1;
}
