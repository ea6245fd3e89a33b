/** Goal: processes by descriptor, reaping, limits, and the points where tests kill them. Method: real children, by pid. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FAULT_POINTS } from '../../src/base/fault-points.js';
import { errnoName } from '../../src/abi/index.js';
import {
  endedChild,
  eventLoop,
  fstat,
  getFileLimit,
  kill,
  memfdCreate,
  pidfdGetfd,
  pidfdOpen,
  pidfdSendSignal,
  processExists,
  sameOpenFile,
  setFileLimit,
  signalName,
  signalNumber,
  waitPid,
} from '../../src/sys/index.js';
import { leakCheck, throwsErrno, until, withFolder } from './support.js';

leakCheck();

const sysPath = fileURLToPath(new URL('../../src/sys/index.js', import.meta.url));

function node(code: string, env: Record<string, string> = {}): ReturnType<typeof spawnSync> {
  const script = `import * as sys from ${JSON.stringify(sysPath)};\n${code}`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
}

test('a pidfd becomes readable when its process ends, and signals reach that process only', async () => {
  const child = spawn('sleep', ['100']);
  const pidfd = pidfdOpen(child.pid!);
  let ended = false;
  const watch = eventLoop().watch(pidfd.fd, { readable: true, writable: false }, () => {
    ended = true;
    watch.close();
  });
  pidfdSendSignal(pidfd.fd, 0);
  pidfdSendSignal(pidfd.fd, 'SIGTERM');
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  assert.deepEqual([code, signal], [null, 'SIGTERM']);
  await until(() => ended, 'the pidfd');
  throwsErrno(() => pidfdSendSignal(pidfd.fd, 'SIGTERM'), 'ESRCH');
  pidfd.close();
});

test('a process that is not there is ESRCH', () => {
  throwsErrno(() => pidfdOpen(2 ** 22 + 1), 'ESRCH');
  throwsErrno(() => kill(2 ** 22 + 1, 'SIGTERM'), 'ESRCH');
  assert.equal(processExists(2 ** 22 + 1), false);
  assert.equal(processExists(process.pid), true);
});

test('pidfdGetfd duplicates a descriptor of another process', () => {
  const self = pidfdOpen(process.pid);
  const memfd = memfdCreate('x');
  const copy = pidfdGetfd(self.fd, memfd.fd);
  assert.equal(fstat(copy.fd).ino, fstat(memfd.fd).ino);
  throwsErrno(() => pidfdGetfd(self.fd, 1_000_000), 'EBADF');
  for (const fd of [self, memfd, copy]) fd.close();
});

test('kcmp tells one open file from another of the same kind', () => {
  const one = memfdCreate('x');
  const other = memfdCreate('x');
  const pid = process.pid;
  assert.equal(sameOpenFile({ pid, fd: one.fd }, { pid, fd: other.fd }), false);
  assert.equal(sameOpenFile({ pid, fd: one.fd }, { pid, fd: one.fd }), true);
  throwsErrno(() => sameOpenFile({ pid, fd: one.fd }, { pid, fd: 1_000_000 }), 'EBADF');
  one.close();
  other.close();
});

test('file limits are read and lowered, and not raised above the hard one', () => {
  const limits = getFileLimit();
  assert.ok(limits.soft > 0 && limits.soft <= limits.hard);
  setFileLimit({ soft: limits.soft - 1, hard: limits.hard });
  assert.equal(getFileLimit().soft, limits.soft - 1);
  setFileLimit(limits);
  throwsErrno(() => setFileLimit({ soft: limits.hard + 1, hard: limits.hard }), 'EINVAL');
});

test('waiting for what is no child is ECHILD', () => {
  throwsErrno(() => waitPid(1), 'ECHILD');
  assert.ok([0, undefined].includes(endedChild()));
});

test('a subreaper inherits and reaps the orphans of its descendants, with their status', () => {
  const { stdout, stderr } = node(`
    import { spawn } from 'node:child_process';
    sys.becomeSubreaper();
    const child = spawn('sh', ['-c', '(sleep 0.1; exit 7) & echo $!'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let orphan = 0;
    child.stdout.on('data', (data) => { orphan = Number(data); });
    child.on('exit', () => {
      const timer = setInterval(() => {
        if (orphan === 0 || sys.endedChild() !== orphan) return;
        console.log(JSON.stringify(sys.waitPid(orphan)) === JSON.stringify({ pid: orphan, code: 7, signal: null }));
        clearInterval(timer);
      }, 5);
    });
  `);
  assert.equal(stdout, 'true\n', String(stderr));
});

test('exitNow runs no exit handlers', () => {
  const { status, stdout } = node(`process.on('exit', () => console.log('handler')); sys.exitNow(9);`);
  assert.equal(status, 9);
  assert.equal(stdout, '');
});

test('signals have names and numbers', () => {
  assert.equal(signalNumber('SIGKILL'), 9);
  assert.equal(signalNumber(15), 15);
  assert.equal(signalName(9), 'SIGKILL');
  assert.equal(signalName(40), 'SIG40');
});

test('error numbers have the names of errno(3)', () => {
  assert.equal(errnoName(9), 'EBADF');
  assert.equal(errnoName(109), 'ETOOMANYREFS');
  assert.equal(errnoName(133), 'EHWPOISON');
  assert.equal(errnoName(117), 'EUCLEAN');
  assert.equal(errnoName(0), 'E#0');
  assert.equal(errnoName(41), 'E#41');
  assert.equal(errnoName(999), 'E#999');
});

test('a fault point does nothing unless it is armed', () =>
  withFolder((folder) => {
    const point = FAULT_POINTS[0];
    const code = `sys.faultPoint(${JSON.stringify(point)}); console.log('passed');`;
    assert.equal(node(code).stdout, 'passed\n');
    assert.equal(node(code, { LUO_FAULT_DIR: folder }).stdout, 'passed\n');
    assert.equal(existsSync(join(folder, 'hits')), false);
  }));

for (const [action, status, signal, passed] of [
  ['kill', null, 'SIGKILL', false],
  ['exit 5', 5, null, false],
  ['delay 1', 0, null, true],
  ['nonsense', 1, null, false],
] as const) {
  test(`a fault point armed with '${action}' does that, once`, () =>
    withFolder((folder) => {
      const point = FAULT_POINTS[0];
      writeFileSync(join(folder, point), action);
      const code = `sys.faultPoint(${JSON.stringify(point)}); console.log('passed');`;
      const first = node(code, { LUO_FAULT_DIR: folder });
      assert.equal(first.status, status);
      assert.equal(first.signal, signal);
      assert.equal(first.stdout, passed ? 'passed\n' : '');
      assert.match(readFileSync(join(folder, 'hits'), 'utf8'), new RegExp(`^${point} \\d+\\n$`));
      assert.equal(node(code, { LUO_FAULT_DIR: folder }).stdout, 'passed\n', 'the second passes');
    }));
}

test('a fault point armed with stop stops the process until it is continued', () =>
  withFolder(async (folder) => {
    const point = FAULT_POINTS[0];
    writeFileSync(join(folder, point), 'stop');
    const script = `import * as sys from ${JSON.stringify(sysPath)}; sys.faultPoint(${JSON.stringify(point)}); console.log('on');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, LUO_FAULT_DIR: folder },
    });
    const state = (): string => /^State:\t(\w)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? '';
    await until(() => state() === 'T', 'the process to stop');
    kill(child.pid!, 'SIGCONT');
    const [code] = (await once(child, 'exit')) as [number];
    assert.equal(code, 0);
  }));
