/**
 * Stands in for luod in the tests of the keeper: hands its channel (fd 3) to the test, which then speaks for it.
 * `puppet SOCKET LABEL`; with --check-journal it ends with 0 if fd 3 says `good`. Label `dies` ends at once, `stubborn`
 * ignores SIGTERM, `adopter` starts a keeper with --adopt first: `puppet SOCKET adopter KEEPER DIR LUOD_ARGV...`.
 */
import { spawn } from 'node:child_process';
import { OwnedFd, pread, socketpair } from '../../src/sys/index.js';
import { connectPeer } from '../../src/transport/index.js';

const [socketPath = '', label = '', ...rest] = process.argv.slice(2);

if (rest.at(-1) === '--check-journal') {
  const content = Buffer.alloc(100);
  process.exit(content.toString('utf8', 0, pread(3, content, 0)) === 'good' ? 0 : 3);
}
if (label === 'dies') process.exit(9);
if (label === 'stubborn') process.on('SIGTERM', () => {});

let channel: OwnedFd;
if (label === 'adopter') {
  const [keeper = '', dir = '', ...luodArgv] = rest;
  const [ours, theirs] = socketpair();
  const argv = [keeper, '--dir', dir, '--adopt', '--', ...luodArgv];
  spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit', theirs.fd], detached: true });
  theirs.close();
  channel = ours;
} else {
  channel = new OwnedFd(3);
}
const test = await connectPeer(socketPath);
test.event('luod', { pid: process.pid, label }, [channel.fd]);
channel.close();
await test.closed;
