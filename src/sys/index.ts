/**
 * System calls from TypeScript: one function per call, an owner for every descriptor, SysError for every errno. No policy.
 * The only folder that imports koffi.
 */
export { SysError, isSysError } from './sys-error.js';
export { OwnedFd, closeAll, dupFd, type LiveFd } from './owned-fd.js';
export { NativeMemory } from './native-memory.js';
export { addSeals, getSeals, memfdCreate, memfdCreateExecutable, sealContent, sealSize } from './memfd.js';
export {
  copyFileRange,
  fillHoles,
  fstat,
  ftruncate,
  getOffset,
  getStatusFlags,
  isOpen,
  openFile,
  pipe,
  pread,
  preadFully,
  pwrite,
  pwriteFully,
  read,
  setOffset,
  setStatusFlags,
  tryLock,
  write,
  type FileStat,
} from './file.js';
export { Mapping, viewBytesMax, type MapOptions, type MappingPart } from './mapping.js';
export {
  getPeerCredentials,
  getSocketOption,
  setSendBuffer,
  setSocketOption,
  shutdown,
  socket,
  socketpair,
  type Credentials,
} from './socket.js';
export { accept, unixConnect, unixListen } from './unix-socket.js';
export { datagramConnect, datagramListen } from './unix-datagram.js';
export { getsockname, tcpListen, type SocketName, type TcpListenOptions } from './tcp.js';
export { MessageReceiver, MessageSender, WOULD_BLOCK, sendBytes } from './scm-rights.js';
export {
  becomeSubreaper,
  endedChild,
  exitNow,
  forbidCore,
  getFileLimit,
  kill,
  pidfdGetfd,
  pidfdOpen,
  pidfdOpenThread,
  pidfdSendSignal,
  processExists,
  sameOpenFile,
  setFileLimit,
  setProcessName,
  signalName,
  signalNumber,
  takeChildChange,
  waitPid,
  type ChildChange,
  type ExitStatus,
} from './process.js';
export { eventfd } from './event-fd.js';
export { timerfdCreate, timerfdSet } from './timer-fd.js';
export { inotifyAddWatch, inotifyInit, inotifyRead, inotifyRemoveWatch, type InotifyEvent } from './inotify.js';
export { EpollEvents, epollCreate, epollCtl } from './epoll.js';
export { EventLoop, eventLoop, type Interest, type Watch, type WatchCallback } from './event-loop.js';
export { faultPoint } from './fault.js';
export { compareOpenFiles, isSealable } from './compare-files.js';
export {
  liveupdateCreateSession,
  liveupdateRetrieveSession,
  openLiveupdate,
  sessionFinish,
  sessionGetName,
  sessionPreserveFd,
  sessionRetrieveFd,
  sessionRetrieveFdNow,
} from './liveupdate.js';
export { ioctl } from './ioctl.js';
export { kexecFileLoad, kexecUnload, rebootKexec, rebootPowerOff, sync } from './kexec.js';
export {
  NotificationReader,
  seccompKnowsAction,
  seccompKnowsFlags,
  seccompListen,
  seccompNotificationSizes,
  setNoNewPrivileges,
} from './seccomp.js';
export { ProcessMemory } from './process-memory.js';
export { ignoringSignals, withDefaultAction } from './signal-action.js';
export { posixSpawn, type FileAction, type SpawnRequest } from './spawn.js';
export { pollNow } from './poll.js';
