/** Claims the memory NAME, which it never makes, says what came of it as one line of JSON, and ends: `claim-only.js NAME`. */
import { join } from 'luo';

const [name] = process.argv.slice(2) as [string];
const luo = await join();
try {
  await luo.memory(name, {});
  console.log(JSON.stringify({ code: null }));
} catch (error) {
  console.log(JSON.stringify({ code: (error as { code?: string }).code ?? String(error) }));
}
process.exit(0);
