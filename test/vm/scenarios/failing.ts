/** Fails on the side that its carried value names: so that the runner of scenarios can be seen to notice. */
import type { Scenario } from '../bed/scenario.js';

export const scenario: Scenario = {
  before(machine) {
    machine.log('it went well until here');
    return Promise.reject(new Error('the first side is not as it must be'));
  },
  after() {
    return Promise.resolve();
  },
};
