// Goal: what an fd is, and whether it can cross which gap, with the reason in words. Method: one real fd of each kind;
// fds that are not, not any more, or only look like one.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, suite, test } from 'node:test';
import { EPOLL, IN, MFD, O, SEAL, SOCK } from '../../src/abi/linux.js';
import { describeFd } from '../../src/handles/index.js';
import { GOES_OVER, type FdFacts } from '../../src/handles/fd/facts.js';
import { describeOther } from '../../src/handles/fd/other.js';
import { describeSession } from '../../src/handles/fd/session.js';
import type { FdType } from '../../src/ports/index.js';
import * as sys from '../../src/sys/index.js';

const directory = mkdtempSync(join(tmpdir(), 'luo-handles-'));
const owned: { close(): void }[] = [];
let fdsBefore = 0;

function own<T extends { close(): void }>(file: T): T {
  owned.push(file);
  return file;
}

before(() => {
  describeFd(0);
  fdsBefore = readdirSync('/proc/self/fd').length;
});
afterEach(() => {
  for (const file of owned.splice(0)) file.close();
  assert.equal(readdirSync('/proc/self/fd').length, fdsBefore, 'describing leaves no fd open');
});
after(() => rmSync(directory, { recursive: true }));

/** It is of that type, crosses a handover, and does not cross a kexec, for a reason that names the thing. */
function staysHere(fd: number, type: FdType, reason: RegExp): ReturnType<typeof describeFd> {
  const description = describeFd(fd);
  assert.equal(description.type, type);
  assert.equal(description.viable.handover.ok, true);
  assert.equal(description.viable.kexec.ok, false);
  assert.match(description.viable.kexec.reason, reason);
  return description;
}

suite('memory', () => {
  test('a memfd has its size and crosses both gaps', () => {
    const file = own(sys.memfdCreate('index'));
    sys.ftruncate(file.fd, 12_345);
    sys.addSeals(file.fd, SEAL.SHRINK | SEAL.GROW);
    assert.deepEqual(describeFd(file.fd), {
      type: 'memfd',
      sizeBytes: 12_345,
      label: '/memfd:index',
      viable: { handover: GOES_OVER, kexec: { ok: true, reason: '' } },
    });
  });

  test('a memfd of free size is warned of: seals that come after prepare are lost', () => {
    const file = own(sys.memfdCreate('index'));
    const { kexec } = describeFd(file.fd).viable;
    assert.equal(kexec.ok, true);
    assert.match(kexec.reason, /seals that are added after prepare are lost/);
  });

  test('a memfd made with MFD_NOEXEC_SEAL is warned of: it comes back read-only', () => {
    const file = own(sys.memfdCreate('noexec', MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL));
    assert.match(describeFd(file.fd).viable.kexec.reason, /comes back read-only/);
  });

  test('a memfd through a read-only fd is warned of: it comes back writable', () => {
    const file = own(sys.memfdCreate('ro'));
    const readOnly = own(sys.openFile(`/proc/self/fd/${file.fd}`, O.RDONLY));
    const description = describeFd(readOnly.fd);
    assert.equal(description.type, 'memfd');
    assert.match(description.viable.kexec.reason, /comes back writable/);
  });

  test('a tmpfs file without a name is memory as a memfd is', (context) => {
    const path = '/dev/shm/luo-handles-test';
    try {
      writeFileSync(path, 'shared');
    } catch {
      return context.skip('needs a writable tmpfs at /dev/shm');
    }
    const file = own(sys.openFile(path, O.RDWR));
    staysHere(file.fd, 'file', /files of a file system; it can be opened again by its path/);
    rmSync(path);
    const description = describeFd(file.fd);
    assert.equal(description.type, 'memfd');
    assert.equal(description.viable.kexec.ok, true);
  });

  test('memory on huge pages is another kind, which the kernel does not preserve', (context) => {
    let file: sys.OwnedFd;
    try {
      file = own(sys.memfdCreate('huge', MFD.CLOEXEC | MFD.HUGETLB));
    } catch {
      return context.skip('needs hugetlb in the kernel');
    }
    staysHere(file.fd, 'hugetlb', /huge pages/);
  });
});

suite('files', () => {
  test('a file has its size and its path', () => {
    const path = join(directory, 'data');
    writeFileSync(path, '12345');
    const description = staysHere(own(sys.openFile(path, O.RDONLY)).fd, 'file', /opened again by its path/);
    assert.deepEqual([description.sizeBytes, description.label], [5, path]);
  });

  test('a file that has lost its path cannot be opened again, and that is said', () => {
    const path = join(directory, 'gone');
    writeFileSync(path, 'x');
    const file = own(sys.openFile(path, O.RDONLY));
    rmSync(path);
    staysHere(file.fd, 'file', /no path any more/);
  });

  test('a directory has no size', () => {
    mkdirSync(join(directory, 'folder'));
    const description = staysHere(
      own(sys.openFile(join(directory, 'folder'), O.RDONLY)).fd,
      'directory',
      /directories/,
    );
    assert.equal(description.sizeBytes, null);
  });

  test('a device node is the open file, not the device', () => {
    assert.equal(
      staysHere(own(sys.openFile('/dev/null', O.RDWR)).fd, 'chardev', /character devices/).label,
      '/dev/null',
    );
  });

  test('an fd that was opened with O_PATH is not what it points to', () => {
    const file = own(sys.openFile('/dev/null', O.PATH));
    staysHere(file.fd, 'other', /O_PATH/);
  });
});

suite('sockets and pipes', () => {
  test('a listening TCP socket is a listener with its address', () => {
    const file = own(sys.tcpListen({ port: 0, address: '127.0.0.1' }));
    const name = sys.getsockname(file.fd);
    assert.ok(name.family === 'ipv4');
    const description = staysHere(file.fd, 'listener', /sockets; the next kernel has to listen anew/);
    assert.equal(description.label, `127.0.0.1:${name.port}`);
  });

  test('a TCP socket that does not listen is a socket', () => {
    const file = own(sys.socket(2, SOCK.STREAM));
    staysHere(file.fd, 'socket', /its peer sees the connection end/);
  });

  test('a listening unix socket has its path', () => {
    const path = join(directory, 'socket');
    const description = staysHere(own(sys.unixListen(path)).fd, 'listener', /sockets/);
    assert.match(description.label, new RegExp(`${path}$`));
  });

  test('a pair is two sockets without a name', () => {
    const [one, other] = sys.socketpair();
    own(other);
    assert.equal(staysHere(own(one).fd, 'socket', /sockets/).label, 'unix socket without a name');
  });

  test('a datagram socket cannot listen and is a socket', () => {
    staysHere(own(sys.socket(1, SOCK.DGRAM)).fd, 'socket', /sockets/);
  });

  test('a FIFO is a pipe', () => {
    const path = join(directory, 'fifo');
    execFileSync('mkfifo', [path]);
    const description = staysHere(
      own(sys.openFile(path, O.RDONLY | O.NONBLOCK)).fd,
      'pipe',
      /pipes; the bytes in it are lost/,
    );
    assert.equal(description.sizeBytes, null);
  });
});

suite('anonymous files', () => {
  test('an eventfd tells its count', () => {
    assert.equal(staysHere(own(sys.eventfd(26)).fd, 'eventfd', /eventfds/).label, 'eventfd with count 26');
  });

  test('a timerfd starts anew behind a kexec', () => {
    staysHere(own(sys.timerfdCreate()).fd, 'timerfd', /timers/);
  });

  test('an epoll instance counts its files, and says that they must come along', () => {
    const epoll = own(sys.epollCreate());
    assert.equal(staysHere(epoll.fd, 'epoll', /epoll instances/).viable.handover.reason, '');
    sys.epollCtl(epoll.fd, EPOLL.CTL_ADD, own(sys.eventfd()).fd, EPOLL.IN);
    const description = describeFd(epoll.fd);
    assert.equal(description.label, 'epoll of 1 file');
    assert.match(description.viable.handover.reason, /must be handed over too/);
  });

  test('an inotify instance counts its watches', () => {
    const file = own(sys.inotifyInit());
    sys.inotifyAddWatch(file.fd, directory, IN.CREATE);
    assert.equal(staysHere(file.fd, 'inotify', /inotify/).label, 'inotify with 1 watch');
  });

  test('a pidfd names its process, and no process lives on in the next kernel', () => {
    const file = own(sys.pidfdOpen(process.pid));
    assert.equal(staysHere(file.fd, 'pidfd', /no process lives on/).label, `pidfd of process ${process.pid}`);
  });
});

suite('fds that only some machines have', () => {
  const facts = (link: string): FdFacts => ({
    fd: -1,
    link,
    flags: 2,
    stat: { sizeBytes: 0, mode: 0o600, ino: 1n, dev: 1n, rdev: 0n, uid: 0, blocks: 0, nlink: 1 },
  });

  test('a virtual machine of KVM is bound to the process that made it', () => {
    const { handover } = describeOther(facts('anon_inode:kvm-vm')).viable;
    assert.equal(handover.ok, false);
    assert.match(handover.reason, /KVM answers EIO/);
    assert.equal(describeOther(facts('anon_inode:kvm-vcpu:0')).viable.handover.ok, false);
  });

  test('io_uring and userfaultfd are refused for the handover, with their own reasons', () => {
    assert.match(describeOther(facts('anon_inode:[io_uring]')).viable.handover.reason, /io_uring/);
    assert.match(describeOther(facts('anon_inode:[userfaultfd]')).viable.handover.reason, /address space/);
  });

  test('an unknown anonymous file crosses a handover', () => {
    const description = describeOther(facts('anon_inode:[something]'));
    assert.deepEqual([description.type, description.viable.handover.ok], ['other', true]);
    assert.equal(description.viable.kexec.ok, false);
  });

  test('a session of the kernel tells its name, and crosses by itself', () => {
    const description = describeSession(facts('anon_inode:[luo_session] vm-7'));
    assert.equal(description?.label, "session 'vm-7'");
    assert.equal(description.viable.kexec.ok, false);
    assert.equal(describeSession(facts('anon_inode:[eventfd]')), null);
  });
});

test('a number that is no open fd is EBADF', () => {
  assert.throws(() => describeFd(1_000_000), { code: 'SYS', errno: 'EBADF' });
});

test('describing does not move the position of a file', () => {
  const path = join(directory, 'position');
  writeFileSync(path, '0123456789');
  const file = own(sys.openFile(path, O.RDWR));
  sys.read(file.fd, Buffer.alloc(3));
  describeFd(file.fd);
  const rest = Buffer.alloc(10);
  assert.equal(rest.subarray(0, sys.read(file.fd, rest)).toString(), '3456789');
});
