/**
 * The machine as far as the kexec gap needs it: what carries state over it, and how to leave this kernel. Types only;
 * src/backends/kernel implements both, the emulator will. luod decides when; nothing here does.
 */
import type { Backend } from './backend.js';

// ---------------------------------------------------------------------------------------------- sessions

/**
 * Session fds live in the keeper, so that a killed luod never held the only copy: it opens the device, creates or
 * retrieves, keeps, and closes the device at once. luod's side of that, which a kernel backend is built on.
 * Fds are borrowed: the store owns luod's copy until `drop`.
 */
export interface SessionStore {
  /** @throws LuoError SYS EINVAL, EEXIST, …; LIVEUPDATE_MISSING, LIVEUPDATE_HELD, LIVEUPDATE_BROKEN */
  create(name: string): Promise<number>;
  /** @throws LuoError SYS ENOENT, EINVAL, …; LIVEUPDATE_MISSING, LIVEUPDATE_HELD, LIVEUPDATE_BROKEN */
  retrieve(name: string): Promise<number>;
  /** Both holders let go: an outgoing session is unpreserved, an incoming one finished. */
  drop(name: string, direction: 'outgoing' | 'incoming'): Promise<void>;
  list(): readonly { readonly name: string; readonly direction: 'outgoing' | 'incoming'; readonly fd: number }[];
}

export type KernelBackendFactory = (store: SessionStore) => Backend;

// ---------------------------------------------------------------------------------------------- images

export interface ImageRequest {
  /** Path of a bzImage. */
  readonly kernel: string;
  readonly initrd?: string;
  /** The whole command line; without it and without `reuseCmdline`, the running kernel's. */
  readonly cmdline?: string;
  readonly reuseCmdline?: boolean;
  /** Added at the end. */
  readonly append?: string;
}

/** The image that a kexec would start. */
export interface LoadedImage {
  readonly kernel: string;
  readonly initrd: string | null;
  readonly cmdline: string;
  /** As the image says it: `7.3.4`; null: it does not. */
  readonly release: string | null;
  /** ISO 8601. */
  readonly loadedAt: string;
}

// ---------------------------------------------------------------------------------------------- preflight

export interface PreflightCheck {
  /** Short and stable, as `--force CHECK` names it: `liveupdate`, `luo-abi`, `kho-abi`, `command-line`, … */
  readonly check: string;
  /** `fail`: kexec refuses. `warn`: it goes, with what the reason says. */
  readonly result: 'pass' | 'warn' | 'fail';
  /** What was found, one sentence. */
  readonly reason: string;
  /** What to do about it; null when there is nothing to do. */
  readonly remedy: string | null;
  /** The handle or owner that it is about. */
  readonly handle?: string;
}

/** A handle that the plan would carry over. `fd` is borrowed; null: its owner preserves it by itself (delegate). */
export interface PreflightHandle {
  readonly key: string;
  readonly owner: string;
  readonly kind: 'fd' | 'device' | 'global';
  readonly type: string;
  readonly fd: number | null;
  readonly path: string | null;
  readonly viable: { readonly ok: boolean; readonly reason: string };
  /** Who is charged for it when it comes back: a pid of the claimer's present control group; null: luod itself. */
  readonly chargedPid: number | null;
}

export interface PreflightInput {
  /** null: what is loaded, if luod knows what that is. */
  readonly image: ImageRequest | null;
  readonly loaded: LoadedImage | null;
  readonly handles: readonly PreflightHandle[];
  /** Handles that stay behind, with why. */
  readonly left: readonly { readonly handle: string; readonly reason: string }[];
  /** Sessions that the update needs, each an fd of the keeper. */
  readonly sessions: number;
  readonly keeper: { readonly pid: number; readonly fds: number; readonly fdsMax: number };
  /** Median of earlier jumps of this host, ms; null: there was none. */
  readonly predictedBlackoutMs: number | null;
}

export interface PreflightReport {
  /** No check failed. */
  readonly ok: boolean;
  readonly target: { readonly release: string | null; readonly kernel: string | null };
  readonly running: { readonly release: string };
  readonly checks: readonly PreflightCheck[];
  readonly predictedBlackoutMs: number | null;
}

// ---------------------------------------------------------------------------------------------- machine

export interface KexecMachine {
  /** /proc/sys/kernel/random/boot_id. */
  readonly bootId: string;
  /** `uname -r`. */
  readonly release: string;
  /** Whether a process of this name as PID 1 runs the machine: its way of going down is not ours. */
  readonly systemd: boolean;
  /**
   * kexec_file_load(2). @throws LuoError IMAGE_REFUSED with what the errno means in words; IMAGE_MISSING no such file
   */
  load(request: ImageRequest): Promise<LoadedImage>;
  /** @throws LuoError SYS */
  unload(): Promise<void>;
  /** Whether the kernel has an image loaded, by whomever. */
  isLoaded(): boolean;
  /** Looks, and changes nothing. */
  preflight(input: PreflightInput): Promise<PreflightReport>;
  /** sync(2). */
  sync(): void;
  /** reboot(2) with LINUX_REBOOT_CMD_KEXEC. Comes back only with an error. @throws LuoError KEXEC_RETURNED with errno */
  jump(): never;
  /**
   * May this process be charged `sizeBytes` of memory now without being killed for it? A retrieve that meets a limit is
   * killed by the OOM killer inside the call, and the data is gone. Null: yes; else why not, one sentence.
   */
  chargeProblem(sizeBytes: number, pid: number): string | null;
}
