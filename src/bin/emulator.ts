/** The emulator as a port of the command line; its code is loaded when it is asked for. */
import { endLike } from '../emulator/launch/end-like.js';
import type { EmulatorPort } from '../ports/emulator.js';

export const emulatorPort: EmulatorPort = {
  check: async () => (await import('../emulator/check.js')).checkEmulator(),
  async run(request) {
    const { runSession } = await import('../emulator/session.js');
    return runSession(request);
  },
  async kexec(pid) {
    const { askForKexec, chooseEmulator } = await import('../emulator/control.js');
    const chosen = chooseEmulator(pid);
    await askForKexec(chosen);
    return chosen;
  },
  endLike,
};
