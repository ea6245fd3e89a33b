/**
 * The contract of a backend, as cases of node:test: what every carrier of sessions does, errno by errno, with the content
 * and the position of the files that come back, and that nothing leaks. Run it on a backend of your own:
 * `backendContract('mine', async () => ({ backend, cross, end }))`.
 *
 * All backends are asked what the kernel accepts: memfds. One that accepts any file is asked for every kind as well; the
 * others must refuse those with ENOENT.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, before, beforeEach, suite } from 'node:test';
import { contentCases } from './contract/content.js';
import { endCases } from './contract/ending.js';
import { kindCases } from './contract/kinds.js';
import { nameCases } from './contract/names.js';
import { preserveCases } from './contract/preserve.js';
import { retrieveCases } from './contract/retrieve.js';
import { ContractRun, type MakeSubject } from './contract/run.js';

export type { ContractSubject, MakeSubject } from './contract/run.js';

/** Register the contract as a suite called `name`. */
export function backendContract(name: string, make: MakeSubject): void {
  suite(`backend contract: ${name}`, () => {
    let run: ContractRun;
    let fdsBefore = 0;
    const openFds = (): number => readdirSync('/proc/self/fd').length;

    before(async () => {
      // What a process opens once and keeps, such as its event loop, is no leak.
      const subject = await make();
      await (await subject.backend.create('warm-up')).close();
      await subject.end();
    });
    beforeEach(async () => {
      fdsBefore = openFds();
      run = new ContractRun(await make());
    });
    afterEach(async () => {
      await run.end();
      // The kernel reports the end of a connection one turn later.
      for (let turn = 0; turn < 50 && openFds() > fdsBefore; turn += 1)
        await new Promise((resolve) => setTimeout(resolve, 10));
      assert.equal(openFds(), fdsBefore, 'fds are left over');
    });

    suite('names', () => nameCases(() => run));
    suite('preserve', () => preserveCases(() => run));
    suite('retrieve', () => retrieveCases(() => run));
    suite('finish and close', () => endCases(() => run));
    suite('content', () => contentCases(() => run));
    suite('kinds of file', () => kindCases(() => run));
  });
}
