// In the place of luod below a keeper: first it leaves a journal of a version that nobody reads yet, and something beside
// it; from then on it is the real luod, which has to refuse. argv[2]: the real luod's program.
import { existsSync, writeFileSync } from 'node:fs';
import { encodeHeader, encodeRecord, JOURNAL_VERSION } from '../../../src/protocol/journal.js';
import { OwnedFd, memfdCreate, pwrite } from '../../../src/sys/index.js';
import { KeeperClient } from '../../../src/transport/index.js';

const [, , real, done, report] = process.argv as [string, string, string, string, string];
if (process.argv.includes('--check-journal')) {
  await import(real);
} else if (!existsSync(done)) {
  const keeper = new KeeperClient(new OwnedFd(3));
  const journal = memfdCreate('journal');
  pwrite(journal.fd, Buffer.concat([encodeHeader(JOURNAL_VERSION + 1), encodeRecord({ kind: 'unheard-of' })]), 0);
  const thing = memfdCreate('thing');
  pwrite(thing.fd, Buffer.from('precious'), 0);
  await keeper.put({ name: 'luod/journal', owner: '0:(luod)' }, [journal.fd]);
  await keeper.put({ name: 'box/b/thing', owner: '0:(boxes)', meta: { type: 'memfd', sizeBytes: 8 } }, [thing.fd]);
  const refusal = await keeper.next([process.execPath, real]).then(
    () => 'accepted',
    (error: unknown) => (error as { code: string }).code,
  );
  writeFileSync(`${report}.next`, refusal);
  writeFileSync(done, '');
  process.exit(1);
} else if (!existsSync(`${report}.asked`)) {
  // The real luod was here before and has ended: what is there now?
  writeFileSync(`${report}.asked`, '');
  process.argv.splice(1, process.argv.length - 1, real);
  await import(real);
} else {
  const keeper = new KeeperClient(new OwnedFd(3));
  const { entries, luodDeaths } = await keeper.list();
  const kept = await keeper.get('box/b/thing');
  writeFileSync(report, JSON.stringify({ names: entries.map(({ name }) => name), luodDeaths, fds: kept.owned.length }));
  await keeper.shutdown();
  process.exit(0);
}
