/** Every verb of luoctl, in the order of `luoctl help`. A new verb is a file here and a line in this list. */
import type { Verb } from '../verb.js';
import { blob } from './blob.js';
import { cancel } from './cancel.js';
import { conformance } from './conformance.js';
import { discard } from './discard.js';
import { doctor } from './doctor.js';
import { emulate } from './emulate.js';
import { finish } from './finish.js';
import { kexec } from './kexec.js';
import { kill } from './kill.js';
import { list } from './list.js';
import { load } from './load.js';
import { logs } from './logs.js';
import { plan } from './plan.js';
import { preflight } from './preflight.js';
import { prepare } from './prepare.js';
import { put } from './put.js';
import { recover } from './recover.js';
import { request } from './request.js';
import { rollback } from './rollback.js';
import { run } from './run.js';
import { seal } from './seal.js';
import { shutdown } from './shutdown.js';
import { start } from './start.js';
import { status } from './status.js';
import { stop } from './stop.js';
import { take } from './take.js';
import { timeline } from './timeline.js';
import { unload } from './unload.js';
import { unrequest } from './unrequest.js';
import { update } from './update.js';
import { watch } from './watch.js';

export const VERBS: readonly Verb[] = [
  run,
  start,
  stop,
  discard,
  kill,
  update,
  rollback,
  plan,
  prepare,
  cancel,
  finish,
  load,
  unload,
  preflight,
  kexec,
  emulate,
  conformance,
  blob,
  put,
  take,
  list,
  seal,
  request,
  unrequest,
  status,
  watch,
  timeline,
  logs,
  doctor,
  recover,
  shutdown,
];
