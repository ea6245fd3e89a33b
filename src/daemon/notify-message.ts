/**
 * The messages of systemd's notification protocol, as a service sends them to $NOTIFY_SOCKET: lines of `KEY=value`.
 * Only what a supervisor acts on is taken; the rest is ignored, as systemd does.
 * @source sd_notify(3)
 */
export interface NotifyMessage {
  readonly ready: boolean;
  readonly reloading: boolean;
  readonly stopping: boolean;
  readonly status: string | undefined;
  readonly mainPid: number | undefined;
  /** The fds of the message are to be kept under `fdName`. */
  readonly fdStore: boolean;
  readonly fdStoreRemove: boolean;
  readonly fdName: string | undefined;
  /** The fd of the message is to be closed once everything before it was handled. */
  readonly barrier: boolean;
}

/** Bytes of one message: what systemd takes. */
export const NOTIFY_BYTES_MAX = 4096;
const STATUS_CHARACTERS_MAX = 1000;

/**
 * A name as FDNAME= may carry it: up to 255 printable ASCII characters without a colon, which separates the names in
 * LISTEN_FDNAMES. @source sd_pid_notify_with_fds(3), fdname_is_valid() in systemd
 */
export function isFdName(name: string): boolean {
  return /^[\x20-\x39\x3b-\x7e]{1,255}$/.test(name);
}

export function parseNotify(text: string): NotifyMessage {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1));
  }
  const mainPid = Number(values.get('MAINPID'));
  const fdName = values.get('FDNAME');
  return {
    ready: values.get('READY') === '1',
    reloading: values.get('RELOADING') === '1',
    stopping: values.get('STOPPING') === '1',
    status: values.get('STATUS')?.slice(0, STATUS_CHARACTERS_MAX),
    mainPid: Number.isInteger(mainPid) && mainPid > 1 ? mainPid : undefined,
    fdStore: values.get('FDSTORE') === '1',
    fdStoreRemove: values.get('FDSTOREREMOVE') === '1',
    fdName: fdName !== undefined && isFdName(fdName) ? fdName : undefined,
    barrier: values.get('BARRIER') === '1',
  };
}
