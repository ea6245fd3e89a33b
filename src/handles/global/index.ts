export { describeGlobal, globalDescriber, GLOBAL_HOOKS } from './global.js';
export { checkHook, findHooks, type FoundHooks, type HookFile } from './hook-file.js';
export { HookRecords, type HookRecord } from './hook-records.js';
export { Hook, Hooks, type HookContext, type HooksOptions, type SavedHook } from './hooks.js';
export { HOOK_CALLS, HOOK_STATE_BYTES_MAX, runHook, type HookCall, type HookRun } from './run-hook.js';
export { GLOBALS_FOLDER, GLOBALS_SERVICE, globalsService } from './service.js';
