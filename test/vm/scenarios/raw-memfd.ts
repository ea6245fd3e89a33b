/** A memfd preserved by the kernel's own calls, without luod: the bed's own way over the gap. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { MFD } from '../../../src/abi/index.js';
import {
  fstat,
  liveupdateCreateSession,
  liveupdateRetrieveSession,
  memfdCreate,
  openLiveupdate,
  pread,
  pwrite,
  sessionFinish,
  sessionPreserveFd,
  sessionRetrieveFd,
  type OwnedFd,
} from '../../../src/sys/index.js';
import { hostClock } from '../bed/host-clock.js';
import type { Scenario } from '../bed/scenario.js';

const SESSION = 'raw-memfd';
const TOKEN = 42n;
const SIZE_BYTES = 4 * 2 ** 20;

interface Carried {
  readonly word: string;
  readonly release: string;
  readonly hostNs: string;
}

/** Open until this kernel ends: closing a session gives up what is in it. */
const kept: OwnedFd[] = [];
const release = (): string => readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();

export const scenario: Scenario<Carried> = {
  async before(machine) {
    const word = `written under ${release()}`;
    const device = openLiveupdate();
    const session = liveupdateCreateSession(device.fd, SESSION);
    const memfd = memfdCreate('raw', MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.EXEC);
    kept.push(device, session, memfd);
    pwrite(memfd.fd, Buffer.from(word), SIZE_BYTES - word.length);
    await sessionPreserveFd(session.fd, memfd.fd, TOKEN);
    machine.log('preserved');
    return { word, release: release(), hostNs: String((await hostClock()).monotonicNs) };
  },

  async after(machine, { word, hostNs }) {
    const device = openLiveupdate();
    const session = liveupdateRetrieveSession(device.fd, SESSION);
    const memfd = await sessionRetrieveFd(session.fd, TOKEN);
    machine.log('retrieved');
    try {
      assert.equal(fstat(memfd.fd).sizeBytes, SIZE_BYTES);
      const last = Buffer.alloc(word.length);
      assert.equal(pread(memfd.fd, last, SIZE_BYTES - word.length), word.length);
      assert.equal(last.toString(), word);
      assert.ok((await hostClock()).monotonicNs > BigInt(hostNs));
      sessionFinish(session.fd);
    } finally {
      for (const fd of [memfd, session, device]) fd.close();
    }
  },
};
