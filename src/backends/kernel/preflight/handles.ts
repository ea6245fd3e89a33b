/**
 * What would be carried: does each handle survive, and in what shape? The kernel tells only when it is too late: at preserve,
 * or, for a memory limit, by killing whoever takes the memory back.
 * @source mm/memfd_luo.c, mm/memfd.c (Linux 7.3)
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SEAL } from '../../../abi/linux.js';
import type { PreflightCheck, PreflightHandle, PreflightInput } from '../../../ports/index.js';
import { fstat, getSeals } from '../../../sys/index.js';
import { chargeProblem } from '../control-groups.js';
import { finding, type Machine } from './finding.js';

const BLOCK_BYTES = 512;
const PAGE_BYTES = 4096;
const PAGES_MAX = 0xffff_ffff;
const KNOWN_SEALS = SEAL.SEAL | SEAL.SHRINK | SEAL.GROW | SEAL.WRITE | SEAL.FUTURE_WRITE | SEAL.EXEC;

export function checkHandles(input: PreflightInput, machine: Machine): PreflightCheck[] {
  const files = input.handles.filter((handle) => handle.kind === 'fd');
  const perHandle = files.flatMap((handle) => checkHandle(handle, machine));
  const bad = perHandle.filter((check) => check.result !== 'pass').length;
  const growth = files.reduce((sum, handle) => sum + growthOf(handle), 0);
  const summary = finding(
    'handles',
    'pass',
    `${input.handles.length} handles are carried over${bad > 0 ? `, ${bad} with a note` : ''}; ${input.left.length} stay behind`,
  );
  return [summary, ...perHandle, ...input.left.map(leftBehind), memory(growth, machine)];
}

function checkHandle(handle: PreflightHandle, machine: Machine): PreflightCheck[] {
  const { key, fd, viable, chargedPid } = handle;
  if (!viable.ok)
    return [
      finding(
        'handle',
        'fail',
        `'${key}' does not cross: ${viable.reason}`,
        'let it say `leave`, or luoctl unrequest it',
        key,
      ),
    ];
  if (fd === null) return [];
  const checks: PreflightCheck[] = [];
  const { sizeBytes } = fstat(fd);
  if (sizeBytes / PAGE_BYTES > PAGES_MAX) {
    checks.push(
      finding(
        'handle',
        'fail',
        `'${key}' has ${sizeBytes} bytes, more than the kernel carries in one file`,
        'use several',
        key,
      ),
    );
  }
  checks.push(...checkSeals(handle, fd));
  const growth = growthOf(handle);
  if (growth > 0) {
    checks.push(
      finding(
        'sparse',
        'warn',
        `'${key}' has holes: it will take ${growth} bytes more when it is preserved`,
        null,
        key,
      ),
    );
  }
  const problem = chargeProblem(sizeBytes, chargedPid ?? process.pid, machine);
  if (problem !== null) {
    checks.push(
      finding(
        'memory-max',
        'fail',
        `who takes '${key}' back would be killed: ${problem}`,
        'raise memory.max (MemoryMax= of the unit)',
        key,
      ),
    );
  }
  return checks;
}

function checkSeals({ key, type }: PreflightHandle, fd: number): PreflightCheck[] {
  if (type !== 'memfd') return [];
  let seals: number;
  try {
    seals = getSeals(fd);
  } catch {
    return [];
  }
  if ((seals & ~KNOWN_SEALS) !== 0) {
    return [
      finding(
        'seals',
        'fail',
        `'${key}' has a seal that the kernel does not carry (0x${seals.toString(16)})`,
        'make it without',
        key,
      ),
    ];
  }
  const becomesReadOnly = (seals & SEAL.EXEC) !== 0 && (seals & SEAL.WRITE) === 0;
  if (!becomesReadOnly) return [];
  return [
    finding(
      'seals',
      'warn',
      `'${key}' is sealed against execution: it comes back read-only and of fixed size`,
      'make it with MFD_EXEC (vm.memfd_noexec=0) if it is to be written afterwards',
      key,
    ),
  ];
}

/** Bytes that its holes will take: every page gets memory when it is preserved. */
function growthOf({ fd, type }: PreflightHandle): number {
  if (fd === null || type !== 'memfd') return 0;
  const { sizeBytes, blocks } = fstat(fd);
  return Math.max(0, Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES - blocks * BLOCK_BYTES);
}

function leftBehind({ handle, reason }: { readonly handle: string; readonly reason: string }): PreflightCheck {
  return finding('left', 'warn', `'${handle}' stays behind: ${reason}`, null, handle);
}

function memory(growth: number, { procRoot }: Machine): PreflightCheck {
  let available: number;
  try {
    const text = readFileSync(join(procRoot, 'meminfo'), 'utf8');
    available = Number(/^MemAvailable:\s*(\d+)/m.exec(text)?.[1]) * 1024;
  } catch {
    return finding('memory', 'warn', 'free memory cannot be read');
  }
  return available > growth
    ? finding('memory', 'pass', `${growth} bytes more are needed and ${available} are free`)
    : finding('memory', 'fail', `${growth} bytes more are needed and ${available} are free`, 'free memory first');
}
