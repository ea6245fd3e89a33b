export { describeGlobal, globalDescriber, GLOBAL_HOOKS } from './global.js';
