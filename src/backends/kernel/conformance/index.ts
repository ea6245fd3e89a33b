/** Does a /dev/liveupdate behave as the kernel's does? The suite behind `luoctl conformance`. */
export { conformance } from './suite.js';
