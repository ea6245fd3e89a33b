/**
 * What the emulator, or the model, does otherwise than the kernel and cannot do alike, each with its reason. Everything else that
 * differs is an error. docs/emulator-differences.md has the list of the emulator's for people; a test holds the two together.
 */
export interface Compared {
  /** The operation's words, without the helper in front. */
  readonly words: readonly string[];
  readonly kernel: string;
  readonly other: string;
  /** The emulator traps every open. */
  readonly strict: boolean;
}

export interface Difference {
  readonly id: string;
  /** What differs, as a sentence. */
  readonly what: string;
  /** Why it cannot be alike. */
  readonly reason: string;
  matches(compared: Compared): boolean;
  /** What comes after it in the sequence says nothing any more. */
  ends(compared: Compared): boolean;
}

/** Access modes of open(2), and O_PATH. */
const [O_ACCMODE, O_RDWR, O_LARGEFILE, O_PATH] = [3, 2, 0o100000, 0o10000000];

function opensOtherwise({ words }: Compared): boolean {
  const flags = Number(words[2]);
  return words[0] === 'open' && ((flags & O_ACCMODE) !== O_RDWR || (flags & O_PATH) !== 0);
}

/** What `put` writes, at the file's position. */
const PUT_BYTES = '8';

/** Commands that a socket answers as every file does: close-on-exec, not blocking. */
const EVERY_FILE = new Set([0x5421, 0x5450, 0x5451]);

/** `flags 0x8002 cloexec 1`: the flags of the open file, and the rest. */
function flagsOf(outcome: string): [number, string] | null {
  const [, flags, rest = ''] = /^flags (0x[0-9a-f]+|0) (.*)$/.exec(outcome) ?? [];
  return flags === undefined ? null : [Number(flags), rest];
}

function isForeignIoctl({ words, strict }: Compared): boolean {
  const command = Number.parseInt(words[2] ?? '', 16);
  return !strict && words[0] === 'ioctl' && ((command >>> 8) & 0xff) !== 0xba && !EVERY_FILE.has(command);
}

function lacksLargeFile({ words, kernel, other }: Compared): boolean {
  const [ours, theirs] = [flagsOf(kernel), flagsOf(other)];
  if (words[0] !== 'flags' || ours === null || theirs === null) return false;
  return (ours[0] | O_RDWR | 1) === (theirs[0] | O_LARGEFILE | 1) && ours[1] === theirs[1];
}

/** All that was asked to be written was written, which is more than the kernel wrote. */
function writesBeyond({ words, kernel, other }: Compared): boolean {
  const asked = { write: words[2], pwrite: words[3], put: PUT_BYTES }[words[0]!];
  return (
    asked !== undefined && Number(other) === Number(asked) && (kernel === 'EPERM' || Number(kernel) < Number(other))
  );
}

export const EMULATOR_DIFFERENCES: readonly Difference[] = [
  {
    id: 'open-mode',
    what: 'Without `--strict`, an open of the device with `O_RDONLY`, `O_WRONLY` or `O_PATH` is ENOENT.',
    reason: 'Only opens with `O_RDWR` are trapped by default, so that all other opens go at full speed.',
    matches: (compared) => !compared.strict && opensOtherwise(compared) && compared.other === 'ENOENT',
    ends: () => true,
  },
  {
    id: 'path',
    what: 'Without `--strict`, `stat` and `access` of `/dev/liveupdate` say ENOENT.',
    reason: 'Calls on paths are not trapped by default, so that they go at full speed.',
    matches: ({ words, strict, other }) => !strict && words[0] === 'path' && other === 'ENOENT',
    ends: () => false,
  },
  {
    id: 'open-path',
    what: 'With `--strict`, an open of the device with `O_PATH` is ENOENT.',
    reason: 'An fd that opens nothing cannot be handed into a program, and there is no node that it could name.',
    matches: ({ words, strict, other }) =>
      strict && words[0] === 'open' && (Number(words[2]) & O_PATH) !== 0 && other === 'ENOENT',
    ends: () => true,
  },
  {
    id: 'grow',
    what: 'A write beyond the end of a preserved memfd works, where the kernel says EPERM or writes less.',
    reason:
      'It would take a trap on every `write` of every file; a seal would do it, and could never be taken off again.',
    matches: writesBeyond,
    ends: () => true,
  },
  {
    id: 'seal-write',
    what: 'A memfd that was sealed against future writes before it was preserved can be sealed against writing, which is EBUSY in the kernel.',
    reason:
      'What else refuses it is a writable mapping that the emulator holds, and of such a memfd there can be none.',
    matches: ({ words, kernel, other }) => words[0] === 'seal' && kernel === 'EBUSY' && other === 'ok',
    ends: () => true,
  },
  {
    id: 'seal-late',
    what: 'Right after the last close of a session a memfd that was in it can still refuse `F_SEAL_WRITE` with EBUSY, for a moment.',
    reason:
      'The emulator is told of a close a moment after it, since `close` is not trapped, and holds its mapping until then.',
    matches: ({ words, kernel, other }) => words[0] === 'seal' && kernel === 'ok' && other === 'EBUSY',
    ends: () => true,
  },
  {
    id: 'holes',
    what: '`SEEK_DATA` and `SEEK_HOLE` still find the holes of a preserved memfd, which preserving has given pages.',
    reason: 'The pages are allocated and not written, since a write of zeros could overtake one of the program.',
    matches: ({ words, kernel, other }) =>
      words[0] === 'seek' &&
      Number(words[3]) >= 3 &&
      kernel !== other &&
      [kernel, other].every((each) => /^(\d+|ENXIO)$/.test(each)),
    ends: () => true,
  },
  {
    id: 'chunks',
    what: 'A write over the end of a memfd that is sealed against growth writes as much as the host kernel lets it, or is EPERM.',
    reason: 'That is not live update, and the kernel of the machine answers it; kernels differ in the size of a piece.',
    matches: ({ words, kernel, other }) =>
      (words[0] === 'write' || words[0] === 'pwrite') && kernel === 'EPERM' && /^[1-9]\d*$/.test(other),
    ends: () => true,
  },
  {
    id: 'foreign-ioctl',
    what: "Without `--strict`, another device's `ioctl` on the device or a session gives what a socket gives: mostly ENOTTY for EINVAL.",
    reason: 'Only the commands of the device are trapped; the others belong to all programs and files.',
    matches: isForeignIoctl,
    // What a socket does where the kernel refuses leaves a trace.
    ends: ({ other }) => other.startsWith('ok'),
  },
  {
    id: 'large-file',
    what: '`F_GETFL` of the device says `O_RDWR` without `O_LARGEFILE`, however it was opened.',
    reason:
      'It is the end of a socket pair, and neither can be given to one. In programs of 64 bits `O_LARGEFILE` is 0.',
    matches: lacksLargeFile,
    ends: () => false,
  },
  {
    id: 'socket',
    what: '`fstat`, `read`, `write`, `poll`, `epoll_ctl`, and the link in `/proc/self/fd` show a socket.',
    reason:
      'The device and the sessions are ends of socket pairs, which is what lets a program hold them without help.',
    matches: ({ words }) => ['stat', 'get', 'put', 'poll', 'watch'].includes(words[0]!),
    ends: () => false,
  },
];

/** The model says all that it says. */
export const MODEL_DIFFERENCES: readonly Difference[] = [];
