/** The keeper as a program, as src/bin/keeper.ts, at a device of the test: `--dir DIR [--kexec | --adopt] -- LUOD_ARGV...`. */
import { startKeeper } from '../../src/keeper/index.js';
import { FakeDevice } from './fake-device.js';

const end = process.argv.indexOf('--');
const options = process.argv.slice(2, end);
const env: Record<string, string> = {};
for (const [name, value] of Object.entries(process.env)) if (value !== undefined) env[name] = value;

const keeper = await startKeeper({
  dir: options[options.indexOf('--dir') + 1]!,
  luodArgv: process.argv.slice(end + 1),
  env,
  kexec: options.includes('--kexec'),
  device: new FakeDevice(),
  ...(options.includes('--adopt') ? { adoptFd: 3 } : {}),
});
await keeper.ended;
process.exit(0);
