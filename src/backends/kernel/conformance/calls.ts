/** The six calls as argument-cases.ts wants them, each on what it is for. @source include/uapi/linux/liveupdate.h */
import {
  FD_ARGUMENT,
  FINISH_ARGUMENT,
  LIVEUPDATE_IOCTL,
  LIVEUPDATE_SESSION,
  NAME_ARGUMENT,
  SESSION_ARGUMENT,
} from '../../../abi/liveupdate.js';
import { fdArgument, finishArgument, nameArgument, sessionArgument } from './argument.js';
import type { Call } from './argument-cases.js';

/** A token that no case uses. */
export const NO_TOKEN = 0xdead_beefn;

export const CREATE_SESSION: Call = {
  name: 'CREATE_SESSION',
  command: LIVEUPDATE_IOCTL.CREATE_SESSION,
  sizeBytes: SESSION_ARGUMENT.sizeBytes,
  argument: (bench, sizeBytes) => sessionArgument(bench.name('created'), sizeBytes),
  handled: 'ok',
  makesFd: true,
};

export const RETRIEVE_SESSION: Call = {
  name: 'RETRIEVE_SESSION',
  command: LIVEUPDATE_IOCTL.RETRIEVE_SESSION,
  sizeBytes: SESSION_ARGUMENT.sizeBytes,
  argument: (bench, sizeBytes) => sessionArgument(bench.name('that never was'), sizeBytes),
  handled: 'ENOENT',
  makesFd: true,
};

export const PRESERVE_FD: Call = {
  name: 'PRESERVE_FD',
  command: LIVEUPDATE_SESSION.PRESERVE_FD,
  sizeBytes: FD_ARGUMENT.sizeBytes,
  argument: (bench, sizeBytes) => fdArgument(bench.memfd('content').fd, 1n, sizeBytes),
  handled: 'ok',
  makesFd: false,
};

export const RETRIEVE_FD: Call = {
  name: 'RETRIEVE_FD',
  command: LIVEUPDATE_SESSION.RETRIEVE_FD,
  sizeBytes: FD_ARGUMENT.sizeBytes,
  argument: (_bench, sizeBytes) => fdArgument(-1, NO_TOKEN, sizeBytes),
  handled: 'ENOENT',
  makesFd: true,
};

export const FINISH: Call = {
  name: 'FINISH',
  command: LIVEUPDATE_SESSION.FINISH,
  sizeBytes: FINISH_ARGUMENT.sizeBytes,
  argument: (_bench, sizeBytes) => finishArgument(0, sizeBytes),
  handled: 'ok',
  makesFd: false,
};

export const GET_NAME: Call = {
  name: 'GET_NAME',
  command: LIVEUPDATE_SESSION.GET_NAME,
  sizeBytes: NAME_ARGUMENT.sizeBytes,
  argument: (_bench, sizeBytes) => nameArgument(0, sizeBytes),
  handled: 'ok',
  makesFd: false,
};
