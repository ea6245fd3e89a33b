/** Runs inside of the machine: what another administrator might do, kexec -u. */
import { kexecUnload } from '../../../src/sys/index.js';

export function unload(): void {
  kexecUnload();
}
