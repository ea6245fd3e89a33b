/** The launcher process of the emulator, and its spawner thread: one program, so that the thread finds its parts loaded. */
import { isMainThread } from 'node:worker_threads';

if (isMainThread) await import('../emulator/launch/launcher-program.js');
else await import('../emulator/launch/spawner.js');
