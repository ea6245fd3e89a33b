/** What the benches share: interleaved runs, medians with spread, and the bare start of Node beside which they are read. */
export { interleave, type InterleaveOptions, type Variant } from './interleave.js';
export { machine } from './machine.js';
export { bareNodeStart } from './node-start.js';
export { pairedRatio, quantile, show, summarize, type Summary } from './summary.js';
