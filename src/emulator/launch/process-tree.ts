/**
 * All that this process's programs have started and left: found by asking the kernel for children of children, ended by SIGKILL, and
 * gone when the kernel says that there is no child left. This process must be a subreaper, so that whatever loses its
 * parent, by setsid and a double fork too, becomes its own child.
 *
 * Happy path: a pass or two. Unhappy: a process that forks as fast as it is found needs more passes; one that is stuck in the
 * kernel does not end: the deadline passes, and it is named.
 * @source fs/proc/array.c (children_seq_ops): a list read while its task runs may miss one; the next pass finds it
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { isSysError, kill, takeChildChange, type ChildChange } from '../../sys/index.js';

/** Milliseconds between two passes. */
const pauseMs = 0.5;

const hasChildrenFiles = existsSync('/proc/thread-self/children');
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Every descendant of process `pid`, parents before children. */
export function descendantsOf(pid: number): number[] {
  const childrenOf = hasChildrenFiles ? childrenByFile : childrenByScan();
  const found = [pid];
  const known = new Set(found);
  for (let index = 0; index < found.length; index += 1) {
    for (const child of childrenOf(found[index]!)) {
      if (known.has(child)) continue;
      known.add(child);
      found.push(child);
    }
  }
  return found.slice(1);
}

/**
 * End every descendant of this process, and reap those that are its children. Blocks until done.
 * @param onChange told what became of each child
 * @returns pids that were still there at the deadline
 */
export function endDescendants(deadlineMs: number, onChange: (change: ChildChange) => void): number[] {
  const end = performance.now() + deadlineMs;
  for (;;) {
    let change: ChildChange | undefined | null;
    while ((change = takeChildChange())) onChange(change);
    if (change === null) return [];
    const left = descendantsOf(process.pid);
    for (const pid of left) killQuietly(pid);
    if (performance.now() >= end) return left;
    Atomics.wait(sleeper, 0, 0, pauseMs);
  }
}

/** End `pid` and its descendants, as far as they are found at once: for one that is not a child of this process. */
export function endTree(pid: number): void {
  for (const each of [pid, ...descendantsOf(pid)]) killQuietly(each);
}

/** An ended process is no error; neither is one that became another user's, which its own parent's end takes along. */
function killQuietly(pid: number): void {
  try {
    kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isSysError(error, 'ESRCH') && !isSysError(error, 'EPERM')) throw error;
  }
}

function childrenByFile(pid: number): number[] {
  return readNames(`/proc/${pid}/task`).flatMap((thread) =>
    readQuietly(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

/** For kernels without those files: every process says who its parent is. */
function childrenByScan(): (pid: number) => number[] {
  const children = new Map<number, number[]>();
  for (const name of readNames('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // The second field is a name in brackets, which may have spaces and brackets in it.
    const stat = readQuietly(`/proc/${name}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  return (pid) => children.get(pid) ?? [];
}

function readNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
